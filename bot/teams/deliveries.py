"""What Teams delivered, read into `bot.messages`. Pure; knows no SDK and no row, and answers nothing.

Who somebody is comes from the tenant *and* the aadObjectId, both in lower case; an account without one is nobody's.
See https://learn.microsoft.com/microsoftteams/platform/bots/build-conversational-capability.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from bot.messages import ChatUser, Feedback, Incoming, Room, SurfaceName, Thread
from bot.payload import Body, at, flag_at, list_at, text_at
from bot.teams.mentions import said
from bot.teams.tables import Kind

TEAMS: Final = SurfaceName("teams")
BOT: Final = "28:"
"""How Teams' ids of bots begin; people's begin with ``29:``."""
REASON_AT_MOST: Final = 2_000
_KINDS: Final = {"personal": Kind.PERSONAL, "groupchat": Kind.GROUP, "channel": Kind.CHANNEL}
_OF_NOBODY: Final = frozenset({"installationUpdate", "conversationUpdate"})
_PART: Final = ";messageid="
_ALONE: Final = "a:"
"""How Teams' ids of personal chats begin."""
_TOGETHER: Final = "19:"
"""The same of chats that others can be in."""


def team_of(body: Body) -> str:
    """The Entra tenant a delivery is for. That both places which name it agree is the gate's business."""
    return (text_at(body, "channelData", "tenant", "id") or text_at(body, "conversation", "tenantId")).lower()


def kind_of(body: Body) -> Kind:
    """What the conversation is. In doubt a group: there nobody is taken to be alone with the bot."""
    kind = _KINDS.get(text_at(body, "conversation", "conversationType").lower())
    grouped = flag_at(body, "conversation", "isGroup")
    if kind is None and (text_at(body, "channelData", "channel", "id") or text_at(body, "channelData", "team", "id")):
        return Kind.CHANNEL
    if kind is None and not grouped and conversation_of(body).startswith(_ALONE):
        return Kind.PERSONAL
    return Kind.GROUP if kind is None or (kind is Kind.PERSONAL and (grouped or _of_others(body))) else kind


def _of_others(body: Body) -> bool:
    """Whether the id is of a chat between people. Where the bot is one of two, the id says so."""
    conversation, own = conversation_of(body), text_at(body, "recipient", "id").removeprefix(BOT)
    return conversation.startswith(_TOGETHER) and not (own and own in conversation)


def conversation_of(body: Body) -> str:
    """The conversation's id, a channel's without the reply chain."""
    return text_at(body, "conversation", "id").partition(_PART)[0]


def sender(body: Body) -> ChatUser:
    """Who acted. Without an aadObjectId: their Teams id, which no directory lists."""
    person = text_at(body, "from", "aadObjectId").lower() or f"unknown:{text_at(body, 'from', 'id')}"
    return ChatUser(TEAMS, team_of(body), person)


def from_person(body: Body) -> bool:
    """Whether a person acted: not a bot, this one included, and not Teams itself."""
    account = text_at(body, "from", "id")
    is_bot = account.startswith(BOT) or text_at(body, "from", "role").lower() in ("bot", "skill")
    return bool(account) and not is_bot and account != text_at(body, "recipient", "id")


def thread_of(body: Body) -> Thread:
    """Where it happened. Personal and group chats have no threads: each is one."""
    channel, kind = conversation_of(body), kind_of(body)
    if kind is Kind.PERSONAL:
        return Thread(TEAMS, team_of(body), channel, channel, Room.DM)
    root = ""
    if kind is Kind.CHANNEL:
        root = text_at(body, "conversation", "id").partition(_PART)[2]
        if not root and text_at(body, "type") == "message":
            root = text_at(body, "replyToId") or text_at(body, "id")
    return Thread(TEAMS, team_of(body), channel, root or channel, _room(body))


def _room(body: Body) -> Room:
    channel = at(body, "channelData", "channel")
    return Room.SHARED if text_at(channel, "type").lower() == "shared" else Room.CHANNEL


# --- messages ----------------------------------------------------------------------------------------


def incoming(body: Body) -> Incoming | None:
    """The message of a ``message`` activity; None if nobody said anything to anyone."""
    text, message_id = said(body).text, text_at(body, "id")
    if not (text and message_id and conversation_of(body) and from_person(body)):
        return None
    thread = thread_of(body)
    # A delivery has no id of its own: Teams repeats an activity under the message's.
    return Incoming(sender(body), thread, message_id, f"{thread.channel}:{message_id}", text)


def delivery_id(body: Body) -> str:
    """The same for the same act however often it is delivered, another for the next one."""
    act = text_at(body, "id")
    if not act:
        told = {key: body.get(key) for key in ("timestamp", "localTimestamp", "replyToId", "name", "value")}
        act = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return f"{sender(body)}:{conversation_of(body)}:{act}"


# --- thumbs ------------------------------------------------------------------------------------------


def feedback(body: Body) -> Feedback | None:
    """The thumb of a ``message/submitAction``; None for another shape of it."""
    value = at(body, "value")
    thumb = text_at(value, "actionValue", "reaction")
    if text_at(value, "actionName") != "feedback" or thumb not in ("like", "dislike") or not from_person(body):
        return None
    answer = text_at(body, "replyToId") or text_at(value, "actionValue", "messageId")
    return Feedback(
        who=sender(body),
        thread=thread_of(body),
        feedback_id=f"thumb:{delivery_id(body)}",
        message_id=answer,
        good=thumb == "like",
        reason=_reason(at(value, "actionValue", "feedback"))[:REASON_AT_MOST],
    )


def _reason(told: object) -> str:
    """Teams wraps it as JSON in a text, some clients as an object, the dialog of ours as plain text."""
    if isinstance(told, str):
        try:
            inner = json.loads(told)
        except (ValueError, RecursionError):
            return text_at({"reason": told}, "reason").strip()
        return _reason(inner) if isinstance(inner, dict) else text_at({"reason": told}, "reason").strip()
    if isinstance(told, dict):
        return text_at(told, "feedbackText").strip()
    return ""


# --- the app comes and goes --------------------------------------------------------------------------


def of_nobody(body: Body) -> bool:
    """Whether Teams itself tells something: whoever caused it says nothing by it."""
    return text_at(body, "type") in _OF_NOBODY


def arrived(body: Body) -> bool:
    """Whether Teams says that the bot has come to the conversation."""
    match text_at(body, "type"):
        case "installationUpdate":
            return text_at(body, "action").lower() in ("add", "add-upgrade")
        case "conversationUpdate":
            return _is_among(body, "membersAdded")
        case _:
            return False


def left(body: Body) -> bool:
    """Whether Teams says that the bot is gone from the conversation."""
    match text_at(body, "type"):
        case "installationUpdate":
            return text_at(body, "action").lower() in ("remove", "remove-upgrade")
        case "conversationUpdate":
            return _is_among(body, "membersRemoved") or event_of(body) in ("teamDeleted", "teamHardDeleted")
        case _:
            return False


def _is_among(body: Body, list_name: str) -> bool:
    own = text_at(body, "recipient", "id")
    return bool(own) and any(text_at(one, "id") == own for one in list_at(body, list_name))


def event_of(body: Body) -> str:
    """What a ``conversationUpdate`` of a team is about; empty for every other activity."""
    return text_at(body, "channelData", "eventType") if text_at(body, "type") == "conversationUpdate" else ""
