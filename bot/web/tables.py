"""Tables of the demo chat: what was said, and how far each person has read. Know nothing of their content."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime, json_column


class DemoMessage(SQLModel, table=True):
    """One line of the demo chat, in the order of `id`. Raw text: this table plays the part of the chat provider."""

    __tablename__ = "demo_message"
    __table_args__ = (Index("demo_message_by_channel", "tenant", "channel", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant: str
    channel: str
    """``#name`` or ``dm:user``."""
    root: str | None = None
    """The thread it belongs to; None: it stands for itself."""
    kind: str
    author: str
    only_for: str | None = None
    """A whisper: the only person who sees it."""
    text: str = Field(sa_column=Column(Text, nullable=False))
    asks: list[Any] | None = Field(default=None, sa_column=Column(json_column()))
    answer: dict[str, Any] | None = Field(default=None, sa_column=Column(json_column()))
    """What a model's words rest on; None: they are not a model's."""
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(json_column()))
    created_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DemoSeen(SQLModel, table=True):
    """The last message of a channel that a person has had on screen."""

    __tablename__ = "demo_seen"

    tenant: str = Field(primary_key=True)
    user: str = Field(primary_key=True)
    channel: str = Field(primary_key=True)
    message_id: int
