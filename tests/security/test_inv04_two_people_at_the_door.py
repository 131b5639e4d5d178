"""Invariant 4 at the door: two different people, sums that cannot be split, what is refundable reserved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.settings import PersonKey
from policy.approval import ApprovalStatus, PressResult, Verb
from tests.kit.door import DEMO, House, open_house
from tools.held import Blocked, BlockReason, EffectState, Held, HeldView


@pytest.fixture
def orders(house: House) -> list[str]:
    """Orders paid in USD with at least 90.00 left."""
    query = "SELECT order_id FROM payments WHERE tenant = 'demo' AND currency = 'USD' AND amount_minor >= 12000"
    query += " AND order_id NOT IN (SELECT order_id FROM refunds) ORDER BY order_id"
    from sqlalchemy import text

    from audit.writer import make_engine

    with make_engine(f"sqlite:///{house.business.path}").connect() as conn:
        return [str(row[0]) for row in conn.execute(text(query))]


async def test_nobody_approves_their_own_request(house: House) -> None:
    """Gil is a support agent and a finance approver: he may ask and he may approve, but not the same thing."""
    view = await house.ask_refund(sub="greedy")
    assert (await house.press("greedy", view)).result is PressResult.OWN_REQUEST
    assert (await house.press("greedy", view, Verb.REJECT)).result is PressResult.OWN_REQUEST
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    other = await house.ask_refund("10.00")
    assert (await house.press("greedy", other)).result is PressResult.APPROVED


async def test_the_right_to_ask_is_not_the_right_to_approve(house: House) -> None:
    view = await house.ask_refund()
    for sub in ("sam", "lee", "sally", "ada", "aud", "rita"):
        assert (await house.press(sub, view)).result is PressResult.NOT_APPROVER
        assert (await house.press(sub, view, Verb.REJECT)).result is PressResult.NOT_APPROVER
        assert (await house.press(sub, view, Verb.ASK, "why?")).result is PressResult.NOT_APPROVER
    assert (await house.press("dana", view)).result is PressResult.OWN_REQUEST
    assert (await house.now(view.held_id)).votes == ()


async def test_one_human_with_two_accounts_is_one_person(house: House, orders: list[str]) -> None:
    view = await house.ask_refund("120.00", order=orders[0])
    assert view.needed == 2
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    assert (await house.press("ann-private", view)).result is PressResult.SAME_PERSON
    assert (await house.press("ann", view)).result is PressResult.DUPLICATE
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING
    assert (await house.press("bob", view)).result is PressResult.APPROVED


async def test_the_requester_s_second_account_approves_nothing(house: House) -> None:
    house.change_people('employee_number: "1003", accounts: []', 'employee_number: "1001", accounts: []')
    view = await house.ask_refund()
    assert (await house.press("ann-private", view)).result is PressResult.OWN_REQUEST


@pytest.mark.parametrize("numbers", [("1003", " 1003 "), ("x7", "X7")])
async def test_accounts_that_turn_out_to_be_one_human_void_the_approval(
    house: House, orders: list[str], numbers: tuple[str, str]
) -> None:
    """The directory learns between press and effect that both approvers are the same person."""
    view = await house.ask_refund("120.00", order=orders[0])
    await house.press("ann", view)
    assert (await house.press("bob", view)).result is PressResult.APPROVED
    house.change_people(
        'finance-approvers]\n    employee_number: "1003"', f'finance-approvers]\n    employee_number: "{numbers[0]}"'
    )
    house.change_people('employee_number: "1004"', f'employee_number: "{numbers[1]}"')
    await house.settle()
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert house.refunds(orders[0]) == []


async def test_an_approver_who_turns_out_to_be_the_requester_voids_the_approval(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    house.change_people(
        'groups: [finance-approvers]\n    employee_number: "1003"',
        'groups: [finance-approvers]\n    employee_number: "1001"',
    )
    await house.settle()
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert house.refunds() == []


async def test_without_a_person_key_nobody_approves(house: House) -> None:
    view = await house.ask_refund()
    house.change_people('groups: [finance-approvers]\n    employee_number: "1003"', "groups: [finance-approvers]")
    assert (await house.press("ann", view)).result is PressResult.NO_PERSON_KEY
    assert (await house.now(view.held_id)).votes == ()


async def test_a_request_by_somebody_without_a_person_key_is_approved_by_nobody(house: House) -> None:
    house.change_people('groups: [support]\n    employee_number: "1001"', "groups: [support]")
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.NO_PERSON_KEY


async def test_by_default_an_account_is_a_person(sqlite_url: str, tmp_path: Path) -> None:
    """Where nobody holds two accounts, the subject is the key; the two-account rule needs the employee number."""
    with open_house(sqlite_url, tmp_path, person_key=PersonKey.SUBJECT) as house:
        view = await house.ask_refund("84.00", order="1042")
        assert (await house.press("ann", view)).result is PressResult.APPROVED


async def test_strangers_bots_and_gone_people_never_count(house: House) -> None:
    view = await house.ask_refund()
    ann = house.who("ann")
    stranger = await house.gateway.countersign(DEMO, None, house.request(view))
    assert stranger.result is PressResult.STRANGER
    assert stranger.view is None
    house.change_people("name: Ann Okafor\n", "name: Ann Okafor\n    active: false\n")
    gone = await house.gateway.countersign(DEMO, ann, house.request(view))
    assert gone.result is PressResult.STRANGER
    assert (await house.now(view.held_id)).votes == ()


async def test_the_role_counts_as_it_is_at_the_press(house: House) -> None:
    """A principal from before Ann lost the group does not help."""
    view, ann = await house.ask_refund(), house.who("ann")
    house.change_people(
        'groups: [finance-approvers]\n    employee_number: "1003"', 'groups: []\n    employee_number: "1003"'
    )
    pressed = await house.gateway.countersign(DEMO, ann, house.request(view))
    assert pressed.result is PressResult.NOT_APPROVER


async def test_a_vote_is_lost_with_the_role(house: House, orders: list[str]) -> None:
    view = await house.ask_refund("120.00", order=orders[0])
    await house.press("ann", view)
    house.change_people(
        'groups: [finance-approvers]\n    employee_number: "1003"', 'groups: []\n    employee_number: "1003"'
    )
    assert (await house.press("bob", view)).result is PressResult.COUNTED
    assert [vote.subject.sub for vote in (await house.now(view.held_id)).votes] == ["bob"]
    assert ("vote_voided",) in house.audit("status", where="kind='approval.voided'")


@pytest.mark.parametrize("who", ["dana", "ann"])
async def test_who_left_between_press_and_effect_stops_it(house: House, who: str) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    name = {"dana": "Dana Reyes", "ann": "Ann Okafor"}[who]
    house.change_people(f"name: {name}\n", f"name: {name}\n    active: false\n")
    await house.settle()
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert house.refunds() == []


async def test_who_lost_the_role_between_press_and_effect_stops_it(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    house.change_people(
        'groups: [finance-approvers]\n    employee_number: "1003"', 'groups: []\n    employee_number: "1003"'
    )
    await house.settle()
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert house.refunds() == []


async def test_a_requester_who_lost_the_role_between_press_and_effect_stops_it(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    house.change_people(
        'groups: [support]\n    employee_number: "1001"', 'groups: [sales]\n    employee_number: "1001"'
    )
    await house.settle()
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert house.refunds() == []


# -- the threshold -------------------------------------------------------------------------------------------------


async def test_splitting_one_order_does_not_get_under_the_threshold(house: House, orders: list[str]) -> None:
    views = [await house.ask_refund("42.00", order=orders[0]) for _ in range(2)]
    assert [view.needed for view in views] == [1, 1]
    third = await house.ask_refund("16.01", order=orders[0])
    assert third.needed == 2


async def test_splitting_over_orders_does_not_get_under_the_threshold(house: House, orders: list[str]) -> None:
    views = [await house.ask_refund("42.00", order=order) for order in orders[:3]]
    assert [view.needed for view in views] == [1, 1, 2]


async def test_two_requesters_do_not_get_one_order_under_the_threshold(house: House, orders: list[str]) -> None:
    await house.ask_refund("60.00", order=orders[0])
    assert (await house.ask_refund("60.00", order=orders[0], sub="greedy")).needed == 2
    assert (await house.ask_refund("30.00", order=orders[1], sub="greedy")).needed == 1


async def test_one_human_s_two_accounts_do_not_get_under_the_threshold(house: House, orders: list[str]) -> None:
    house.change_people("name: Gil Both, email: gil@acme.example", "name: Dana, email: dana@home.example")
    house.change_people('employee_number: "7001"', 'employee_number: " 1001"')
    await house.ask_refund("60.00", order=orders[0])
    assert (await house.ask_refund("60.00", order=orders[1], sub="greedy")).needed == 2


async def test_splitting_one_answer_does_not_get_under_the_threshold(house: House, orders: list[str]) -> None:
    calls = [
        house.proposal("dana", "refund.issue", {"order_id": o, "amount": "60.00", "currency": "USD", "reason": "r"})
        for o in orders[:2]
    ]
    held = await house.gateway.propose(house.turn("dana"), calls)
    assert sorted(outcome.view.needed for outcome in held if isinstance(outcome, Held)) == [1, 2]


async def test_other_currencies_count(house: House) -> None:
    first = await house.ask_refund("84.00")
    assert first.needed == 1
    outcome = await house.ask(
        "dana", "refund.issue", order_id="1044", amount="90.00", currency="GBP", reason="chairs broken"
    )
    assert isinstance(outcome, Held)
    assert outcome.view.needed == 2


async def test_what_was_turned_down_does_not_count_and_what_is_done_does(house: House, orders: list[str]) -> None:
    first = await house.ask_refund("90.00", order=orders[0])
    await house.press("ann", first, Verb.REJECT, "no")
    second = await house.ask_refund("90.00", order=orders[0])
    assert second.needed == 1
    await house.press("ann", second)
    await house.settle()
    assert (await house.now(second.held_id)).effect is EffectState.DONE
    assert (await house.ask_refund("11.00", order=orders[1])).needed == 2


async def test_the_window_counts_from_when_the_money_moved(house: House, orders: list[str]) -> None:
    """Asked yesterday, approved at the last minute: it must not leave the sum the moment it is paid."""
    first = await house.ask_refund("90.00", order=orders[0])
    house.clock.move(hours=23, minutes=50)
    await house.press("ann", first)
    await house.settle()
    house.clock.move(minutes=20)
    assert (await house.ask_refund("30.00", order=orders[1])).needed == 2
    house.clock.move(hours=24)
    assert (await house.ask_refund("30.00", order=orders[2])).needed == 1


async def test_what_is_in_doubt_counts_until_somebody_looked(house: House, orders: list[str]) -> None:
    first = await house.ask_refund("90.00", order=orders[0])
    house.break_tool("refund.issue", after=False)
    await house.press("ann", first)
    await house.settle()
    house.clock.move(hours=72)
    assert (await house.ask_refund("30.00", order=orders[1])).needed == 2
    await house.gateway.settle_doubt(DEMO, first.held_id, "Ada Kim", False, "Not there.")
    assert (await house.ask_refund("1.00", order=orders[1])).needed == 1


async def test_needed_stays_what_it_was_when_the_policy_changes(house: House, orders: list[str]) -> None:
    view = await house.ask_refund("120.00", order=orders[0])
    house.change_policy("tools.yaml", "above: {USD: 100.00", "above: {USD: 500.00")
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    await house.settle()
    assert house.refunds(orders[0]) == []
    assert (await house.ask_refund("130.00", order=orders[1], sub="greedy")).needed == 1


# -- what is refundable is reserved --------------------------------------------------------------------------------


async def refund(house: House, amount: str, order: str = "1042", sub: str = "dana") -> Held | Blocked | object:
    return await house.ask(sub, "refund.issue", order_id=order, amount=amount, currency="USD", reason="r")


async def test_held_calls_reserve_what_is_left(house: House) -> None:
    await house.ask_refund("42.00")
    await house.ask_refund("42.00", sub="greedy")
    over = await refund(house, "0.01")
    assert isinstance(over, Blocked)
    assert over.reason is BlockReason.OVER_AVAILABLE


async def test_what_ends_frees_what_it_reserved(house: House) -> None:
    view = await house.ask_refund("84.00")
    await house.press("dana", view, Verb.WITHDRAW)
    again = await house.ask_refund("84.00")
    house.clock.move(hours=25)
    await house.gateway.expire_due()
    assert (await house.now(again.held_id)).status is ApprovalStatus.EXPIRED
    assert isinstance(await refund(house, "84.00"), Held)


async def test_a_stopped_and_reopened_call_still_reserves(house: House) -> None:
    from tools.held import Scope, ScopeKind
    from tools.stops import By

    view = await house.ask_refund("84.00")
    await house.press("ann", view)
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim"), "look")
    await house.gateway.resume(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim"))
    assert isinstance(await refund(house, "0.01"), Blocked)


@pytest.fixture
def pair(engine_url: str, tmp_path: Path) -> Iterator[tuple[House, House]]:
    with open_house(engine_url, tmp_path) as one, open_house(engine_url, tmp_path, executor="two") as two:
        yield one, two


async def test_two_doors_never_reserve_more_than_there_is(pair: tuple[House, House]) -> None:
    asked = await asyncio.gather(
        *(refund(house, "42.00", sub=sub) for house in pair for sub in ("dana", "greedy") for _ in range(2))
    )
    assert len([outcome for outcome in asked if isinstance(outcome, Held)]) == 2
    assert {outcome.reason for outcome in asked if isinstance(outcome, Blocked)} == {BlockReason.OVER_AVAILABLE}


async def test_two_doors_never_split_under_the_threshold(pair: tuple[House, House]) -> None:
    asked = await asyncio.gather(
        *(refund(house, "60.00", order) for house, order in zip(pair, ("1042", "1043"), strict=True))
    )
    views: list[HeldView] = [outcome.view for outcome in asked if isinstance(outcome, Held)]
    assert sorted(view.needed for view in views) == [1, 2]


async def test_two_answers_with_the_same_orders_do_not_block_each_other(pair: tuple[House, House]) -> None:
    """Each refunds the same two orders, in the other order: both end, neither is told that the log is down."""
    one, two = pair

    def calls(house: House, sub: str, orders: tuple[str, str]) -> list[object]:
        args = {"amount": "5.00", "currency": "USD", "reason": "r"}
        return [house.proposal(sub, "refund.issue", {"order_id": order, **args}) for order in orders]

    async def answer(house: House, sub: str, orders: tuple[str, str]) -> tuple[object, ...]:
        return await house.gateway.propose(house.turn(sub), calls(house, sub, orders))  # type: ignore[arg-type]

    for _ in range(3):
        ended = await asyncio.gather(answer(one, "dana", ("1042", "1043")), answer(two, "greedy", ("1043", "1042")))
        assert {type(outcome) for outcomes in ended for outcome in outcomes} == {Held}
