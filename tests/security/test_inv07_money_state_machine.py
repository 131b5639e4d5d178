"""Invariants 3 to 8 together: whatever people, crashes and stops do in whatever order, the money adds up."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sqlalchemy import text

from audit.verify import verify
from audit.writer import make_engine
from policy.approval import ApprovalStatus, Verb
from tests.kit.door import DEMO, ISSUER, Crash, House, crash, open_house
from tools.held import EffectState, Held, HeldView, Scope, ScopeKind
from tools.stops import By

T = TypeVar("T")
ORDERS = st.sampled_from(["1042", "1002"])
AMOUNTS = st.sampled_from(["1.00", "42.00", "84.00", "101.00"])
PEOPLE = st.sampled_from(["ann", "ann", "bob", "bob", "ann-private", "greedy", "dana", "sam"])
SCOPES = st.sampled_from(
    [
        Scope(ScopeKind.TENANT),
        Scope(ScopeKind.TOOL, "refund.issue"),
        Scope(ScopeKind.USER, f"{ISSUER}|dana"),
    ]
)
ADMIN = By("ada", "Ada Kim", ("admin",))
PERSON = {"ann-private": "ann"}
WHEN = st.sampled_from(["before", "after"])


class MoneyMachine(RuleBasedStateMachine):
    """Random people at a real door, on SQLite; every crash opens the house anew."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="cs-money-")))
        self.loop = asyncio.new_event_loop()
        self.doors = self.stack.enter_context(ExitStack())
        self.house: House
        self.started_at = 0
        self.held: list[str] = []

    @initialize()
    def moved_in(self) -> None:
        self.open()

    def open(self) -> None:
        url = f"sqlite:///{self.folder / 'countersign.sqlite'}"
        old = getattr(self, "house", None)
        self.doors.close()
        number = self.started_at = self.started_at + 1
        opened = open_house(url, self.folder, executor=f"door{number}", fresh=old is None)
        self.house = self.doors.enter_context(opened)
        if old is not None:
            self.house.clock.now = old.clock.now
            self.house.clock.move(seconds=10)
            self.house.queue.to_execute = old.queue.to_execute

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def view(self, number: int) -> HeldView:
        return self.run(self.house.now(self.held[number % len(self.held)]))

    @rule(order=ORDERS, amount=AMOUNTS, sub=st.sampled_from(["dana", "greedy"]))
    def ask(self, order: str, amount: str, sub: str) -> None:
        outcome = self.run(
            self.house.ask(sub, "refund.issue", order_id=order, amount=amount, currency="USD", reason="r")
        )
        if isinstance(outcome, Held):
            self.held.append(outcome.view.held_id)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 9), sub=PEOPLE, verb=st.sampled_from([*[Verb.APPROVE] * 5, *Verb]))
    def press(self, number: int, sub: str, verb: Verb) -> None:
        self.run(self.house.press(sub, self.view(number), verb, "x"))

    @rule()
    def settle(self) -> None:
        self.run(self.house.settle())

    @precondition(lambda self: self.house.queue.to_execute)
    @rule(when=WHEN)
    def die_while_executing(self, when: str) -> None:
        self.house.watch(
            "refund.issue", before=crash if when == "before" else None, after=crash if when == "after" else None
        )
        work = self.house.queue.to_execute[0]
        try:
            self.run(self.house.settle())
        except Crash:
            self.house.queue.to_execute.insert(0, work)
        self.open()

    @rule()
    def restart(self) -> None:
        self.open()

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 9))
    def execute_once_more(self, number: int) -> None:
        self.run(self.house.execute(self.view(number)))

    @rule(scope=SCOPES)
    def kill(self, scope: Scope) -> None:
        self.run(self.house.gateway.kill(DEMO, scope, ADMIN, "look"))

    @rule(scope=SCOPES)
    def resume(self, scope: Scope) -> None:
        self.run(self.house.gateway.resume(DEMO, scope, ADMIN))

    @rule(hours=st.sampled_from([1, 13, 25]))
    def time_goes_by(self, hours: int) -> None:
        self.house.clock.move(hours=hours)
        self.run(self.house.gateway.remind_due())
        self.run(self.house.gateway.expire_due())

    def teardown(self) -> None:
        try:
            if hasattr(self, "house"):
                self.run(self.house.settle())
                self.check()
        finally:
            self.stack.close()
            self.loop.close()

    def check(self) -> None:
        self.money_adds_up()
        self.people_agreed()
        self.stops_held()
        report = verify(self.house.writer.engine)
        assert report.holds, report.sentences()

    def money_adds_up(self) -> None:
        """Never more than was paid; never two refunds of one request; the ledger says what the provider says."""
        engine = make_engine(f"sqlite:///{self.house.business.path}")
        with engine.connect() as conn:
            over = "SELECT p.order_id FROM payments p JOIN refunds r ON r.payment_id = p.id AND r.tenant = p.tenant "
            over += "GROUP BY p.order_id, p.amount_minor HAVING sum(r.amount_minor) > p.amount_minor"
            assert conn.execute(text(over)).all() == []
            made = [str(row[0]) for row in conn.execute(text("SELECT call_id FROM refunds WHERE call_id != ''"))]
        engine.dispose()
        assert len(made) == len(set(made))
        rows = self.house.rows("SELECT call_id, effect FROM held_call")
        done = {str(call) for call, effect in rows if effect == EffectState.DONE.value}
        unknown = {str(call) for call, effect in rows if effect in ("in_doubt", "started")}
        assert done <= set(made) <= done | unknown

    def people_agreed(self) -> None:
        """What ran was approved by enough different people, none of them the one who asked."""
        rows = self.house.rows("SELECT held_id, requester_sub, needed, revision, status, call_id FROM held_call")
        ran = {str(row[0]) for row in self.house.audit("call_id", where="kind='tool.started'")}
        for held_id, requester, needed, revision, status, call_id in rows:
            if str(call_id) not in ran:
                continue
            assert status == ApprovalStatus.APPROVED.value
            votes = "SELECT sub FROM vote WHERE held_id = :h AND revision = :r AND NOT void"
            subs = {str(row[0]) for row in self.house.rows(votes, h=held_id, r=revision)}
            people = {PERSON.get(sub, sub) for sub in subs}
            assert len(people) >= int(str(needed))
            assert requester not in people
            assert people <= {"ann", "bob", "greedy"}

    def stops_held(self) -> None:
        """Nothing was started while a switch covered it: refunds are the only tool here, dana one of two requesters."""
        on: set[str] = set()
        rows = self.house.audit("kind", "detail", "actor_user_id", where="kind LIKE 'kill.%' OR kind = 'tool.started'")
        for kind, detail, actor in rows:
            told = json.loads(str(detail)) if isinstance(detail, str) else detail
            assert isinstance(told, dict)
            if kind == "kill.switched":
                on.add(str(told["scope"]))
            elif kind == "kill.resumed":
                on.discard(str(told["scope"]))
            else:
                assert not on & {"tenant", "tool"}
                assert not (actor == "dana" and "user" in on)


TestMoney = MoneyMachine.TestCase
TestMoney.settings = settings(
    max_examples=12, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
