"""What people read and do in Teams, in their words: cards, buttons by their label, what is said to one of them alone.

Knows Adaptive Cards only as far as a reader sees them; every wait has a deadline and fails with the whole conversation.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.kit.slack_desk import plain
from tests.rigs.local_slack import until
from tests.rigs.teams_playground import CHANNEL_NAMES, PEOPLE, Member, Rig
from tests.rigs.teams_wire import BOT, Body, Heard, Shown

ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"
WAIT_S = 40.0
"""Generous: CI has two cores and other tests on them."""

_NAMES = {member.id: member.name for member in PEOPLE}
_INVISIBLE = re.compile("[\u200b-\u200d\u2060]")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_UNSEEN = frozenset({"$schema", "fallback", "refresh", "speak", "msteams", "data", "summary", "authentication"})


def read(node: Any) -> str:
    """Everything a person can read of an activity, a card or a part of one, in order."""
    if isinstance(node, list):
        return "\n".join(part for part in map(read, node) if part)
    if not isinstance(node, dict):
        return ""
    match node.get("type"):
        case "message" | "typing":
            # A card's message may have a text beside it, in the list of chats.
            return "\n".join(part for part in (_shown(node), read(node.get("attachments"))) if part)
        case "RichTextBlock":
            return "".join(one if isinstance(one, str) else str(one.get("text", "")) for one in node["inlines"])
        case "FactSet":
            return "\n".join(f"{fact['title']} {fact['value']}" for fact in node["facts"])
        case "TextBlock":
            return str(node["text"])
        case str(kind) if kind.startswith("Action."):
            return f"[{node.get('title', '')}]\n{read(node.get('card'))}".strip()
        case str(kind) if kind.startswith("Input."):
            return "\n".join(str(node[name]) for name in ("label", "placeholder") if node.get(name))
    return "\n".join(text for name, part in node.items() if name not in _UNSEEN and (text := read(part)))


def _shown(activity: Body) -> str:
    """A text as it reads; emphasis stays as it was written."""
    text = _INVISIBLE.sub("", str(activity.get("text") or ""))
    return text if activity.get("textFormat") == "plain" else _ESCAPED.sub(r"\1", text)


def pieces(node: Any, prefix: str) -> Iterator[Body]:
    """Every element of a card whose type begins with `prefix`, but for fallbacks."""
    if isinstance(node, list):
        for part in node:
            yield from pieces(part, prefix)
    elif isinstance(node, dict):
        if str(node.get("type", "")).startswith(prefix):
            yield node
        for name, part in node.items():
            if name not in ("fallback", "refresh", "data"):
                yield from pieces(part, prefix)


def buttons(message: Shown | Body) -> list[Body]:
    activity = message.activity if isinstance(message, Shown) else message
    return [one for one in pieces(activity, "Action.") if one["type"] in ("Action.Execute", "Action.Submit")]


def labels(message: Shown | Body) -> list[str]:
    return [str(one["title"]) for one in buttons(message)]


def held(message: Shown | Body) -> set[str]:
    """The requests that a message's buttons are about."""
    return {str(one["data"]["held"]) for one in buttons(message) if "held" in one.get("data", {})}


@dataclass
class Desk:
    """One tenant with the bot in it."""

    teams: Rig

    async def dm(self, who: Member) -> str:
        return await self.teams.personal(who)

    async def ask(self, who: Member, text: str = ASK) -> str:
        """A message to the bot in the person's own chat; that chat."""
        where = await self.dm(who)
        await self.teams.say(where, who, text)
        return where

    async def find(self, where: str, like: Callable[[str, Shown], bool], what: str, seconds: float = WAIT_S) -> Shown:
        async def probe() -> Shown | None:
            for message in self.teams.bot_messages(where):
                if like(read(message.activity), message):
                    return copy.deepcopy(message)
            return None

        try:
            return await until(probe, what, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n\n{self.conversation(where)}") from None

    async def said(self, where: str, words: str, seconds: float = WAIT_S, *, after: Shown | None = None) -> Shown:
        """The bot's first message in `where` that has `words`, newer than the message `after`."""
        known = [] if after is None else [one.id for one in self.teams.messages(where)]
        old = set(known[: known.index(after.id) + 1]) if after is not None else set()
        return await self.find(where, lambda text, m: words in text and m.id not in old, f"{words!r}", seconds)

    async def card(self, where: str, words: str, seconds: float = WAIT_S) -> Shown:
        """A card with buttons that has `words`."""
        return await self.find(
            where, lambda text, m: words in text and "Approve" in labels(m), f"a card: {words}", seconds
        )

    async def settled(self, card: Shown, words: str, seconds: float = WAIT_S) -> str:
        """What a card says once it says `words`."""
        found = await self.find(
            card.conversation, lambda text, m: m.id == card.id and words in text, f"the card to say {words!r}", seconds
        )
        return read(found.activity)

    async def press(self, message: Shown, who: Member, label: str, text: str = "") -> str:
        """Presses the first button of that label, `text` in the input beside it. What `who` alone reads of it."""
        heard = await self.pressed(message, who, label, text)
        assert heard.status == 200, heard
        value = heard.body.get("value") if isinstance(heard.body, dict) else heard.body
        if isinstance(value, dict) and value.get("type") != "AdaptiveCard":
            return str(value.get("message", value))
        return value if isinstance(value, str) else read(value)

    async def pressed(self, message: Shown, who: Member, label: str, text: str = "") -> Heard:
        """`press`, and the whole answer of the bot."""
        found = next((one for one in buttons(message) if one["title"] == label), None)
        assert found is not None, f"no button {label!r} among {labels(message)}"
        data = filled(message, found, text)
        if found["type"] == "Action.Submit":
            before = len(self.teams.wire.heard)
            await self.teams.submit(who, message, data)
            return next(one for one in self.teams.wire.heard[before:] if one.activity.get("value") == data)
        action = {"type": "Action.Execute", "title": label, "verb": found.get("verb", ""), "data": data}
        return await self.teams.invoke(who, message, action)

    async def private(self, who: Member, words: str, seconds: float = WAIT_S) -> str:
        """What the bot says to `who` alone, in their own chat."""
        where = await self.dm(who)
        return read((await self.find(where, lambda text, _m: words in plain(text), f"{words!r}", seconds)).activity)

    async def command(self, who: Member, text: str, words: str, *naming: Member, at: str | None = None) -> str:
        """The words of a command as a message; the private answer that comes after it, once it has `words`.

        `at`: not in their own chat, but in this one, to the bot.
        """
        where = await self.dm(who)
        before = {one.id for one in self.teams.messages(where)}
        await self.teams.say(at or where, who, text, mention=at is not None, naming=naming)
        found = await self.find(where, lambda told, m: words in told and m.id not in before, f"{words!r}")
        return read(found.activity)

    def conversation(self, where: str) -> str:
        """All of a conversation as it reads aloud, newest last."""
        told = [
            f"{'BOT' if one.by == BOT else _NAMES.get(one.by, one.by)}: {read(one.activity)}"
            for one in self.teams.messages(where)
        ]
        return "\n".join([f"--- {CHANNEL_NAMES.get(where, where)}", *told])


def filled(message: Shown, button: Body, text: str) -> Body:
    """What Teams sends with a press: the button's own data, and what stands in every input of the card."""
    inputs = {str(one["id"]): "" for one in pieces(message.activity, "Input.")}
    data = button.get("data") or {}
    own = str(data.get("input") or next(iter(inputs), ""))
    return data | inputs | ({own: text} if own else {})
