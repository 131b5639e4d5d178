"""Invokes through `TeamsActivities` to a recorded service: answered at once with one's own card; forged, double, late.

What the service makes of them is tested in `tests/security/test_inv05_teams_presses.py`, with the real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.messages import ChatUser
from bot.ports import PressReply, SurfaceError
from bot.teams.action import ASK_AGAIN, LINK_NO, LINK_YES, PRESS, REFRESH, WITHDRAW, action_data
from bot.teams.deliveries import TEAMS
from bot.teams.invokes import NOT_OURS, STILL_AT_IT
from bot.teams.late import NOT_TAKEN
from policy.approval import Verb
from tests.kit.teams_bench import CARD_TYPE, DIGEST, ERROR_TYPE, MESSAGE_TYPE, Bench, card, opened, pressed, said
from tests.kit.teams_bodies import (
    ARNO,
    ARNO_ID,
    GROUP,
    OTHER_TENANT,
    RITA_ID,
    TENANT,
    execute,
    group,
    invoke,
    personal,
)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with opened() as made:
        yield made


# --- presses -----------------------------------------------------------------------------------------


async def test_a_press_is_answered_with_its_pressers_card(bench: Bench) -> None:
    told = await bench.press(where=group(person=ARNO_ID, account=ARNO), card="77")
    [press] = bench.service.presses
    assert (press.who, press.held_id, press.revision, press.digest) == (
        ChatUser(TEAMS, TENANT, ARNO_ID),
        "h1",
        3,
        DIGEST,
    )
    assert (press.verb, press.channel, press.message_id) == (Verb.APPROVE, GROUP, "77")
    assert (told["statusCode"], told["type"]) == (200, CARD_TYPE)
    assert "Approved by Arno" in said(told)
    assert "Counted." in json.dumps(told["value"]["body"][0]), "on top, for whoever reads"
    assert told["value"]["speak"].startswith("Counted. "), "and for whoever listens"
    assert bench.chat.said == []


async def test_a_reason_comes_with_the_press(bench: Bench) -> None:
    await bench.press(Verb.REJECT, "wrong order")
    assert [(one.verb, one.text) for one in bench.service.presses] == [(Verb.REJECT, "wrong order")]


@pytest.mark.parametrize(("verb", "text"), [(Verb.REJECT, ""), (Verb.ASK, " x "), (Verb.REJECT, "x" * 2001)])
async def test_a_rejection_without_a_reason_is_asked_for_one(bench: Bench, verb: Verb, text: str) -> None:
    told = await bench.press(verb, text)
    assert told["type"] == MESSAGE_TYPE
    assert "Nothing was decided" in told["value"]
    assert bench.service.presses == []


async def test_a_double_press_is_told_apart_from_a_repeated_delivery(bench: Bench) -> None:
    for delivery in ("f:1", "f:1", "f:2"):
        await bench.press(id=delivery)
    first, again, other = (press.press_id for press in bench.service.presses)
    assert first == again
    assert first != other


async def test_one_id_of_two_people_or_tenants_is_two_presses(bench: Bench) -> None:
    await bench.press()
    await bench.press(where=personal(person=ARNO_ID, account=ARNO))
    await bench.press(where=personal(tenant=OTHER_TENANT))
    assert len({press.press_id for press in bench.service.presses}) == 3


async def test_a_refused_press_says_why_on_the_card_of_its_presser_alone(bench: Bench) -> None:
    refusal = "You asked for this yourself, so you cannot approve it."
    bench.service.reply = PressReply(refusal, card("Waiting for Finance", Verb.WITHDRAW))
    told = await bench.press(where=group())
    assert told["type"] == CARD_TYPE
    assert refusal in said(told)
    assert "Waiting for Finance" in said(told)
    assert (bench.chat.said, bench.chat.cards) == ([], {})


async def test_somebody_who_may_not_see_the_card_gets_the_sentence_and_no_card(bench: Bench) -> None:
    bench.service.reply = PressReply("You may not decide this.")
    told = await bench.press(where=group(person=ARNO_ID, account=ARNO))
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, "You may not decide this.")


async def test_the_shared_card_is_never_shown_in_place_of_ones_own(bench: Bench) -> None:
    async def none(who: ChatUser, held_id: str) -> None:
        return None

    bench.service.card_for = none  # type: ignore[method-assign]
    told = await bench.press()
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, "Counted.")


async def test_a_press_that_takes_long_is_answered_and_goes_on(bench: Bench) -> None:
    bench.service.gate = asyncio.Event()
    told = await bench.press(where=group(), card="77")
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, STILL_AT_IT)
    assert bench.service.presses == []
    bench.service.gate.set()
    await bench.rested()
    assert len(bench.service.presses) == 1
    assert bench.chat.cards == {(GROUP, "c1"): bench.service.reply.card}
    assert [(one.text, one.only_for) for one in bench.chat.said] == [("Counted.", RITA_ID)]


async def test_a_card_that_takes_long_is_not_waited_for(bench: Bench) -> None:
    bench.service.slow_card = asyncio.Event()
    told = await bench.press()
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, "Counted.")
    bench.service.slow_card.set()


async def test_a_slow_press_whose_chat_is_away_still_counts(bench: Bench) -> None:
    bench.service.gate = asyncio.Event()
    bench.chat.faults["update"] = [SurfaceError("away")]
    bench.chat.faults["direct"] = [SurfaceError("away")]
    await bench.press()
    bench.service.gate.set()
    await bench.rested()
    assert len(bench.service.presses) == 1


async def test_a_press_does_not_wait_for_what_is_noted_of_its_place(bench: Bench) -> None:
    bench.notes.gate = asyncio.Event()
    assert (await bench.press())["type"] == CARD_TYPE
    assert bench.notes.noted == []
    bench.notes.gate.set()
    bench.notes.broken = True
    assert (await bench.press(id="f:2"))["type"] == CARD_TYPE


async def test_a_press_that_was_not_taken_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.service.broken = True
    told = await bench.press()
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, NOT_TAKEN)
    assert "4111" not in caplog.text


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"action": {}},
        {"action": "approve"},
        execute({}),
        execute({"cs": 1, "act": "press", "held": "h1"}),
        execute({"cs": 1, "act": "launch", "held": "h1", "rev": 3, "digest": DIGEST, "verb": "approve"}),
        execute({"cs": 1, "act": "press", "held": "h1", "rev": 3, "digest": DIGEST, "verb": "pay_me"}),
        execute({"cs": 1, "act": "press", "held": ["h1"], "rev": "3", "digest": {}, "verb": "approve"}),
        execute({"cs": 2, "act": "press", "held": "h1", "rev": 3, "digest": DIGEST, "verb": "approve"}),
        [1],
        "approve",
        None,
    ],
)
async def test_forged_and_unknown_actions_reach_nobody(bench: Bench, value: Any) -> None:
    status, told = await bench.deliver(invoke(value))
    assert (status, told["statusCode"], told["type"]) == (200, 400, ERROR_TYPE)
    assert told["value"]["message"] == NOT_OURS
    assert bench.service.presses == []


async def test_what_the_data_says_of_the_presser_is_not_believed(bench: Bench) -> None:
    body = pressed(Verb.APPROVE)
    forged = {"who": ARNO_ID, "user": ARNO_ID, "from": {"aadObjectId": ARNO_ID}, "tenant": OTHER_TENANT}
    body["value"]["action"]["data"] |= forged
    body["value"]["from"] = {"aadObjectId": ARNO_ID}
    await bench.deliver(body)
    assert bench.service.presses[0].who == ChatUser(TEAMS, TENANT, RITA_ID)


@pytest.mark.parametrize("name", ["task/fetch", "composeExtension/query", "signin/tokenExchange", "", "adaptiveCard/x"])
async def test_other_invokes_are_not_implemented(bench: Bench, name: str) -> None:
    assert (await bench.deliver(invoke(execute({}), name=name)))[0] == 501


async def test_expected_replies_change_nothing(bench: Bench) -> None:
    told = await bench.press(deliveryMode="expectReplies")
    assert told["type"] == CARD_TYPE


async def test_the_other_buttons(bench: Bench) -> None:
    told = {}
    for act in (ASK_AGAIN, LINK_YES, LINK_NO):
        status, told[act] = await bench.deliver(invoke(execute(dict(action_data(act, "x7")))))  # type: ignore[arg-type]
        assert status == 200
    withdraw = action_data(WITHDRAW, "h1", revision=3, digest=DIGEST, verb=Verb.WITHDRAW)
    await bench.deliver(invoke(execute(dict(withdraw))))  # type: ignore[arg-type]
    assert [one.held_id for one in bench.service.again] == ["x7"]
    assert [(one.confirmation_id, one.yes) for one in bench.service.link_answers] == [("x7", True), ("x7", False)]
    assert [one.verb for one in bench.service.presses] == [Verb.WITHDRAW]
    assert told[ASK_AGAIN]["value"] == "Asked again."
    assert told[LINK_YES]["value"] == "Linked."


async def test_a_refresh_shows_ones_own_view_and_presses_nothing(bench: Bench) -> None:
    value = execute(dict(action_data(REFRESH, "h1")), verb="refresh", trigger="automatic")  # type: ignore[arg-type]
    status, told = await bench.deliver(invoke(value))
    assert (status, told["type"]) == (200, CARD_TYPE)
    assert "Approved by Arno" in said(told)
    assert bench.service.presses == []


async def test_ones_own_card_is_asked_for_by_who_one_is_and_what_was_pressed(bench: Bench) -> None:
    asked: list[tuple[str, str]] = []

    async def mine(who: ChatUser, held_id: str) -> None:
        asked.append((who.user, held_id))

    bench.service.card_for = mine  # type: ignore[method-assign]
    data = action_data(PRESS, "h9", revision=1, digest=DIGEST, verb=Verb.APPROVE)
    arno = group(person=ARNO_ID, account=ARNO)
    await bench.deliver(invoke(execute(dict(data)), where=arno))  # type: ignore[arg-type]
    await bench.deliver(invoke(execute(dict(action_data(REFRESH, "h8"))), where=arno))  # type: ignore[arg-type]
    assert asked == [(ARNO_ID, "h9"), (ARNO_ID, "h8")]
    assert [(one.held_id, one.revision) for one in bench.service.presses] == [("h9", 1)]


async def test_a_refresh_by_somebody_with_nothing_to_see_leaves_the_card(bench: Bench) -> None:
    bench.service.reply = PressReply("")
    value = execute(dict(action_data(REFRESH, "h1")), verb="refresh", trigger="automatic")  # type: ignore[arg-type]
    status, told = await bench.deliver(invoke(value))
    assert (status, told["statusCode"], told["type"]) == (200, 404, ERROR_TYPE)


async def test_a_client_without_universal_actions_sends_a_message(bench: Bench) -> None:
    data = dict(action_data(PRESS, "h1", revision=3, digest=DIGEST, verb=Verb.REJECT))  # type: ignore[arg-type]
    value = {**data, "input": "text_0", "text_0": "wrong order"}
    assert await bench.deliver(group(value=value, replyToId="77", mention=False)) == (200, "")
    await bench.rested()
    [press] = bench.service.presses
    assert (press.verb, press.text, press.message_id) == (Verb.REJECT, "wrong order", "77")
    assert bench.chat.cards == {(GROUP, "c1"): bench.service.reply.card}
    assert [(one.text, one.only_for) for one in bench.chat.said] == [("Counted.", RITA_ID)]
    assert bench.service.messages == []


async def test_an_old_clients_button_of_another_version_says_so(bench: Bench) -> None:
    assert await bench.deliver(personal("hello", value={"cs": 2, "act": "press"})) == (200, "")
    await bench.rested()
    assert [(one.text, one.only_for) for one in bench.chat.said] == [(NOT_OURS, RITA_ID)]
    assert (bench.service.presses, bench.service.messages) == ([], [])


async def test_a_message_with_somebody_elses_value_is_a_message(bench: Bench) -> None:
    await bench.deliver(personal("hello", value={"some": "app"}))
    assert [one.text for one in bench.service.messages] == ["hello"]
