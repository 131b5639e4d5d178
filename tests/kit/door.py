"""A whole door over a database of the test's own: real gateway, policy, audit, tokens, tools and business data.

Only what is above the door is recorded instead of run: the outbox and the queue. `settle()` plays the queue.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from audit import ddl
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity.directory import DirectoryFile
from bot.identity.people import DirectoryPeople
from bot.identity.tokens import CallTokens
from bot.settings import PersonKey
from policy.approval import Verb
from policy.model import Json, Principal, Subject, TenantId, ToolName
from policy.pii import redact
from policy.rules import FILE_NAMES, Policy, load
from tools.business import Business, open_business
from tools.catalog import ToolSettings, catalog
from tools.door import Door, Timings
from tools.gateway import Gateway
from tools.held import Held, HeldView, Outcome, PressOutcome, PressRequest, Proposal, TurnContext
from tools.integrity import MacKey
from tools.ports import Notice
from tools.seed import seed
from tools.spec import Action, ActionError, Args, CallContext, Certainty, Resolved, Tool, ToolResult

DEMO = TenantId("demo")
ISSUER = "urn:countersign:directory"
ROOT = Path(__file__).parents[2]
START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
EXTRA_PEOPLE = """
  - {sub: ann-private, tenant: demo, name: Ann Okafor (private), email: ann@home.example, groups: [finance-approvers],
     employee_number: "1003", accounts: []}
  - {sub: greedy, tenant: demo, name: Gil Both, email: gil@acme.example, groups: [support, finance-approvers],
     employee_number: "7001", accounts: []}
  - {sub: eve, tenant: other, name: Eve Elsewhere, email: eve@other.example, groups: [support, finance-approvers],
     employee_number: "9001", accounts: []}
"""


@dataclass
class Clock:
    """Time as the test tells it; every look moves it a little, so that rows have an order."""

    now: datetime = START

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Queue:
    """Outbox and Resume, written down. Entries of a transaction that rolled back stay: tests that care look at rows."""

    notices: list[Notice] = field(default_factory=list)
    to_execute: list[tuple[TenantId, str, int]] = field(default_factory=list)
    outcomes: list[tuple[TenantId, str]] = field(default_factory=list)

    def put(self, conn: Connection, notice: Notice) -> None:
        self.notices.append(notice)

    def execute(self, conn: Connection, tenant: TenantId, held_id: str, revision: int) -> None:
        self.to_execute.append((tenant, held_id, revision))

    def outcome(self, conn: Connection, tenant: TenantId, held_id: str) -> None:
        self.outcomes.append((tenant, held_id))


class Deaf:
    """An observer that hears nothing."""

    def tool_call(self, *, call_id: str, tool: ToolName, status: str, latency_ms: int) -> None:
        return


@dataclass
class Broken:
    """An action whose provider breaks off."""

    inner: Action
    after: bool
    certainty: Certainty

    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        return await self.inner.resolve(ctx, args)

    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        if self.after:
            await self.inner.run(ctx, args)
        raise ActionError("The provider broke off.", self.certainty)

    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        return await self.inner.look_up(ctx, args)


class Crash(BaseException):
    """The process dies here: nothing of the code under test may catch it."""


Hook = Callable[[CallContext, Args], Awaitable[None]]


@dataclass
class Watched:
    """An action whose runs are counted and may be interrupted, before or after they took effect."""

    inner: Action
    before: Hook | None = None
    after: Hook | None = None
    blind: bool = False
    """The look-up finds nothing, as after a crash of the provider's own index."""
    runs: list[CallContext] = field(default_factory=list)
    looks: int = 0

    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        return await self.inner.resolve(ctx, args)

    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        self.runs.append(ctx)
        if self.before is not None:
            await self.before(ctx, args)
        done = await self.inner.run(ctx, args)
        if self.after is not None:
            await self.after(ctx, args)
        return done

    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        self.looks += 1
        return None if self.blind else await self.inner.look_up(ctx, args)


async def crash(ctx: CallContext, args: Args) -> None:
    """A hook: the process dies."""
    raise Crash


async def until(done: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something another task or process does; a test that waits in vain fails."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError("what this test waits for did not happen in time")
        await asyncio.sleep(0.005)


@dataclass
class House:
    """Everything around one door."""

    gateway: Gateway
    door: Door
    writer: Writer
    queue: Queue
    clock: Clock
    directory: DirectoryFile
    directory_file: Path
    tokens: CallTokens
    business: Business
    tools: dict[ToolName, Tool]
    policy_texts: dict[str, str]
    policies: list[Policy]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def _mark(self) -> str:
        """Tells the ids of two houses on one database apart."""
        return "" if self.door.executor == "one" else f"{self.door.executor}-"

    def who(self, sub: str, tenant: TenantId = DEMO) -> Principal:
        found = self.writer.read_blocking(lambda conn: self.door.people.current(conn, tenant, Subject(ISSUER, sub)))
        assert found is not None, f"the directory has no active {sub}"
        return found

    def turn(self, sub: str = "dana", *, turn_id: str | None = None, asked: str = "please") -> TurnContext:
        turn_id = turn_id or f"{self._mark}t{next(self.numbers)}"
        return TurnContext(DEMO, turn_id, f"demo:demo:dm-{sub}:{turn_id}", None, asked)

    def proposal(self, sub: str, tool: str, arguments: Args | None, call_id: str | None = None) -> Proposal:
        call_id = call_id or f"{self._mark}call{next(self.numbers)}"
        name = ToolName(tool)
        token = self.tokens.mint(self.who(sub), name, self.clock.now, jti=call_id)
        return Proposal(call_id, name, arguments, token)

    async def ask(self, sub: str, tool: str, **arguments: Json) -> Outcome:
        """`sub` has the agent call one tool, in a turn of its own."""
        (outcome,) = await self.gateway.propose(self.turn(sub), [self.proposal(sub, tool, arguments)])
        return outcome

    async def ask_refund(self, amount: str = "42.00", order: str = "1042", sub: str = "dana") -> HeldView:
        outcome = await self.ask(
            sub, "refund.issue", order_id=order, amount=amount, currency="USD", reason="parcel never came"
        )
        assert isinstance(outcome, Held), outcome
        return outcome.view

    def request(self, view: HeldView, verb: Verb = Verb.APPROVE, text: str = "", press_id: str = "") -> PressRequest:
        press_id = press_id or f"{self._mark}press{next(self.numbers)}"
        return PressRequest(press_id, view.held_id, view.revision, view.digest, verb, text, "demo:demo:test")

    async def press(
        self, sub: str, view: HeldView, verb: Verb = Verb.APPROVE, text: str = "", press_id: str = ""
    ) -> PressOutcome:
        """`sub` presses a button on the card of `view`, as that view displayed it."""
        return await self.gateway.countersign(DEMO, self.who(sub), self.request(view, verb, text, press_id))

    async def again(self, view: HeldView, sub: str = "dana") -> Outcome:
        """`sub` presses "Ask again"."""
        turn, who = self.turn(sub), self.who(sub)
        call_id = self.gateway.again_id(view.held_id, turn.turn_id)
        token = self.tokens.mint(who, view.tool, self.clock.now, jti=call_id)
        return await self.gateway.ask_again(turn, who, view.held_id, token)

    def break_tool(self, name: str, *, after: bool, unknown: bool = True) -> None:
        """From now on the tool's action raises: `after` it did its work, or instead."""
        tool = self.tools[ToolName(name)]
        certainty = Certainty.UNKNOWN if unknown else Certainty.NOT_DONE
        self.tools[tool.name] = replace(tool, action=Broken(tool.action, after, certainty))

    def watch(
        self, name: str, *, before: Hook | None = None, after: Hook | None = None, blind: bool = False
    ) -> Watched:
        """From now on every run of the tool is counted, and `before`/`after` run around it."""
        tool = self.tools[ToolName(name)]
        watched = Watched(tool.action, before, after, blind)
        self.tools[tool.name] = replace(tool, action=watched)
        return watched

    async def execute(self, view: HeldView) -> HeldView:
        """Run one call now, as a worker would that has just taken its message from the queue."""
        now = await self.now(view.held_id)
        return await self.gateway.execute(now.tenant, now.held_id, now.revision, self.token_for(now))

    def token_for(self, view: HeldView) -> str | None:
        """The token of the requester as the directory has them now; None: they are gone."""
        who = self.writer.read_blocking(lambda conn: self.door.people.current(conn, view.tenant, view.requester))
        if who is None:
            return None
        now = self.clock.now
        return self.tokens.mint(who, view.tool, now, approval_id=view.held_id, jti=f"{view.held_id}:{view.revision}")

    async def settle(self) -> None:
        """Run everything the queue holds, like the workers above do."""
        while self.queue.to_execute:
            tenant, held_id, revision = self.queue.to_execute.pop(0)
            view = await self.now(held_id)
            await self.gateway.execute(tenant, held_id, revision, self.token_for(view))

    async def now(self, held_id: str) -> HeldView:
        found = await self.gateway.view(DEMO, held_id)
        assert found is not None
        return found

    def rows(self, query: str, **values: object) -> list[tuple[object, ...]]:
        """Whatever a test asks the database, as tuples."""
        return self.writer.read_blocking(lambda conn: [tuple(row) for row in conn.execute(text(query), values)])

    def write(self, statement: str, **values: object) -> None:
        """What somebody with access to the database might do."""
        self.writer.run_blocking(lambda conn: conn.execute(text(statement), values).rowcount)

    def audit(self, *columns: str, where: str = "1=1") -> list[tuple[object, ...]]:
        return self.rows(f"SELECT {', '.join(columns)} FROM agent_audit_log WHERE {where} ORDER BY tenant_id, seq")

    def refunds(self, order: str = "1042") -> list[tuple[object, ...]]:
        """Refunds of one order as the provider (the embedded ledger) has them."""
        query = text("SELECT id, amount_minor FROM refunds WHERE tenant='demo' AND order_id=:o AND call_id != ''")
        with make_engine(f"sqlite:///{self.business.path}").connect() as conn:
            return [tuple(row) for row in conn.execute(query, {"o": order})]

    def mails(self) -> list[tuple[object, ...]]:
        with make_engine(f"sqlite:///{self.business.path}").connect() as conn:
            return [tuple(row) for row in conn.execute(text("SELECT recipient, subject, body FROM mail_outbox"))]

    def change_people(self, before: str, after: str) -> None:
        """Edit the directory file, as an admin would."""
        people = self.directory_file.read_text()
        assert before in people, before
        self.directory_file.write_text(people.replace(before, after))

    def change_policy(self, name: str, before: str, after: str) -> None:
        assert before in self.policy_texts[name], before
        self.policy_texts[name] = self.policy_texts[name].replace(before, after)
        self.policies.append(load(self.policy_texts))


@contextmanager
def open_house(
    url: str,
    folder: Path,
    *,
    executor: str = "one",
    person_key: PersonKey = PersonKey.EMPLOYEE_NUMBER,
    timings: Timings | None = None,
    secrets: tuple[bytes, Ed25519PrivateKey] | None = None,
    fresh: bool = True,
) -> Iterator[House]:
    """A door on `url`; business data and directory in `folder`. Open it twice for two replicas.

    `fresh` False: tables and shop are there, another process has made them.
    """
    engine = make_engine(url)
    if fresh:
        with engine.begin() as conn:
            SQLModel.metadata.create_all(conn)
            ddl.create_all(conn)
    writer = Writer(engine)
    business = open_business(f"sqlite:///{folder / 'business.sqlite'}")
    clock, queue = Clock(), Queue()
    if fresh:
        seed(business, DEMO, START)
    directory_file = folder / "directory.yaml"
    if not directory_file.exists():
        directory_file.write_text(_people())
    directory = DirectoryFile(directory_file)
    texts = {name: (ROOT / "policy" / name).read_text() for name in FILE_NAMES}
    policies = [load(texts)]

    def policy(_tenant: TenantId) -> Policy:
        return policies[-1]

    mac, key = secrets or (b"k" * 32, Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    tokens = CallTokens(key)
    tools = dict(catalog(ToolSettings(), business))
    door = Door(
        writer=writer,
        audit=AuditStore(redact),
        policy=policy,
        catalog=tools,
        outbox=queue,
        resume=queue,
        tokens=tokens,
        people=DirectoryPeople(directory, policy, person_key),
        observer=Deaf(),
        mac=MacKey(mac),
        clock=clock,
        executor=executor,
        timings=timings or Timings(action=2.0, grace=0.2, resolve=5.0, contention=0.01, retry_pauses=(0.01,)),
    )
    try:
        yield House(
            gateway=Gateway(door),
            door=door,
            writer=writer,
            queue=queue,
            clock=clock,
            directory=directory,
            directory_file=directory_file,
            tokens=tokens,
            business=business,
            tools=tools,
            policy_texts=texts,
            policies=policies,
        )
    finally:
        writer.close()
        engine.dispose()
        business.close()


def _people() -> str:
    text = (ROOT / "bot" / "web" / "demo" / "directory.yaml").read_text()
    text = text.replace("tenants:\n", "tenants:\n  other:\n    teams: [{surface: demo, team: other}]\n")
    return text.rstrip() + EXTRA_PEOPLE


def later(house: House, seconds: float = 60) -> House:
    """The other replica, looking after the first one's silence."""
    house.clock.move(seconds=seconds)
    return house
