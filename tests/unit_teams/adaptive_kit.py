"""What Teams refuses of a card, and how much of a text a reader gets to see. For tests.

The table is the part of the Adaptive Cards 1.5 schema that the house uses: an element, its properties, their values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from bot.teams.adaptive import Drawing
from bot.teams.elements import Sheet
from bot.teams.plain import unshown
from policy.model import Json

HARD_LIMIT: Final = 80_000

Check = Callable[[Json], bool]
_text: Check = lambda value: isinstance(value, str) and value != ""  # noqa: E731
_flag: Check = lambda value: isinstance(value, bool)  # noqa: E731
_number: Check = lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0  # noqa: E731
_some: Check = lambda value: isinstance(value, list) and len(value) > 0  # noqa: E731
_any: Check = lambda value: isinstance(value, Mapping)  # noqa: E731


def _one_of(*words: str) -> Check:
    return lambda value: value in words


_SPACING = _one_of("None", "Small", "Default", "Medium", "Large", "ExtraLarge", "Padding")
_BLOCK = {"spacing": _SPACING, "separator": _flag}
_ACTION = {
    "title": _text,
    "tooltip": _text,
    "data": _any,
    "style": _one_of("default", "positive", "destructive"),
    "associatedInputs": _one_of("auto", "none"),
}
_RUN = {
    "text": _text,
    "weight": _one_of("Default", "Bolder", "Lighter"),
    "fontType": _one_of("Default", "Monospace"),
    "size": _one_of("Default", "Small", "Medium", "Large", "ExtraLarge"),
    "color": _one_of("Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"),
    "underline": _flag,
    "selectAction": _any,
}
SCHEMA: Final[Mapping[str, Mapping[str, Check]]] = {
    "AdaptiveCard": {
        "$schema": _one_of("http://adaptivecards.io/schemas/adaptive-card.json"),
        "version": _one_of("1.5"),
        "speak": _text,
        "fallbackText": _text,
        "body": _some,
        "refresh": _any,
        "msteams": _any,
    },
    "Container": {
        "items": _some,
        "style": _one_of("default", "emphasis", "good", "attention", "warning", "accent"),
        **_BLOCK,
    },
    "ColumnSet": {"columns": _some, **_BLOCK},
    "Column": {"items": _some, "width": _number},
    "RichTextBlock": {"inlines": _some, **_BLOCK},
    "TextRun": _RUN,
    "TextBlock": {"text": _text, "wrap": _flag, **_BLOCK},
    "ActionSet": {"actions": _some},
    "Input.Text": {
        "id": _text,
        "label": _text,
        "placeholder": _text,
        "isMultiline": _flag,
        "isRequired": lambda value: value is False,
        "maxLength": _number,
    },
    "Action.Execute": {**_ACTION, "verb": _text, "fallback": _any},
    "Action.Submit": _ACTION,
    "Action.OpenUrl": {"title": _text, "url": _text},
}
_NAMES = re.compile(r"For <at>[\w '.()-]+</at>(, <at>[\w '.()-]+</at>)*")


def walk(value: Json) -> Iterator[Mapping[str, Json]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from walk(inner)


def elements(sheet: Sheet, kind: str) -> list[Mapping[str, Json]]:
    return [node for node in walk(sheet.card) if node.get("type") == kind]


def accept(sheet: Sheet) -> None:
    """Fails where Teams would not show the message, or not all of it."""
    activity = sheet.activity()
    assert len(json.dumps(activity)) <= HARD_LIMIT
    assert len(json.dumps(activity, ensure_ascii=False).encode("utf-16-le")) <= HARD_LIMIT
    assert sheet.summary
    for node in walk(sheet.card):
        kind = str(node.get("type", ""))
        if kind in ("mention", "imBack") or not kind:
            continue
        for key, value in node.items():
            assert key == "type" or SCHEMA[kind][key](value), f"{kind}.{key} = {value!r}"
    for block in elements(sheet, "TextBlock"):
        assert _NAMES.fullmatch(str(block["text"])), "Teams reads Markdown in it"
    _accept_texts(sheet)
    _accept_actions(sheet)


def _accept_texts(sheet: Sheet) -> None:
    for piece in elements(sheet, "TextRun"):
        text = str(piece["text"])
        assert "{{" not in text
        assert not re.search("</?at", text, re.IGNORECASE)
        assert "\x00" not in text
        # Android shows no line end at either end of a run, and no browser shows two spaces.
        assert text == text.strip("\n")
        assert "  " not in text
    entities = [node for node in walk(sheet.card) if node.get("type") == "mention"]
    names = [str(entity["text"]) for entity in entities]
    assert len(set(names)) == len(names)
    shown = "".join(str(block["text"]) for block in elements(sheet, "TextBlock"))
    assert all(shown.count(name) == 1 for name in names)


def _accept_actions(sheet: Sheet) -> None:
    inputs = [str(node["id"]) for node in elements(sheet, "Input.Text")]
    assert len(set(inputs)) == len(inputs)
    for action in elements(sheet, "Action.Execute"):
        data = action["data"]
        assert isinstance(data, Mapping)
        assert action["verb"] == data["act"]
        assert "input" not in data or data["input"] in inputs
        instead = action.get("fallback")
        if data["act"] != "refresh":
            assert isinstance(instead, Mapping)
            assert instead["type"] == "Action.Submit"
            assert instead["data"] == data
    for row in elements(sheet, "ActionSet"):
        assert isinstance(row["actions"], list)
        assert len(row["actions"]) <= 6
    refresh = sheet.card.get("refresh")
    if isinstance(refresh, Mapping):
        assert isinstance(refresh["userIds"], list)
        assert len(refresh["userIds"]) <= 60


def shown(sheet: Sheet) -> str:
    """The words of a sheet as they are read, in order; each run on its own line."""
    return "\n".join(unshown(str(node["text"])) for node in walk(sheet.card) if node.get("type") == "TextRun")


def everything(drawing: Drawing) -> str:
    return "\n".join(shown(sheet) for sheet in (*drawing.sheets, *drawing.pages))


def monospaced(sheets: Sequence[Sheet]) -> str:
    """The bodies of drafts and pages, put together again."""
    runs = [node for sheet in sheets for node in elements(sheet, "TextRun") if node.get("fontType") == "Monospace"]
    return "".join(unshown(str(node["text"])) for node in runs)


def spaceless(text: str) -> str:
    """For comparing what was cut into pages: how wide a space is nobody signs."""
    return re.sub(r"[ \t\u00a0]", "", text)
