"""email.send over real SMTP against aiosmtpd: what is sent, what is refused, and what is known when the line breaks."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from policy.model import Json
from tests.unit_actions.shop import Shop, open_shop
from tools.business import Business
from tools.catalog import Encryption, MailBackend, ToolSettings, catalog
from tools.credentials import Credentials, Secret
from tools.spec import ActionError, Certainty

ARGS: dict[str, Json] = {
    "to": "C-1007",
    "subject": "Your refund — på väg",
    "body": "Hello Ada,\n\n.a line that begins with a point\nFrom the shop: 42.00 USD is on its way. Grüße\n"
    + "x" * 1200,
}


def _line(server: SMTP) -> asyncio.Transport:
    assert isinstance(server.transport, asyncio.Transport)
    return server.transport


@dataclass
class Inbox:
    """The other side. `breaks` names the SMTP command at which it misbehaves, `how` what it does there."""

    breaks: str = ""
    how: str = ""
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)

    async def _at(self, command: str, server: SMTP, fine: str) -> str:
        self.seen.append(command)
        if command != self.breaks:
            return fine
        if self.how == "drop":
            _line(server).abort()
        elif self.how == "silence":
            await asyncio.sleep(30)
        return self.how

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        envelope.mail_from = address
        return await self._at("MAIL", server, "250 OK")

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        envelope.rcpt_tos.append(address)
        return await self._at("RCPT", server, "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        parsed = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append((envelope.mail_from or "", envelope.rcpt_tos, parsed))
        self.over_tls.append(session.ssl is not None or _line(server).get_extra_info("ssl_object") is not None)
        return await self._at("DATA", server, "250 taken as 81")


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"bot", b"right"), handled=False)


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that nobody but its own file vouches for."""

    file: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    made.file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@asynccontextmanager
async def mail_server(inbox: Inbox, *, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """aiosmtpd on a free port of this machine; the port."""
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(inbox, hostname="mail.test", loop=loop, **options))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for open_session in sessions:
            if open_session._handler_coroutine is not None:
                open_session._handler_coroutine.cancel()
                await asyncio.gather(open_session._handler_coroutine, return_exceptions=True)
        await server.wait_closed()


def sending(business: Business, port: int, **changes: Any) -> Shop:
    """The shop with its mail going to `port`."""
    options = {"smtp_encryption": Encryption.NONE, "provider_timeout_s": 2.0, **changes}
    settings = ToolSettings(
        mail=MailBackend.SMTP, mail_sender="support@shop.example", smtp_host="127.0.0.1", smtp_port=port, **options
    )
    return Shop(business, catalog(settings, business))


@pytest.fixture
def business(sqlite_url: str) -> Iterator[Business]:
    with open_shop(sqlite_url) as opened:
        yield opened.business


def login(password: str) -> Credentials:
    return Credentials(smtp_username="bot", smtp_password=Secret("SMTP_PASSWORD", password))


async def test_what_was_approved_arrives_word_for_word(business: Business) -> None:
    inbox = Inbox()
    async with mail_server(inbox) as port:
        done = await sending(business, port).call("email.send", ARGS)
    ((sender, recipients, mail),) = inbox.mails
    assert (sender, recipients) == ("support@shop.example", ["ada.lindqvist@example.com"])
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "support@shop.example",
        "ada.lindqvist@example.com",
        ARGS["subject"],
    )
    assert mail.get_content().replace("\r\n", "\n") == f"{ARGS['body']}\n"
    assert mail["Message-ID"] == done.reference
    assert done.sentence == f'Sent the e-mail "{ARGS["subject"]}" to ada.lindqvist@example.com.'


async def test_the_message_id_follows_from_the_key(business: Business) -> None:
    inbox = Inbox()
    async with mail_server(inbox) as port:
        shop = sending(business, port)
        for call in ("a", "a", "b"):
            await shop.call("email.send", ARGS, call)
        assert await shop.look_up("email.send", ARGS, "a") is None  # SMTP cannot prove anything
    first, second, third = (mail["Message-ID"] for _, _, mail in inbox.mails)
    assert first == second != third


@pytest.mark.parametrize("how", ["starttls", "tls"])
async def test_mail_goes_encrypted_with_a_login(business: Business, certificate: Certificate, how: str) -> None:
    inbox = Inbox()
    options: dict[str, Any] = {"authenticator": _login}
    if how == "starttls":
        options |= {"tls_context": certificate.context(), "require_starttls": True, "auth_required": True}
    else:  # aiosmtpd takes a connection that began in TLS for a plain one
        options |= {"tls": certificate.context(), "auth_require_tls": False}
    async with mail_server(inbox, **options) as port:
        shop = sending(
            business,
            port,
            smtp_encryption=Encryption(how),
            smtp_ca_file=str(certificate.file),
            credentials=login("right"),
        )
        await shop.call("email.send", ARGS)
        assert inbox.over_tls == [True]
        wrong = sending(
            business,
            port,
            smtp_encryption=Encryption(how),
            smtp_ca_file=str(certificate.file),
            credentials=login("wrong"),
        )
        await _fails(wrong, inbox, Certainty.NOT_DONE, "refused the log-in", mails=1)
        unknown = sending(business, port, smtp_encryption=Encryption(how), credentials=login("right"))
        await _fails(unknown, inbox, Certainty.NOT_DONE, "certificate is not trusted", mails=1)


async def test_a_server_without_starttls_never_sees_the_password(business: Business) -> None:
    inbox = Inbox()
    async with mail_server(inbox) as port:
        shop = sending(business, port, smtp_encryption=Encryption.STARTTLS, credentials=login("right"))
        await _fails(shop, inbox, Certainty.NOT_DONE, "does not offer the encryption")
    assert inbox.seen == []


@pytest.mark.parametrize(
    ("breaks", "how", "certainty", "retryable"),
    [
        ("MAIL", "550 not you", Certainty.NOT_DONE, False),
        ("RCPT", "550 no such user", Certainty.NOT_DONE, False),
        ("RCPT", "451 try later", Certainty.NOT_DONE, True),
        ("MAIL", "drop", Certainty.NOT_DONE, True),
        ("RCPT", "drop", Certainty.NOT_DONE, True),
        ("RCPT", "silence", Certainty.NOT_DONE, True),
        ("DATA", "554 spam", Certainty.NOT_DONE, False),
        ("DATA", "452 no space", Certainty.NOT_DONE, True),
        ("DATA", "drop", Certainty.UNKNOWN, False),
        ("DATA", "silence", Certainty.UNKNOWN, False),
    ],
)
async def test_what_is_known_when_the_server_misbehaves(
    business: Business, breaks: str, how: str, certainty: Certainty, retryable: bool
) -> None:
    inbox = Inbox(breaks, how)
    async with mail_server(inbox) as port:
        shop = sending(business, port, provider_timeout_s=0.5)
        words = "may have been sent" if certainty is Certainty.UNKNOWN else "Nothing was sent"
        error = await _fails(shop, inbox, certainty, words, mails=int(breaks == "DATA"))
    assert error.retryable is retryable
    assert "not you" not in str(error)


async def test_nobody_listens(business: Business) -> None:
    async with mail_server(Inbox()) as port:
        pass
    error = await _fails(sending(business, port), Inbox(), Certainty.NOT_DONE, "could not be reached")
    assert error.retryable


async def _fails(shop: Shop, inbox: Inbox, certainty: Certainty, words: str, mails: int = 0) -> ActionError:
    with pytest.raises(ActionError, match=words) as caught:
        await shop.call("email.send", ARGS)
    assert caught.value.certainty is certainty
    assert len(inbox.mails) == mails
    return caught.value
