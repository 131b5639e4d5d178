"""Invariant 8: the kill-switch wins. After it has committed nothing is claimed; resuming releases nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from audit.faults import StoreUnavailable
from audit.writer import make_engine
from policy.approval import ApprovalStatus, PressResult, Verb
from policy.model import TenantId
from tests.kit.door import DEMO, ISSUER, Crash, House, crash, open_house
from tools import killswitch, stops
from tools.held import Blocked, BlockReason, EffectState, Executed, Held, HeldView, KillReport, Scope, ScopeKind
from tools.ports import NoticeKind
from tools.stops import By

ADMIN = By("ada", "Ada Kim", ("admin",))
OTHER = TenantId("other")
SCOPES = {
    "everything": (None, Scope(ScopeKind.ALL)),
    "tenant-all": (DEMO, Scope(ScopeKind.ALL)),
    "tenant": (DEMO, Scope(ScopeKind.TENANT)),
    "tool": (DEMO, Scope(ScopeKind.TOOL, "refund.issue")),
    "user": (DEMO, Scope(ScopeKind.USER, f"{ISSUER}|dana")),
}
ELSEWHERE = {
    "other tenant": (OTHER, Scope(ScopeKind.TENANT)),
    "other tenant's tool": (OTHER, Scope(ScopeKind.TOOL, "refund.issue")),
    "other tool": (DEMO, Scope(ScopeKind.TOOL, "email.send")),
    "other user": (DEMO, Scope(ScopeKind.USER, f"{ISSUER}|greedy")),
    "the same person elsewhere": (OTHER, Scope(ScopeKind.USER, f"{ISSUER}|dana")),
    "an approver": (DEMO, Scope(ScopeKind.USER, f"{ISSUER}|ann")),
}
scopes = pytest.mark.parametrize("name", SCOPES)


async def kill(house: House, name: str = "tenant", *, dry_run: bool = False) -> KillReport:
    tenant, scope = {**SCOPES, **ELSEWHERE}[name]
    return await house.gateway.kill(tenant, scope, ADMIN, "look into it", dry_run=dry_run)


async def resume(house: House, name: str = "tenant") -> KillReport:
    tenant, scope = {**SCOPES, **ELSEWHERE}[name]
    return await house.gateway.resume(tenant, scope, ADMIN)


async def approved(house: House) -> HeldView:
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    return view


@scopes
async def test_what_was_approved_before_the_kill_does_not_run(house: House, name: str) -> None:
    view = await approved(house)
    report = await kill(house, name)
    assert report.reopened == 1
    assert [switch.by for switch in report.active] == ["Ada Kim"]
    await house.settle()
    now = await house.now(view.held_id)
    assert (now.status, now.effect, now.votes) == (ApprovalStatus.PENDING, EffectState.NONE, ())
    assert now.stopped is not None
    assert (now.stopped.by, now.stopped.reason) == ("Ada Kim", "look into it")
    assert house.refunds() == []


@scopes
async def test_resuming_releases_nothing_and_a_fresh_press_does(house: House, name: str) -> None:
    view = await approved(house)
    queued = list(house.queue.to_execute)
    await kill(house, name)
    await resume(house, name)
    house.queue.to_execute.extend(queued)
    await house.settle()
    assert house.refunds() == []
    now = await house.now(view.held_id)
    assert now.status is ApprovalStatus.PENDING
    assert now.stopped is None
    assert (await house.press("ann", view)).result is PressResult.STALE
    assert (await house.press("ann", now)).result is PressResult.APPROVED
    await house.settle()
    assert len(house.refunds()) == 1


async def test_a_claim_that_meets_a_lifted_kill_reopens(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch was thrown everywhere, and lifted before this tenant's calls were reopened: still nothing runs."""
    view = await approved(house)
    monkeypatch.setattr(stops, "_tenants_with_approved", lambda conn: [])
    await kill(house, "everything")
    await resume(house, "everything")
    assert (await house.now(view.held_id)).status is ApprovalStatus.APPROVED
    await house.settle()
    assert house.refunds() == []
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING


async def test_a_stop_that_cannot_tell_the_cards_is_still_a_stop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when nothing was stopped may it say so."""
    view = await approved(house)

    async def down(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(stops, "_announce", down)
    assert len((await kill(house)).active) == 1
    await house.execute(view)
    assert house.refunds() == []


@scopes
async def test_while_stopped_nothing_is_asked_for_approved_or_read(house: House, name: str) -> None:
    view = await house.ask_refund()
    await kill(house, name)
    pressed = await house.press("ann", view)
    assert pressed.result is PressResult.STOPPED
    assert "Ada Kim" in pressed.sentence
    assert "look into it" in pressed.sentence
    asked = await house.ask("dana", "refund.issue", order_id="1042", amount="1.00", currency="USD", reason="r")
    assert isinstance(asked, Blocked)
    assert asked.reason is BlockReason.STOPPED
    read = await house.ask("dana", "crm.read", kind="order", key="1042")
    assert isinstance(read, Executed if name == "tool" else Blocked)
    assert (await house.now(view.held_id)).votes == ()


async def test_while_stopped_people_may_still_turn_down_and_withdraw(house: House) -> None:
    one, two = await house.ask_refund("10.00"), await house.ask_refund("11.00")
    await kill(house)
    assert (await house.press("ann", one, Verb.REJECT, "no")).result is PressResult.REJECTED
    assert (await house.press("dana", two, Verb.WITHDRAW)).result is PressResult.WITHDRAWN


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_a_stop_elsewhere_does_not_stop_this(local_house: House, name: str) -> None:
    house = local_house
    before = await approved(house)
    report = await kill(house, name)
    assert report.reopened == 0
    await house.settle()
    assert (await house.now(before.held_id)).effect is EffectState.DONE
    view = await house.ask_refund("10.00", order="1047")
    assert (await house.press("ann", view)).result is PressResult.APPROVED


async def test_a_tenant_lifts_neither_another_s_stop_nor_that_of_everybody(house: House) -> None:
    await kill(house, "everything")
    for scope in (Scope(ScopeKind.ALL), Scope(ScopeKind.TENANT)):
        for tenant in (DEMO, OTHER):
            await house.gateway.resume(tenant, scope, ADMIN)
    asked = await house.ask("dana", "crm.read", kind="order", key="1042")
    assert isinstance(asked, Blocked)
    with pytest.raises(ValueError, match="tenant"):
        await house.gateway.kill(None, Scope(ScopeKind.TOOL, "refund.issue"), ADMIN, "x")


@scopes
async def test_a_dry_run_changes_nothing_and_says_what_it_would_stop(house: House, name: str) -> None:
    view = await approved(house)
    waiting = await house.ask_refund("10.00")
    rows = len(house.audit("seq"))
    report = await kill(house, name, dry_run=True)
    assert (report.active, report.pending, report.reopened) == ((), 1, 0)
    assert len(house.audit("seq")) == rows
    assert house.rows("SELECT count(*) FROM kill_switch") == [(0,)]
    await house.settle()
    assert (await house.now(view.held_id)).effect is EffectState.DONE
    assert (await house.now(waiting.held_id)).status is ApprovalStatus.PENDING


async def test_a_kill_lists_what_was_in_flight(house: House) -> None:
    view = await approved(house)
    go, at_it = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> None:
        at_it.set()
        await go.wait()

    house.watch("refund.issue", before=slow)
    running = asyncio.create_task(house.settle())
    await asyncio.wait_for(at_it.wait(), 10)
    report = await kill(house)
    assert [flying.held_id for flying in report.in_flight] == [view.held_id]
    assert report.reopened == 0
    go.set()
    await running
    assert (await house.now(view.held_id)).effect is EffectState.DONE


async def test_a_kill_needs_neither_model_nor_chat(sqlite_url: str, tmp_path: Path) -> None:
    """From another process, with nothing but the database: outbox and queue that cannot even be reached."""
    with open_house(sqlite_url, tmp_path) as service, open_house(sqlite_url, tmp_path, executor="shell") as shell:
        view = await approved(service)
        report = await kill(shell, "everything")
        assert report.reopened == 1
        await service.settle()
        assert service.refunds() == []
        assert {notice.kind for notice in shell.queue.notices} >= {NoticeKind.STOPS_CHANGED}
        assert (await service.now(view.held_id)).status is ApprovalStatus.PENDING


async def test_a_kill_and_its_end_are_rows_of_the_log(house: House) -> None:
    await kill(house, "tool")
    await resume(house, "tool")
    rows = house.audit("kind", "status", "actor_user_id", "tool_name")
    assert rows == [
        ("kill.switched", "stopped", "ada", "refund.issue"),
        ("kill.resumed", "resumed", "ada", "refund.issue"),
    ]


async def test_two_kills_of_the_same_are_lifted_together_and_both_counted(house: House) -> None:
    view = await approved(house)
    await kill(house)
    await kill(house)
    report = await resume(house)
    assert report.active == ()
    assert house.rows("SELECT count(*) FROM kill_switch") == [(2,)]
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING


async def test_a_stopped_mail_that_waits_for_its_refund_needs_a_fresh_press_too(house: House) -> None:
    turn = house.turn("dana")
    args = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}
    refund, mail = await house.gateway.propose(
        turn,
        [
            house.proposal("dana", "refund.issue", args),
            house.proposal("dana", "email.send", {"to": "C-1007", "subject": "Refund", "body": "It comes."}),
        ],
    )
    assert isinstance(refund, Held)
    assert isinstance(mail, Held)
    await house.press("lee", mail.view)
    await house.press("ann", refund.view)
    assert (await kill(house)).reopened == 2
    await resume(house)
    await house.press("ann", await house.now(refund.view.held_id))
    await house.settle()
    assert len(house.refunds()) == 1
    assert house.mails() == []
    await house.press("lee", await house.now(mail.view.held_id))
    await house.settle()
    assert len(house.mails()) == 1


async def test_a_reopened_call_still_expires_and_is_reminded_at_most_once(house: House) -> None:
    view = await approved(house)
    await kill(house)
    await resume(house)
    house.clock.move(hours=13)
    assert await house.gateway.remind_due() == 1
    assert await house.gateway.remind_due() == 0
    house.clock.move(hours=12)
    assert await house.gateway.expire_due() == 1
    assert (await house.now(view.held_id)).status is ApprovalStatus.EXPIRED


async def test_a_write_that_died_is_not_fired_again_while_stopped(house: House) -> None:
    args = {"customer_id": "C-1007", "field": "phone", "value": "+1 206 555 0199"}
    turn = house.turn("sam")
    house.watch("crm.write", before=crash)
    with pytest.raises(Crash):
        await house.gateway.propose(turn, [house.proposal("sam", "crm.write", args, "w1")])
    await kill(house)
    watched = house.watch("crm.write")
    watched.before = None
    (outcome,) = await house.gateway.propose(turn, [house.proposal("sam", "crm.write", args, "w1")])
    assert not isinstance(outcome, Executed)
    assert watched.runs == []


# -- races ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(engine_url: str, tmp_path: Path) -> Iterator[tuple[House, House]]:
    with open_house(engine_url, tmp_path) as one, open_house(engine_url, tmp_path, executor="two") as two:
        yield one, two


async def test_kills_race_with_claims_and_presses_and_win(pair: tuple[House, House]) -> None:
    """After the row of the kill no `tool.started` row follows in the chain of the tenant."""
    one, two = pair
    orders = ("1042", "1043", "1047", "1048")
    views = [await one.ask_refund("5.00", order=order) for order in orders]
    for view in views[:3]:
        await one.press("ann", view)

    async def run(house: House, view: HeldView) -> None:
        await house.gateway.execute(view.tenant, view.held_id, view.revision, house.token_for(view))

    async def late(house: House) -> None:
        pressed = await house.press("bob", views[3])
        if pressed.result is PressResult.APPROVED:
            await run(house, views[3])

    work = [run(one, views[0]), run(two, views[1]), kill(two), run(one, views[2]), late(one)]
    await asyncio.gather(*work)
    await one.settle()
    rows = one.audit("kind", "seq", where="kind IN ('kill.switched','tool.started')")
    switched = next(int(str(seq)) for kind, seq in rows if kind == "kill.switched")
    assert [seq for kind, seq in rows if kind == "tool.started" and int(str(seq)) > switched] == []
    started = {str(row[0]) for row in one.audit("call_id", where="kind='tool.started'")}
    assert {
        view.effect for view in [await one.now(v.held_id) for v in views] if view.status is ApprovalStatus.APPROVED
    } <= {EffectState.DONE}
    assert len(started) == sum(len(one.refunds(order)) for order in orders)


def test_a_claim_waits_for_a_kill_that_has_not_committed(postgres_url: str) -> None:
    """On PostgreSQL the lock row does it. On SQLite there is one writer, and the race above shows it."""
    engine = make_engine(postgres_url)
    with engine.begin() as conn:
        SQLModel.metadata.create_all(conn)
        killswitch.lock(conn, DEMO)
    with engine.connect() as killer, engine.connect() as claimer:
        killswitch.lock(killer, DEMO, exclusive=True)
        claimer.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            killswitch.lock(claimer, DEMO)
        claimer.rollback()
        killer.rollback()
        killswitch.lock(claimer, DEMO)
        claimer.rollback()
    engine.dispose()
