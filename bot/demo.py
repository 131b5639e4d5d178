"""`countersign demo`: the workspace page over a real service, on loopback, with the offline stand-in as its model.

Knows what the page shows beside the chat and where that is kept; wiring is `bot.core`'s, the page is `bot.web`'s.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final

import anyio.to_thread
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from audit import checkpoint, query
from audit.checkpoint import Checkpointer, CheckpointError
from audit.event import Kind
from audit.faults import StoreUnavailable
from audit.query import Row
from audit.tables import AuditHead
from audit.verify import verify
from bot.agent.offline import Offline
from bot.agent.routing import Router
from bot.core import Core, running, seed_demo
from bot.ports import Person
from bot.web.chatlog import ChatLog
from bot.web.data import AuditLine, AuditPage, ChainCheck, MailLine, RefundLine, ServiceState
from bot.web.demo import demo_app
from bot.web.serving import DemoServer, PortTaken, bind_loopback, hosts_of
from bot.web.surface import DemoSurface
from bot.web.workspace import Workspace, load_workspace
from policy.approval import ApprovalStatus
from policy.model import TenantId
from policy.model_rules import Adapter, ModelName, Models
from tools.approvals import table
from tools.business import customers, mail_that_left, orders, refunds
from tools.gateway import Gateway
from tools.money import from_minor

TENANT: Final = TenantId("demo")
PORT: Final = 8080
TRIES: Final = 20
_HEAD = table(AuditHead)


async def serve_demo(core: Core, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve the demo until SIGINT or SIGTERM. `ready` is called with the address once it listens.

    Raises:
        PortTaken: the port that was asked for is taken (None: 8080, or the next free one).
    """
    sock = bind_loopback(port) if port is not None else free_socket()
    seed_demo(core)
    people = await core.book.people(TENANT)
    workspace = load_workspace(people)
    surface = DemoSurface(ChatLog(core.writer, TENANT), workspace)
    token = secrets.token_urlsafe(24)
    async with running(core, lambda _core: (surface,), offline_router()) as service:
        app = demo_app(
            service=service.turn,
            surface=surface,
            data=Data(core, workspace, {person.subject.sub: person for person in people}),
            token=token,
            hosts=hosts_of(sock),
        )
        address = f"http://127.0.0.1:{sock.getsockname()[1]}/?token={token}"
        server = DemoServer(app, surface.hub, lambda: ready(address))
        await server.serve(sockets=[sock])


def offline_router() -> Router:
    """Every turn goes to the stand-in, which costs nothing, whatever keys lie about."""
    models = Models(
        default=(ModelName(Adapter.OFFLINE, "offline"),),
        routes={},
        prices={},
    )
    return Router(models, {Adapter.OFFLINE: lambda _name: Offline()})


def free_socket() -> socket.socket:
    """8080 or, where that is taken, the next free port."""
    for port in range(PORT, PORT + TRIES):
        try:
            return bind_loopback(port)
        except PortTaken:
            continue
    return bind_loopback(0)


@dataclass(frozen=True, slots=True)
class Data:
    """Implements `bot.web.data.DemoData`."""

    core: Core
    workspace: Workspace
    people: Mapping[str, Person]

    async def mark(self) -> str:
        heads = await self.core.writer.read(lambda conn: conn.execute(select(func.sum(_HEAD.c.seq))).scalar())
        return str(heads)

    async def state(self) -> ServiceState:
        report = await self._gateway.kills(TENANT)
        return ServiceState(model="offline stand-in", offline=True, stopped=report.active)

    async def waiting(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for member in self.workspace.members:
            person = await self.core.book.by_account(member.account)
            if person is None:
                continue
            who = await self.core.writer.read(partial(self.core.people.current, tenant=TENANT, subject=person.subject))
            if who is not None:
                found[member.user] = len(await self._gateway.waiting_for(who))
        return found

    async def unlinked(self) -> frozenset[str]:
        accounts = {member.user: await self.core.book.by_account(member.account) for member in self.workspace.members}
        return frozenset(user for user, person in accounts.items() if person is None)

    async def withdrawable(self, user: str) -> frozenset[str]:
        member = self.workspace.member(user)
        person = None if member is None else await self.core.book.by_account(member.account)
        asked = () if person is None else await self._gateway.asked_by(TENANT, person.subject)
        return frozenset(view.held_id for view in asked if view.status is ApprovalStatus.PENDING)

    async def audit(self, newest: int) -> AuditPage:
        def unit(conn: Connection) -> AuditPage:
            page = query.query(conn, TENANT, limit=newest)
            total = conn.execute(select(_HEAD.c.seq).where(_HEAD.c.tenant_id == TENANT)).scalar() or 0
            return AuditPage(total=total, lines=tuple(self._line(row) for row in page.rows))

        return await self.core.writer.read(unit)

    async def mails(self) -> tuple[MailLine, ...]:
        sent = await mail_that_left(self.core.business, TENANT)
        return tuple(MailLine(mail.message_id, mail.sent_at, mail.recipient, mail.subject, mail.body) for mail in sent)

    async def refunds(self) -> tuple[RefundLine, ...]:
        return await self.core.business.read(_refunds)

    async def verify(self) -> ChainCheck:
        return await anyio.to_thread.run_sync(self._verify)

    def _verify(self) -> ChainCheck:
        """Against checkpoints of this very moment, so that the whole chain is proven, not all but its tail."""
        core = self.core
        try:
            core.writer.read_blocking(Checkpointer(core.settings.checkpoints, core.keys.checkpoint).write)
            lines = checkpoint.read(core.settings.checkpoints, core.keys.checkpoint.public_key())
            report = verify(core.engine, lines)
        except (CheckpointError, StoreUnavailable) as error:
            return ChainCheck(intact=False, sentence=str(error))
        sentences = " ".join(report.sentences())
        if report.holds:
            return ChainCheck(intact=True, sentence=f"{report.rows} rows, nothing altered or removed. {sentences}")
        return ChainCheck(intact=False, sentence=sentences)

    @property
    def _gateway(self) -> Gateway:
        return self.core.gateway

    def _line(self, row: Row) -> AuditLine:
        args = row.tool_args or {}
        amount = f"{args['amount']} {args.get('currency', '')}".strip() if "amount" in args else None
        return AuditLine(
            seq=row.seq,
            at=row.occurred_at,
            who=self._name(row.actor_user_id),
            kind=row.kind.value,
            tool=row.tool_name,
            amount=amount,
            status=row.status,
            approver=None
            if row.hitl_approver is None
            else ", ".join(self._name(sub) or sub for sub in row.hitl_approver.split(",")),
            row_hash=row.row_hash,
            about=self._about(row),
        )

    def _name(self, sub: str | None) -> str | None:
        person = self.people.get(sub or "")
        if person is None and sub is not None and sub.startswith("scim:"):
            return "Identity provider"
        return person.display_name if person is not None else sub

    def _about(self, row: Row) -> str | None:
        """Whom a provisioned row is about. The log keeps ids alone; a group has no name in it."""
        if row.kind is not Kind.SCIM_CHANGED or row.detail is None:
            return None
        person = self.people.get(str(row.detail.get("external_id")))
        return person.display_name if person is not None else f"a {str(row.detail.get('type', 'resource')).lower()}"


def _refunds(conn: Connection) -> tuple[RefundLine, ...]:
    wanted = (
        select(refunds, customers.c.name)
        .join(orders, (orders.c.tenant == refunds.c.tenant) & (orders.c.id == refunds.c.order_id))
        .join(customers, (customers.c.tenant == orders.c.tenant) & (customers.c.id == orders.c.customer_id))
        .where(refunds.c.tenant == TENANT, refunds.c.call_id != "")
        .order_by(refunds.c.refunded_at.desc())
        .limit(50)
    )
    return tuple(
        RefundLine(
            id=row.id,
            at=row.refunded_at,
            order_id=row.order_id,
            customer=row.name,
            amount=Decimal(from_minor(row.amount_minor, row.currency).text),
            currency=row.currency,
            reason=row.reason,
        )
        for row in conn.execute(wanted)
    )
