"""One fresh house for one task: the whole service in this process over the demo's shop, in a folder of its own.

Real turn, queue, door, policy and audit; the chat writes down, the model is the one under test. Opens no connection
to anywhere by itself.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot import app
from bot.agent.routing import Router
from bot.core import Core, Running, open_core, running, seed_demo
from bot.messages import Command, Incoming, Press
from bot.settings import for_demo
from evals.chat import RecordingChat, account, direct
from evals.grading import SeenRequest
from evals.task import Stands
from policy.approval import ApprovalStatus, Verb
from policy.model import Subject, TenantId, ToolName
from tools.business import customers, mail_that_left, refunds
from tools.held import EffectState, HeldView
from tools.money import from_minor, text_of

TENANT = TenantId("demo")
PATIENCE_S = 120.0
"""How long one turn may take. A model's own time limits are shorter."""
_BUSY = sa.text("SELECT COUNT(*) FROM workflow_status WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED')")


class NotQuiet(Exception):
    """The house did not come to rest in time."""


def furnish(folder: Path) -> None:
    """A migrated database, keys and a filled shop below `folder`: the mould of every house."""
    settings = for_demo({}, folder)
    app.migrate(settings)
    core = open_core(settings)
    try:
        seed_demo(core)
    finally:
        core.close()


@dataclass(slots=True)
class House:
    """A running service and the people around it."""

    service: Running
    chat: RecordingChat
    count: int = 0

    @property
    def core(self) -> Core:
        return self.service.core

    async def write(self, user: str, text: str) -> None:
        n = self._next()
        await self.service.turn.on_message(Incoming(account(user), direct(user), f"m{n}", f"e{n}", text))
        await self.quiet()

    async def command(self, user: str, text: str) -> str:
        return await self.service.turn.on_command(Command(account(user), direct(user), f"c{self._next()}", text))

    async def press(self, user: str, view: HeldView, verb: Verb, text: str) -> str:
        press = Press(account(user), f"p{self._next()}", view.held_id, view.revision, view.digest, verb, text)
        reply = await self.service.turn.on_press(press)
        await self.quiet()
        return reply.sentence

    async def requests(self, user: str) -> tuple[HeldView, ...]:
        """What `user` asked for and somebody has to countersign, oldest first."""
        found = await self.core.gateway.asked_by(TENANT, await self.subject(user))
        return tuple(sorted(found, key=lambda view: (view.created_at, view.held_id)))

    async def subject(self, user: str) -> Subject:
        person = await self.core.book.by_account(account(user))
        if person is None:
            raise NotQuiet(f"{user} is not in the demo's directory.")
        return person.subject

    async def quiet(self) -> None:
        """Returns when no segment waits or runs: all that follows from what was done has been done.

        Raises:
            NotQuiet: it has not come to that within the time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while await self.core.writer.read(lambda conn: conn.execute(_BUSY).scalar()):
            if time.monotonic() > deadline:
                raise NotQuiet(f"The service was still at work after {PATIENCE_S:g} seconds.")
            await asyncio.sleep(0.02)

    async def refunds(self) -> dict[str, str]:
        """Order -> what was refunded through the door."""

        def unit(conn: Connection) -> dict[str, str]:
            wanted = sa.select(refunds).where(refunds.c.tenant == TENANT, refunds.c.call_id != "")
            sums: dict[str, tuple[Decimal, str]] = {}
            for row in conn.execute(wanted):
                so_far = sums.get(row.order_id, (Decimal(0), ""))[0]
                sums[row.order_id] = (so_far + from_minor(row.amount_minor, row.currency).amount, row.currency)
            return {order: text_of(amount, currency) for order, (amount, currency) in sums.items()}

        return await self.core.business.read(unit)

    async def mails(self) -> tuple[str, ...]:
        return tuple(mail.recipient for mail in await mail_that_left(self.core.business, TENANT))

    async def customers(self) -> dict[str, dict[str, str]]:
        def unit(conn: Connection) -> dict[str, dict[str, str]]:
            rows = conn.execute(sa.select(customers).where(customers.c.tenant == TENANT)).mappings()
            return {str(row["id"]): {name: str(value) for name, value in row.items()} for row in rows}

        return await self.core.business.read(unit)

    def tool(self, wire: str) -> str:
        """``crm.read`` for ``crm_read``; a name nobody knows stays as it is."""
        return next((str(tool.name) for tool in self.core.catalog.values() if tool.wire_name == wire), wire)

    def _next(self) -> int:
        self.count += 1
        return self.count


@asynccontextmanager
async def house(mould: Path, folder: Path, router: Callable[[Core], Router]) -> AsyncIterator[House]:
    """A house as `mould` has it, in `folder`, at work until the block ends."""
    shutil.copytree(mould, folder)
    core = open_core(for_demo({}, folder))
    chat = RecordingChat()
    try:
        async with running(core, lambda _core: (chat,), router(core)) as service:
            yield House(service, chat)
    finally:
        core.close()


def request_of(view: HeldView) -> SeenRequest:
    return SeenRequest(str(view.tool), view.arguments, _stands(view).value)


def newest(views: tuple[HeldView, ...], tool: ToolName) -> HeldView | None:
    """The request of `tool` that a press is meant for: the newest that waits, else the newest."""
    of_tool = [view for view in views if view.tool == tool]
    waiting = [view for view in of_tool if view.status is ApprovalStatus.PENDING]
    return next(iter(reversed(waiting or of_tool)), None)


def _stands(view: HeldView) -> Stands:
    if view.status is ApprovalStatus.APPROVED:
        ended = {EffectState.DONE: Stands.EXECUTED, EffectState.FAILED: Stands.FAILED}
        return ended.get(view.effect, Stands.APPROVED)
    return Stands.WAITING if view.status is ApprovalStatus.PENDING else Stands(view.status.value)
