"""What a card says, never how it is drawn. Slack blocks, Adaptive Cards and HTML are drawn from this.

Knows the read model of held calls; knows no chat, no markup and no database.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policy.approval import Verb
from tools.spec import Draft, Fact


class Tone(StrEnum):
    """The state of an item, for its colour and its icon; the words are in `Item.status`."""

    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    TROUBLE = "trouble"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Quote:
    """Somebody's words, told apart from trusted facts. `label` says whose: "Dana Reyes asked", "Written by the AI"."""

    label: str
    text: str
    untrusted: bool


@dataclass(frozen=True, slots=True)
class Button:
    """Routing data, not authority: the door decides on who presses."""

    verb: Verb
    label: str
    asks_text: str | None = None
    """The question of the modal that opens first ("Why?"); None: no modal."""


@dataclass(frozen=True, slots=True)
class Item:
    """One held call on a card; decided separately from its neighbours."""

    held_id: str
    revision: int
    digest: str
    tone: Tone
    headline: str
    """"Refund 42.00 USD for order 1042 to Ada Lindqvist"."""
    status: str
    """"1 of 2: Ann Okafor, 14:02 UTC. ...", "Approved by Ann Okafor (14:03 UTC). Refunded 42.00 USD."."""
    facts: tuple[Fact, ...]
    quotes: tuple[Quote, ...]
    draft: Draft | None
    notes: tuple[str, ...]
    """Sentences that matter to the decision: why you were asked, what it waits for, when it expires."""
    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One message to approvers: every call of one answer that has the same approvers."""

    card_id: str
    title: str
    """"Approval needed: refund", "Settled"."""
    requester: str
    thread_link: str | None
    mention: tuple[str, ...]
    """Chat-independent ids (directory subjects) of the people to notify; the surface turns them into mentions."""
    items: tuple[Item, ...]
    summary: str
    """One plain sentence for notifications and screen readers."""
    asker: str = ""
    """The requester's directory subject, like those of `mention`: nobody to notify, somebody with other buttons."""
