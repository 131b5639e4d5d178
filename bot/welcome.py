"""Chat accounts that nobody is linked to yet: what they are told, their commands, their own word on a link.

Knows which refusals a link would mend; how a link is proved is `bot.identity.linking`'s business.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from bot import store, turn_log
from bot.identity.link_commands import LinkCommands
from bot.identity.resolve import Refusal, RefusalReason, Resolved
from bot.messages import ChatUser, Command, Incoming
from bot.parts import Parts
from bot.ports import Ask
from policy.model import Principal
from tools import strangers
from tools.strangers import Act

LINK, UNLINK, WHOAMI = "link", "unlink", "whoami"
INVITATION = "Say who you are"
_OWN = frozenset({RefusalReason.UNKNOWN_PERSON, RefusalReason.NO_ROLES, RefusalReason.STALE})
"""Refused, yet theirs to link, unlink and ask who they are taken for: full members of a chat that is a tenant's."""


async def turn_away(parts: Parts, message: Incoming, refusal: Refusal) -> bool:
    """Note a message that is not taken; whether its writer is told, which they are a few times a minute."""
    now = parts.clock()

    def unit(conn: Connection) -> bool:
        if not store.mark_seen(conn, store.delivery_keys(message), refusal.tenant, now):
            return False
        told = strangers.may_answer(conn, refusal.tenant, str(message.who), refusal.reason.value, now)
        event = turn_log.refused(refusal, message.who, message.thread.session_id, now)
        parts.audit.append(conn, strangers.counted(conn, Act.MESSAGE, refusal.tenant, event, now))
        return told

    return await parts.writer.run(unit)


async def note(parts: Parts, act: Act, refusal: Refusal, who: ChatUser, session_id: str | None) -> None:
    """Write down a command or a press that was refused, or count it in a flood."""
    now = parts.clock()
    event = turn_log.refused(refusal, who, session_id, now)
    await parts.writer.run(
        lambda conn: parts.audit.append(conn, strangers.counted(conn, act, refusal.tenant, event, now))
    )


async def invitation(links: LinkCommands | None, who: ChatUser, channel: str, refusal: Refusal) -> tuple[Ask, ...]:
    """The button that leads somebody unknown to the link page; none where a link would not help."""
    if links is None or refusal.reason is not RefusalReason.UNKNOWN_PERSON:
        return ()
    address = await links.invite(who, channel)
    return () if address is None else (Ask(INVITATION, "open", address),)


async def command(links: LinkCommands | None, who: Resolved, said: Command) -> str | None:
    """The private answer to `/countersign link`, `unlink` and, of somebody refused, `whoami`; None: not ours."""
    words = said.text.split()
    if links is None or words[:1] not in ([LINK], [UNLINK], [WHOAMI]):
        return None
    if isinstance(who, Refusal) and who.reason not in _OWN:
        return None
    known = None if isinstance(who, Refusal) else who
    match words:
        case [first] if first == LINK:
            return await links.command_link(said.who, said.thread.channel)
        case [first, *rest] if first == UNLINK and len(rest) <= 1:
            return await links.command_unlink(said.who, rest[0] if rest else "", known)
        case [first] if first == WHOAMI and known is None:
            return await links.whoami(said.who)
        case _:
            return None if _is_whoami(words, known) else _unclear(words[0])


def _is_whoami(words: list[str], known: Principal | None) -> bool:
    return words[0] == WHOAMI and known is not None


def _unclear(word: str) -> str:
    how = (
        "`/countersign unlink` or, for admins, `/countersign unlink @NAME`"
        if word == UNLINK
        else f"`/countersign {word}`"
    )
    return f"I did not understand that. Nothing was changed. Write {how}."
