"""Invariant 14 at the door: ids of one tenant open nothing in another, whoever holds them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from policy.approval import ApprovalStatus, PressResult, Verb
from policy.model import TenantId
from tests.kit.door import DEMO, ISSUER, House
from tools.held import Blocked, BlockReason, EffectState, HeldView, Scope, ScopeKind
from tools.stops import By

OTHER = TenantId("other")
SECRET = "why was Ada so cross"


async def a_request(house: House) -> HeldView:
    view = await house.ask_refund()
    await house.press("ann", view, Verb.ASK, SECRET, press_id="question-1")
    return view


def untouched(house: House) -> str:
    tables = ("held_call", "vote", "press", "effect", "kill_switch", "presupposes")
    return str([house.rows(f"SELECT * FROM {table}") for table in tables])


async def test_reading_with_another_tenant_s_ids_finds_nothing(house: House) -> None:
    view, eve = await a_request(house), house.who("eve", OTHER)
    gateway = house.gateway
    assert await gateway.view(OTHER, view.held_id) is None
    assert await gateway.card(OTHER, view.card_id) == ()
    assert await gateway.waiting_for(eve) == ()
    assert await gateway.asked_by(OTHER, view.requester) == ()
    assert await gateway.question(OTHER, view.held_id, "question-1") is None
    assert await gateway.in_doubt(OTHER) == ()
    report = await gateway.kills(OTHER)
    assert (report.active, report.pending, report.in_flight, report.reopened) == ((), 0, (), 0)


@pytest.mark.parametrize("verb", list(Verb))
async def test_a_press_of_another_tenant_changes_nothing_and_shows_nothing(house: House, verb: Verb) -> None:
    """With her own tenant, and with the victim's named by a chat that was lied to."""
    view, eve = await a_request(house), house.who("eve", OTHER)
    before = untouched(house)
    for tenant in (OTHER, DEMO):
        for press_id in ("evt-x", "question-1"):
            request = replace(house.request(view, verb, "x"), press_id=press_id)
            outcome = await house.gateway.countersign(tenant, eve, request)
            assert outcome.result in (PressResult.UNKNOWN, PressResult.STRANGER, PressResult.OTHER_TENANT)
            assert outcome.view is None
            assert SECRET not in outcome.sentence
    assert untouched(house) == before
    rows = house.audit("tenant_id", "status", where="kind='approval.pressed' AND actor_user_id='eve'")
    assert sorted(str(tenant) for tenant, _ in rows) == ["demo", "demo", "other", "other"]


async def test_another_tenant_executes_settles_and_asks_nothing_again(house: House) -> None:
    view, eve = await a_request(house), house.who("eve", OTHER)
    await house.press("ann", view)
    now = await house.now(view.held_id)
    token = house.tokens.mint(eve, view.tool, house.clock.now, approval_id=view.held_id, jti=f"{view.held_id}:1")
    with pytest.raises(LookupError):
        await house.gateway.execute(OTHER, view.held_id, now.revision, token)
    with pytest.raises(LookupError):
        await house.gateway.settle_doubt(OTHER, view.held_id, "Eve", True, "")
    turn = replace(house.turn("eve"), tenant=OTHER)
    call_id = house.gateway.again_id(view.held_id, turn.turn_id)
    again = await house.gateway.ask_again(
        turn, eve, view.held_id, house.tokens.mint(eve, view.tool, house.clock.now, jti=call_id)
    )
    assert isinstance(again, Blocked)
    assert view.headline not in again.sentence
    assert house.refunds() == []
    await house.gateway.execute(DEMO, view.held_id, now.revision, token)
    assert house.refunds() == []


async def test_the_same_subject_in_another_tenant_is_another_person(house: House) -> None:
    """`dana` of the other tenant is nobody to this one's requests."""
    view = await house.ask_refund()
    double = replace(house.who("dana"), tenant=OTHER)
    turn = replace(house.turn("dana"), tenant=OTHER)
    call_id = house.gateway.again_id(view.held_id, turn.turn_id)
    token = house.tokens.mint(double, view.tool, house.clock.now, jti=call_id)
    assert isinstance(await house.gateway.ask_again(turn, double, view.held_id, token), Blocked)
    assert await house.gateway.asked_by(OTHER, double.subject) == ()


async def test_a_turn_of_one_tenant_with_a_token_of_another_runs_nothing(house: House) -> None:
    eve = house.who("eve", OTHER)
    call = house.proposal("dana", "crm.read", {"kind": "order", "key": "1042"})
    token = house.tokens.mint(eve, call.tool, house.clock.now, jti=call.call_id)
    (outcome,) = await house.gateway.propose(house.turn("dana"), [replace(call, token=token)])
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.TENANT


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("crm.read", {"kind": "order", "key": "1042"}),
        ("crm.read", {"kind": "customer", "key": "C-1007"}),
        ("crm.read", {"kind": "search", "key": "Lindqvist"}),
        ("refund.issue", {"order_id": "1042", "amount": "1.00", "currency": "USD", "reason": "r"}),
        ("email.send", {"to": "C-1007", "subject": "s", "body": "b"}),
        ("db.query", {"sql": "SELECT * FROM customers"}),
    ],
)
async def test_the_same_call_in_another_tenant_finds_another_shop(
    house: House, tool: str, arguments: dict[str, str]
) -> None:
    eve = house.who("eve", OTHER)
    turn = replace(house.turn("eve"), tenant=OTHER)
    call = house.proposal("dana", tool, arguments)
    token = house.tokens.mint(eve, call.tool, house.clock.now, jti=call.call_id)
    (outcome,) = await house.gateway.propose(turn, [replace(call, token=token)])
    assert "Lindqvist" not in str(outcome)
    assert house.rows("SELECT count(*) FROM held_call") == [(0,)]


async def test_the_same_call_id_in_two_tenants_is_two_calls(house: House) -> None:
    from tools import holding

    assert holding.held_id(DEMO, "c1") != holding.held_id(OTHER, "c1")
    assert holding.held_id(TenantId("a"), "b\0c") != holding.held_id(TenantId("a\0b"), "x")


@pytest.mark.parametrize(
    "scope",
    [
        Scope(ScopeKind.ALL),
        Scope(ScopeKind.TENANT),
        Scope(ScopeKind.TOOL, "refund.issue"),
        Scope(ScopeKind.USER, f"{ISSUER}|dana"),
    ],
    ids=lambda scope: scope.kind.value,
)
async def test_another_tenant_s_admin_stops_and_resumes_nothing_here(house: House, scope: Scope) -> None:
    by = By("mallory", "Mallory", ("admin",))
    view = await house.ask_refund()
    await house.press("ann", view)
    report = await house.gateway.kill(OTHER, scope, by, "mine")
    assert (report.pending, report.in_flight, report.reopened) == (0, (), 0)
    await house.settle()
    assert (await house.now(view.held_id)).effect is EffectState.DONE
    waiting = await house.ask_refund("10.00", order="1043")
    await house.gateway.kill(DEMO, scope, By("ada", "Ada Kim"), "ours")
    await house.gateway.resume(OTHER, scope, by)
    pressed = await house.press("ann", waiting)
    assert pressed.result is PressResult.STOPPED
    assert [switch.by for switch in (await house.gateway.kills(OTHER)).active] == []


async def test_sums_and_rates_of_another_tenant_do_not_count_here(house: House) -> None:
    """Copies of a held call in another tenant change neither the threshold nor what is left."""
    from sqlalchemy import insert, select

    from tools.approvals import HELD

    view = await house.ask_refund("84.00")

    def move(conn: object) -> None:
        from sqlalchemy.engine import Connection

        assert isinstance(conn, Connection)
        row = dict(conn.execute(select(HELD)).mappings().one())
        conn.execute(insert(HELD).values({**row, "held_id": "h_copy", "tenant": "other"}))

    house.writer.run_blocking(move)
    await house.press("dana", view, Verb.WITHDRAW)
    again = await house.ask_refund("84.00")
    assert again.needed == 1


async def test_the_logs_of_two_tenants_are_two_chains(house: House) -> None:
    view, eve = await a_request(house), house.who("eve", OTHER)
    await house.gateway.countersign(OTHER, eve, house.request(view))
    rows = house.audit("tenant_id", "seq")
    assert [int(str(seq)) for tenant, seq in rows if tenant == "other"] == [1]
    assert [int(str(seq)) for tenant, seq in rows if tenant == "demo"] == list(range(1, len(rows)))


async def test_sweeps_touch_each_tenant_with_its_own_rows(house: House) -> None:
    view = await house.ask_refund()
    house.clock.move(seconds=timedelta(hours=25).total_seconds())
    await house.gateway.expire_due()
    assert (await house.now(view.held_id)).status is ApprovalStatus.EXPIRED
    assert {tenant for tenant, _ in house.queue.outcomes} == {DEMO}
