"""Invariant 9 under race, on PostgreSQL: a decision comes wholly before a leaving or wholly after it.

Two connections, both orders. In the first the decision has read the directory and is held up before it commits; in the
second the leaving has done its work and is held up before it commits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from audit.event import Event
from audit.verify import verify
from policy.approval import ApprovalStatus, PressResult
from policy.model import Principal, RoleName, Subject, TenantId
from tests.kit.door import DEMO, House, open_house, until
from tests.kit.provisioned import Staff, provisioned, subject
from tools.gateway import Gateway
from tools.held import Blocked, EffectState, Held, HeldView, Outcome, PressOutcome
from tools.ports import People

WAITING = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@dataclass
class Slow:
    """People of a replica that is held up once it has read who somebody is."""

    inner: People
    of: Subject
    open: threading.Event = field(default_factory=threading.Event)
    seen: list[bool] = field(default_factory=list)

    def current(self, conn: Connection, tenant: TenantId, who: Subject) -> Principal | None:
        found = self.inner.current(conn, tenant, who)
        if who == self.of and not self.open.is_set():
            self.seen.append(found is not None)
            assert self.open.wait(20)
        return found

    def stale(self, conn: Connection, tenant: TenantId, who: Subject) -> str | None:
        return self.inner.stale(conn, tenant, who)

    def holders(self, conn: Connection, tenant: TenantId, roles: tuple[RoleName, ...]) -> tuple[Principal, ...]:
        return self.inner.holders(conn, tenant, roles)


@dataclass
class Two:
    """Two replicas on one database: `one` decides, the leaving happens at `two`."""

    one: House
    two: Staff

    def slow(self, sub: str) -> Slow:
        found = Slow(self.one.door.people, subject(sub))
        self.one.gateway = Gateway(replace(self.one.door, people=found))
        return found

    async def waits(self) -> None:
        await until(lambda: self.one.rows(WAITING) != [(0,)])

    def leave(self, sub: str, before_commit: Callable[[], None]) -> list[Event]:
        """The leaving, held up between its work and its commit."""
        staff = self.two

        def unit(conn: Connection) -> list[Event]:
            staff.set_active(sub, False)(conn)
            events = staff.leavers.changed(conn, DEMO, [subject(sub)], "scim")
            staff.house.door.audit.append(conn, events)
            before_commit()
            return events

        return staff.house.writer.run_blocking(unit)


@pytest.fixture
def two(postgres_url: str, tmp_path: Path) -> Iterator[Two]:
    with open_house(postgres_url, tmp_path) as one, open_house(postgres_url, tmp_path, executor="two") as other:
        provisioned(one)
        yield Two(one, provisioned(other))


class RolledBack(Exception):
    """The IdP's request failed after all."""


async def reached(slow: Slow) -> None:
    await until(lambda: bool(slow.seen))


async def first_the_decision(two: Two, sub: str, decide: Awaitable[object], slow: Slow) -> object:
    """`decide` has read that `sub` is there; they leave; then it goes on."""
    deciding = asyncio.ensure_future(decide)
    await reached(slow)
    assert slow.seen == [True]
    leaving = asyncio.ensure_future(asyncio.to_thread(two.two.deactivate, sub))
    await two.waits()
    assert not leaving.done()
    slow.open.set()
    decided = await deciding
    await leaving
    return decided


async def first_the_leaving(
    two: Two, sub: str, decide: Callable[[], Awaitable[object]], *, fails: bool = False
) -> object:
    """`sub` has left, not committed yet; `decide` begins meanwhile."""
    gate, inside = threading.Event(), threading.Event()

    def held_up() -> None:
        inside.set()
        assert gate.wait(20)
        if fails:
            raise RolledBack

    leaving = asyncio.ensure_future(asyncio.to_thread(two.leave, sub, held_up))
    await until(inside.is_set)
    deciding = asyncio.ensure_future(decide())
    await two.waits()
    assert not deciding.done()
    gate.set()
    if fails:
        with pytest.raises(RolledBack):
            await leaving
    else:
        await leaving
    return await deciding


async def test_a_vote_that_is_being_cast_is_taken_back(two: Two) -> None:
    view = await two.one.ask_refund("120.00", order="1002")
    slow = two.slow("ann")
    pressed = await first_the_decision(two, "ann", two.one.press("ann", view), slow)
    assert isinstance(pressed, PressOutcome)
    assert pressed.result is PressResult.COUNTED
    assert (await two.one.now(view.held_id)).votes == ()


async def test_an_approval_that_is_being_given_is_reopened(two: Two) -> None:
    view = await two.one.ask_refund()
    slow = two.slow("ann")
    pressed = await first_the_decision(two, "ann", two.one.press("ann", view), slow)
    assert isinstance(pressed, PressOutcome)
    assert pressed.result is PressResult.APPROVED
    assert (await two.one.now(view.held_id)).status is ApprovalStatus.PENDING
    await two.one.settle()
    assert two.one.refunds() == []


async def test_a_press_that_comes_while_its_presser_leaves_does_not_count(two: Two) -> None:
    view, ann = await two.one.ask_refund(), two.one.who("ann")
    request = two.one.request(view)
    pressed = await first_the_leaving(two, "ann", lambda: two.one.gateway.countersign(DEMO, ann, request))
    assert isinstance(pressed, PressOutcome)
    assert pressed.result is PressResult.STRANGER
    assert (await two.one.now(view.held_id)).votes == ()


async def test_a_press_that_comes_while_its_presser_does_not_leave_after_all_counts(two: Two) -> None:
    view, ann = await two.one.ask_refund(), two.one.who("ann")
    request = two.one.request(view)
    pressed = await first_the_leaving(two, "ann", lambda: two.one.gateway.countersign(DEMO, ann, request), fails=True)
    assert isinstance(pressed, PressOutcome)
    assert pressed.result is PressResult.APPROVED


def refund(house: House) -> Callable[[], Awaitable[tuple[Outcome, ...]]]:
    asked = {"order_id": "1042", "amount": "5.00", "currency": "USD", "reason": "late"}
    call = house.proposal("dana", "refund.issue", asked)
    return lambda: house.gateway.propose(house.turn("dana"), [call])


async def test_a_request_that_is_being_held_is_voided(two: Two) -> None:
    ask = refund(two.one)
    slow = two.slow("dana")
    held = await first_the_decision(two, "dana", ask(), slow)
    assert isinstance(held, tuple)
    assert isinstance(held[0], Held)
    assert (await two.one.now(held[0].view.held_id)).status is ApprovalStatus.VOIDED


async def test_a_request_that_comes_while_its_requester_leaves_is_refused(two: Two) -> None:
    held = await first_the_leaving(two, "dana", refund(two.one))
    assert isinstance(held, tuple)
    assert isinstance(held[0], Blocked)
    assert two.one.rows("SELECT COUNT(*) FROM held_call") == [(0,)]


async def test_a_call_that_needs_nobody_and_comes_while_its_caller_leaves_is_refused(two: Two) -> None:
    call = two.one.proposal("dana", "crm.read", {"kind": "order", "key": "1042"})
    read = await first_the_leaving(two, "dana", lambda: two.one.gateway.propose(two.one.turn("dana"), [call]))
    assert isinstance(read, tuple)
    assert isinstance(read[0], Blocked)
    assert two.one.audit("kind", where="kind LIKE 'tool.%'") == [("tool.blocked",)]


async def test_the_door_asked_by_itself_waits_for_decisions_too(two: Two) -> None:
    """Nobody has to take the lock for it."""
    view = await two.one.ask_refund()
    slow = two.slow("ann")
    deciding = asyncio.ensure_future(two.one.press("ann", view))
    await reached(slow)
    staff = two.two
    leaving = asyncio.ensure_future(
        asyncio.to_thread(
            staff.run, lambda conn: staff.house.gateway.reconsider(conn, DEMO, [subject("ann")], "asked", force=True)
        )
    )
    await two.waits()
    slow.open.set()
    await deciding
    await leaving
    assert (await two.one.now(view.held_id)).status is ApprovalStatus.PENDING


async def approved(house: House) -> HeldView:
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    return view


@pytest.mark.parametrize("sub", ["dana", "ann"])
async def test_what_was_claimed_before_the_leaving_is_in_flight_and_listed(two: Two, sub: str) -> None:
    view = await approved(two.one)
    slow = two.slow(sub)
    ran = await first_the_decision(two, sub, two.one.execute(view), slow)
    assert isinstance(ran, HeldView)
    assert ran.effect is EffectState.DONE
    assert len(two.one.refunds()) == 1


@pytest.mark.parametrize("sub", ["dana", "ann"])
async def test_what_is_claimed_while_somebody_leaves_does_not_run(two: Two, sub: str) -> None:
    """The worker minted its token before the leaving and claims after it."""
    view = await approved(two.one)
    ran = await first_the_leaving(two, sub, lambda: two.one.execute(view))
    assert isinstance(ran, HeldView)
    assert ran.status is (ApprovalStatus.VOIDED if sub == "dana" else ApprovalStatus.PENDING)
    assert two.one.refunds() == []


async def test_an_effect_under_way_is_listed_by_the_leaving(two: Two) -> None:
    view = await approved(two.one)
    running, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object) -> None:
        running.set()
        await go_on.wait()

    two.one.watch("refund.issue", before=slowly)
    effect = asyncio.ensure_future(two.one.execute(view))
    await asyncio.wait_for(running.wait(), 20)
    events = await asyncio.to_thread(two.two.deactivate, "dana")
    assert [(one.kind.value, (one.detail or {})["in_flight"]) for one in events] == [("person.left", [view.held_id])]
    go_on.set()
    assert (await effect).effect is EffectState.DONE


async def test_presses_pass_together(two: Two) -> None:
    """One that has read the directory and is held up keeps nobody else waiting but a leaver."""
    one, other = await two.one.ask_refund("5.00"), await two.one.ask_refund("6.00", order="1002")
    slow = two.slow("ann")
    held_up = asyncio.ensure_future(two.one.press("ann", one))
    await reached(slow)
    assert (await two.two.house.press("bob", other)).result is PressResult.APPROVED
    assert not held_up.done()
    slow.open.set()
    assert (await held_up).result is PressResult.APPROVED


async def test_a_crowd_of_decisions_and_leavings_ends_whole(two: Two) -> None:
    """Nobody waits for ever, nobody is told of a conflict, and nothing of a leaver's counts afterwards."""
    one, house = two.one, two.two.house
    orders = ["1002", "1003", "1006", "1012", "1016", "1017", "1021", "1024"]
    views = [await one.ask_refund("20.00", order=order, sub=sub) for order in orders for sub in ("dana", "greedy")]
    ann, bob = one.who("ann"), one.who("bob")

    async def press(at: House, who: Principal, view: HeldView) -> None:
        await at.gateway.countersign(DEMO, who, at.request(view))
        if (await at.now(view.held_id)).effect is EffectState.QUEUED:
            await at.execute(view)

    async def leave(sub: str) -> None:
        await asyncio.to_thread(two.two.deactivate, sub)

    presses = [press(at, who, view) for view in views for at, who in ((one, ann), (house, bob))]
    middle = len(presses) // 2
    await asyncio.gather(*presses[:middle], leave("dana"), *presses[middle:], leave("bob"), one.gateway.expire_due())
    for view in views:
        now = await one.now(view.held_id)
        begun = now.effect in (EffectState.DONE, EffectState.STARTED, EffectState.FAILED)
        if begun:
            continue
        assert now.requester != subject("dana") or now.status is ApprovalStatus.VOIDED
        if now.status is not ApprovalStatus.VOIDED:
            assert subject("bob") not in {vote.subject for vote in now.votes}
    assert verify(one.writer.engine).holds
