"""Text that is streamed has passed the guard, and is a beginning of what is said in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.agent.guarded import HELD_BACK, GuardedStream, unguarded
from tests.unit_agent.made import mask

CARD = "4111 1111 1111 1111"


async def streamed(parts: list[str]) -> str:
    shown: list[str] = []

    async def on_text(text: str) -> None:
        shown.append(text)

    stream = GuardedStream(mask, on_text)
    for part in parts:
        await stream.add(part)
    return "".join(shown)


@given(st.lists(st.sampled_from(["word ", CARD, " ", "4111", " 1111", "x" * 70, "\n"]), max_size=60), st.integers(1, 9))
async def test_nothing_the_guard_masks_is_ever_shown(parts: list[str], size: int) -> None:
    text = "".join(parts)
    shown = await streamed([text[at : at + size] for at in range(0, len(text), size)])
    assert CARD not in shown
    assert mask(text).text.startswith(shown)


async def test_a_long_answer_is_shown_while_it_grows() -> None:
    text = "word " * 200
    assert len(await streamed([text[at : at + 5] for at in range(0, len(text), 5)])) >= len(text) - HELD_BACK - 70


async def test_a_short_answer_waits_for_its_end() -> None:
    assert await streamed(["short ", "answer"]) == ""
    assert unguarded("x").text == "x"
