"""The keys the Bot Connector signs with, and the channels each may speak for (its endorsements).

Knows Microsoft's metadata documents and when to read them; checks no signature. Unlike a sign-in, a press has two
seconds: a key that is known serves while the set is read again, and a metadata server that hangs keeps nobody
waiting for long. Keys that Microsoft withdraws are gone at the next reading.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import jwt

from bot.identity.idp_http import IdpHttp, IdpSilent, JsonObject, on_loopback, safe_address, split
from bot.identity.jwks import KeyFault, NoKey, read_keys, usable

log = logging.getLogger(__name__)

METADATA_URL: Final = "https://login.botframework.com/v1/.well-known/openidconfiguration"
ISSUER: Final = "https://api.botframework.com"
_ISSUERS: Final = {
    "login.botframework.azure.us": "https://api.botframework.us",
    "login.botframework.azure.cn": "https://api.botframework.azure.cn",
}
"""Who signs in Microsoft's other clouds, by where they publish their keys. Anywhere else: the public cloud."""

FRESH_S: Final = 600.0
STALE_S: Final = 24 * 3600.0
"""How long a set goes on being used while the metadata server does not answer."""
COOLDOWN_S: Final = 10.0
"""Between two readings, whatever asks for them: a flood of unknown key ids is one reading."""
PATIENCE_S: Final = 1.0
"""How long a token whose key is known waits for a newer set."""
STRANGE_PATIENCE_S: Final = 5.0
"""The same where no key is known."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    key: jwt.PyJWK
    endorsements: frozenset[str]
    """Channel ids, e.g. ``msteams``."""


def issuer_of(metadata_url: str) -> str:
    """Who signs the tokens whose keys are published at `metadata_url`."""
    parts = split(metadata_url)
    return _ISSUERS.get(parts.hostname or "", ISSUER) if parts is not None else ISSUER


class ConnectorKeys:
    """One key set, read through the metadata document at `metadata_url`. Belongs to one event loop."""

    def __init__(self, http: IdpHttp, metadata_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        if safe_address(metadata_url, loopback=True) is None:
            raise ValueError(
                "TEAMS_OPENID_METADATA_URL is not an https address (http counts on this machine alone), so who sends "
                "messages could be anybody. Remove it to use Microsoft's."
            )
        self._http = http
        self._url = metadata_url
        self._clock = clock
        self._keys: Mapping[str, tuple[JsonObject, ...]] = {}
        self._read_at = -math.inf
        self._tried_at = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def signing_key(self, kid: str, alg: str) -> SigningKey:
        """The key that is called `kid`, bound to `alg`.

        Raises:
            NoKey: there is none. Nothing else is raised.
        """
        known = kid in self._keys and self._younger(STALE_S)
        if not known or not self._younger(FRESH_S):
            await self._renew(PATIENCE_S if known else STRANGE_PATIENCE_S)
        if not self._younger(STALE_S):
            raise NoKey(KeyFault.UNAVAILABLE, "its keys could not be read")
        found = self._keys.get(kid, ())
        if not found:
            raise NoKey(KeyFault.UNKNOWN, "it publishes no such key")
        fitting = [(made, key) for made in found if (key := usable(made, alg)) is not None]
        # Two keys of one name and kind: which of them was meant, and with whose endorsements, would be a guess.
        if len(fitting) != 1:
            raise NoKey(KeyFault.UNFIT, "its key is not for this algorithm")
        made, key = fitting[0]
        return SigningKey(key, _endorsements(made))

    def _younger(self, seconds: float) -> bool:
        return self._clock() - self._read_at < seconds

    async def _renew(self, patience_s: float) -> None:
        """Reads the set, unless somebody does or did a moment ago, and waits for that as long as `patience_s`."""
        now = self._clock()
        if self._asking is None or self._asking.done():
            if now - self._tried_at < COOLDOWN_S:
                return
            self._tried_at = now
            self._asking = asyncio.create_task(self._read())
        left = patience_s - (now - self._tried_at)
        if left > 0:
            # Whoever gives up waiting does not end the reading for the others.
            await asyncio.wait((self._asking,), timeout=left)

    async def _read(self) -> None:
        try:
            document = await self._http.get(self._url)
            if document.get("issuer") != issuer_of(self._url):
                raise IdpSilent("its metadata is of another issuer")
            address = safe_address(document.get("jwks_uri"), loopback=on_loopback(self._url))
            if address is None:
                raise IdpSilent("its metadata names no usable address of keys")
            self._keys = read_keys(await self._http.get(address))
            self._read_at = self._clock()
        except IdpSilent as silent:
            log.warning("The keys of Teams' tokens could not be read: %s", silent)


def _endorsements(made: JsonObject) -> frozenset[str]:
    listed = made.get("endorsements")
    return frozenset(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else frozenset()
