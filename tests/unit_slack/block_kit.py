"""What Slack refuses of a message's blocks, and how much of a text a reader gets to see. For tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bot.slack.blocks import Drawing, Sheet
from policy.model import Json


def walk(value: Json) -> Iterator[Mapping[str, Json]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from walk(inner)


def shown(sheet: Sheet) -> str:
    """The words of a sheet, in order. A date reads as its fallback."""
    parts = []
    for node in walk(list(sheet.blocks)):
        text = node.get("fallback", node.get("text"))
        if isinstance(text, str):
            parts.append(text)
    return "".join(parts)


def accept(sheet: Sheet) -> None:
    """Fails where Slack would answer ``invalid_blocks`` or ``msg_blocks_too_long``."""
    blocks = [*sheet.blocks, *sheet.extra]
    assert 0 < len(blocks) <= 50
    assert len(shown(sheet)) <= 13_000
    assert sheet.text
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    assert len(ids) == len(set(map(str, ids)))
    for node in walk(blocks):
        _accept(node)


def _accept(node: Mapping[str, Json]) -> None:
    text = node.get("text")
    match node.get("type"):
        case "header":
            assert _length(text) <= 150
        case "section":
            fields = node.get("fields")
            if text is not None:
                assert _length(text) <= 3_000
                return
            assert isinstance(fields, list)
            assert 0 < len(fields) <= 10
            assert all(_length(field) <= 2_000 for field in fields)
        case "actions":
            elements = node["elements"]
            assert isinstance(elements, list)
            assert 0 < len(elements) <= 25
            ids = {str(element["action_id"]) for element in elements if isinstance(element, Mapping)}
            assert len(ids) == len(elements)
        case "context":
            elements = node["elements"]
            assert isinstance(elements, list)
            assert 0 < len(elements) <= 10
        case "context_actions":
            elements = node["elements"]
            assert isinstance(elements, list)
            assert 0 < len(elements) <= 5
        case "feedback_buttons":
            for name in ("positive_button", "negative_button"):
                thumb = node[name]
                assert isinstance(thumb, Mapping)
                assert _length(thumb["text"]) <= 75
                assert len(str(thumb["value"])) <= 2_000
                assert len(str(thumb["accessibility_label"])) <= 75
        case "button":
            assert _length(text) <= 75
            assert len(str(node["value"])) <= 2_000
            assert len(str(node["action_id"])) <= 255
        case "text":
            assert isinstance(text, str)
            assert 0 < len(text) <= 3_000
        case "plain_text" | "mrkdwn":
            assert isinstance(text, str)
            assert 0 < len(text) <= 3_000
        case _:
            pass


def _length(value: Json) -> int:
    assert isinstance(value, Mapping)
    return len(str(value["text"]))


def everything(drawing: Drawing) -> str:
    return "\n".join(shown(sheet) for sheet in (*drawing.sheets, *drawing.pages))


def preformatted(drawing: Drawing) -> str:
    """The page bodies of a draft, put together again."""
    parts = []
    for sheet in drawing.pages:
        for node in walk(list(sheet.blocks)):
            if node.get("type") == "rich_text_preformatted":
                parts += [str(element.get("text")) for element in walk(node.get("elements")) if "text" in element]
    return "".join(parts)
