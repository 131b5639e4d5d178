"""Text as Teams sends it, back to what a person typed: the bot's mention gone, others named. Pure.

Teams writes a mention as ``<at>Name</at>`` and says in an entity whom it means; only the entity is a mention, so that
nobody can type one. A name of several words comes as several entities of one id
(https://github.com/microsoft/botbuilder-js/issues/4379), an edited one with other words than its entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bot.payload import Body, at, list_at, text_at
from policy.model import Json

_AT: Final = re.compile(r"<at(?:\s[^<>]*)?>(.*?)</at>", re.DOTALL | re.IGNORECASE)
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
    told = [one for one in list_at(body, "entities") if text_at(one, "type").lower() == "mention"]
    left = [(_inner(text_at(one, "text")), _mention(one)) for one in told if text_at(one, "mentioned", "id")]
    text = _QUOTED.sub("", text_at(body, "text"))
    for words, mention in left:
        if mention.account == bot and words and not _AT.search(text) and words in text:
            # A client that sends the bare name: it is the bot's alone that is taken away.
            text = text.replace(words, f"<at>{words}</at>", 1)
    return Said(tuple(_merged(_pieces(text, left))), bot, any(mention.account == bot for _, mention in left))


def _mention(entity: Json) -> Mention:
    told = at(entity, "mentioned")
    name = _plain(text_at(told, "name")) or _inner(text_at(entity, "text"))
    return Mention(text_at(told, "id"), name, text_at(told, "aadObjectId").lower())


def _pieces(text: str, told: list[tuple[str, Mention]]) -> Iterator[str | Mention]:
    """`text` cut at its mentions. Those no entity stands for are words like others."""
    open_ = list(told)
    start = 0
    for match in _AT.finditer(text):
        yield _plain(text[start : match.start()])
        start = match.end()
        words = _plain(match[1]).strip()
        found = next((one for one in open_ if one[0] == words), None)
        if found is not None:
            open_.remove(found)
        else:
            found = next((one for one in told if one[0] == words), None)
        # A part of the name shows the part; several parts of one mention join below.
        yield Mention(found[1].account, words, found[1].person) if found is not None else words
    yield _plain(text[start:])


def _merged(pieces: Iterator[str | Mention]) -> Iterator[str | Mention]:
    """Neighbouring mentions of one account are one: Teams cuts a name at its spaces."""
    held: Mention | None = None
    space = ""
    for one in pieces:
        if isinstance(one, Mention):
            if held is not None and held.account == one.account:
                held, space = Mention(held.account, f"{held.name} {one.name}", held.person or one.person), ""
                continue
            if held is not None:
                yield held
                yield space
            held, space = one, ""
        elif held is not None and not one.strip():
            space += one
        else:
            if held is not None:
                yield held
                held = None
            yield space + one
            space = ""
    if held is not None:
        yield held
    yield space


def _inner(text: str) -> str:
    match = _AT.search(text)
    return _plain(match[1] if match else text).strip()


def _plain(text: str) -> str:
    return _ENTITY.sub(lambda match: _CHARACTERS[match[1]], text).replace("\u00a0", " ")


def _tidy(text: str) -> str:
    return re.sub(r"[ \t]{2,}", " ", text.replace("\r\n", "\n")).strip()
