"""Which model serves, what it costs, and what may be read out of its JSON."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.agent.routing import InOrder, Router, RoutingError, UnknownPrice
from bot.agent.wire import arguments, retry_after, status_fault
from bot.ports import Model, ModelAnswer, ModelError, ModelRequest, OnText, Usage
from policy.axes import ActionClass
from policy.model_rules import Adapter, ModelName, Models, Price
from tests.unit_agent.made import Scripted, says

CLAUDE = ModelName(Adapter.ANTHROPIC, "claude-sonnet-5-5")
GPT = ModelName(Adapter.OPENAI, "gpt-6.1-sol")
OWN = ModelName(Adapter.OPENAI_CHAT, "own")
OFFLINE = ModelName(Adapter.OFFLINE, "offline")
REQUEST = ModelRequest("", (), (), 10, 1.0)


def models(
    *default: ModelName,
    routes: dict[ActionClass, tuple[ModelName, ...]] | None = None,
    prices: dict[str, Price] | None = None,
) -> Models:
    return Models(default, MappingProxyType(routes or {}), MappingProxyType(prices or {}))


def named(model: str) -> Model:
    made = Scripted()
    made.name = model
    return made


ALL: dict[Adapter, Callable[[str], Model]] = dict.fromkeys(Adapter, named)


def test_the_strictest_class_that_is_offered_chooses_the_model() -> None:
    router = Router(models(CLAUDE, routes={ActionClass.READ: (OFFLINE,), ActionClass.IRREVERSIBLE: (GPT,)}), ALL)
    assert router.model([ActionClass.READ]).name == "offline"
    assert router.model([ActionClass.READ, ActionClass.IRREVERSIBLE]).name == "gpt-6.1-sol"
    assert router.model([ActionClass.EXTERNAL_SEND]).name == "claude-sonnet-5-5"
    assert router.model().name == "claude-sonnet-5-5"


def test_a_model_is_made_once_and_only_where_its_adapter_is_configured() -> None:
    made: list[str] = []

    def make(model: str) -> Model:
        made.append(model)
        return named(model)

    router = Router(models(CLAUDE, GPT), {Adapter.OPENAI: make})
    assert made == []
    assert router.model() is router.model()
    assert (made, router.names) == (["gpt-6.1-sol"], ("gpt-6.1-sol",))


def test_without_a_configured_model_it_says_what_to_set() -> None:
    with pytest.raises(RoutingError, match="Set ANTHROPIC_API_KEY"):
        Router(models(CLAUDE), {})


def test_a_name_under_two_adapters_is_refused() -> None:
    with pytest.raises(RoutingError, match="two adapters"):
        Router(models(GPT, ModelName(Adapter.OPENAI_CHAT, "gpt-6.1-sol")), ALL)


def test_listed_prices_count_cached_tokens_apart() -> None:
    router = Router(models(CLAUDE, GPT), ALL)
    plain = router.price("claude-sonnet-5-5", Usage(1_830, 61))
    cached = router.price("claude-sonnet-5-5", Usage(1_830, 61, cache_read_tokens=1_500))
    assert isinstance(plain, Decimal)
    assert 0 < cached < plain
    assert router.price("gpt-6.1-sol", Usage(1_000, 100)) > 0


def test_own_models_cost_what_models_yaml_says() -> None:
    price = {str(OWN): Price(Decimal("0.40"), Decimal("0.60"))}
    router = Router(models(OWN, prices=price), ALL)
    assert router.price("own", Usage(1_000_000, 500_000)) == Decimal("0.70")
    assert Router(models(OFFLINE), ALL).price("offline", Usage(5, 5)) == 0


@pytest.mark.parametrize("unpriced", [OWN, ModelName(Adapter.ANTHROPIC, "claude-nobody-knows")])
def test_a_model_without_a_price_does_not_start(unpriced: ModelName) -> None:
    with pytest.raises(UnknownPrice, match="Add it to models.yaml under prices"):
        Router(models(unpriced), ALL)


def test_an_answer_by_a_model_nobody_named_has_no_price() -> None:
    with pytest.raises(UnknownPrice):
        Router(models(CLAUDE), ALL).price("gpt-6.1-sol", Usage(1, 1))


async def test_the_next_model_answers_when_the_first_is_down() -> None:
    first = Scripted(ModelError("Claude is overloaded.", transient=True))
    assert (await InOrder((first, Scripted(says("here")))).answer(REQUEST)).text == "here"


async def test_when_all_are_down_everybodys_reason_is_given() -> None:
    down = InOrder(
        (
            Scripted(ModelError("Claude is overloaded.", transient=True, retry_after_s=30)),
            Scripted(ModelError("OpenAI refused the key.", transient=False, retry_after_s=5)),
        )
    )
    with pytest.raises(ModelError) as raised:
        await down.answer(REQUEST)
    assert str(raised.value) == "Claude is overloaded. OpenAI refused the key."
    assert (raised.value.transient, raised.value.retry_after_s) == (True, 5)


async def test_what_one_model_began_to_say_is_not_begun_again_by_the_next() -> None:
    shown: list[str] = []

    async def on_text(text: str) -> None:
        shown.append(text)

    class Breaks:
        name = "breaks"

        async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
            assert on_text is not None
            await on_text("half")
            raise ModelError("gone", transient=True)

    answer = await InOrder((Breaks(), Scripted(says("whole answer")))).answer(REQUEST, on_text)
    assert (shown, answer.text) == (["half"], "whole answer")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", max_size=4), json_values, max_size=4))
def test_an_object_is_read_as_it_was_written(value: dict[str, object]) -> None:
    import json

    assert arguments(json.dumps(value)) == value
    assert arguments(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize(
    "raw",
    [
        '{"amount":',
        '"42.00"',
        "[1]",
        "null",
        '{"a": 1, "a": 2}',
        '{"x": {"a": 1, "a": 2}}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": "\\ud800"}',
        '{"a": "\\u0000"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a": 1} {"b": 2}',
    ],
)
def test_what_two_readers_could_take_for_different_things_is_not_read(raw: str) -> None:
    assert arguments(raw) is None


@given(st.text(max_size=80))
def test_no_text_raises(raw: str) -> None:
    value = arguments(raw)
    assert value is None or isinstance(value, dict)


def test_nothing_is_no_arguments() -> None:
    assert arguments("") == {}


@pytest.mark.parametrize(
    ("status", "kind", "words", "transient"),
    [
        (429, None, "limits requests", True),
        (529, "overloaded_error", "overloaded", True),
        (500, None, "overloaded", True),
        (200, "overloaded_error", "overloaded", True),
        (401, None, "key", False),
        (404, None, "does not know the configured model", False),
        (400, None, "refused the request", False),
    ],
)
def test_faults_are_sentences_for_people(status: int, kind: str | None, words: str, transient: bool) -> None:
    fault = status_fault("Claude", status, kind, "req_1", "7")
    assert words in str(fault)
    assert "req_1" not in str(fault)
    assert fault.transient is transient
    if status == 429:
        assert fault.retry_after_s == 7


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("2.5", 2.5), ("-1", None), ("99999", None), ("nan", None), ("soon", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_a_time_to_come_or_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds
