"""Invariants 4 and 5 on a card of one's own: a button is offered exactly where the press would do something."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy.engine import Connection

from policy.approval import PressResult, Verb
from policy.model import Principal, TenantId
from tests.kit.door import DEMO, House
from tools import pressing
from tools.held import HeldView, PressOutcome, Scope, ScopeKind
from tools.stops import By

EVERYBODY = ("dana", "sam", "ann", "ann-private", "bob", "greedy", "lee", "sally", "ada", "aud", "rita")
COUNTS = frozenset(
    {PressResult.APPROVED, PressResult.COUNTED, PressResult.REJECTED, PressResult.WITHDRAWN, PressResult.ASKED}
)
DECIDE = {Verb.APPROVE, Verb.REJECT, Verb.ASK}


class _Undo(Exception):
    def __init__(self, outcome: PressOutcome) -> None:
        super().__init__()
        self.outcome = outcome


def _would(house: House, who: Principal, view: HeldView, verb: Verb) -> PressResult:
    """What the press leads to; then it never happened."""

    def unit(conn: Connection) -> None:
        request = house.request(view, verb, "why?")
        raise _Undo(pressing.press(conn, house.door, DEMO, who, request))

    with pytest.raises(_Undo) as undone:
        house.writer.run_blocking(unit)
    return undone.value.outcome.result


async def _offered(house: House, sub: str, view: HeldView) -> set[Verb] | None:
    """None: the card is none of theirs."""
    calls = await house.gateway.open_to(house.who(sub), view.held_id)
    return next((set(call.verbs) for call in calls if call.view.held_id == view.held_id), None)


async def _hold_true(house: House, view: HeldView) -> dict[str, set[Verb]]:
    view = await house.now(view.held_id)
    seen: dict[str, set[Verb]] = {}
    for sub in EVERYBODY:
        offered = await _offered(house, sub, view)
        would = {verb for verb in Verb if _would(house, house.who(sub), view, verb) in COUNTS}
        assert (offered or set()) == would, sub
        if offered is not None:
            seen[sub] = offered
    return seen


async def test_a_request_that_waits(house: House) -> None:
    seen = await _hold_true(house, await house.ask_refund())
    assert seen == {"dana": {Verb.WITHDRAW}, **dict.fromkeys(("ann", "ann-private", "bob", "greedy"), DECIDE)}


async def test_who_may_ask_and_approve_is_the_requester_here(house: House) -> None:
    seen = await _hold_true(house, await house.ask_refund(sub="greedy"))
    assert seen["greedy"] == {Verb.WITHDRAW}
    assert "dana" not in seen


async def test_who_has_voted_under_either_account_has_no_approve(house: House) -> None:
    house.change_policy("tools.yaml", "above: {USD: 100.00", "above: {USD: 1.00")
    view = await house.ask_refund()
    assert view.needed == 2
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    seen = await _hold_true(house, view)
    for sub in ("ann", "ann-private"):
        assert seen[sub] == {Verb.REJECT, Verb.ASK}
    assert seen["bob"] == DECIDE


async def test_the_requesters_second_account_withdraws_and_decides_nothing(house: House) -> None:
    house.change_people('employee_number: "1003", accounts: []', 'employee_number: "1001", accounts: []')
    seen = await _hold_true(house, await house.ask_refund())
    assert seen["ann-private"] == {Verb.WITHDRAW}


async def test_without_a_person_key_nobody_is_offered_a_decision(house: House) -> None:
    house.change_people('groups: [finance-approvers]\n    employee_number: "1003"', "groups: [finance-approvers]")
    seen = await _hold_true(house, await house.ask_refund())
    assert seen["ann"] == set()
    assert seen["bob"] == DECIDE


async def test_while_stopped_after_the_end_and_once_it_is_too_late(house: House) -> None:
    view = await house.ask_refund()
    admin = By("ada", "Ada Kim", ("admin",))
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), admin, "a test")
    assert (await _hold_true(house, view))["ann"] == {Verb.REJECT, Verb.ASK}
    await house.gateway.resume(DEMO, Scope(ScopeKind.TENANT), admin)
    house.clock.move(days=30)
    assert set(map(frozenset, (await _hold_true(house, view)).values())) == {frozenset()}


async def test_after_a_decision_it_is_shown_and_offers_nothing(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view, Verb.REJECT, "no")
    seen = await _hold_true(house, view)
    assert seen == {sub: set() for sub in ("dana", "ann", "ann-private", "bob", "greedy")}


async def test_a_principal_of_another_organisation_finds_nothing(house: House) -> None:
    view = await house.ask_refund()
    ann = dataclasses.replace(house.who("ann"), tenant=TenantId("elsewhere"))
    assert await house.gateway.open_to(ann, view.held_id) == ()


async def test_roles_are_read_anew_and_not_believed(house: House) -> None:
    """Whoever made the principal a moment ago: what counts is what the directory says within the look."""
    view = await house.ask_refund()
    forged = dataclasses.replace(house.who("rita"), roles=house.who("ann").roles)
    assert await house.gateway.open_to(forged, view.held_id) == ()
