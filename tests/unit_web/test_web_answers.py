"""A model's answer on the demo page: what it rests on, thumbs that arrive, none of it below anybody's own words."""

from __future__ import annotations

from bot.messages import Feedback
from bot.ports import Answer, Source
from bot.web.workspace import DEMO
from tests.unit_web.conftest import Demo, text_of
from tests.unit_web.demo_double import HOSTILE, dm

READ = Answer((Source("Order 1042", "Read by crm.read."), Source("Customer C-1007", "Read by crm.read.")))
LINE = "Read by crm.read: Order 1042, Customer C-1007."


async def _line(demo: Demo, answer: Answer | None, reader: str = "dana") -> str:
    posted = await demo.surface.say(dm(reader), "It was shipped.", answer=answer)
    return posted.message_id


async def test_an_answer_says_what_it_rests_on(demo: Demo) -> None:
    client = await demo.let_in()
    await _line(demo, READ)
    assert LINE in text_of((await client.get("/w/dana/dm")).text)
    stored = (await demo.surface.log.lines("dm:dana", "dana"))[-1]
    assert stored.answer == READ


async def test_our_own_words_and_answers_without_sources(demo: Demo) -> None:
    client = await demo.let_in()
    await _line(demo, None)
    assert "Good answer" not in (await client.get("/w/dana/dm")).text
    await _line(demo, Answer())
    html = (await client.get("/w/dana/dm")).text
    assert "Good answer" in html
    assert "Where this comes from" not in html


async def test_a_streamed_answer_and_a_whispered_one_keep_theirs(demo: Demo) -> None:
    client = await demo.let_in()
    stream = await demo.surface.begin(dm("dana"), demo.surface.workspace.members[0].account)
    await stream.add("It was ")
    await stream.done("It was shipped.", READ)
    assert LINE in text_of((await client.get("/w/dana/dm")).text)
    who = next(one for one in demo.surface.workspace.members if one.user == "lee").account
    await demo.surface.whisper(dm("lee"), who, "It was shipped.", answer=READ)
    assert LINE in text_of((await client.get("/w/lee/dm")).text)


async def test_a_thumb_arrives_and_is_thanked_for(demo: Demo) -> None:
    client = await demo.let_in()
    message_id = await _line(demo, READ)
    for thumb in ("good", "bad"):
        told = await client.post("/w/dana/dm/rate", data={"message_id": message_id, "thumb": thumb})
        assert (told.status_code, "noted" in told.text) == (200, True)
    first, second = demo.service.thumbs
    assert isinstance(first, Feedback)
    assert (first.who.surface, first.who.user, first.thread, first.message_id) == (DEMO, "dana", dm("dana"), message_id)
    assert (first.good, second.good) == (True, False)
    assert first.feedback_id != second.feedback_id


async def test_what_is_no_answer_of_theirs_is_not_rated(demo: Demo) -> None:
    client = await demo.let_in()
    own, answer = await _line(demo, None), await _line(demo, READ)
    for room, form in (
        ("/w/dana/dm", {"message_id": own, "thumb": "good"}),
        ("/w/dana/dm", {"message_id": answer, "thumb": "approve"}),
        ("/w/dana/dm", {"message_id": "999", "thumb": "good"}),
        ("/w/lee/dm", {"message_id": answer, "thumb": "good"}),
    ):
        assert (await client.post(f"{room}/rate", data=form)).status_code == 404
    assert (await client.post("/w/dana/dm/rate", data={"message_id": answer})).status_code == 400
    assert demo.service.thumbs == []


async def test_a_hostile_source_stays_text(demo: Demo) -> None:
    client = await demo.let_in()
    await _line(demo, Answer((Source(HOSTILE, HOSTILE),)))
    html = (await client.get("/w/dana/dm")).text
    assert "<img src=x" not in html
    assert "<script>document" not in html
