"""What a provider says of itself (OpenID Connect Discovery 1.0), checked, bounded and remembered for a while.

Knows the document; speaks to no endpoint that it names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bot.identity.idp_http import IdpHttp, IdpSilent, JsonObject, on_loopback, safe_address
from bot.identity.issuers import Issuer

LIFETIME_S = 3600.0
STALE_S = 24 * 3600.0
"""How long a document goes on being used while the provider does not answer."""
RETRY_S = 5.0


class DiscoveryFailed(Exception):
    """What the provider says of itself cannot be used. `str(e)` ends a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is used of the discovery document; the rest is not kept."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    """How a client may prove itself at the token endpoint; the standard's default where nothing is said."""
    iss_in_response: bool = False
    """RFC 9207: `iss` stands beside every authorization code, and its absence is a refusal."""


@dataclass(slots=True)
class _Known:
    metadata: Metadata | None = None
    read_at: float = 0.0
    tried_at: float | None = None
    failure: str = ""
    asking: asyncio.Task[None] | None = field(default=None, repr=False)


class Discovery:
    """The documents of every issuer. One request at a time for each, however many ask."""

    def __init__(self, http: IdpHttp, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def of(self, issuer: Issuer) -> Metadata:
        """What `issuer` says of itself, read within the last hour, or the last day if it is silent now.

        Raises:
            DiscoveryFailed: it never said anything usable, or too long ago.
        """
        known = self._known.setdefault(issuer.issuer, _Known())
        if self._wants_reading(known):
            if known.asking is None or known.asking.done():
                known.asking = asyncio.create_task(self._read(issuer, known))
            # Whoever gives up waiting does not end the request for the others.
            await asyncio.shield(known.asking)
        if known.metadata is None or self._clock() - known.read_at > STALE_S:
            raise DiscoveryFailed(known.failure)
        return known.metadata

    def _wants_reading(self, known: _Known) -> bool:
        now = self._clock()
        if known.metadata is not None and now - known.read_at < LIFETIME_S:
            return False
        running = known.asking is not None and not known.asking.done()
        return running or known.tried_at is None or now - known.tried_at >= RETRY_S

    async def _read(self, issuer: Issuer, known: _Known) -> None:
        known.tried_at = self._clock()
        try:
            known.metadata = read_metadata(await self._http.get(issuer.discovery_url), issuer)
            known.read_at = self._clock()
        except (IdpSilent, DiscoveryFailed) as error:
            known.failure = str(error)


def read_metadata(document: JsonObject, issuer: Issuer) -> Metadata:
    """What `document` says, if it is `issuer`'s and can be used.

    Raises:
        DiscoveryFailed: it is another issuer's, or lacks or forbids what a safe sign-in needs.
    """
    if document.get("issuer") != issuer.issuer:
        raise DiscoveryFailed("its discovery document is of another issuer than the one in tenants.yaml")
    loopback = on_loopback(issuer.issuer)

    def address(name: str) -> str:
        found = safe_address(document.get(name), loopback=loopback)
        if found is None:
            raise DiscoveryFailed(f"its discovery document names no usable {name}")
        return found

    challenges = _words(document, "code_challenge_methods_supported")
    if challenges is not None and "S256" not in challenges:
        raise DiscoveryFailed("it does not support PKCE with S256, without which a stolen code would be enough")
    signed_by = _words(document, "id_token_signing_alg_values_supported")
    if signed_by is not None and not set(signed_by) & set(issuer.algorithms):
        allowed = ", ".join(issuer.algorithms)
        raise DiscoveryFailed(f"it signs with none of the algorithms that tenants.yaml allows ({allowed})")
    ends = document.get("end_session_endpoint")
    return Metadata(
        issuer.issuer,
        address("authorization_endpoint"),
        address("token_endpoint"),
        address("jwks_uri"),
        safe_address(ends, loopback=loopback),
        _words(document, "token_endpoint_auth_methods_supported") or ("client_secret_basic",),
        document.get("authorization_response_iss_parameter_supported") is True,
    )


def _words(document: JsonObject, name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    if not isinstance(value, list):
        return None
    return tuple(word for word in value if isinstance(word, str))
