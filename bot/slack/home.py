"""App Home as blocks: what waits for me, what I asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.ports import Home, HomeLine
from bot.visible import visible
from policy.model import Json

_LINES = 20
"""Of each list; a view takes 100 blocks."""


def home_view(home: Home) -> Json:
    blocks: list[Json] = [_header(home.greeting)]
    if home.stopped:
        icon: Json = {"type": "emoji", "name": "octagonal_sign"}
        blocks.append(_rich([icon, _text(" " + home.stopped, bold=True)]))
    blocks += _list("Waiting for me", home.waiting_for_me, "Nothing waits for you.")
    blocks += _list("Asked by me", home.asked_by_me, "You have asked for nothing that needs a countersignature.")
    return {"type": "home", "blocks": blocks}


def _list(title: str, lines: Sequence[HomeLine], none: str) -> list[Json]:
    blocks: list[Json] = [{"type": "divider"}, _header(f"{title} ({len(lines)})")]
    if not lines:
        return [*blocks, _rich([_text(none)])]
    blocks += [_rich(_line(line)) for line in lines[:_LINES]]
    if len(lines) > _LINES:
        blocks.append(
            _rich([_text(f"… and {len(lines) - _LINES} more. Type /countersign pending to see all of them.")])
        )
    return blocks


def _line(line: HomeLine) -> list[Json]:
    elements: list[Json] = [_text(visible(line.headline)[:500], bold=True), _text("\n" + visible(line.status)[:500])]
    if line.link:
        elements += [_text("  "), {"type": "link", "url": line.link, "text": "Open"}]
    return elements


def _header(text: str) -> Json:
    return {"type": "header", "text": {"type": "plain_text", "text": text[:150] or "Countersign", "emoji": False}}


def _text(text: str, *, bold: bool = False) -> Json:
    element: dict[str, Json] = {"type": "text", "text": text or "—"}
    return {**element, "style": {"bold": True}} if bold else element


def _rich(elements: Sequence[Json]) -> Json:
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}
