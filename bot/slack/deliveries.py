"""What Slack delivered, read into `bot.messages`. Pure; knows no Bolt and answers nothing.

Who somebody is comes from the user id *and* the user's own team: a person of another organisation in a shared channel
keeps their team, so that nothing of ours resolves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bot.messages import AskAgain, ChatUser, Command, Feedback, Incoming, LinkAnswer, Press, Room, SurfaceName, Thread
from bot.payload import Body, at, flag_at, list_at, text_at
from bot.slack.blocks import ASKS, LINK, PRESS, read_value
from bot.slack.modals import Routing, text_of
from bot.slack.mrkdwn import mentions, typed
from bot.slack.spoken import GOOD
from policy.approval import Verb

SLACK = SurfaceName("slack")
_SPOKEN = frozenset({"", "file_share", "thread_broadcast"})
"""Subtypes of a message that a person wrote just now; edits, deletions and joins are others."""


@dataclass(frozen=True, slots=True)
class Here:
    """The workspace a delivery is for."""

    team: str
    enterprise: str
    """Its Enterprise Grid organisation, as its installation says: so an account has one key, whatever the delivery."""
    bot_user: str
    serves: Callable[[str], bool]
    """Whether another workspace is served by this deployment too."""

    def account(self, user: str, said: str) -> ChatUser:
        """The account `user`, whose own team is `said`.

        Somebody of another workspace is a stranger here, even one who is known where they belong (Slack Connect): their
        account keeps their team where that resolves to nobody, and else one that does not.
        """
        if said == self.team or (self.enterprise and said == self.enterprise):
            return ChatUser(SLACK, self.team, user, self.enterprise)
        return ChatUser(SLACK, f"{said}@{self.team}" if self.serves(said) else said, user)


def installed_team(body: Body) -> str | None:
    """The team a delivery is for; None where it names none, two that differ, or an installation for a whole
    organisation, which is not served."""
    entries = list_at(body, "authorizations")
    if any(at(one, "is_enterprise_install") not in (None, False, "false") for one in (body, *entries)):
        return None  # (commands spell it as text)
    named = {text_at(body, "team_id"), text_at(body, "team", "id"), text_at(body, "view", "app_installed_team_id")}
    authorized = {text_at(entry, "team_id") for entry in entries} - {""}
    grid = {text_at(entry, "enterprise_id") for entry in entries} - {""}
    if authorized and (flag_at(body, "is_ext_shared_channel") or (grid and grid == {text_at(body, "enterprise_id")})):
        # In a shared channel the outer team may be the author's, or another one of the same organisation.
        named = authorized
    found = (named | authorized) - {""}
    return found.pop() if len(found) == 1 else None


def enterprise_of(body: Body) -> str | None:
    """The organisation of the installation a delivery is for; None where it does not say."""
    entries = list_at(body, "authorizations")
    if entries:
        return text_at(entries[0], "enterprise_id")
    if text_at(body, "command"):
        return text_at(body, "enterprise_id")
    return text_at(body, "enterprise", "id") or text_at(body, "team", "enterprise_id") or None


def incoming(body: Body, here: Here) -> Incoming | None:
    """The message of a ``message`` or ``app_mention`` event; None if nobody said anything to anyone."""
    event = at(body, "event")
    channel, ts, user = text_at(event, "channel"), text_at(event, "ts"), text_at(event, "user")
    if text_at(event, "subtype") not in _SPOKEN or text_at(event, "bot_id") or flag_at(event, "edited"):
        return None
    text = typed(text_at(event, "text"), here.bot_user)
    if not (channel and ts and user and text) or user == here.bot_user:
        return None
    who = here.account(user, _author_team(body, here.team))
    thread = _thread(body, here.team, channel, ts)
    return Incoming(who, thread, ts, text_at(body, "event_id") or f"{channel}:{ts}", text)


def is_dm(body: Body) -> bool:
    return text_at(body, "event", "channel_type") == "im" or text_at(body, "event", "channel").startswith("D")


def is_reply(body: Body) -> bool:
    return text_at(body, "event", "thread_ts") not in ("", text_at(body, "event", "ts"))


def names_bot(body: Body, bot_user: str) -> bool:
    return mentions(text_at(body, "event", "text"), bot_user)


def _thread(body: Body, own_team: str, channel: str, ts: str) -> Thread:
    root = text_at(body, "event", "thread_ts")
    if is_dm(body):
        return Thread(SLACK, own_team, channel, root or channel, Room.DM)
    room = Room.SHARED if flag_at(body, "is_ext_shared_channel") else Room.CHANNEL
    return Thread(SLACK, own_team, channel, root or ts, room)


def _author_team(body: Body, own_team: str) -> str:
    """The team of who wrote. In a shared channel without a word on it: nobody's."""
    event = at(body, "event")
    said = text_at(event, "user_team") or text_at(event, "source_team") or text_at(event, "team")
    return said or ("" if flag_at(body, "is_ext_shared_channel") else own_team)


# --- buttons, modals, commands -----------------------------------------------------------------------


def presser(body: Body, here: Here) -> ChatUser:
    """Who acted on a card or in a modal. Without a team of theirs: nobody's."""
    return here.account(text_at(body, "user", "id"), text_at(body, "user", "team_id"))


def verb_of(action_id: str) -> Verb | None:
    name = action_id.removeprefix(PRESS).removeprefix(ASKS)
    return Verb(name) if name in set(Verb) and name != action_id else None


def routing(body: Body, verb: Verb) -> Routing:
    return Routing(text_at(body, "actions", 0, "value"), verb, place(body)[0], place(body)[1])


def place(body: Body) -> tuple[str, str]:
    """Channel and message of the button that was pressed."""
    channel = text_at(body, "channel", "id") or text_at(body, "container", "channel_id")
    return channel, text_at(body, "message", "ts") or text_at(body, "container", "message_ts")


def press_of_button(body: Body, here: Here, verb: Verb) -> Press:
    held_id, revision, digest = read_value(text_at(body, "actions", 0, "value"))
    channel, message = place(body)
    who = presser(body, here)
    return Press(who, _press_id(body, who), held_id, revision, digest, verb, channel=channel, message_id=message)


def press_of_modal(body: Body, here: Here, told: Routing) -> Press:
    held_id, revision, digest = read_value(told.value)
    # A view is submitted once: Slack gives a new one its own id.
    who = presser(body, here)
    press_id = f"view:{who}:{text_at(body, 'view', 'id')}"
    return Press(who, press_id, held_id, revision, digest, told.verb, text_of(body), told.channel, told.message)


def ask_again(body: Body, here: Here) -> AskAgain:
    who = presser(body, here)
    return AskAgain(who, _press_id(body, who), text_at(body, "actions", 0, "value"))


def link_answer(body: Body, here: Here) -> LinkAnswer:
    who = presser(body, here)
    yes = text_at(body, "actions", 0, "action_id") == LINK + "link_yes"
    return LinkAnswer(who, _press_id(body, who), text_at(body, "actions", 0, "value"), yes)


def feedback(body: Body, here: Here) -> Feedback:
    """A thumb below an answer. Whatever its value says beside ``good`` is a bad one."""
    who = presser(body, here)
    channel, message = place(body)
    # A DM without threads is one conversation, named as in `_thread`; elsewhere answers stand in their thread.
    private = channel.startswith("D")
    root = text_at(body, "message", "thread_ts") or text_at(body, "container", "thread_ts")
    thread = Thread(
        SLACK, here.team, channel, root or (channel if private else message), Room.DM if private else Room.CHANNEL
    )
    good = text_at(body, "actions", 0, "value") == GOOD
    return Feedback(who, thread, _press_id(body, who), message, good)


def _press_id(body: Body, who: ChatUser) -> str:
    """The same for the same click however often it is delivered, another for the next click."""
    channel, message = place(body)
    action = at(body, "actions", 0)
    moment = text_at(action, "action_ts") or text_at(body, "trigger_id")
    return f"action:{who}:{channel}:{message}:{text_at(action, 'action_id')}:{moment}"


def command(body: Body, here: Here, room: Room) -> Command:
    channel = text_at(body, "channel_id")
    who = here.account(text_at(body, "user_id"), text_at(body, "team_id"))
    # Commands carry no bot mention to strip; other people's become <@U123>.
    text = typed(text_at(body, "text"), "")
    thread = Thread(SLACK, here.team, channel, channel, room)
    return Command(who, thread, f"command:{text_at(body, 'trigger_id')}", text)
