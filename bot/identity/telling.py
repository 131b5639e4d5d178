"""What both sides of a link are told, privately, in their chats. Knows sentences; decides nothing, writes no row.

A chat that is down keeps nobody from linking: what was decided stands, and the log says who did not hear of it. The
question alone has to arrive, because an answer to it is waited for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from bot.identity.link_words import NEW_LINK, AskInChat, Both, NameOf, Tell, account, named, nameless, plain
from bot.messages import ChatUser
from bot.ports import Person, SurfaceError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Telling:
    """The ports to the chats."""

    tell: Tell
    ask_in_chat: AskInChat
    name_of: NameOf = nameless

    async def ask(self, who: ChatUser, person: Person, organisation: str, confirmation_id: str) -> None:
        """Raises `SurfaceError`: the question did not arrive."""
        await self.ask_in_chat(
            who,
            f"Somebody has just signed in at {plain(organisation)} as {named(person)} and wants to link this chat "
            "account to that person: what is written here would be done in their name. Was that you, a moment ago, "
            "in your own browser?",
            confirmation_id,
        )

    async def both(self, who: ChatUser, person: Person, organisation: str) -> Both:
        try:
            name = await self.name_of(who)
        except SurfaceError:
            name = None
        return Both(who, name, organisation, person)

    async def linked(self, who: ChatUser, person: Person, organisation: str, others: tuple[ChatUser, ...]) -> None:
        await self.say(
            who,
            f"This chat account is linked to {named(person)} at {plain(organisation)}. From now on I act as that "
            "person when you write here. `/countersign unlink` ends it.",
        )
        for other in others:
            await self.say(
                other,
                f"A further account was linked to you, {named(person)}: {plain(account(who))}. If that was not you, "
                "tell an admin at once: they can end it with `/countersign unlink`.",
            )

    async def unlinked(self, who: ChatUser, person: str) -> None:
        await self.say(
            who,
            f"This chat account is no longer linked to {plain(person)}: I do nothing more for it. What was asked "
            f"before goes on, because the person is still there. {NEW_LINK}",
        )

    async def not_theirs(self, who: ChatUser) -> None:
        await self.say(
            who,
            "Your link to Countersign was opened by somebody who is not you, or who said that it is not theirs. "
            f"Nothing was linked, and the link is over. {NEW_LINK} Open it yourself and send it to nobody.",
        )

    async def say(self, who: ChatUser, text: str) -> None:
        try:
            await self.tell(who, text)
        except SurfaceError:
            log.warning("the chat did not take a message about a link", exc_info=True)
