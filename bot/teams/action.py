"""What a button of ours says when it is pressed, read back from Teams. Pure; decides nothing and believes nothing.

Everything in it is routing: who pressed is in the activity that the gate has verified, and the door looks up the rest.
One shape serves both ways in: ``adaptiveCard/action`` invokes (Action.Execute) and messages with a value (Submit).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from bot.payload import Body, at, text_at
from policy.approval import Verb
from policy.model import Json

VERSION: Final = 1
"""Of the data, under ``cs``: what another app's card says is nothing to us."""
PRESS: Final = "press"
WITHDRAW: Final = "withdraw"
ASK_AGAIN: Final = "ask_again"
LINK_YES: Final = "link_yes"
LINK_NO: Final = "link_no"
REFRESH: Final = "refresh"

_INPUT = re.compile(r"text_[0-9]{1,3}")
_LONGEST_ID = 200
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Pressed:
    """A decision, a question or a withdrawal."""

    held_id: str
    revision: int
    digest: str
    """What the card displayed."""
    verb: Verb
    text: str
    """What stood in the item's input; empty where nothing did."""


@dataclass(frozen=True, slots=True)
class AskedAgain:
    held_id: str


@dataclass(frozen=True, slots=True)
class LinkAnswered:
    confirmation_id: str
    yes: bool


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Teams asks for a card as its reader may use it; nobody pressed anything."""

    held_id: str


Action: TypeAlias = Pressed | AskedAgain | LinkAnswered | Refreshed


def action_data(
    act: str,
    held_id: str,
    *,
    revision: int = 0,
    digest: str = "",
    verb: Verb | None = None,
    text_in: str | None = None,
) -> Json:
    """What a button carries; `text_in` names the input whose text goes with it. `read_action` is its inverse."""
    data: dict[str, Json] = {"cs": VERSION, "act": act, "held": held_id}
    if verb is not None:
        data["verb"] = verb.value
    if act in (PRESS, WITHDRAW):
        data |= {"rev": revision, "digest": digest}
    if text_in is not None:
        data["input"] = text_in
    return data


def read_action(value: Body) -> Action | None:
    """The action in an activity's ``value``; None for everything that no button of ours says."""
    data = at(value, "action", "data") if at(value, "action") is not None else value
    held_id = _identifier(data, "held")
    if _number(data, "cs") != VERSION or held_id is None:
        return None
    match at(data, "act"):
        case "press":
            return _pressed(data, held_id, _verb(data))
        case "withdraw":
            return _pressed(data, held_id, Verb.WITHDRAW)
        case "ask_again":
            return AskedAgain(held_id)
        case "link_yes" | "link_no" as said:
            return LinkAnswered(held_id, yes=said == LINK_YES)
        case "refresh":
            return Refreshed(held_id)
        case _:
            return None


def _pressed(data: Json, held_id: str, verb: Verb | None) -> Pressed | None:
    revision, digest = _number(data, "rev"), _identifier(data, "digest")
    if verb is Verb.WITHDRAW and at(data, "digest") == "":
        # Below the summary of what waits no draft is shown: the button names the request alone, and takes back
        # whatever it says by then.
        digest = ""
    if verb is None or revision is None or digest is None:
        return None
    return Pressed(held_id, revision, digest, verb, _text(data))


def _verb(data: Json) -> Verb | None:
    try:
        return Verb(text_at(data, "verb"))
    except ValueError:
        return None


def _text(data: Json) -> str:
    named = text_at(data, "input")
    return text_at(data, named).strip() if _INPUT.fullmatch(named) else ""


def _identifier(data: Json, key: str) -> str | None:
    found = text_at(data, key)
    return found if 0 < len(found) <= _LONGEST_ID and found == at(data, key) else None


def _number(data: Json, key: str) -> int | None:
    """A small whole number. Some clients write 1 as 1.0; true is none."""
    found = at(data, key)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= _MOST:
        return None
    return int(found) if found == int(found) else None
