"""What the offline stand-in can be asked for: a closed set of wishes. Knows no wording, no record and no tool."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from bot.agent.offline_words import Amount


class Pick(StrEnum):
    """Which of a customer's orders, by its date."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class Whom:
    """Which order or customer a sentence is about; nothing set: whatever the conversation was about."""

    order: str | None = None
    customer_id: str | None = None
    email: str | None = None
    name: str | None = None
    nth: int | None = None
    """"The second one" of what was listed last, counted from 1; -1: the last one."""
    pick: Pick | None = None
    hint: str = field(default="", compare=False)
    """The words around it, to tell orders apart by what was bought."""

    @property
    def nobody(self) -> bool:
        return self.order is None and not self.named and self.nth is None and self.pick is None

    @property
    def named(self) -> bool:
        """Whether a customer is named."""
        return bool(self.customer_id or self.email or self.name)

    def filled(self, before: Whom) -> Whom:
        """This, with what it leaves open taken from `before`."""
        if self.nobody:
            return replace(before, hint=self.hint or before.hint)
        if self.pick is not None and not self.named:
            return replace(self, customer_id=before.customer_id, email=before.email, name=before.name)
        return self

    def answered(self, by: Whom) -> Whom:
        """This, after the question which one was meant was answered with `by`."""
        if by.nobody:
            return replace(self, hint=by.hint) if by.hint else self
        if by.name and self.name and " " not in by.name and by.name.lower() not in self.name.lower():
            return replace(self, name=f"{by.name} {self.name}"[:80], nth=None)
        return by


@dataclass(frozen=True, slots=True)
class Refund:
    whom: Whom
    amount: Amount | None
    share: Decimal | None
    """In percent of what was paid; 100: all that is left."""
    reason: str


@dataclass(frozen=True, slots=True)
class Mail:
    whom: Whom
    about: str
    """What to write, in the sentence's own words; empty: it was not said."""
    subject: str = ""
    verbatim: bool = False
    """`about` stood in quotation marks: it is the text of the mail itself."""


class What(StrEnum):
    """What to look up."""

    CUSTOMER = "customer"
    ORDER = "order"
    ORDERS = "orders"
    PAYMENTS = "payments"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class LookUp:
    whom: Whom
    what: What
    aspect: str = ""
    """One field of the record: ``note``, ``phone``, ``address``, ``email``, ``tier``, ``tracking``."""
    words: str = ""
    """What to search for."""


@dataclass(frozen=True, slots=True)
class Change:
    whom: Whom
    field: str
    value: str
    add: bool = False
    """Add to what stands there, instead of replacing it."""


@dataclass(frozen=True, slots=True)
class Undo:
    """Take back the last change of this conversation."""


@dataclass(frozen=True, slots=True)
class Ledger:
    kind: str | None
    """``payment`` or ``refund``."""
    span: str | None
    """``today``, ``last week``, ``7 days``, …; None: all of it."""


@dataclass(frozen=True, slots=True)
class Query:
    sql: str
    about: str


class Topic(StrEnum):
    """What can be talked about without a tool."""

    HELLO = "hello"
    HELP = "help"
    THANKS = "thanks"
    PENDING = "pending"
    APPROVE = "approve"
    WITHDRAW = "withdraw"
    NEVER_MIND = "never_mind"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Talk:
    topic: Topic


@dataclass(frozen=True, slots=True)
class Unable:
    """Understood, but nothing here can do it."""

    what: str


Intent: TypeAlias = Refund | Mail | LookUp | Change | Undo | Ledger | Query | Talk | Unable
