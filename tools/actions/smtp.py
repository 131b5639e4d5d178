"""Mail over SMTP (RFC 5321) with aiosmtplib. Knows no CRM and no approval.

Once the server may have taken the message (from DATA on) a silence is UNKNOWN; before that, and after a plain
refusal, nothing was sent.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address

import aiosmtplib

from policy.model import TenantId
from tools.actions.args import refuse
from tools.actions.mail import Mail, is_address, message
from tools.credentials import Secret
from tools.spec import ActionError, Certainty


class Encryption(StrEnum):
    """How the connection to the mail server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"
    """Only without a password, or to this very machine."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in.

    Raises:
        ValueError: settings that would send a password in the clear, or no usable sender. A sentence for people.
    """

    host: str
    port: int
    sender: str
    encryption: Encryption = Encryption.STARTTLS
    username: str | None = None
    password: Secret | None = field(default=None)
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    timeout_s: float = 12.0
    """For everything up to DATA, and again for DATA: together less than the door waits."""

    def __post_init__(self) -> None:
        if not is_address(self.sender):
            raise ValueError(f'The sender of mail must be one address like "bot@example.com", not {self.sender!r}.')
        if (self.username is None) != (self.password is None):
            raise ValueError("The mail server needs a user name and a password, or neither.")
        if self.password and self.encryption is Encryption.NONE and not _is_loopback(self.host):
            raise ValueError(
                f"The mail server {self.host} would get the password in the clear. "
                "Set its encryption to starttls or tls."
            )


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    server: SmtpServer

    async def send(self, mail: Mail) -> str:
        client = self._client()
        try:
            await self._hand_over(client, mail)
            return await self._data(client, mail)
        finally:
            client.close()

    async def find(self, tenant: TenantId, message_id: str) -> bool:
        return False  # SMTP has no question for that

    async def _hand_over(self, client: aiosmtplib.SMTP, mail: Mail) -> None:
        """Everything up to DATA: no failure here can have sent anything."""
        try:
            async with asyncio.timeout(self.server.timeout_s):
                await client.connect()
                await client.mail(mail.sender)
                await client.rcpt(mail.recipient)
        except aiosmtplib.SMTPAuthenticationError as error:
            raise refuse("The mail server refused the log-in. Nothing was sent; tell an admin.") from error
        except aiosmtplib.SMTPRecipientRefused as error:
            raise refuse(
                f"The mail server does not accept mail for {mail.recipient} (answer {error.code}). Nothing was sent; "
                "check the address.",
                retryable=400 <= error.code < 500,
            ) from error
        except aiosmtplib.SMTPSenderRefused as error:
            raise refuse(
                f"The mail server does not accept mail from {mail.sender} (answer {error.code}). Nothing was sent; "
                "tell an admin.",
                retryable=400 <= error.code < 500,
            ) from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise _unconnected(error) from error

    async def _data(self, client: aiosmtplib.SMTP, mail: Mail) -> str:
        content = message(mail).as_bytes()
        try:
            async with asyncio.timeout(self.server.timeout_s):
                response = await client.data(content)
        except aiosmtplib.SMTPDataError as error:
            raise refuse(
                f"The mail server refused the message (answer {error.code}). Nothing was sent; tell an admin.",
                retryable=400 <= error.code < 500,
            ) from error
        except Exception as error:
            raise ActionError(
                f"The mail server stopped answering while the mail to {mail.recipient} was handed over. It may have "
                "been sent; ask the recipient or look in the mail server's log before sending it again.",
                Certainty.UNKNOWN,
            ) from error
        return _printable(response.message)

    def _client(self) -> aiosmtplib.SMTP:
        server = self.server
        context = None
        if server.encryption is not Encryption.NONE:
            context = ssl.create_default_context(cafile=server.ca_file)
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password.reveal() if server.password else None,
            local_hostname=server.sender.rpartition("@")[2],
            timeout=server.timeout_s,
            use_tls=server.encryption is Encryption.TLS,
            start_tls=server.encryption is Encryption.STARTTLS,
            tls_context=context,
        )


_NO_ANSWER = (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, aiosmtplib.SMTPConnectError, OSError)


def _unconnected(error: Exception) -> ActionError:
    """Why no session came about, with a hint at who can mend it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return refuse("The mail server's certificate is not trusted. Nothing was sent; tell an admin.")
        cause = cause.__cause__
    if isinstance(error, _NO_ANSWER):
        return refuse(
            "The mail server could not be reached or did not answer. Nothing was sent; try again in a moment.",
            retryable=True,
        )
    return refuse(
        "The mail server does not offer the encryption or log-in that is set for it. Nothing was sent; tell an admin."
    )


def _printable(answer: str) -> str:
    return "".join(c for c in answer if c.isprintable())[:120]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
