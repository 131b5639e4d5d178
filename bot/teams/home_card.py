"""Home and the welcome as Teams cards: what waits for me, what I asked, and what to say first. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.ports import Home, HomeLine
from bot.teams import words
from bot.teams.elements import Element, Sheet, actions, adaptive_card, container, link, rich, run, safe_address, says
from bot.teams.plain import start, unshown, weight
from policy.model import Json

_LINES = 20
"""Of each list; in one card."""
_LINE = 700
_LIST = 32_000
"""Bytes of a list, so that both fit a message."""


def draw_home(home: Home) -> Sheet:
    """The card that a person gets for ``home``; small enough for one message."""
    greeting = start(home.greeting, _LINE, " …") or "Countersign"
    body: list[Json] = [rich(run(greeting, bold=True, large=True, drawn=True))]
    if home.stopped:
        stopped = start(home.stopped, 2 * _LINE, " …")
        body.append(container([rich(run("🛑 "), run(stopped, bold=True, drawn=True))], style="attention"))
    body.append(_list("Waiting for me", home.waiting_for_me, "Nothing waits for you."))
    none = "You have asked for nothing that needs a countersignature."
    body.append(_list("Asked by me", home.asked_by_me, none))
    body.append(actions([says(title, said) for title, said in words.PROMPTS]))
    summary = f"{greeting}. {len(home.waiting_for_me)} waiting for you, {len(home.asked_by_me)} asked by you."
    summary = unshown(summary)
    return Sheet(adaptive_card(body, summary), summary)


def draw_welcome(*, personal: bool) -> Sheet:
    """What the bot says where it is installed. Prompts write in their presser's name: Teams does so in chats of two."""
    body: list[Json] = [
        rich(run("Countersign", bold=True, large=True)),
        rich(run(words.WELCOME)),
        rich(run(words.WELCOME_PERSONAL if personal else words.WELCOME_SHARED)),
    ]
    if personal:
        body.append(actions([says(title, said) for title, said in words.PROMPTS]))
    return Sheet(adaptive_card(body, words.WELCOME, wide=False), words.WELCOME)


def _list(title: str, lines: Sequence[HomeLine], none: str) -> Element:
    drawn: list[Json] = [rich(run(f"{title} ({len(lines)})", bold=True))]
    if not lines:
        drawn.append(rich(run(none), spacing="Small"))
    left = _LIST
    for number, line in enumerate(lines):
        element = _line(line)
        left -= weight(element)
        if number == _LINES or left < 0:
            drawn.append(
                rich(run(f"… and {len(lines) - number} more. Say pending to see all of them."), spacing="Small")
            )
            break
        drawn.append(element)
    return container(drawn, separator=True)


def _line(line: HomeLine) -> Element:
    runs = [run(start(line.headline, _LINE, " …"), bold=True, drawn=True), run("  ·  ")]
    runs.append(run(start(line.status, _LINE, " …"), drawn=True))
    address = safe_address(line.link)
    if address is not None:
        runs += [run("  "), link("Open", address)]
    return rich(*runs, spacing="Small")
