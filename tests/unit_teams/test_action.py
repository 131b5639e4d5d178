"""What our buttons say is read back; what no button of ours says is nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.ports import Ask
from bot.teams.action import AskedAgain, LinkAnswered, Pressed, Refreshed, read_action
from bot.teams.adaptive import draw
from bot.teams.answers import draw_answer
from policy.approval import Verb
from policy.model import Json
from tests.rigs.slack_house import a_card
from tests.unit_teams.adaptive_kit import accept, elements

DIGEST = "d" * 64
PRESS: dict[str, Json] = {"cs": 1, "act": "press", "verb": "approve", "held": "h1", "rev": 2, "digest": DIGEST}


def invoked(data: Json) -> dict[str, Json]:
    return {"action": {"type": "Action.Execute", "verb": "press", "data": data}, "trigger": "manual"}


def buttons() -> dict[str, dict[str, Json]]:
    (sheet,) = draw(a_card()).sheets
    found: dict[str, dict[str, Json]] = {}
    for node in elements(sheet, "Action.Execute"):
        data = node["data"]
        assert isinstance(data, Mapping)
        found[str(node["title"])] = dict(data)
    return found


@pytest.mark.parametrize("through", ["invoke", "submit"])
def test_every_button_of_a_card_is_read_back(through: str) -> None:
    said = {
        title: read_action(invoked(typed) if through == "invoke" else typed)
        for title, data in buttons().items()
        for typed in [{**data, "text_0": "  because  "}]
    }
    assert said == {
        "Refresh": Refreshed("held1"),
        "Approve": Pressed("held1", 1, DIGEST, Verb.APPROVE, "because"),
        "Reject": Pressed("held1", 1, DIGEST, Verb.REJECT, "because"),
        "Ask requester": Pressed("held1", 1, DIGEST, Verb.ASK, "because"),
        "Withdraw": Pressed("held1", 1, DIGEST, Verb.WITHDRAW, "because"),
    }


def test_approve_needs_no_text() -> None:
    assert read_action(invoked(buttons()["Approve"])) == Pressed("held1", 1, DIGEST, Verb.APPROVE, "")


def test_every_button_below_an_answer_is_read_back() -> None:
    asks = (
        Ask("Ask again", "ask_again", "h1"),
        Ask("Withdraw", "withdraw", "h2", 3, DIGEST),
        Ask("That is me", "link_yes", "c1"),
        Ask("Not me", "link_no", "c1"),
        Ask("Say who you are", "open", "https://bot.example/link/1"),
    )
    (said,) = draw_answer("Hello", asks)
    assert said.buttons is not None
    accept(said.buttons)
    read = [read_action(dict(node["data"])) for node in elements(said.buttons, "Action.Execute")]  # type: ignore[arg-type]
    assert read == [
        AskedAgain("h1"),
        Pressed("h2", 3, DIGEST, Verb.WITHDRAW, ""),
        LinkAnswered("c1", yes=True),
        LinkAnswered("c1", yes=False),
    ]
    (opened,) = elements(said.buttons, "Action.OpenUrl")
    assert opened["url"] == "https://bot.example/link/1"


def test_a_withdrawal_below_a_summary_names_the_request_alone() -> None:
    """No draft is shown there, so there is no digest of one; a decision without a digest is none."""
    (said,) = draw_answer("It waits.", (Ask("Withdraw", "withdraw", "h2", 3),))
    assert said.buttons is not None
    (button,) = elements(said.buttons, "Action.Execute")
    assert read_action(dict(button["data"])) == Pressed("h2", 3, "", Verb.WITHDRAW, "")  # type: ignore[arg-type]
    assert read_action({**PRESS, "digest": ""}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"cs": 2},
        {"cs": "1"},
        {"cs": True},
        {"cs": None},
        {"act": "kill"},
        {"act": ["press"]},
        {"act": None},
        {"verb": "execute"},
        {"verb": ""},
        {"held": ""},
        {"held": 7},
        {"held": "x" * 201},
        {"held": "h1\x00"},
        {"held": "h1\ud800"},
        {"rev": -1},
        {"rev": "2"},
        {"rev": True},
        {"rev": 1.5},
        {"rev": float("nan")},
        {"rev": float("inf")},
        {"rev": 10**12},
        {"rev": None},
        {"digest": ""},
        {"digest": {"a": 1}},
        {"digest": "d" * 500},
    ],
)
def test_a_strange_press_is_nothing(wrong: dict[str, Json]) -> None:
    assert read_action(PRESS) is not None
    assert read_action({**PRESS, **wrong}) is None
    assert read_action(invoked({**PRESS, **wrong})) is None


@pytest.mark.parametrize(
    "named", ["held", "digest", "text", "text_", "text_1234", "__class__", "", 7, None, ["text_0"]]
)
def test_only_an_input_is_read_as_the_text(named: Json) -> None:
    read = read_action({**PRESS, "input": named, "text": "x", "text_": "x", "text_1234": "x", "7": "x"})
    assert isinstance(read, Pressed)
    assert read.text == ""


@pytest.mark.parametrize("typed", [7, None, {"a": "b"}, ["x"], True])
def test_a_text_that_is_none_is_empty(typed: Json) -> None:
    read = read_action({**PRESS, "input": "text_0", "text_0": typed})
    assert isinstance(read, Pressed)
    assert read.text == ""


def test_a_client_may_write_whole_numbers_with_a_point() -> None:
    assert read_action({**PRESS, "cs": 1.0, "rev": 2.0}) == Pressed("h1", 2, DIGEST, Verb.APPROVE, "")


@pytest.mark.parametrize("value", [{}, {"action": None}, {"action": "press"}, {"action": {}}, {"action": {"data": []}}])
def test_a_value_that_is_no_action_is_nothing(value: dict[str, Json]) -> None:
    assert read_action(value) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_KEYS = st.sampled_from(["cs", "act", "verb", "held", "rev", "digest", "input", "text_0", "action", "data"])
_WORDS = st.sampled_from(
    [1, "press", "withdraw", "ask_again", "link_yes", "refresh", "approve", "h1", DIGEST, "text_0"]
)


@given(st.dictionaries(_KEYS, _WORDS | _JSON))
def test_anything_is_read(value: dict[str, Json]) -> None:
    for shape in (value, invoked(value), {"action": value}):
        assert isinstance(read_action(shape), Pressed | AskedAgain | LinkAnswered | Refreshed | None)
