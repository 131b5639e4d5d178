"""Text as Teams sends it, back to what a person typed: the bot's mention gone, others named. Pure.

Teams writes a mention as ``<at>Name</at>`` and says in an entity whom it means; only the entity is a mention, so that
nobody can type one. A name of several words comes as several entities of one id
(https://github.com/microsoft/botbuilder-js/issues/4379), an edited one with other words than its entity.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from bot.payload import Body, at, list_at, text_at
from policy.model import Json

_AT: Final = re.compile(r"<at(?:\s[^<>]*)?>((?:(?!</?at\b).)*)</at>", re.DOTALL | re.IGNORECASE)
"""Linear: what opens and is not closed is not looked through again from each of its letters."""
_MOST: Final = 200
"""Mentions of one message; Teams allows fewer. What comes after is text like any other."""
_QUOTED: Final = re.compile(r"<quoted\s[^<>]*/>", re.IGNORECASE)
"""Stands where a message is quoted: its words are somebody else's and come in an attachment, which is not read."""
_ENTITY: Final = re.compile(r"&(lt|gt|amp|quot|nbsp|apos|#39|#160);")
_CHARACTERS: Final = {
    "lt": "<", "gt": ">", "amp": "&", "quot": '"', "nbsp": " ", "apos": "'", "#39": "'", "#160": " ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mention:
    account: str
    """Teams' id of it, ``29:…``, ``28:…`` of a bot."""
    name: str
    person: str = ""
    """aadObjectId, where the entity says it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was typed, mentions told apart."""

    pieces: tuple[str | Mention, ...]
    bot: str
    names_bot: bool
    """Whether an entity says so, wherever the text shows it."""

    @property
    def text(self) -> str:
        """For people and models: others by their names."""
        return _tidy("".join(one if isinstance(one, str) else self._named(one) for one in self.pieces))

    @property
    def others(self) -> tuple[Mention, ...]:
        return tuple(one for one in self.pieces if isinstance(one, Mention) and one.account != self.bot)

    def command(self, people: Mapping[str, str]) -> str:
        """For commands: others as ``<@aadObjectId>``, which names an account; a display name does not.

        `people`: who is behind an account (``29:…``). Whoever is not in it stays an id that nobody has.
        """

        def shown(one: Mention) -> str:
            return "" if one.account == self.bot else f"<@{one.person or people.get(one.account) or one.account}>"

        return _tidy("".join(one if isinstance(one, str) else shown(one) for one in self.pieces))

    def _named(self, mention: Mention) -> str:
        return "" if mention.account == self.bot else f"@{mention.name}"


def said(body: Body) -> Said:
    """The text of a ``message`` activity."""
    bot = text_at(body, "recipient", "id")
    told = [_mention(one) for one in _entities(body)]
    text = _QUOTED.sub("", text_at(body, "text"))
    own = next((words for words, mention in told if mention.account == bot and words), None)
    if own is not None and _AT.search(text) is None:
        # A client that sends the bare name: it is the bot's alone that is taken away.
        text = text.replace(own, f"<at>{own}</at>", 1)
    return Said(tuple(_merged(_pieces(text, told))), bot, any(mention.account == bot for _, mention in told))


def _entities(body: Body) -> list[Json]:
    return [
        one
        for one in list_at(body, "entities")
        if text_at(one, "type").lower() == "mention" and text_at(one, "mentioned", "id")
    ][:_MOST]


def _mention(entity: Json) -> tuple[str, Mention]:
    """The words that stand for it in the text, and whom they mean."""
    told, words = at(entity, "mentioned"), _inner(text_at(entity, "text"))
    name = _plain(text_at(told, "name")) or words
    return words, Mention(text_at(told, "id"), name, text_at(told, "aadObjectId").lower())


def _pieces(text: str, told: list[tuple[str, Mention]]) -> Iterator[str | Mention]:
    """`text` cut at its mentions. Those no entity stands for are words like others."""
    named: dict[str, deque[Mention]] = {}
    for words, mention in told:
        named.setdefault(words, deque()).append(mention)
    start = 0
    for match in islice(_AT.finditer(text), _MOST):
        yield _plain(text[start : match.start()])
        start = match.end()
        words = _plain(match[1]).strip()
        meant = named.get(words)
        if meant is None:
            yield words
            continue
        # People of one name come in the order of the text; the last one stands for any that are left.
        found = meant.popleft() if len(meant) > 1 else meant[0]
        # A part of the name shows the part; several parts of one mention join below.
        yield Mention(found.account, words, found.person)
    yield _plain(text[start:])


def _merged(pieces: Iterator[str | Mention]) -> Iterator[str | Mention]:
    """Neighbouring mentions of one account are one: Teams cuts a name at its spaces."""
    parts: list[Mention] = []
    space: list[str] = []
    for one in pieces:
        if isinstance(one, str) and parts and not one.strip():
            space.append(one)
        elif isinstance(one, Mention) and parts and parts[0].account == one.account:
            parts.append(one)
            space.clear()
        else:
            yield from _joined(parts)
            yield from space
            parts, space = ([one], []) if isinstance(one, Mention) else ([], [])
            if isinstance(one, str):
                yield one
    yield from _joined(parts)
    yield from space


def _joined(parts: list[Mention]) -> Iterator[Mention]:
    if parts:
        person = next((one.person for one in parts if one.person), "")
        yield Mention(parts[0].account, " ".join(one.name for one in parts), person)


def _inner(text: str) -> str:
    match = _AT.search(text)
    return _plain(match[1] if match else text).strip()


def _plain(text: str) -> str:
    return _ENTITY.sub(lambda match: _CHARACTERS[match[1]], text).replace("\u00a0", " ")


def _tidy(text: str) -> str:
    return re.sub(r"[ \t]{2,}", " ", text.replace("\r\n", "\n")).strip()
