"""One segment: bounded, whole after every crash, and never claiming what nobody knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.agent.history import whole
from bot.agent.loop import Bounds, Ending, SegmentId, SegmentResult, call_id, run_segment, turn_of
from bot.agent.transcript import Key, Transcript, receive
from bot.ports import (
    AssistantSaid,
    EventHappened,
    Message,
    ModelAnswer,
    ModelError,
    Stop,
    ToolCall,
    ToolReturned,
    UserSaid,
)
from policy.model import TenantId
from tests.unit_agent.made import (
    DANA,
    NOW,
    Clock,
    Crash,
    Door,
    Memory,
    Scripted,
    call,
    calls,
    executed_view,
    hands,
    says,
)

AT = SegmentId("t1", "start")
RESUME = SegmentId("t1", "h1")
KEY = Key(TenantId("demo"), "s1", DANA)
REFUND_AND_MAIL = calls(call("refund_issue", "r"), call("email_send", "m"), text="I propose both.")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    engine = make_engine(f"sqlite:///{tmp_path / 'agent.sqlite'}")
    SQLModel.metadata.tables["transcript"].create(engine)
    writer = Writer(engine)
    yield writer
    writer.close()
    engine.dispose()


@pytest.fixture
def talk(writer: Writer) -> Transcript:
    return Transcript(writer, KEY)


async def everything(talk: Transcript) -> tuple[Message, ...]:
    return (await talk.load(10**9)).messages


async def ask(talk: Transcript, model: Scripted, door: Door, text: str = "hi", **changes: Any) -> SegmentResult:
    return await run_segment(AT, talk, hands(model, door, **changes), [UserSaid(text)])


async def test_model_door_model_text(talk: Transcript) -> None:
    model, door = Scripted(calls(call(), text="I look."), says("It was paid.")), Door()
    result = await ask(talk, model, door)
    assert (result.ending, result.text, result.steps, result.held) == (Ending.ANSWERED, "It was paid.", 2, ())
    assert (result.usage.input_tokens, result.usage.output_tokens) == (200, 30)
    assert str(result.cost_usd) == "0.00023"
    assert result.models == ("scripted",)
    (wishes,) = door.proposed
    assert (wishes.prose, wishes.calls[0].tool, wishes.calls[0].arguments) == ("I look.", "crm_read", {"key": "1042"})
    assert isinstance(model.asked[1].messages[-1], ToolReturned)
    assert await talk.text(result.seq) == "It was paid."


async def test_several_calls_of_one_answer_go_to_the_door_together_and_are_told_at_once(talk: Transcript) -> None:
    model, door = Scripted(REFUND_AND_MAIL, says("Both wait.")), Door()
    result = await ask(talk, model, door)
    assert [wish.tool for wish in door.proposed[0].calls] == ["refund_issue", "email_send"]
    assert result.held == tuple(f"held-{call_id(AT, 1, n)}" for n in (0, 1))
    told = [m for m in model.asked[1].messages if isinstance(m, ToolReturned)]
    assert [m.call_id for m in told] == ["r", "m"]
    assert all(json.loads(m.content)["status"] == "held" for m in told)


async def test_a_settled_call_goes_on_as_an_event(talk: Transcript) -> None:
    await ask(talk, Scripted(REFUND_AND_MAIL, says("Both wait.")), Door())
    model = Scripted(says("It is refunded."))
    result = await run_segment(RESUME, talk, hands(model, Door()), settled=[executed_view()])
    assert result.text == "It is refunded."
    last = model.asked[0].messages[-1]
    assert isinstance(last, EventHappened)
    assert last.text.startswith("executed: Refund 42.00 USD")


async def test_a_second_message_while_calls_wait_is_answered_in_a_whole_transcript(
    talk: Transcript, writer: Writer
) -> None:
    await ask(talk, Scripted(REFUND_AND_MAIL, says("Both wait.")), Door())
    second = SegmentId("t2", "start")
    await writer.run(lambda conn: receive(conn, KEY, "t2", "start", [UserSaid("how does it stand?")], NOW))
    model = Scripted(says("Still waiting."))
    assert (await run_segment(second, talk, hands(model, Door()))).text == "Still waiting."
    sent = model.asked[0].messages
    assert sent == whole(sent)
    assert sent[-1] == UserSaid("how does it stand?")


async def test_when_the_model_is_down_nothing_is_lost_and_the_turn_goes_on(talk: Transcript) -> None:
    down = ModelError("Claude is overloaded or has a fault at the moment.", transient=True)
    result = await ask(talk, Scripted(calls(call("refund_issue")), down), Door(), "refund it")
    assert result.ending is Ending.MODEL_DOWN
    assert result.text.startswith("Claude is overloaded or has a fault at the moment. Nothing more was done.")
    assert "keeps waiting" in result.text
    model = Scripted(says("Going on."))
    again = await run_segment(SegmentId("t2", "start"), talk, hands(model, Door()), [UserSaid("go on")])
    assert again.text == "Going on."
    assert UserSaid("refund it") in model.asked[0].messages


async def test_what_was_done_is_told_even_when_no_model_answers(talk: Transcript) -> None:
    down = ModelError("Claude could not be reached.", transient=True)
    result = await run_segment(RESUME, talk, hands(Scripted(down), Door()), settled=[executed_view()])
    assert result.text.splitlines()[0] == (
        "Refund 42.00 USD for order 1042 to Ada Lindqvist: Approved by Ann Okafor, and executed. "
        "Refunded 42.00 USD, re_81."
    )


async def test_steps_are_bounded(talk: Transcript) -> None:
    model = Scripted(*[calls(call(call_id=f"c{n}")) for n in range(3)])
    result = await ask(talk, model, Door(), bounds=Bounds(steps=3))
    assert (result.ending, result.steps, model.answers) == (Ending.OUT_OF_STEPS, 3, [])
    assert result.text.startswith("I stopped here: this took more steps")
    assert (await everything(talk))[-1] == AssistantSaid(result.text)


async def test_tokens_are_bounded(talk: Transcript) -> None:
    model = Scripted(calls(call()), says("never asked"))
    result = await ask(talk, model, Door(), bounds=Bounds(tokens=120))
    assert (result.ending, len(model.asked)) == (Ending.OUT_OF_TOKENS, 1)


async def test_time_is_bounded_and_an_answer_gets_what_is_left_of_it(talk: Transcript) -> None:
    model = Scripted(*[calls(call(call_id=f"c{n}")) for n in range(8)])
    result = await ask(talk, model, Door(), clock=Clock(timedelta(seconds=10)))
    assert result.ending is Ending.OUT_OF_TIME
    assert model.asked[0].timeout_s == 60.0
    assert 0 < model.asked[-1].timeout_s < 60.0


async def test_more_calls_than_allowed_are_answered_and_not_run(talk: Transcript) -> None:
    door = Door()
    model = Scripted(calls(*[call(call_id=f"c{n}") for n in range(4)]), says("ok"))
    await ask(talk, model, door, bounds=Bounds(calls=3))
    assert len(door.proposed[0].calls) == 3
    last = model.asked[1].messages[-1]
    assert isinstance(last, ToolReturned)
    assert "at most 3 calls" in last.content


async def test_calls_of_an_answer_that_was_cut_off_are_not_run(talk: Transcript) -> None:
    door = Door()
    await ask(talk, Scripted(calls(call("refund_issue"), stop=Stop.MAX_TOKENS), says("Sorry.")), door)
    assert door.proposed == []
    assert "cut off" in str((await everything(talk))[2])


async def test_arguments_that_did_not_parse_go_to_the_door_as_none(talk: Transcript) -> None:
    door = Door()
    await ask(talk, Scripted(calls(ToolCall("c", "crm_read", None, '{"key":')), says("Sorry.")), door)
    assert door.proposed[0].calls[0].arguments is None


@pytest.mark.parametrize(
    ("answer", "ending", "words"),
    [
        (says("I will not.", Stop.REFUSED), Ending.REFUSED, "The model declined"),
        (calls(call("refund_issue"), stop=Stop.REFUSED), Ending.REFUSED, "The model declined"),
        (says("half an ans", Stop.MAX_TOKENS), Ending.CUT, "half an ans\n\n(My answer was cut off"),
        (says("  "), Ending.ANSWERED, "The model gave no answer"),
    ],
)
async def test_odd_answers_end_in_plain_words(
    talk: Transcript, answer: ModelAnswer, ending: Ending, words: str
) -> None:
    door = Door()
    result = await ask(talk, Scripted(answer), door)
    assert (result.ending, result.text[: len(words)], door.proposed) == (ending, words, [])


async def test_what_is_said_has_passed_the_guard_streamed_or_not(talk: Transcript) -> None:
    shown: list[str] = []

    async def on_text(text: str) -> None:
        shown.append(text)

    leak = ModelAnswer(
        "x " * 100 + "The card is 4111 1111 1111 1111." + " y" * 200,
        (),
        says("").usage,
        "scripted",
        Stop.END,
        [{"type": "thinking", "thinking": "4111 1111 1111 1111"}],
    )
    result = await ask(talk, Scripted(leak), Door(), on_text=on_text)
    assert "4111" not in result.text
    assert result.findings == ("pii.card",)
    assert shown
    assert result.text.startswith("".join(shown))
    assert "4111" not in repr(await everything(talk))


async def test_strangers_words_reach_the_model_marked_and_the_door_as_exposures(talk: Transcript) -> None:
    door = Door(untrusted=True)
    model = Scripted(calls(call()), calls(call("refund_issue", "r")), says("ok"))
    result = await ask(talk, model, door)
    assert result.exposures == ("crm_read",)
    assert door.proposed[0].exposures == ()
    assert door.proposed[1].exposures == ("crm_read",)
    told = model.asked[1].messages[-1]
    assert isinstance(told, ToolReturned)
    assert told.content.count("⟦") == 2


async def test_who_may_use_no_tool_any_more_sends_no_calls(talk: Transcript) -> None:
    await ask(talk, Scripted(calls(call()), says("ok")), Door())
    model = Scripted(says("You may not."))
    await run_segment(SegmentId("t2", "start"), talk, hands(model, Door(), tools=()), [UserSaid("again")])
    assert not any(isinstance(m, ToolReturned) or getattr(m, "calls", ()) for m in model.asked[0].messages)


async def test_step_results_hold_no_text(talk: Transcript) -> None:
    memory = Memory()
    secret = "my card is 4111 1111 1111 1111"
    model = Scripted(calls(call("refund_issue", arguments={"reason": secret}), text=secret), says(secret))
    await run_segment(AT, talk, hands(model, Door(), memory), [UserSaid(secret)])
    assert list(memory.kept) == ["open", "model.1", "tools.1", "model.2"]
    assert "card is" not in json.dumps(memory.kept)
    assert "Refund 42" not in json.dumps(memory.kept)


async def test_a_segment_run_again_costs_nothing_and_says_the_same(talk: Transcript) -> None:
    memory, door = Memory(), Door()
    model = Scripted(REFUND_AND_MAIL, says("Both wait."))
    first = await run_segment(AT, talk, hands(model, door, memory), [UserSaid("x")])
    assert await run_segment(AT, talk, hands(model, door, memory), [UserSaid("x")]) == first
    assert len(door.proposed) == 1


@pytest.mark.parametrize("step", ["open", "model.1", "tools.1", "model.2", "tools.2", "model.3"])
async def test_a_crash_after_any_step_is_gone_on_from(talk: Transcript, step: str) -> None:
    memory, door = Memory(dies_after=step), Door()
    model = Scripted(calls(call()), REFUND_AND_MAIL, says("Both wait."))
    with pytest.raises(Crash):
        await run_segment(AT, talk, hands(model, door, memory), [UserSaid("x")])
    result = await run_segment(AT, talk, hands(model, door, memory), [UserSaid("x")])
    assert result.text == "Both wait."
    assert len(door.effects) == len(set(door.effects)) == 3
    assert len(door.proposed) == 2
    assert model.answers == []
    assert (result.usage.input_tokens, len(result.held)) == (300, 2)
    history = await everything(talk)
    assert len(history) == 7
    assert history == whole(history)


answers = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["crm_read", "refund_issue", "email_send"]), min_size=1, max_size=3).map(
            lambda names: calls(*[call(name, f"call_{n}") for n, name in enumerate(names)])
        ),
        st.just(ModelError("Claude could not be reached.", transient=True)),
    ),
    max_size=3,
)


@given(
    rounds=st.lists(st.tuples(answers, st.sampled_from([None, "open", "model.1", "tools.1"])), min_size=1, max_size=3)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_the_next_request_is_whole(writer: Writer, rounds: list[Any]) -> None:
    talk = Transcript(writer, replace(KEY, session_id=f"s{id(rounds)}-{len(rounds)}-{NOW.timestamp()}-{_fresh()}"))
    for number, (given_answers, dies_after) in enumerate(rounds):
        at = SegmentId(f"{talk.key.session_id}.{number}", "start")
        model = Scripted(*given_answers, says("done"))
        try:
            await run_segment(at, talk, hands(model, Door(), Memory(dies_after)), [UserSaid(f"{number}")])
        except Crash:
            continue  # and nobody ever ran it again
        finally:
            for request in model.asked:
                assert request.messages == whole(request.messages)
                assert isinstance(request.messages[0], UserSaid)


_count = iter(range(10**9))


def _fresh() -> int:
    return next(_count)


def test_the_doors_ids_differ_by_turn_segment_step_and_place_and_name_their_turn() -> None:
    ids = {
        call_id(SegmentId(turn, segment), step, index)
        for turn in ("t1", "t.2")
        for segment in ("start", "h1")
        for step in (1, 2)
        for index in (0, 1)
    }
    assert len(ids) == 16
    assert {turn_of(one) for one in ids} == {"t1", "t.2"}
