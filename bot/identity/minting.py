"""Tokens for somebody else's API, in a person's name: what is asked, what may come back, and who can get one.

Knows the port and what every received token must satisfy; the protocols are in `exchange`, `entra_obo` and `id_jag`.
Our own call tokens are minted in `tokens`; an assertion for another server is of another type and another audience,
so neither passes for the other.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from bot.identity.downstream import Downstream
from bot.identity.jose import JoseRefused, JsonObject, parts
from bot.identity.tokens import AGENT, CLOCK_SKEW, MAX_LIFETIME, CallTokens
from policy.model import Principal, ToolName

MAX_TOKEN = 16 * 1024
ASSERTION_TYPE = "JWT"
ACTOR = "urn:countersign:agent"


class Fault(StrEnum):
    """Why no token came. Closed: the audit stores these words."""

    UNREACHABLE = "unreachable"
    INTERACTION = "interaction"
    """The person has to sign in, consent or prove more: nothing an agent can do for them."""
    CLIENT = "client"
    REFUSED = "refused"
    SCOPE = "scope"
    """The server gives none of these scopes, or gave more than was asked for."""
    ANSWER = "answer"
    """It said yes, and what came cannot be used: another type, another audience, somebody else's."""
    AUDIENCE = "audience"
    SUBJECT = "subject"
    ACTOR = "actor"
    LIFETIME = "lifetime"


class ExchangeRefused(Exception):
    """No token. `str(e)` ends a sentence that begins with the API's name; holds nothing of any token."""

    def __init__(self, fault: Fault, why: str) -> None:
        super().__init__(why)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves whom we act for, from their grant. Neither is kept."""

    access_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """One token for one call."""

    principal: Principal
    tool: ToolName
    call_id: str
    downstream: Downstream
    scopes: tuple[str, ...]
    proof: Proof
    now: datetime


@dataclass(frozen=True, slots=True)
class DownstreamToken:
    """What the API is called with: the person's, for that API, no wider than asked."""

    token: str = field(repr=False)
    expires_at: datetime
    scopes: tuple[str, ...]
    actor: str | None = None
    """Whom the token names as acting (``act``), where it can be read."""


class TokenMinter(Protocol):
    """One way to get a downstream token. Implemented per `DownstreamKind`."""

    async def downstream(self, ask: Ask) -> DownstreamToken:
        """A token for `ask`.

        Raises:
            ExchangeRefused: none, or one that is not what was asked for. Nothing else is raised.
        """


class Assertions:
    """Signs what other servers are told: whom we act for, and that we do. Says nothing of rights."""

    def __init__(self, tokens: CallTokens) -> None:
        self._tokens = tokens

    def subject(self, who: Principal, audience: str, now: datetime) -> str:
        """`who` acts through us, for the server `audience` alone. Where that server trusts our JWKS."""
        return self._signed(who.subject.sub, audience, now, sub_iss=who.subject.issuer, act={"sub": AGENT})

    def actor(self, audience: str, now: datetime) -> str:
        """We are the agent, for the server `audience` alone."""
        return self._signed(ACTOR, audience, now)

    def _signed(self, sub: str, audience: str, now: datetime, **more: object) -> str:
        issued = int(now.timestamp())
        claims = {
            "iss": self._tokens.issuer,
            "sub": sub,
            "aud": audience,
            "iat": issued,
            "nbf": issued,
            "exp": issued + int(MAX_LIFETIME.total_seconds()),
            "jti": uuid.uuid4().hex,
            **more,
        }
        return self._tokens.sign(claims, ASSERTION_TYPE)


def received(ask: Ask, said: JsonObject, asked: Iterable[str]) -> DownstreamToken:
    """The token in `said`, once it is what was asked for. Its signature is the API's to check: it came over TLS.

    Raises:
        ExchangeRefused: it is not.
    """
    target = ask.downstream
    token, kind = said.get("access_token"), said.get("token_type")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise ExchangeRefused(Fault.ANSWER, "gave an answer without a token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ExchangeRefused(Fault.ANSWER, "gave a token of another type")
    # Left out, it is what was asked for (RFC 6749, 5.1).
    scopes = _no_wider(asked, _words(said["scope"]) if "scope" in said else tuple(asked))
    claims = readable(token)
    if claims is None and target.actor:
        raise ExchangeRefused(Fault.ACTOR, "gave a token that does not say through whom it was had")
    actor = _actor(target, claims) if claims is not None else None
    ends = [end for end in (_lasts(ask, said), _checked(ask, claims, asked) if claims is not None else None) if end]
    if not ends or max(ends) > ask.now + timedelta(seconds=target.max_lifetime_s) + CLOCK_SKEW:
        raise ExchangeRefused(Fault.LIFETIME, f"gave a token that does not end within {target.max_lifetime_s} seconds")
    return DownstreamToken(token, min(ends), scopes, actor)


def _lasts(ask: Ask, said: JsonObject) -> datetime | None:
    """When the answer says that its token ends; None where it says nothing (it need not, RFC 8693)."""
    if "expires_in" not in said:
        return None
    seconds = said["expires_in"]
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds < 2**31:
        raise ExchangeRefused(Fault.LIFETIME, "gave a token with an end that nobody can read")
    return ask.now + timedelta(seconds=seconds)


def readable(token: str) -> JsonObject | None:
    """The claims of a JWT; None where it is another sort of token, which its API alone can read."""
    try:
        header, claims = parts(token, MAX_TOKEN)
    except JoseRefused:
        return None
    return claims if "alg" in header else None


def _checked(ask: Ask, claims: JsonObject, asked: Iterable[str]) -> datetime:
    """Audience, person, scope and times of a token that can be read. When it ends."""
    target = ask.downstream
    if claims.get("aud") not in (target.audience, [target.audience]):
        raise ExchangeRefused(Fault.AUDIENCE, "gave a token for another API, or for more than this one")
    if target.subject_claim is not None and claims.get(target.subject_claim) != ask.principal.subject.sub:
        raise ExchangeRefused(Fault.SUBJECT, "gave a token that is somebody else's")
    for name in ("scope", "scp"):
        if name in claims:
            _no_wider(asked, _words(claims[name]))
    ends = moment(claims.get("exp"))
    if ends is None or ends <= ask.now - CLOCK_SKEW:
        raise ExchangeRefused(Fault.LIFETIME, "gave a token that has expired")
    return ends


def _actor(target: Downstream, claims: JsonObject) -> str | None:
    """Who the token says acts. Where it says somebody, it has to be us."""
    act = claims.get("act")
    if act is None and not target.actor:
        return None
    name = act.get("sub") if isinstance(act, dict) else None
    ours = {client.client_id for client in (target.at, target.redeem_at) if client is not None} | {AGENT, ACTOR}
    if name not in ours:
        raise ExchangeRefused(Fault.ACTOR, "gave a token that does not name us as the one who acts")
    return str(name)


def _no_wider(asked: Iterable[str], given: tuple[str, ...]) -> tuple[str, ...]:
    """`given`, which holds nothing that was not asked for. A short name stands for the end of a long one (Entra)."""
    wanted = {name for scope in asked for name in (scope, scope.rpartition("/")[2])}
    if not given or not set(given) <= wanted:
        raise ExchangeRefused(Fault.SCOPE, "gave other rights than were asked for")
    return given


def _words(value: object) -> tuple[str, ...]:
    """Scopes as one text or as a list: servers do both."""
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ExchangeRefused(Fault.SCOPE, "gave rights in a form nobody can read")
    return tuple(word for word in words if word)


def moment(value: object) -> datetime | None:
    """A NumericDate (RFC 7519), or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return datetime.fromtimestamp(value, UTC) if 0 <= value < 2**37 else None
