"""The whole product in one process but for chat and model: real turn, queue, door, policy, audit, shop.

The chat writes down what it is told, and can be told to fail. The model says what the test scripts.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot import migrations
from bot.agent.spans import NoTrace
from bot.cards import Item
from bot.durable import Durable
from bot.identity.book import DirectoryBook
from bot.identity.directory import DirectoryFile
from bot.identity.people import DirectoryPeople
from bot.identity.resolve import Resolver
from bot.identity.tokens import CallTokens
from bot.messages import AskAgain, ChatUser, Command, Incoming, Press, Room, SurfaceName, Thread
from bot.parts import Parts
from bot.ports import (
    ChatSurface,
    Model,
    PressReply,
)
from bot.settings import PersonKey
from bot.turn import Turn
from policy.approval import Verb
from policy.axes import ActionClass
from policy.model import TenantId
from policy.pii import redact
from policy.rules import FILE_NAMES, Policy, load
from tests.kit.quiet import at_rest
from tests.kit.scripted import RecordedChat, Script, ScriptedModel
from tools.business import Business, mail_that_left, open_business
from tools.catalog import ToolSettings, catalog
from tools.door import Door, Timings
from tools.gateway import Gateway
from tools.held import HeldView
from tools.integrity import MacKey
from tools.seed import seed

ROOT = Path(__file__).parents[2]
DEMO = TenantId("demo")
SURFACE = SurfaceName("demo")
DM_ROOM = "dm-"


@dataclass
class Clock:
    """Real time, which a test can put forward."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def person(user: str) -> ChatUser:
    return ChatUser(SURFACE, "demo", user)


def dm(user: str) -> Thread:
    return Thread(SURFACE, "demo", f"{DM_ROOM}{user}", f"{DM_ROOM}{user}", Room.DM)


def channel(root: str = "m1", room: Room = Room.CHANNEL) -> Thread:
    return Thread(SURFACE, "demo", "#support", root, room)


@dataclass
class Product:
    """One replica."""

    parts: Parts
    turn: Turn
    chat: RecordedChat
    model: ScriptedModel
    clock: Clock
    writer: Writer
    business: Business
    policy: list[Policy]
    numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    async def write(self, user: str, text: str, thread: Thread | None = None, **ids: str) -> None:
        n = str(next(iter(self.numbers)))
        where = thread or dm(user)
        await self.turn.on_message(
            Incoming(person(user), where, ids.get("message_id", f"m{n}"), ids.get("event_id", f"e{n}"), text)
        )

    async def press(self, user: str, item: Item, verb: Verb, text: str = "", press_id: str | None = None) -> PressReply:
        name = press_id or f"p{next(iter(self.numbers))}"
        return await self.turn.on_press(Press(person(user), name, item.held_id, item.revision, item.digest, verb, text))

    async def press_view(self, user: str, view: HeldView, verb: Verb, text: str = "") -> PressReply:
        name = f"pv{next(iter(self.numbers))}"
        return await self.turn.on_press(Press(person(user), name, view.held_id, view.revision, view.digest, verb, text))

    async def command(self, user: str, text: str) -> str:
        n = str(next(iter(self.numbers)))
        return await self.turn.on_command(Command(person(user), dm(user), f"c{n}", text))

    async def ask_again(self, user: str, held_id: str) -> PressReply:
        return await self.turn.on_ask_again(AskAgain(person(user), "again", held_id))

    async def item(self, headline: str) -> Item:
        """The card's item whose headline starts so, once it has been posted."""
        found: list[Item] = []

        def there() -> bool:
            found[:] = [item for item in self.chat.items() if item.headline.startswith(headline)]
            return bool(found)

        await self.until(there)
        return found[0]

    async def status(self, headline: str, words: str) -> None:
        """Wait until a posted card says `words` of the item."""
        await self.until(lambda: any(i.headline.startswith(headline) and words in i.status for i in self.chat.items()))

    async def until(self, done: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                said = "\n".join(f"{s.thread.channel}: {s.text}" for s in self.chat.said)
                cards = "\n".join(f"{i.headline}: {i.status}" for i in self.chat.items())
                raise AssertionError(f"not so within {seconds} s\n{said}\n{cards}")
            await asyncio.sleep(0.02)

    async def until_said(self, thread: Thread, words: str, seconds: float = 40) -> None:
        await self.until(lambda: words in self.chat.heard_by(thread), seconds)

    async def quiet(self) -> None:
        await at_rest(self.writer)

    async def audit(self) -> list[tuple[str, str, str | None]]:
        """(kind, status, actor) of every row, in order."""
        query = sa.text("SELECT kind, status, actor_user_id FROM agent_audit_log ORDER BY tenant_id, seq")
        rows = await self.writer.read(lambda conn: conn.execute(query).all())
        return [(row.kind, row.status, row.actor_user_id) for row in rows]

    async def mails(self) -> list[str]:
        """Recipients of the mail that left."""
        return [mail.recipient for mail in await mail_that_left(self.business, DEMO)]

    async def refunds(self) -> list[str]:
        query = sa.text("SELECT amount_minor FROM refunds WHERE tenant='demo' AND order_id='1042'")
        return [str(row) for row in await self.business.read(lambda conn: conn.execute(query).scalars().all())]


def load_policy() -> Policy:
    return load({name: (ROOT / "policy" / name).read_text("utf-8") for name in FILE_NAMES})


def build(
    url: str,
    business_url: str,
    chat: RecordedChat,
    model: ScriptedModel,
    *,
    clock: Clock | None = None,
    replica_id: str | None = None,
    timings: Timings | None = None,
    **timing: float,
) -> Product:
    """A product on a migrated database; the caller launches and closes it."""
    clock = clock or Clock()
    engine = make_engine(url)
    writer = Writer(engine)
    policies = [load_policy()]
    business = open_business(business_url)
    seed(business, DEMO, clock())
    directory = DirectoryFile(ROOT / "bot" / "web" / "demo" / "directory.yaml")

    def policy(_tenant: TenantId) -> Policy:
        return policies[0]

    people = DirectoryPeople(directory, policy, PersonKey.EMPLOYEE_NUMBER)
    tokens = CallTokens(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
    durable = Durable(engine, writer, replica_id=replica_id, clock=clock, **timing)
    tools = catalog(ToolSettings(), business)
    store = AuditStore(redact)
    door = Door(
        writer=writer,
        audit=store,
        policy=policy,
        catalog=tools,
        outbox=durable,
        resume=durable,
        tokens=tokens,
        people=people,
        observer=NoTrace(),
        mac=MacKey(b"m" * 32),
        clock=clock,
        executor=durable.replica_id,
        timings=timings or Timings(),
    )

    def models(_classes: Iterable[ActionClass]) -> Model:
        return model

    surface: ChatSurface = chat
    parts = Parts(
        writer=writer,
        audit=store,
        gateway=Gateway(door),
        durable=durable,
        policy=policy,
        directory=directory,
        resolver=Resolver(DirectoryBook(writer, directory), policy, PersonKey.EMPLOYEE_NUMBER),
        people=people,
        tokens=tokens,
        catalog=tools,
        models=models,
        price=lambda _model, _usage: Decimal("0.001"),
        tracing=NoTrace(),
        surfaces=MappingProxyType({SURFACE: surface}),
        clock=clock,
    )
    return Product(parts, Turn(parts), chat, model, clock, writer, business, policies)


@asynccontextmanager
async def running(
    url: str, business_url: str, script: Script, *, launch: bool = True, clock: Clock | None = None
) -> AsyncIterator[Product]:
    """A product that has been launched on a database of its own, and is closed afterwards."""
    engine = make_engine(url)
    migrations.migrate(engine)
    engine.dispose()
    product = build(
        url, business_url, RecordedChat(), ScriptedModel(script), clock=clock, first_pause_s=0.05, sweep_s=0.2
    )
    try:
        if launch:
            await product.parts.durable.launch(product.turn.segments)
        yield product
    finally:
        await product.parts.durable.stop(grace_s=0)
        close(product)


def close(product: Product) -> None:
    product.business.close()
    product.writer.close()
    product.writer.engine.dispose()
