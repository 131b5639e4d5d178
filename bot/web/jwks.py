"""``/.well-known/jwks.json``: the public halves of the keys that call tokens are signed with. Knows no private one.

The next key is in it before it signs, and a key of before for as long as its tokens may live.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.identity.keyring import LEAD, Keys, public_x

PATH = "/.well-known/jwks.json"
MAX_AGE_S = int(LEAD.total_seconds()) // 3
"""Caches let go well before a published key signs, one missed refresh included."""


class Jwk(TypedDict):
    """One public key (RFC 7517, RFC 8037). Has no member for a private half."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


def jwk(kid: str, key: Ed25519PublicKey) -> Jwk:
    return Jwk(kty="OKP", crv="Ed25519", x=public_x(key), kid=kid, use="sig", alg="EdDSA")


def jwks_routes(keys: Keys, clock: Callable[[], datetime]) -> list[Route]:
    """The one route. Anybody may ask: what it answers is public."""

    async def answer(request: Request) -> Response:
        found = keys.now().verifying(clock())
        return JSONResponse(
            {"keys": [jwk(kid, key) for kid, key in sorted(found.items())]},
            media_type="application/jwk-set+json",
            headers={"cache-control": f"public, max-age={MAX_AGE_S}", "x-content-type-options": "nosniff"},
        )

    return [Route(PATH, answer, methods=["GET"])]
