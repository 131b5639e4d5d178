"""Where the bot may speak in Teams, and where each person was met last. Knows ids and addresses; no text, no token.

Every key begins with the Entra tenant (`team`): two organisations may use the same conversation id (invariant 14).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime


class Kind(StrEnum):
    """What a conversation is. Closed; Teams' own words are in `bot.teams.deliveries`."""

    PERSONAL = "personal"
    GROUP = "group"
    CHANNEL = "channel"


class TeamsConversation(SQLModel, table=True):
    """One conversation the bot is in: what it needs to speak there without having been spoken to (a proactive message).

    Refreshed by every activity, because Teams moves tenants between service addresses.
    """

    __tablename__ = "teams_conversation"

    team: str = Field(primary_key=True)
    """The Entra tenant."""
    conversation: str = Field(primary_key=True)
    """Without ``;messageid=``: a reply chain is a part of its channel."""
    tenant: str = Field(index=True)
    kind: str
    service_url: str
    bot: str
    """The bot's own id there, ``28:…``."""
    name: str | None = None
    """Of a channel or group chat, where Teams has said it: what ``#name`` in tools.yaml means."""
    teams_team: str | None = None
    """Of a channel: the Teams team it belongs to, ``19:…@thread.tacv2``."""
    person: str | None = None
    """Of a personal chat: whose (aadObjectId)."""
    seen_at: datetime = Field(sa_type=UtcDateTime)
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The app was removed there, or Teams says that the bot is not in it: nothing is posted until it comes back."""


class TeamsPerson(SQLModel, table=True):
    """Where somebody was met, so that Teams can be asked about them and they can be written to."""

    __tablename__ = "teams_person"

    team: str = Field(primary_key=True)
    person: str = Field(primary_key=True)
    """aadObjectId."""
    tenant: str = Field(index=True)
    account: str
    """Teams' own id of the account towards this bot, ``29:…``."""
    personal: str | None = None
    """Their own conversation with the bot."""
    met_in: str
    """The conversation they were met in last."""
    seen_at: datetime = Field(sa_type=UtcDateTime)
