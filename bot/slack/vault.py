"""Slack's tokens at rest: sealed as people's sign-ins are, bound to the workspace and the field. Knows no table."""

from __future__ import annotations

from bot.identity.sealing import Bound, SealBroken, Sealer
from policy.model import Subject, TenantId

_ISSUER = "https://slack.com/installation"
BOT, REFRESH = 1, 2
"""Which of an installation's tokens it is; one does not open in the other's place."""


class Vault:
    """Seals and opens. May ask a KMS: from a thread, and outside transactions."""

    def __init__(self, sealer: Sealer, client_id: str) -> None:
        self._sealer = sealer
        self._client_id = client_id

    def seal(self, team: str, which: int, token: str) -> str:
        """`token` as it may lie in the database.

        Raises:
            KeyAway: the key-encryption key cannot be used now.
        """
        vessel = self._sealer.vessel(self._bound(team))
        return f"{vessel.kek_id}.{vessel.wrapped}.{vessel.seal(which, token)}"

    def open(self, team: str, which: int, sealed: str) -> str:
        """What `seal` was given.

        Raises:
            KeyAway: the key it was sealed under cannot be used now.
            SealBroken: it was altered, or belongs to another workspace or field.
        """
        parts = sealed.split(".")
        if len(parts) != 3:
            raise SealBroken("A stored token of Slack does not open.")
        return self._sealer.opened(self._bound(team), parts[0], parts[1]).unseal(which, parts[2])

    def _bound(self, team: str) -> Bound:
        # No tenant: whose the team is may change, and its installation goes with it.
        return Bound(TenantId(""), Subject(_ISSUER, f"{self._client_id}|{team}"))
