"""Access tokens as Entra ID gives them to Teams for somebody's bot, built by hand. Knows claims; checks nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.kit.idp_keys import header, signed

DESKTOP = "1fec8e78-bce4-4aaf-ab1b-5451cc387264"
"""Teams on desktop and mobile."""


def claims(issuer: str, app_id: str, oid: str, tid: str, /, **changes: Any) -> dict[str, Any]:
    """What stands in one of version 2.0, twenty minutes old. `...` removes a claim."""
    now = int(datetime.now(UTC).timestamp())
    made = {
        "aud": app_id,
        "iss": issuer,
        "iat": now - 1200,
        "nbf": now - 1200,
        "exp": now + 2700,
        "azp": DESKTOP,
        "azpacr": "0",
        "name": "Dana Reyes",
        "oid": oid,
        "preferred_username": "dana@acme.example",
        "scp": "access_as_user",
        "sub": "pairwise-of-this-app",
        "tid": tid,
        "ver": "2.0",
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def access_token(issuer: str, app_id: str, oid: str, tid: str, /, **changes: Any) -> str:
    return signed(header(), claims(issuer, app_id, oid, tid, **changes))
