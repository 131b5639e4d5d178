"""The loop over the real SDKs and real HTTP against aimock: the journey, faults, time-outs, streaming."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.agent.claude import Claude
from bot.agent.loop import Bounds, Ending, SegmentId, SegmentResult, run_segment
from bot.agent.openai_model import OpenAIChat, OpenAIResponses
from bot.agent.routing import Router
from bot.agent.transcript import Key, Transcript
from bot.ports import ToolReturned, UserSaid
from policy.approval import ApprovalStatus
from policy.model import TenantId
from policy.model_rules import Adapter, ModelName, Models
from tests.rigs.aimock_rig import Aimock
from tests.unit_agent.made import DANA, Door, executed_view, hands, held_view

MAIL = "Send an e-mail to Ada Lindqvist <ada@example.com>"
ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Transcript]:
    engine = make_engine(f"sqlite:///{tmp_path / 'agent.sqlite'}")
    SQLModel.metadata.tables["transcript"].create(engine)
    writer = Writer(engine)
    yield Transcript(writer, Key(TenantId("demo"), "s1", DANA))
    writer.close()
    engine.dispose()


@pytest.fixture(params=["claude", "responses", "chat"])
async def model(request: pytest.FixtureRequest, aimock: Aimock) -> AsyncIterator[Any]:
    made: Claude | OpenAIResponses | OpenAIChat
    match request.param:
        case "claude":
            made = Claude("claude-sonnet-5-5", api_key="k", base_url=aimock.base, retries=0)
        case "responses":
            made = OpenAIResponses("gpt-6.1-sol", api_key="k", base_url=aimock.openai, retries=0)
        case _:
            made = OpenAIChat("our-own-model", api_key="k", base_url=aimock.openai, retries=0)
    yield made
    await made.close()


async def ask(talk: Transcript, model: Any, text: str, turn: str = "t1", **changes: Any) -> SegmentResult:
    door = changes.pop("door", None) or Door()
    return await run_segment(SegmentId(turn, "start"), talk, hands(model, door, **changes), [UserSaid(text)])


async def test_the_refund_and_its_mail_are_proposed_together_and_told_to_wait(
    talk: Transcript, model: Any, aimock: Aimock
) -> None:
    door = Door()
    result = await ask(talk, model, ASK, door=door)
    assert result.ending is Ending.ANSWERED
    assert "waiting for finance_approver" in result.text
    assert "Nothing has been paid or sent yet" in result.text
    assert [[wish.tool for wish in wishes.calls] for wishes in door.proposed] == [
        ["crm_read"],
        ["refund_issue", "email_send"],
    ]
    refund = door.proposed[1].calls[0].arguments
    assert refund is not None
    assert (refund["order_id"], refund["amount"], refund["currency"]) == ("1042", "42.00", "USD")
    assert (result.steps, len(result.held), result.usage.input_tokens) == (3, 2, 1830 + 2110 + 2390)
    bodies = json.dumps([entry["body"] for entry in aimock.journal()])
    assert "temperature" not in bodies


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": ApprovalStatus.REJECTED, "reason": "Wrong order", "settled_by": "Ann"}, "was rejected"),
        ({"status": ApprovalStatus.EXPIRED}, "Nobody decided in time"),
        ({"status": ApprovalStatus.WITHDRAWN, "settled_by": "Dana"}, "You withdrew"),
        ({"status": ApprovalStatus.VOIDED, "headline": MAIL, "reason": "The refund was rejected"}, "was dropped"),
    ],
)
async def test_what_was_settled_reaches_the_model_and_it_goes_on(
    talk: Transcript, model: Any, changes: dict[str, Any], said: str
) -> None:
    await ask(talk, model, ASK)
    at = SegmentId("t1", "h1")
    result = await run_segment(at, talk, hands(model, Door()), settled=[held_view(**changes)])
    assert said in result.text


async def test_refund_then_mail_are_told_as_they_happen_with_a_question_between(talk: Transcript, model: Any) -> None:
    await ask(talk, model, ASK)
    paid = await run_segment(SegmentId("t1", "h1"), talk, hands(model, Door()), settled=[executed_view("h1")])
    assert paid.text == "The refund of 42.00 USD for order 1042 has been paid."
    between = await ask(talk, model, "and how does it stand?", "t2")
    assert between.text.startswith("Both still wait")
    mail = held_view("h2", headline=MAIL, status=executed_view().status, effect=executed_view().effect, result="Sent.")
    sent = await run_segment(SegmentId("t1", "h2"), talk, hands(model, Door()), settled=[mail])
    assert sent.text == "The mail to Ada Lindqvist has been sent."


async def test_two_calls_in_one_answer_get_two_results(talk: Transcript, model: Any) -> None:
    door = Door()
    result = await ask(talk, model, "two lookups", door=door)
    assert result.text == "Both orders are there."
    assert [wish.arguments for wish in door.proposed[0].calls] == [
        {"kind": "order", "key": "1001"},
        {"kind": "order", "key": "1002"},
    ]
    results = [m.call_id for m in (await talk.load(10**6)).messages if isinstance(m, ToolReturned)]
    assert results == ["call_two_1", "call_two_2"]


async def test_a_model_that_thinks_first_goes_on_from_its_thoughts(talk: Transcript, model: Any) -> None:
    # aimock's journal keeps no thoughts: that they go back word for word is proved in the contract suite.
    assert (await ask(talk, model, "think first")).text == "I thought, and then I looked."


async def test_a_long_answer_is_streamed_while_it_grows(talk: Transcript, model: Any) -> None:
    shown: list[str] = []

    async def on_text(text: str) -> None:
        shown.append(text)

    result = await ask(talk, model, "tell a long story", on_text=on_text)
    assert len(shown) > 1
    assert result.text.startswith("".join(shown))
    assert result.text.endswith("no more of it.")


async def test_what_must_not_be_said_is_not(talk: Transcript, model: Any) -> None:
    result = await ask(talk, model, "leak a card")
    assert "4111" not in result.text
    assert result.findings == ("pii.card",)


async def test_an_answer_that_was_cut_off_says_so(talk: Transcript, model: Any) -> None:
    result = await ask(talk, model, "write too much")
    assert result.ending is Ending.CUT
    assert "cut off here" in result.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate limit me", "limits requests at the moment"),
        ("overload me", "overloaded or has a fault"),
        ("refuse my key", "An admin has to check the key"),
        ("answer too late", "did not answer in time"),
        ("stall in the middle", "did not answer in time"),
        ("break off in the middle", "could not be reached"),
    ],
)
async def test_a_bad_day_is_told_plainly_and_the_thread_goes_on(
    talk: Transcript, model: Any, text: str, words: str
) -> None:
    result = await ask(talk, model, text, bounds=Bounds(answer_seconds=1.5))
    assert result.ending is Ending.MODEL_DOWN
    assert words in result.text
    assert "Write to me again" in result.text
    again = await ask(talk, model, "hello", "t2")
    assert again.text == "Hello. What can I do for you?"


async def test_the_sdk_tries_again_within_the_time_there_is(talk: Transcript, aimock: Aimock) -> None:
    claude = Claude("claude-sonnet-5-5", api_key="k", base_url=aimock.base, retries=1)
    await ask(talk, claude, "overload me")
    await claude.close()
    assert len(aimock.journal()) == 2


async def test_the_next_model_takes_over_where_the_first_is_down_and_each_costs_something(
    talk: Transcript, aimock: Aimock
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    claude = Claude("claude-sonnet-5-5", api_key="k", base_url=closed, retries=0)
    gpt = OpenAIResponses("gpt-6.1-sol", api_key="k", base_url=aimock.openai, retries=0)
    order = (ModelName(Adapter.ANTHROPIC, claude.name), ModelName(Adapter.OPENAI, gpt.name))
    router = Router(
        Models(order, MappingProxyType({}), MappingProxyType({})),
        {Adapter.ANTHROPIC: lambda _: claude, Adapter.OPENAI: lambda _: gpt},
    )
    result = await ask(talk, router.model(), ASK, price=router.price)
    assert result.models == ("gpt-6.1-sol",)
    assert "waiting for finance_approver" in result.text
    assert result.cost_usd > 0
    await claude.close()
    await gpt.close()
