"""Invariant 8 under race, on PostgreSQL: a claim comes wholly before a kill or wholly after it.

Two connections, held at each step, both orders; then crowds. Nothing here is timed: deadlines only end a hang.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from audit.verify import verify
from policy.approval import ApprovalStatus, PressResult
from policy.model import Principal, TenantId
from tests.kit.door import DEMO, House, open_house, until
from tests.kit.kill_house import (
    ADMIN,
    DANA,
    HANGS,
    OTHER,
    READ,
    SCOPES,
    LateKill,
    SlowPeople,
    kills,
    waiting,
)
from tests.kit.provisioned import provisioned
from tools.held import (
    Blocked,
    BlockReason,
    EffectState,
    Executed,
    Held,
    HeldView,
    KillReport,
    Outcome,
    PressOutcome,
    Proposal,
    Scope,
    ScopeKind,
    TurnContext,
)

scopes = pytest.mark.parametrize("name", SCOPES)


@pytest.fixture
def pair(postgres_url: str, tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two replicas: the first one claims, the second one kills."""
    with open_house(postgres_url, tmp_path) as one, open_house(postgres_url, tmp_path, executor="two") as two:
        yield one, two


# -- a kill that is not committed yet, and what comes meanwhile ----------------------------------------------------


async def after_the_kill(pair: tuple[House, House], name: str, decide: Callable[[], Awaitable[object]]) -> object:
    """`decide` begins while the kill has not committed, and has to wait for it."""
    one, two = pair
    kill = LateKill(two, name)
    killing = await kill.throw()
    deciding = asyncio.ensure_future(decide())
    await waiting(one, 1)
    assert not deciding.done()
    kill.open.set()
    async with asyncio.timeout(HANGS):
        await killing
        return await deciding


def started(house: House) -> list[tuple[object, ...]]:
    return house.audit("tenant_id", "seq", where="kind='tool.started'")


def read_call(house: House) -> Callable[[], Awaitable[tuple[Outcome, ...]]]:
    call = house.proposal("dana", "crm.read", {"kind": "order", "key": "1042"})
    return lambda: house.gateway.propose(house.turn("dana"), [call])


def refund_call(house: House) -> Callable[[], Awaitable[tuple[Outcome, ...]]]:
    asked = {"order_id": "1042", "amount": "5.00", "currency": "USD", "reason": "late"}
    call = house.proposal("dana", "refund.issue", asked)
    return lambda: house.gateway.propose(house.turn("dana"), [call])


@scopes
@pytest.mark.parametrize("call", [read_call, refund_call])
async def test_a_call_that_comes_while_a_kill_commits_is_stopped(
    pair: tuple[House, House], name: str, call: Callable[[House], Callable[[], Awaitable[object]]]
) -> None:
    outcomes = await after_the_kill(pair, name, call(pair[0]))
    assert isinstance(outcomes, tuple)
    assert isinstance(outcomes[0], Blocked)
    assert outcomes[0].reason is BlockReason.STOPPED
    assert started(pair[0]) == []
    assert pair[0].rows("SELECT COUNT(*) FROM held_call") == [(0,)]


@scopes
async def test_a_press_that_comes_while_a_kill_commits_approves_nothing(pair: tuple[House, House], name: str) -> None:
    one, _ = pair
    view, ann = await one.ask_refund(), one.who("ann")
    request = one.request(view)
    pressed = await after_the_kill(pair, name, lambda: one.gateway.countersign(DEMO, ann, request))
    assert isinstance(pressed, PressOutcome)
    assert pressed.result is PressResult.STOPPED
    assert (await one.now(view.held_id)).votes == ()


@scopes
async def test_an_approved_call_that_is_claimed_while_a_kill_commits_does_not_run(
    pair: tuple[House, House], name: str
) -> None:
    one, _ = pair
    view = await approved(one)
    token = one.token_for(view)
    ran = await after_the_kill(pair, name, lambda: one.gateway.execute(DEMO, view.held_id, view.revision, token))
    assert isinstance(ran, HeldView)
    assert ran.status is ApprovalStatus.PENDING
    assert (started(one), one.refunds()) == ([], [])


async def test_a_press_that_waited_for_a_kill_and_its_resume_is_sealed_with_what_they_left(
    pair: tuple[House, House],
) -> None:
    """Read before it waited, its generation would be that of before the kill, and the call would never run."""
    one, two = pair
    view, ann = await one.ask_refund(), one.who("ann")
    request = one.request(view)
    kill = kills(two)
    await kill.inside()
    resume = asyncio.create_task(two.gateway.resume(*SCOPES["tenant"], ADMIN))
    await waiting(one, 1)
    pressing = asyncio.create_task(one.gateway.countersign(DEMO, ann, request))
    await waiting(one, 2)
    await kill.go()
    async with asyncio.timeout(HANGS):
        await resume
        assert (await pressing).result is PressResult.APPROVED
    assert one.rows("SELECT kills_everywhere, kills_tenant FROM held_call") == [(0, 1)]
    await one.settle()
    assert len(one.refunds()) == 1


async def test_an_approval_given_after_kills_were_lifted_carries_their_generation(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await one.ask_refund()
    for name in ("everything", "tenant"):
        tenant, scope = SCOPES[name]
        await two.gateway.kill(tenant, scope, ADMIN, "why")
        await two.gateway.resume(tenant, scope, ADMIN)
    await approved(one, view)
    assert one.rows("SELECT kills_everywhere, kills_tenant FROM held_call") == [(1, 1)]
    await one.settle()
    assert len(one.refunds()) == 1


async def approved(house: House, view: HeldView | None = None) -> HeldView:
    view = view or await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    return view


# -- a claim that is not committed yet, and a kill that comes meanwhile --------------------------------------------


async def before_the_kill(
    pair: tuple[House, House], name: str, decide: Callable[[], Awaitable[object]]
) -> tuple[object, KillReport]:
    """`decide` has entered and not committed; the kill has to wait for it."""
    one, two = pair
    slow = SlowPeople(one.door.people, DANA)
    one.gateway._door = replace(one.door, people=slow)
    deciding = asyncio.ensure_future(decide())
    await until(slow.seen.is_set, HANGS)
    tenant, scope = SCOPES[name]
    killing = asyncio.create_task(two.gateway.kill(tenant, scope, ADMIN, "look into it"))
    await waiting(one, 1)
    assert not killing.done()
    assert one.rows("SELECT COUNT(*) FROM kill_switch") == [(0,)]
    slow.open.set()
    async with asyncio.timeout(HANGS):
        return await deciding, await killing


@scopes
async def test_what_was_claimed_before_the_kill_is_in_flight_and_listed(pair: tuple[House, House], name: str) -> None:
    one, _ = pair
    view, go_on = await approved(one), asyncio.Event()

    async def slowly(*_: object) -> None:
        await asyncio.wait_for(go_on.wait(), HANGS)

    one.watch("refund.issue", before=slowly)
    token, tasks = one.token_for(view), list[asyncio.Task[HeldView]]()

    async def claim() -> None:
        """Until it is claimed: its effect is still under way when the kill reports."""
        tasks.append(asyncio.create_task(one.gateway.execute(DEMO, view.held_id, view.revision, token)))
        await until(lambda: bool(started(one)), HANGS)

    _, report = await before_the_kill(pair, name, claim)
    assert [flying.held_id for flying in report.in_flight] == [view.held_id]
    assert report.reopened == 0
    go_on.set()
    assert (await tasks[0]).effect is EffectState.DONE


@scopes
async def test_a_call_that_entered_before_the_kill_is_before_it_in_the_log(
    pair: tuple[House, House], name: str
) -> None:
    outcomes, _ = await before_the_kill(pair, name, read_call(pair[0]))
    assert isinstance(outcomes, tuple)
    assert isinstance(outcomes[0], Executed)
    if name != "everything":  # whose row stands in another chain
        rows = pair[0].audit("kind", where="kind IN ('kill.switched','tool.started')")
        assert rows == [("tool.started",), ("kill.switched",)]


@scopes
async def test_what_was_held_before_the_kill_waits(pair: tuple[House, House], name: str) -> None:
    outcomes, report = await before_the_kill(pair, name, refund_call(pair[0]))
    assert isinstance(outcomes, tuple)
    assert isinstance(outcomes[0], Held)
    assert report.pending == 1


# -- crowds --------------------------------------------------------------------------------------------------------


async def call_once(house: House, tenant: TenantId, sub: str, call_id: str) -> Outcome:
    token = house.tokens.mint(house.who(sub, tenant), READ, house.clock.now, jti=call_id)
    turn = TurnContext(tenant, call_id, f"demo:{tenant}:dm-{sub}:{call_id}", None, "please")
    proposal = Proposal(call_id, READ, {"kind": "order", "key": "1042"}, token)
    return (await house.gateway.propose(turn, [proposal]))[0]


async def calls(house: House, tenant: TenantId, sub: str, name: str) -> int:
    """Calls in a loop until one is stopped; how many ran."""
    for ran in itertools.count():
        outcome = await call_once(house, tenant, sub, f"{house.door.executor}-{name}-{ran}")
        if isinstance(outcome, Blocked):
            assert outcome.reason is BlockReason.STOPPED, outcome
            return ran
    raise AssertionError


@pytest.mark.parametrize("name", ["everything", "tenant"])
async def test_eight_at_it_in_two_tenants_keep_no_kill_waiting_and_start_nothing_after_it(
    pair: tuple[House, House], name: str
) -> None:
    one, two = pair
    tenant, scope = SCOPES[name]
    demo = [asyncio.create_task(calls(house, DEMO, "dana", f"d{n}")) for house in pair for n in range(2)]
    other = [asyncio.create_task(calls(house, OTHER, "eve", f"e{n}")) for house in pair for n in range(2)]
    await until(lambda: len(started(one)) >= 20, HANGS)
    at_the_kill: list[list[tuple[object, ...]]] = []

    def under_the_lock(conn: Connection) -> bool:
        """Nobody claims at this moment, and everybody who did has committed."""
        rows = conn.exec_driver_sql(
            "SELECT tenant_id, seq FROM agent_audit_log WHERE kind='tool.started' ORDER BY tenant_id, seq"
        )
        at_the_kill.append([tuple(row) for row in rows])
        return True

    async with asyncio.timeout(HANGS):
        await two.gateway.kill(tenant, scope, ADMIN, "look into it", once=under_the_lock)
        await asyncio.gather(*demo)
        if tenant is not None:
            assert not any(task.done() for task in other)
            await two.gateway.kill(OTHER, Scope(ScopeKind.TENANT), ADMIN, "that is all")
        await asyncio.gather(*other)
    mine = {DEMO} if tenant is not None else {DEMO, OTHER}
    assert [row for row in started(one) if row[0] in mine] == [row for row in at_the_kill[0] if row[0] in mine]
    if tenant is not None:
        ((switched,),) = one.audit("seq", where="kind='kill.switched' AND tenant_id='demo'")
        assert all(int(str(seq)) < int(str(switched)) for whose, seq in started(one) if whose == DEMO)


async def test_kills_resumes_presses_holds_claims_and_leavings_at_once_end_whole(pair: tuple[House, House]) -> None:
    """Nobody waits for ever; whatever was stopped has been started by nobody afterwards, and the log is whole."""
    one, two = pair
    staff = provisioned(two)
    provisioned(one)
    orders = ["1002", "1003", "1006", "1012", "1016", "1017", "1021", "1024"]
    views = [await one.ask_refund("20.00", order=order, sub="dana") for order in orders]
    ann, bob = one.who("ann"), one.who("bob")

    async def press(at: House, who: Principal, view: HeldView) -> None:
        await at.gateway.countersign(DEMO, who, at.request(view))
        now = await at.now(view.held_id)
        if now.effect is EffectState.QUEUED:
            token = at.token_for(now)
            await at.gateway.execute(DEMO, now.held_id, now.revision, token)

    async def switch(at: House, name: str) -> None:
        tenant, scope = SCOPES[name]
        await at.gateway.kill(tenant, scope, ADMIN, "why")
        await at.gateway.resume(tenant, scope, ADMIN)

    async def leave(sub: str) -> None:
        await asyncio.to_thread(staff.deactivate, sub)

    async def ask(at: House, order: str) -> None:
        await at.ask("dana", "refund.issue", order_id=order, amount="1.00", currency="USD", reason="r")

    work = [press(at, who, view) for view in views for at, who in ((one, ann), (two, bob))]
    work[4:4] = [switch(two, "tenant"), leave("bob"), ask(one, "1042")]
    work[12:12] = [switch(one, "everything"), switch(two, "user"), ask(two, "1042"), ask(one, "1043")]
    work.append(switch(two, "everything"))
    async with asyncio.timeout(HANGS):
        await asyncio.gather(*work)
    assert one.rows("SELECT COUNT(*) FROM kill_switch WHERE active") == [(0,)]
    assert one.rows("SELECT tenant, thrown FROM kill_lock ORDER BY tenant") == [("*", 2), ("demo", 2)]
    assert verify(one.writer.engine).holds
    for view in views:
        assert len(one.refunds(view.headline.rpartition(" ")[2])) <= 1
