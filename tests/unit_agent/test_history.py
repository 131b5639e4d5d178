"""Whatever happened, what a model is sent is a conversation that every API takes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.agent.history import BROKEN_OFF, fresh_id, read_back, spell, tokens, whole, window, without_tools
from bot.ports import AssistantSaid, EventHappened, Message, OthersSaid, ToolCall, ToolReturned, UserSaid

ids = st.sampled_from(["a", "b", "c", ""])
text = st.text(max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
tool_calls = st.builds(
    ToolCall, ids, st.just("crm_read"), st.none() | st.dictionaries(st.text(max_size=4), json_values, max_size=3), text
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(UserSaid, text),
    st.builds(OthersSaid, text, text),
    st.builds(EventHappened, text),
    st.builds(ToolReturned, ids, text, st.booleans()),
    st.builds(AssistantSaid, text, st.lists(tool_calls, max_size=3).map(tuple), json_values, st.just("m")),
)
histories = st.lists(messages, max_size=12)


def assert_whole(history: tuple[Message, ...]) -> None:
    seen: set[str] = set()
    waiting: list[str] = []
    for message in history:
        if isinstance(message, ToolReturned):
            assert waiting, "a result without a call, or one too many"
            assert waiting.pop(0) == message.call_id
            continue
        assert not waiting, "something stands between a call and its result"
        if isinstance(message, AssistantSaid):
            for call in message.calls:
                assert call.id not in seen
                seen.add(call.id)
                waiting.append(call.id)
    assert not waiting, "a call without a result"


@given(histories)
def test_every_call_has_one_result_directly_after_it(history: list[Message]) -> None:
    assert_whole(whole(history))


@given(histories)
def test_nothing_that_anybody_said_is_lost(history: list[Message]) -> None:
    def said(items: list[Message] | tuple[Message, ...]) -> list[Message]:
        return [m for m in items if not isinstance(m, AssistantSaid | ToolReturned)]

    assert said(whole(history)) == said(history)
    assert whole(whole(history)) == whole(history)


@given(histories, st.integers(0, 400))
@settings(max_examples=300)
def test_a_window_is_whole_begins_with_somebody_and_keeps_the_last_word(history: list[Message], budget: int) -> None:
    kept = window(history, budget)
    assert_whole(kept)
    said = [m for m in whole(history) if isinstance(m, UserSaid | OthersSaid | EventHappened)]
    if not said:
        assert kept == ()
        return
    assert isinstance(kept[0], UserSaid | OthersSaid | EventHappened)
    assert said[-1] in kept
    if len(kept) > 1:
        assert sum(map(tokens, kept)) <= max(budget, tokens(said[-1]))


@given(histories)
def test_an_endless_window_drops_only_what_stands_before_the_first_word(history: list[Message]) -> None:
    kept = window(history, 10**9)
    assert list(kept) == list(whole(history))[len(whole(history)) - len(kept) :]


def test_a_message_that_came_while_a_call_was_running_moves_behind_the_result() -> None:
    answer = AssistantSaid("", (ToolCall("a", "crm_read", {}),))
    assert whole([UserSaid("1"), answer, UserSaid("2"), ToolReturned("a", "done")]) == (
        UserSaid("1"),
        answer,
        ToolReturned("a", "done"),
        UserSaid("2"),
    )


def test_a_call_whose_result_was_never_noted_claims_nothing() -> None:
    healed = whole([UserSaid("1"), AssistantSaid("", (ToolCall("a", "refund_issue", {}),)), UserSaid("2")])
    assert healed[2] == ToolReturned("a", BROKEN_OFF, is_error=True)
    assert "Do not say that it happened" in BROKEN_OFF


def test_a_server_that_numbers_its_calls_anew_gets_ids_that_differ() -> None:
    once: list[Message] = [AssistantSaid("", (ToolCall("call_0", "crm_read", {}),)), ToolReturned("call_0", "first")]
    twice: list[Message] = [AssistantSaid("", (ToolCall("call_0", "crm_read", {}),)), ToolReturned("call_0", "second")]
    healed = whole([UserSaid("1"), *once, *twice])
    assert healed[2] == ToolReturned("call_0", "first")
    assert healed[4] == ToolReturned("call_0_2", "second")
    assert fresh_id("", {"call"}) == "call_2"


def test_where_no_tool_is_offered_no_call_is_sent() -> None:
    history = (UserSaid("1"), AssistantSaid("hm", (ToolCall("a", "crm_read", {}),)), ToolReturned("a", "x"))
    assert without_tools(history) == (UserSaid("1"), AssistantSaid("hm\n(Earlier I called: crm_read.)"))


@given(messages)
def test_a_message_is_read_back_as_it_was(message: Message) -> None:
    assert read_back(spell(message)) == message


@pytest.mark.parametrize("row", [{}, {"kind": "user"}, {"kind": "assistant", "text": "", "calls": [1], "opaque": 1}])
def test_a_row_that_is_not_ours_is_refused_in_words(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="transcript row"):
        read_back(row)  # type: ignore[arg-type]
