"""The public keys a provider signs with: fetched seldom, kept for a while, replaced as a whole.

Knows key sets and when to ask for one; checks no signature. A key that is no longer in the set is gone at the
next reading, within ten minutes. An unknown key id asks the provider once, however many tokens carry one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import jwt

from bot.identity.discovery import Discovery, DiscoveryFailed
from bot.identity.idp_http import IdpHttp, IdpSilent, JsonObject
from bot.identity.issuers import Issuer

LIFETIME_S = 600.0
STALE_S = 24 * 3600.0
"""How long a set goes on being used while the provider does not answer."""
COOLDOWN_S = 10.0
"""Between two requests to one provider, whatever asks for them."""
MAX_KEYS = 100

_FITS: Mapping[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithm -> the type and curve of its keys."""
RSA_BITS = range(2048, 8193)


class KeyFault(StrEnum):
    """Why there is no key to check a token with. Closed."""

    UNKNOWN = "unknown"
    """The provider publishes no key of that id: never did, or no longer does."""
    UNFIT = "unfit"
    """There is one, and it is not for this algorithm or not for signatures."""
    UNAVAILABLE = "unavailable"
    """The provider did not answer, and what it once said is too old."""


class NoKey(Exception):
    """There is no key. `str(e)` says why, without the key id."""

    def __init__(self, fault: KeyFault, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


class Keys(Protocol):
    async def key(self, issuer: Issuer, kid: str, alg: str) -> jwt.PyJWK:
        """The key of `issuer` that is called `kid`, bound to `alg`.

        Raises:
            NoKey: there is none. Nothing else is raised.
        """


@dataclass(slots=True)
class _Set:
    keys: Mapping[str, tuple[JsonObject, ...]] = field(default_factory=dict, repr=False)
    read_at: float | None = None
    tried_at: float | None = None
    failure: str = ""
    asking: asyncio.Task[None] | None = field(default=None, repr=False)


class KeySource:
    """The key sets of every issuer. Implements `Keys`. Belongs to one event loop."""

    def __init__(self, http: IdpHttp, discovery: Discovery, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._discovery = discovery
        self._clock = clock
        self._sets: dict[str, _Set] = {}

    async def key(self, issuer: Issuer, kid: str, alg: str) -> jwt.PyJWK:
        kept = self._sets.setdefault(issuer.issuer, _Set())
        if kid not in kept.keys or not self._younger(kept, LIFETIME_S):
            await self._renew(issuer, kept)
        if not self._younger(kept, STALE_S):
            raise NoKey(KeyFault.UNAVAILABLE, f"its keys could not be read: {kept.failure}")
        found = kept.keys.get(kid, ())
        if not found:
            raise NoKey(KeyFault.UNKNOWN, "it publishes no such key")
        fitting = [key for made in found if (key := usable(made, alg)) is not None]
        # Two keys of one name and kind: which of them was meant would be a guess.
        if len(fitting) != 1:
            raise NoKey(KeyFault.UNFIT, "its key is not for this algorithm")
        return fitting[0]

    def _younger(self, kept: _Set, seconds: float) -> bool:
        return kept.read_at is not None and self._clock() - kept.read_at < seconds

    async def _renew(self, issuer: Issuer, kept: _Set) -> None:
        """Asks the provider, unless somebody does or did a moment ago; then waits for or keeps what that brought."""
        if kept.asking is None or kept.asking.done():
            if kept.tried_at is not None and self._clock() - kept.tried_at < COOLDOWN_S:
                return
            kept.tried_at = self._clock()
            kept.asking = asyncio.create_task(self._read(issuer, kept))
        # Whoever gives up waiting does not end the request for the others.
        await asyncio.shield(kept.asking)

    async def _read(self, issuer: Issuer, kept: _Set) -> None:
        try:
            document = await self._http.get((await self._discovery.of(issuer)).jwks_uri)
            kept.keys = read_keys(document)
            kept.read_at = self._clock()
        except (IdpSilent, DiscoveryFailed) as error:
            kept.failure = str(error)


def read_keys(document: JsonObject) -> Mapping[str, tuple[JsonObject, ...]]:
    """The keys of a JWK set (RFC 7517) by their id. Those that have none cannot be named and are left out.

    Raises:
        IdpSilent: `document` is no key set.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise IdpSilent("what it publishes is no set of keys")
    found: dict[str, tuple[JsonObject, ...]] = {}
    for made in listed:
        kid = made.get("kid") if isinstance(made, dict) else None
        if isinstance(kid, str) and kid:
            found[kid] = (*found.get(kid, ()), made)
    return found


def usable(made: JsonObject, alg: str) -> jwt.PyJWK | None:
    """The public key that `made` describes, if it is one for signatures by `alg` and long enough."""
    kind, curve = _FITS.get(alg, (None, None))
    if kind is None or made.get("kty") != kind or (curve is not None and made.get("crv") != curve):
        return None
    if made.get("use", "sig") != "sig" or made.get("alg", alg) != alg:
        return None
    operations = made.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    # A provider that publishes a private key has lost it.
    if "d" in made:
        return None
    try:
        key = jwt.PyJWK.from_dict(dict(made), algorithm=alg)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return key if kind != "RSA" or key.key.key_size in RSA_BITS else None
