"""What people do on the page reaches the service as it was done, and nothing else does."""

from __future__ import annotations

import httpx2
import pytest

from audit.faults import StoreUnavailable
from bot.messages import Room
from bot.ports import Ask
from bot.web.chatlog import Line, LineKind
from policy.approval import Verb
from tests.unit_web.conftest import Demo, text_of
from tests.unit_web.demo_double import DIGEST, card, dm, item

APPROVALS = "/w/ann/finance-approvals"


async def say(client: httpx2.AsyncClient, room: str, text: str, **more: str) -> httpx2.Response:
    return await client.post(f"{room}/say", data={"text": text, **more})


def pressed(message_id: str, verb: Verb, text: str = "") -> dict[str, str]:
    return {
        "message_id": message_id,
        "held_id": "h1",
        "revision": "1",
        "digest": DIGEST,
        "verb": verb.value,
        "text": text,
    }


async def test_a_message_in_the_dm_is_handed_on_as_typed(demo: Demo) -> None:
    client = await demo.let_in()
    answer = await say(client, "/w/dana/dm", "  What did\r\nAda order? ")
    (heard,) = demo.service.heard
    assert answer.status_code == 200
    assert (heard.who.user, heard.text) == ("dana", "What did\nAda order?")
    assert heard.thread == dm("dana")
    assert heard.event_id != heard.message_id


async def test_a_channel_message_without_a_mention_is_only_shown(demo: Demo) -> None:
    client = await demo.let_in()
    await say(client, "/w/dana/customer-care", "good morning everyone")
    assert demo.service.heard == []
    assert len(await demo.message_ids("#customer-care", "rita")) == 1


async def test_a_mention_starts_a_thread_whose_follow_ups_need_none(demo: Demo) -> None:
    client = await demo.let_in()
    await say(client, "/w/dana/customer-care", "@countersign, who is C-1007?")
    (root,) = [one for one in await demo.surface.log.lines("#customer-care", "dana") if not one.by_bot]
    await say(client, "/w/lee/customer-care", "and her orders?", reply=str(root.id))
    first, second = demo.service.heard
    assert first.text == "who is C-1007?"
    assert first.thread.root == second.thread.root == str(root.id)
    assert second.thread.room is Room.CHANNEL
    assert (second.who.user, second.text) == ("lee", "and her orders?")


async def test_a_reply_to_a_thread_of_another_room_is_refused(demo: Demo) -> None:
    client = await demo.let_in()
    await say(client, "/w/ann/dm", "hello")
    (private, *_) = await demo.message_ids("dm:ann", "ann")
    for reply in (str(private), "999999", "x", "9" * 40):
        answer = await say(client, "/w/dana/customer-care", "hello", reply=reply)
        assert answer.status_code == 404
    assert await demo.message_ids("#customer-care", "dana") == []


async def test_a_new_conversation_has_a_new_thread(demo: Demo) -> None:
    client = await demo.let_in()
    await say(client, "/w/dana/dm", "one")
    await client.post("/w/dana/dm/new")
    await say(client, "/w/dana/dm", "two")
    first, second = demo.service.heard
    assert first.thread.root == "dm:dana"
    assert second.thread.root.isdecimal()


@pytest.mark.parametrize("typed", ["/countersign whoami", " /Countersign  whoami "])
async def test_a_command_is_a_command_and_its_answer_private(demo: Demo, typed: str) -> None:
    client = await demo.let_in()
    await say(client, "/w/dana/customer-care", typed)
    (command,) = demo.service.commands
    assert command.text == "whoami"
    assert demo.service.heard == []
    assert len(await demo.message_ids("#customer-care", "dana")) == 2
    assert await demo.message_ids("#customer-care", "lee") == []


async def test_a_command_without_words_asks_for_nothing_in_particular(demo: Demo) -> None:
    client = await demo.let_in()
    await say(client, "/w/dana/dm", "/countersign")
    assert demo.service.commands[0].text == ""


async def test_a_press_carries_what_the_card_displayed(demo: Demo) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card())
    client = await demo.let_in()
    answer = await client.post(f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.APPROVE))
    (press,) = demo.service.presses
    assert (press.who.user, press.held_id, press.revision, press.digest) == ("ann", "h1", 1, DIGEST)
    assert press.verb is Verb.APPROVE
    assert "Approved. The refund is on its way." in text_of(answer.text)
    assert "re_81" in text_of((await client.get(APPROVALS)).text)


async def test_an_older_revision_is_passed_on_for_the_door_to_judge(demo: Demo) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card())
    client = await demo.let_in()
    await client.post(
        f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.APPROVE) | {"revision": "7", "digest": "old"}
    )
    assert (demo.service.presses[0].revision, demo.service.presses[0].digest) == (7, "old")


async def test_two_presses_have_two_ids(demo: Demo) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card())
    client = await demo.let_in()
    for _ in range(2):
        await client.post(f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.ASK, "which parcel?"))
    assert len({press.press_id for press in demo.service.presses}) == 2


async def test_a_rejection_without_a_reason_is_asked_for_one(demo: Demo) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card())
    client = await demo.let_in()
    answer = await client.post(f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.REJECT, "   "))
    assert answer.status_code == 422
    assert demo.service.presses == []
    await client.post(f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.REJECT, "paid twice"))
    assert demo.service.presses[0].text == "paid twice"


async def test_a_card_in_a_room_one_cannot_see_cannot_be_pressed(demo: Demo) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card())
    client = await demo.let_in()
    for room in ("/w/dana/dm", "/w/dana/customer-care"):
        answer = await client.post(f"{room}/press", data=pressed(posted.message_id, Verb.APPROVE))
        assert answer.status_code == 404
    assert (
        await client.post("/w/dana/finance-approvals/press", data=pressed(posted.message_id, Verb.APPROVE))
    ).status_code == 404
    assert demo.service.presses == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_id", "0x1"),
        ("message_id", ""),
        ("message_id", "9" * 30),
        ("held_id", "h9"),
        ("verb", "pay"),
        ("revision", "-1"),
        ("digest", ""),
    ],
)
async def test_a_form_that_no_page_of_ours_sends_is_refused(demo: Demo, field: str, value: str) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card())
    client = await demo.let_in()
    answer = await client.post(f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.APPROVE) | {field: value})
    assert answer.status_code in (400, 404)
    assert demo.service.presses == []


async def test_withdraw_and_ask_again_below_a_message(demo: Demo) -> None:
    asks = (Ask("Withdraw", "withdraw", "h1", 3, DIGEST), Ask("Ask again", "ask_again", "h2"))
    said = await demo.surface.say(dm("dana"), "It waits for Ann.", asks)
    client = await demo.let_in()
    await client.post("/w/dana/dm/ask", data={"message_id": said.message_id, "held_id": "h1", "action": "withdraw"})
    await client.post("/w/dana/dm/ask", data={"message_id": said.message_id, "held_id": "h2", "action": "ask_again"})
    other = await client.post(
        "/w/dana/dm/ask", data={"message_id": said.message_id, "held_id": "h2", "action": "withdraw"}
    )
    (press,) = demo.service.presses
    assert (press.verb, press.revision, press.digest) == (Verb.WITHDRAW, 3, DIGEST)
    assert [again.held_id for again in demo.service.agains] == ["h2"]
    assert other.status_code == 404


async def test_a_request_that_is_settled_offers_no_withdraw(demo: Demo) -> None:
    asks = (Ask("Withdraw", "withdraw", "h1"), Ask("Ask again", "ask_again", "h2"))
    await demo.surface.say(dm("dana"), "It waits for Ann.", asks)
    client = await demo.let_in()
    before = (await client.get("/w/dana/dm")).text
    demo.trail.open = frozenset()
    after = (await client.get("/w/dana/dm")).text
    assert ('value="withdraw"' in before, 'value="withdraw"' in after) == (True, False)
    assert 'value="ask_again"' in after


async def test_a_link_to_a_thread_opens_it_as_the_person_who_looks(demo: Demo) -> None:
    await demo.surface.say(
        dm("dana"), "[Open the thread](/open?channel=dm%3Adana&root=7) [x](/verify) [y](//evil.example)"
    )
    page = (await (await demo.let_in()).get("/w/dana/dm")).text
    assert '<a href="/open?channel=dm%3Adana&amp;root=7&amp;as=dana">Open the thread</a>' in page
    assert 'href="/verify"' not in page
    assert 'href="//evil' not in page


async def test_a_whisper_to_somebody_else_has_no_buttons_for_me(demo: Demo) -> None:
    line = Line(
        LineKind.SAID, "#customer-care", "countersign", "x", only_for="lee", asks=(Ask("Withdraw", "withdraw", "h1"),)
    )
    written = await demo.surface.hear(line)
    client = await demo.let_in()
    form = {"message_id": str(written.id), "held_id": "h1", "action": "withdraw"}
    assert (await client.post("/w/dana/customer-care/ask", data=form)).status_code == 404


@pytest.mark.parametrize("text", ["", "   ", "\x00", "x" * 20_001])
async def test_nothing_and_too_much_are_not_sent(demo: Demo, text: str) -> None:
    client = await demo.let_in()
    answer = await say(client, "/w/dana/dm", text)
    assert answer.status_code in (413, 422)
    assert demo.service.heard == []


async def test_a_body_that_is_too_large_or_no_form_is_refused(demo: Demo) -> None:
    client = await demo.let_in()
    assert (await say(client, "/w/dana/dm", "x" * 300_000)).status_code == 413
    assert (await client.post("/w/dana/dm/say", json={"text": "hello"})).status_code == 415
    many = "&".join(f"f{n}=1" for n in range(99))
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await client.post("/w/dana/dm/say", content=many, headers=form)).status_code == 400
    assert demo.service.heard == []


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (StoreUnavailable("The database is full. Nothing was written."), "The database is full"),
        (RuntimeError("sk-secret"), "The log says why"),
    ],
)
async def test_a_service_that_fails_is_said_plainly(demo: Demo, failure: Exception, words: str) -> None:
    demo.service.fails = failure
    client = await demo.let_in()
    answer = await say(client, "/w/dana/dm", "hello")
    assert answer.status_code in (500, 503)
    assert words in answer.text
    assert "sk-secret" not in answer.text


async def test_a_card_of_many_items_keeps_them_apart(demo: Demo) -> None:
    posted = await demo.surface.post("demo", "#finance-approvals", card(item("h1"), item("h2")))
    client = await demo.let_in()
    await client.post(f"{APPROVALS}/press", data=pressed(posted.message_id, Verb.APPROVE) | {"held_id": "h2"})
    assert demo.service.presses[0].held_id == "h2"
