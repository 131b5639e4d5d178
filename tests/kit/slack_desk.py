"""What people read and do in local-slack, in their words: cards, buttons by their label, private answers.

Knows Block Kit only as far as a reader sees it; every wait has a deadline and fails with the whole conversation.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.rigs.local_slack import BOT, PEOPLE, LocalSlack, until

FINANCE, GENERAL = "G01FIN", "C01GEN"
DANA, SAM, ANN, BOB, LEE, SALLY, ADA, AUD, RITA = PEOPLE
ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"

Message = dict[str, Any]


def read(node: Any) -> str:
    """Everything a person can read of a message or block, in order."""
    if isinstance(node, list):
        return "\n".join(part for part in map(read, node) if part)
    if not isinstance(node, dict):
        return ""
    if node.get("type") in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
        return "".join(read(element) for element in node["elements"])
    if node.get("type") == "user":
        return f"@{PEOPLE.get(node['user_id'], node['user_id'])}"
    if node.get("type") == "date":
        return str(node["fallback"])
    if node.get("type") == "link":
        return f"{node.get('text', '')} <{node['url']}>"
    if node.get("type") == "button":
        return f"[{read(node['text'])}]"
    if "blocks" in node:
        return read(node["blocks"]) if node["blocks"] else str(node.get("text", ""))
    if isinstance(node.get("text"), str):
        return str(node["text"])
    parts = [node.get(name) for name in ("text", "fields", "elements", "accessory", "label", "element", "title")]
    return "\n".join(text for text in map(read, parts) if text)


def labels(message: Message) -> list[str]:
    """The buttons of a message, as they are labelled."""
    return [read(element["text"]) for block in _rows(message) for element in block["elements"]]


def _rows(message: Message) -> list[dict[str, Any]]:
    return [block for block in message.get("blocks") or [] if block["type"] == "actions"]


def with_button(message: Message, label: str) -> tuple[Message, str]:
    """The message with that button alone, and its action id."""
    for block in _rows(message):
        for element in block["elements"]:
            if read(element["text"]) == label:
                return message | {"blocks": [block | {"elements": [element]}]}, element["action_id"]
    raise AssertionError(f"no button {label!r} among {labels(message)}")


@dataclass
class Desk:
    """One workspace with the bot in it."""

    slack: LocalSlack

    async def dm(self, user: str) -> str:
        return await self.slack.dm(user)

    async def ask(self, user: str, text: str = ASK) -> str:
        """A direct message to the bot; the channel it stands in."""
        channel = await self.slack.dm(user)
        await self.slack.say(channel, user, text)
        return channel

    async def said(self, channel: str, words: str, seconds: float = 25, *, after: str = "0") -> Message:
        """The bot's first message in `channel` that has `words`, newer than the message `after`."""
        return await self.find(channel, lambda text, _m: words in text, f"{words!r}", seconds, after=after)

    async def find(
        self, channel: str, like: Callable[[str, Message], bool], what: str, seconds: float = 25, *, after: str = "0"
    ) -> Message:
        async def probe() -> Message | None:
            for message in await self.slack.bot_messages(channel):
                if message.get("subtype") != "ephemeral" and message["ts"] > after and like(read(message), message):
                    return copy.deepcopy(message)
            return None

        try:
            return await until(probe, what, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n\n{await self.conversation(channel)}") from None

    async def card(self, channel: str, words: str, seconds: float = 25) -> Message:
        """A card with buttons that has `words`."""
        return await self.find(
            channel, lambda text, m: words in text and "Approve" in labels(m), f"a card: {words}", seconds
        )

    async def press(self, message: Message, user: str, label: str) -> None:
        only, action = with_button(message, label)
        await self.slack.press(only, user, action)

    async def press_and_write(self, message: Message, user: str, label: str, text: str) -> str:
        """Presses a button that opens a modal and submits `text`; what the modal said."""
        before = len(self.slack.shown("view"))
        await self.press(message, user, label)

        async def opened() -> list[Message]:
            return self.slack.shown("view")[before:]

        (frame,) = await until(opened, "the modal")
        await self.slack.submit(user, text)
        return read(frame["stack"][-1]["blocks"])

    async def private(self, channel: str, user: str, words: str, seconds: float = 15) -> str:
        """What `user` alone reads in `channel`."""

        async def probe() -> str | None:
            told = await self.slack.private(channel, user)
            return next((text for text in reversed(told) if words in text), None)

        try:
            return await until(probe, f"a private {words!r}", seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{await self.slack.private(channel, user)}") from None

    async def command(self, user: str, text: str, words: str, channel: str = GENERAL) -> str:
        """`/countersign text`; the private answer, once it has `words`."""
        await self.slack.command(channel, user, text)
        return await self.private(channel, user, words)

    async def home(self, user: str, words: str, seconds: float = 15) -> str:
        """App Home of `user`, opened until it has `words`."""

        async def probe() -> str | None:
            before = len(self.slack.shown("home"))
            await self.slack.open_home(user)

            async def drawn() -> list[Message]:
                return self.slack.shown("home")[before:]

            frames = await until(drawn, "App Home")
            text = read(frames[-1].get("view", frames[-1]))
            return text if words in text else None

        return await until(probe, f"App Home to say {words!r}", seconds)

    async def conversation(self, channel: str) -> str:
        """All of a channel as it reads aloud, newest last."""
        lines = []
        for message in await self.slack.messages(channel):
            who = "BOT" if message.get("user") == BOT else PEOPLE.get(message.get("user", ""), "?")
            only = f" (only {PEOPLE.get(message['ephemeral_to'])})" if message.get("ephemeral_to") else ""
            lines.append(f"{who}{only}: {read(message)}")
        return "\n".join(lines)


def plain(text: str) -> str:
    """Without emphasis, and with one kind of white space."""
    return re.sub(r"\s+", " ", text.replace("*", ""))
