"""Counterparts that answer when the test lets them: a line to localstripe, and a mail server. Both do what they are
asked first; it is the answer that is late, which is the worst moment to die."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage

import aiohttp
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Gate:
    """`shut`: answers wait. `reached`: somebody waits at it, the deed behind it is done."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def shut(self) -> None:
        self.reached.clear()
        self.open.clear()

    async def passes(self) -> None:
        if not self.open.is_set():
            self.reached.set()
            await self.open.wait()

    async def until_reached(self, seconds: float = 20) -> None:
        await asyncio.wait_for(self.reached.wait(), seconds)


@dataclass
class PaymentLine:
    """Between the service and localstripe. `reads` and `refunds` hold the answers of each; `down`: nobody answers."""

    upstream: str
    reads: Gate = field(default_factory=Gate)
    refunds: Gate = field(default_factory=Gate)
    down: bool = False
    base: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.json_response({"error": {"type": "api_error", "message": "down for repairs"}}, status=503)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self.upstream + request.path_qs
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, headers=headers, data=await request.read()) as told,
        ):
            body = await told.read()
            kept = {name: value for name, value in told.headers.items() if name.lower() not in _HOP}
        await (self.refunds if (request.method, request.path) == ("POST", "/v1/refunds") else self.reads).passes()
        return web.Response(status=told.status, headers=kept, body=body)


_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@contextlib.asynccontextmanager
async def payment_line(upstream: str) -> AsyncIterator[PaymentLine]:
    line = PaymentLine(upstream)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", line.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    line.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield line
    finally:
        line.reads.open.set()
        line.refunds.open.set()
        await runner.cleanup()


@dataclass
class MailServer:
    """aiosmtpd. A mail is taken, then `taken` holds the answer. `down`: it is busy."""

    taken: Gate = field(default_factory=Gate)
    down: bool = False
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: object
    ) -> str:
        if self.down:
            return "451 Come back later"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        await self.taken.passes()
        return "250 taken"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.port),
            "SMTP_SECURITY": "none",
            "SMTP_FROM": "support@shop.example",
        }


@contextlib.asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    loop = asyncio.get_running_loop()
    inbox = MailServer()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(inbox, hostname="mail.test", loop=loop))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0)
    inbox.port = server.sockets[0].getsockname()[1]
    try:
        yield inbox
    finally:
        server.close()
        inbox.taken.open.set()
        for one in sessions:
            if one._handler_coroutine is not None:
                one._handler_coroutine.cancel()
                await asyncio.gather(one._handler_coroutine, return_exceptions=True)
        await server.wait_closed()
