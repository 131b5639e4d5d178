"""Invariant 5: every press leaves one audit row, in the transaction of its decision."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.approval import ApprovalStatus, PressResult, Verb
from policy.model import TenantId
from tests.kit.door import DEMO, House, open_house
from tools import strangers
from tools.held import Held, Scope, ScopeKind
from tools.stops import By


def presses(house: House) -> list[tuple[object, ...]]:
    return house.audit("status", "actor_user_id", where="kind='approval.pressed'")


def details(house: House, kind: str) -> list[dict[str, object]]:
    rows = house.audit("detail", where=f"kind='{kind}'")
    return [row[0] if isinstance(row[0], dict) else json.loads(str(row[0])) for row in rows]


async def test_each_kind_of_press_is_one_row(house: House) -> None:
    """Accepted, refused, stale, late, stopped, asked, withdrawn, of a stranger, of nothing: one row each, in order."""
    big, small = await house.ask_refund("101.00", order="1017"), await house.ask_refund("10.00")
    own = await house.ask_refund("11.00")
    expected: list[tuple[object, ...]] = []

    async def pressed(sub: str, result: PressResult, *args: object, **more: object) -> None:
        outcome = await house.press(sub, *args, **more)  # type: ignore[arg-type]
        assert outcome.result is result
        expected.append((result.value, sub))

    await pressed("ann", PressResult.COUNTED, big)
    await pressed("ann", PressResult.DUPLICATE, big)
    await pressed("ann-private", PressResult.SAME_PERSON, big)
    await pressed("sam", PressResult.NOT_APPROVER, big)
    await pressed("dana", PressResult.OWN_REQUEST, big)
    await pressed("bob", PressResult.STALE, replace(big, digest="old"))
    await pressed("bob", PressResult.ASKED, big, Verb.ASK, "why?")
    await pressed("bob", PressResult.NOT_REQUESTER, big, Verb.WITHDRAW)
    await pressed("bob", PressResult.REJECTED, small, Verb.REJECT, "no")
    await pressed("ann", PressResult.LATE, small)
    await pressed("dana", PressResult.WITHDRAWN, own, Verb.WITHDRAW)
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim"), "look")
    await pressed("bob", PressResult.STOPPED, big)
    await house.gateway.resume(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim"))
    await pressed("bob", PressResult.APPROVED, big)
    await pressed("ann", PressResult.UNKNOWN, replace(big, held_id="h_nothing"))
    late = await house.ask_refund("12.00")
    house.clock.move(hours=25)
    await pressed("ann", PressResult.EXPIRED, late)
    await house.gateway.countersign(DEMO, None, house.request(late))
    expected.append(("stranger", "demo:demo:test"))
    assert presses(house) == expected


async def test_a_replayed_press_is_told_what_it_was_told_and_counts_once(house: House) -> None:
    view = await house.ask_refund("101.00", order="1017")
    first = await house.press("ann", view, press_id="evt-1")
    again = await house.press("ann", view, press_id="evt-1")
    assert (first.result, again.result) == (PressResult.COUNTED, PressResult.DUPLICATE)
    assert again.sentence == first.sentence
    assert [status for status, _ in presses(house)] == ["counted", "duplicate"]
    assert len((await house.now(view.held_id)).votes) == 1


async def test_a_replay_by_somebody_else_gives_no_vote(house: House) -> None:
    view = await house.ask_refund("101.00", order="1017")
    await house.press("ann", view, press_id="evt-1")
    assert (await house.press("bob", view, press_id="evt-1")).result is PressResult.DUPLICATE
    assert [vote.subject.sub for vote in (await house.now(view.held_id)).votes] == ["ann"]


@pytest.fixture
def pair(engine_url: str, tmp_path: Path) -> Iterator[tuple[House, House]]:
    with open_house(engine_url, tmp_path) as one, open_house(engine_url, tmp_path, executor="two") as two:
        yield one, two


async def test_two_approvers_in_the_same_millisecond(pair: tuple[House, House]) -> None:
    one, two = pair
    for _ in range(5):
        view = await one.ask_refund("5.00", order="1017")
        outcomes = await asyncio.gather(one.press("ann", view), two.press("bob", view))
        needed = {1: {PressResult.APPROVED, PressResult.LATE}, 2: {PressResult.COUNTED, PressResult.APPROVED}}
        assert {outcome.result for outcome in outcomes} == needed[view.needed]
        assert len(one.rows("SELECT sub FROM vote WHERE held_id = :h", h=view.held_id)) == view.needed
    assert len(presses(one)) == 10
    queued = [held for _, held, _ in (*one.queue.to_execute, *two.queue.to_execute)]
    assert len(queued) == len(set(queued)) == 5


async def test_one_approver_s_many_clicks_in_both_chats_count_once(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await one.ask_refund("101.00", order="1017")
    outcomes = await asyncio.gather(*(house.press("ann", view) for house in pair for _ in range(5)))
    results = Counter(outcome.result for outcome in outcomes)
    assert results == {PressResult.COUNTED: 1, PressResult.DUPLICATE: 9}
    assert len(presses(one)) == 10
    assert (await two.now(view.held_id)).status is ApprovalStatus.PENDING


async def test_the_same_delivery_at_two_doors_counts_once(pair: tuple[House, House]) -> None:
    one, _ = pair
    view = await one.ask_refund("101.00", order="1017")
    outcomes = await asyncio.gather(*(house.press("ann", view, press_id="evt-9") for house in pair))
    assert {outcome.result for outcome in outcomes} == {PressResult.COUNTED, PressResult.DUPLICATE}
    assert len(presses(one)) == 2


async def test_approve_and_reject_at_once_settle_once(pair: tuple[House, House]) -> None:
    one, two = pair
    for _ in range(4):
        view = await one.ask_refund("5.00", order="1017", sub="greedy")
        await asyncio.gather(one.press("ann", view), two.press("bob", view, Verb.REJECT, "no"))
        await one.settle()
        await two.settle()
    decided = one.audit("call_id", where="kind='approval.decided'")
    assert len(decided) == len(set(decided)) == 4
    done = one.audit("seq", where="kind='tool.executed'")
    assert len(one.refunds("1017")) == len(done)


async def test_two_cards_of_one_request_pressed_at_once(pair: tuple[House, House]) -> None:
    """A refund and the mail that announces it, decided in the same moment in every combination: nobody blocks."""
    one, two = pair
    args = {"order_id": "1017", "amount": "5.00", "currency": "USD", "reason": "r"}
    body = {"to": "C-1007", "subject": "Refund", "body": "It comes."}
    for verb in (Verb.APPROVE, Verb.REJECT, Verb.APPROVE, Verb.REJECT):
        calls = [one.proposal("dana", "refund.issue", args), one.proposal("dana", "email.send", body)]
        refund, mail = await one.gateway.propose(one.turn("dana"), calls)
        assert isinstance(refund, Held)
        assert isinstance(mail, Held)
        mails = len(one.mails())
        await asyncio.gather(one.press("ann", refund.view, verb, "x"), two.press("lee", mail.view))
        for house in pair:
            await house.settle()
        ended = await one.now(mail.view.held_id)
        if verb is Verb.REJECT:
            assert ended.status is ApprovalStatus.VOIDED
            assert len(one.mails()) == mails
        else:
            for house in pair:
                await house.settle()
            assert len(one.mails()) == mails + 1


async def test_expiry_and_a_press_at_once_end_it_once(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await one.ask_refund("5.00", order="1017")
    two.clock.move(hours=25)
    await asyncio.gather(one.press("ann", view), two.gateway.expire_due(), one.press("bob", view, Verb.REJECT, "no"))
    assert len(one.audit("seq", where="kind='approval.decided'")) == 1


# -- floods of strangers -------------------------------------------------------------------------------------------


async def flood(house: House, presses_: int, tenant: TenantId | None = DEMO) -> None:
    view = await house.ask_refund("1.00", order="1017")
    for _ in range(presses_):
        outcome = await house.gateway.countersign(tenant, None, house.request(view))
        assert outcome.result is PressResult.STRANGER


@pytest.mark.parametrize("tenant", [DEMO, None])
async def test_a_flood_of_strangers_is_counted_one_row_a_minute(house: House, tenant: TenantId | None) -> None:
    house.clock.now = house.clock.now.replace(second=0, microsecond=0)
    await flood(house, 50, tenant)
    assert len(presses(house)) == strangers.STRANGERS_A_MINUTE
    assert details(house, "press.flood") == []
    house.clock.move(minutes=1)
    await house.gateway.expire_due()
    await house.gateway.expire_due()
    assert [detail["presses"] for detail in details(house, "press.flood")] == [50]


async def test_a_stranger_of_the_next_minute_tells_the_flood_before(house: House) -> None:
    house.clock.now = house.clock.now.replace(second=0, microsecond=0)
    await flood(house, 25)
    house.clock.move(minutes=1)
    await flood(house, 2)
    assert [detail["presses"] for detail in details(house, "press.flood")] == [25]
    assert len(presses(house)) == strangers.STRANGERS_A_MINUTE + 2


async def test_a_flood_that_goes_on_after_it_was_told_is_told_again(pair: tuple[House, House]) -> None:
    """A replica whose clock is behind presses into a minute that the other one has closed: nothing is lost."""
    one, two = pair
    one.clock.now = one.clock.now.replace(second=0, microsecond=0)
    two.clock.now = one.clock.now
    await flood(one, 25)
    one.clock.move(minutes=1)
    await one.gateway.expire_due()
    await flood(two, 5)
    one.clock.move(minutes=1)
    await one.gateway.expire_due()
    assert [detail["presses"] for detail in details(one, "press.flood")] == [25, 30]


async def test_two_doors_tell_a_flood_once(pair: tuple[House, House]) -> None:
    one, two = pair
    one.clock.now = one.clock.now.replace(second=0, microsecond=0)
    two.clock.now = one.clock.now
    view = await one.ask_refund("1.00", order="1017")
    await asyncio.gather(
        *(house.gateway.countersign(DEMO, None, house.request(view)) for house in pair for _ in range(20))
    )
    one.clock.move(minutes=1)
    two.clock.move(minutes=1)
    await asyncio.gather(one.gateway.expire_due(), two.gateway.expire_due())
    assert [detail["presses"] for detail in details(one, "press.flood")] == [40]


# -- odd presses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "x" * 5000, "\u202e evil", "'; DROP TABLE vote; --"])
@pytest.mark.parametrize("where", ["text", "press_id", "held_id", "digest", "chat_account"])
async def test_odd_text_in_a_press_is_still_one_row(house: House, odd: str, where: str) -> None:
    """Whatever a chat delivers, the press is judged and recorded; nothing raises and nothing is lost."""
    view = await house.ask_refund()
    request = replace(house.request(view, Verb.REJECT, "no"), **{where: odd})  # type: ignore[arg-type]
    for who in (house.who("sam"), None):
        await house.gateway.countersign(DEMO, who, request)
    assert len(presses(house)) == 2
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING


@pytest.mark.parametrize("odd", ["\x00", "\ud800"])
async def test_an_odd_reason_rejects(house: House, odd: str) -> None:
    view = await house.ask_refund()
    assert (await house.press("ann", view, Verb.REJECT, f"no{odd}")).result is PressResult.REJECTED
    assert (await house.now(view.held_id)).status is ApprovalStatus.REJECTED


@pytest.mark.parametrize("odd", ["\x00", "\ud800"])
async def test_odd_arguments_never_raise(house: House, odd: str) -> None:
    """A model may write anything into its JSON."""
    for tool, arguments in (
        ("refund.issue", {"order_id": "1042", "amount": "1.00", "currency": "USD", "reason": f"r{odd}"}),
        ("email.send", {"to": "C-1007", "subject": "s", "body": f"b{odd}"}),
        ("email.send", {"to": f"C-1007{odd}", "subject": "s", "body": "b"}),
        ("crm.read", {"kind": "search", "key": f"k{odd}"}),
        ("crm.read", {f"k{odd}": "x"}),
    ):
        await house.ask("dana", tool, **arguments)
    assert house.rows("SELECT count(*) FROM held_call") == [(0,)]


@pytest.mark.parametrize("odd", ["\x00", "\ud800"])
async def test_odd_words_of_the_requester_are_held(house: House, odd: str) -> None:
    turn = replace(house.turn("dana", asked=f"please{odd}"), prose=f"sure{odd}", exposures=(f"mail{odd}",))
    args = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}
    (held,) = await house.gateway.propose(turn, [house.proposal("dana", "refund.issue", args)])
    assert isinstance(held, Held)
    await house.press("ann", held.view)
    await house.settle()
    assert len(house.refunds()) == 1
