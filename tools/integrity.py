"""MACs over held calls and votes, under a key that is not in the database (invariant 3).

Knows bytes and a key. Whoever can write the tables but lacks the key can neither forge an approval nor
swap what was approved; the check runs in the claim, before the effect.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class MacKey:
    """A secret of at least 32 bytes. Never printed."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < KEY_BYTES:
            raise ValueError(f"The MAC key has {len(self.secret)} bytes; it needs at least {KEY_BYTES}.")

    def call(self, call: SealedCall) -> str:
        """The MAC of a held call, hex."""
        return self._mac("call", [[name, value] for name, value in call.columns] + [list(call.presupposes)])

    def vote(self, vote: SealedVote) -> str:
        """The MAC of one approval, hex."""
        at = vote.at.astimezone(UTC).isoformat(timespec="microseconds")
        return self._mac(
            "vote",
            [vote.tenant, vote.held_id, vote.revision, vote.digest, vote.subject, vote.name, vote.person_key, at],
        )

    def _mac(self, kind: str, parts: Sequence[object]) -> str:
        text = json.dumps([kind, *parts], separators=(",", ":"), ensure_ascii=False)
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class SealedCall:
    """A held call as its MAC binds it: every column that must not change, in a fixed order, by name."""

    columns: tuple[tuple[str, str | int | None], ...]
    presupposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SealedVote:
    """One person's approval of one revision of one call."""

    tenant: str
    held_id: str
    revision: int
    digest: str
    subject: str
    name: str
    person_key: str
    at: datetime


def same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
