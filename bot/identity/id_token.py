"""Who the provider says signed in (OpenID Connect Core 1.0), whom it logged out, and whose token a client shows.

One function for each. Knows every claim that is checked. Groups are never taken from a token: a person's groups are
those of SCIM, so a token that says "too many groups, ask elsewhere" (`_claim_names`, `hasgroups`) is resolved by
reading them there, as for everybody. Somebody whom SCIM does not hold is refused by whoever looks the person up.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from bot.identity.issuers import Issuer
from bot.identity.jose import JoseRefused, JsonObject, b64, parts
from bot.identity.jwks import Keys
from bot.identity.signed_token import MAX_CHARS, IdTokenRefused, TokenReason, signed_claims
from policy.model import Json

__all__ = [
    "IdClaims",
    "IdTokenRefused",
    "LogoutClaims",
    "TokenReason",
    "issuer_named_in",
    "verify_access_token",
    "verify_id_token",
    "verify_logout_token",
]

SKEW = timedelta(seconds=60)
MAX_SUBJECT = 255
MAX_TEXT = 320

_ID_TYPES = frozenset({"jwt", "id_token+jwt", "id"})
_ACCESS_TYPES = frozenset({"jwt", "at+jwt"})
ACCESS_AGE = timedelta(hours=24)
"""The longest that a provider may let an access token live; its own end counts before."""
_LOGOUT_TYPES = frozenset({"jwt", "logout+jwt"})
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_NEVER_PASSED_ON = frozenset({
    "_claim_names", "_claim_sources", "at_hash", "aud", "auth_time", "azp", "c_hash", "email", "exp", "groups",
    "hasgroups", "iat", "iss", "name", "nbf", "nonce", "roles", "sid", "sub", "wids",
})  # fmt: skip
"""What is read above, is of no use later, or would pass for rights."""


@dataclass(frozen=True, slots=True)
class IdClaims:
    """What a verified ID token says. No rights: those are the directory's."""

    issuer: str
    subject: str
    """The value of the issuer's `subject_claim`: SCIM's externalId."""
    sub: str
    sid: str | None
    """The provider's session, for back-channel logout."""
    email: str | None
    """A suggestion, never an identity."""
    name: str | None
    auth_time: datetime | None
    issued_at: datetime
    expires_at: datetime
    groups_overage: bool
    """The person has more groups than the token holds. They are read from SCIM, as everybody's are."""
    extra: Mapping[str, Json] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LogoutClaims:
    """What a verified logout token says. At least one of `sub` and `sid` is there."""

    issuer: str
    sub: str | None
    subject: str | None
    """The value of the issuer's `subject_claim`, where the token carries it."""
    sid: str | None
    jti: str
    """Remembered by the caller: a logout token counts once."""
    issued_at: datetime


async def verify_id_token(
    token: str,
    issuer: Issuer,
    keys: Keys,
    *,
    nonce: str | None,
    now: datetime,
    audience: str | None = None,
    access_token: str | None = None,
) -> IdClaims:
    """What `token` says, if `issuer` said it to this client, in this flow, just now.

    Args:
        nonce: what the flow sent; None for a token that a refresh brought, which no browser carried.
        audience: instead of the issuer's client id.
        access_token: what came beside it; where the token holds its hash, the two must belong together.

    Raises:
        IdTokenRefused: it does not hold. Nothing else is raised.
    """
    header, claims = await signed_claims(token, issuer, keys, _ID_TYPES)
    _of_kind(claims)
    client = audience or issuer.client_id
    _addressed(claims, issuer, client)
    if nonce is not None and not _same(claims.get("nonce"), nonce):
        raise _refused(TokenReason.NONCE, "it belongs to another sign-in than yours")
    issued, ends = _times(claims, now, timedelta(seconds=issuer.max_age_s))
    if issuer.tid is not None and claims.get("tid") != issuer.tid:
        raise _refused(TokenReason.TID, "it is of another organisation's directory")
    if issuer.hd is not None and claims.get("hd") != issuer.hd:
        raise _refused(TokenReason.HD, "it is of an account outside your organisation")
    if access_token is not None:
        _belongs(claims, header, access_token)
    sid = claims.get("sid")
    return IdClaims(
        issuer=issuer.issuer,
        subject=_subject(claims, issuer.subject_claim),
        sub=_subject(claims, "sub"),
        sid=sid if isinstance(sid, str) and 0 < len(sid) <= MAX_SUBJECT else None,
        email=_text(claims, "email"),
        name=_text(claims, "name"),
        auth_time=_moment(claims, "auth_time") if claims.get("auth_time") is not None else None,
        issued_at=issued,
        expires_at=ends,
        groups_overage="_claim_names" in claims or "_claim_sources" in claims or bool(claims.get("hasgroups")),
        extra=MappingProxyType({name: _json(value) for name, value in claims.items() if name not in _NEVER_PASSED_ON}),
    )


async def verify_logout_token(token: str, issuer: Issuer, keys: Keys, *, now: datetime) -> LogoutClaims:
    """Whom `token` logs out (OpenID Connect Back-Channel Logout 1.0).

    Raises:
        IdTokenRefused: it does not hold. Nothing else is raised.
    """
    _, claims = await signed_claims(token, issuer, keys, _LOGOUT_TYPES)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT_EVENT), dict):
        raise _refused(TokenReason.EVENTS, "it is no logout token")
    if "nonce" in claims:
        raise _refused(TokenReason.NONCE, "an ID token was shown as a logout token")
    _addressed(claims, issuer, issuer.client_id)
    issued, _ = _times(claims, now, timedelta(seconds=issuer.max_age_s), may_lack_end=True)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_SUBJECT:
        raise _refused(TokenReason.JTI, "it has no name of its own")
    sid, sub = claims.get("sid"), claims.get("sub")
    if sid is None and sub is None:
        raise _refused(TokenReason.NOBODY, "it names nobody")
    return LogoutClaims(
        issuer=issuer.issuer,
        sub=_subject(claims, "sub") if sub is not None else None,
        subject=_subject(claims, issuer.subject_claim) if claims.get(issuer.subject_claim) is not None else None,
        sid=_subject(claims, "sid") if sid is not None else None,
        jti=jti,
        issued_at=issued,
    )


async def verify_access_token(
    token: str,
    issuer: Issuer,
    keys: Keys,
    *,
    audiences: Collection[str],
    clients: Collection[str],
    scope: str,
    now: datetime,
) -> str:
    """Whose `token` is, if `issuer` gave it to one of `clients`, for us and for `scope`: SCIM's externalId.

    It says who somebody is only because the client that got it is one that hands on nobody else's.

    Raises:
        IdTokenRefused: it does not hold. Nothing else is raised.
    """
    _, claims = await signed_claims(token, issuer, keys, _ACCESS_TYPES)
    if "nonce" in claims or "events" in claims:
        raise _refused(TokenReason.TYP, "it is a token of another kind")
    if claims.get("iss") != issuer.issuer:
        raise _refused(TokenReason.ISS, "it is from another provider")
    meant = _audiences(claims)
    if len(meant) != 1 or meant[0] not in audiences:
        raise _refused(TokenReason.AUD, "it is meant for another application")
    if claims.get("azp") not in clients:
        raise _refused(TokenReason.AZP, "it was given to another application")
    _times(claims, now, ACCESS_AGE)
    if issuer.tid is not None and claims.get("tid") != issuer.tid:
        raise _refused(TokenReason.TID, "it is of another organisation's directory")
    granted = claims.get("scp")
    # An application's own token, which is nobody's, has roles and no scope.
    if not isinstance(granted, str) or scope not in granted.split():
        raise _refused(TokenReason.SCOPE, "it does not allow this")
    return _subject(claims, issuer.subject_claim)


def issuer_named_in(token: str, issuers: Iterable[Issuer]) -> Issuer | None:
    """Which of `issuers` an unverified token claims to be from and for: says whose keys to check it with, no more."""
    try:
        _, claims = parts(token, MAX_CHARS)
    except JoseRefused:
        return None
    for issuer in issuers:
        if claims.get("iss") == issuer.issuer and issuer.client_id in _audiences(claims):
            return issuer
    return None


def _of_kind(claims: JsonObject) -> None:
    """Not a token of another kind that the same provider signed for the same client."""
    kind = claims.get("typ")
    if "events" in claims or (kind is not None and (not isinstance(kind, str) or kind.lower() not in _ID_TYPES)):
        raise _refused(TokenReason.TYP, "it is a token of another kind")


def _addressed(claims: JsonObject, issuer: Issuer, client: str) -> None:
    if claims.get("iss") != issuer.issuer:
        raise _refused(TokenReason.ISS, "it is from another provider")
    audiences = _audiences(claims)
    if client not in audiences:
        raise _refused(TokenReason.AUD, "it is meant for another application")
    azp = claims.get("azp")
    if azp != client and ("azp" in claims or len(audiences) > 1):
        raise _refused(TokenReason.AZP, "it was given to another application")


def _audiences(claims: JsonObject) -> tuple[str, ...]:
    value = claims.get("aud")
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        return ()
    return tuple(listed)


def _times(
    claims: JsonObject, now: datetime, max_age: timedelta, *, may_lack_end: bool = False
) -> tuple[datetime, datetime]:
    """When it was issued and when it ends. Older providers give a logout token no end: its age bounds it."""
    issued = _moment(claims, "iat")
    ends = issued + max_age if may_lack_end and "exp" not in claims else _moment(claims, "exp")
    begins = _moment(claims, "nbf") if "nbf" in claims else issued
    if now >= ends + SKEW:
        raise _refused(TokenReason.EXPIRED, "it has expired")
    if issued > now + SKEW:
        raise _refused(TokenReason.FUTURE, "it is from the future: a clock is wrong")
    if begins > now + SKEW:
        raise _refused(TokenReason.NOT_YET, "it is not valid yet")
    if issued < now - max_age - SKEW:
        raise _refused(TokenReason.STALE, "it was issued too long ago")
    return issued, ends


def _moment(claims: JsonObject, name: str) -> datetime:
    value = claims.get(name)
    # Whole or not (RFC 7519's NumericDate); True is a number to Python.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(TokenReason.TIMES, "one of its times is missing or no time")
    # Also false for what is no number and for infinity.
    if not 0 <= value < 2**37:
        raise _refused(TokenReason.TIMES, "one of its times is beyond the calendar")
    return datetime.fromtimestamp(value, UTC)


def _subject(claims: JsonObject, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or len(value) > MAX_SUBJECT or not value.isprintable() or not value.strip():
        raise _refused(TokenReason.SUBJECT, "it does not say who you are in the way your organisation agreed")
    return value


def _belongs(claims: JsonObject, header: JsonObject, access_token: str) -> None:
    """The access token is the one this ID token came with, where it says so (it may be silent in the code flow)."""
    if "at_hash" not in claims:
        return
    alg = str(header.get("alg"))
    hashed = {"256": hashlib.sha256, "384": hashlib.sha384}.get(alg[-3:], hashlib.sha512)
    digest = hashed(access_token.encode("utf-8", "surrogatepass")).digest()
    if not _same(claims["at_hash"], b64(digest[: len(digest) // 2])):
        raise _refused(TokenReason.AT_HASH, "it came with an access token that is not its own")


def _same(value: object, expected: str) -> bool:
    if not isinstance(value, str):
        return False
    return hmac.compare_digest(value.encode("utf-8"), expected.encode("utf-8", "surrogatepass"))


def _text(claims: JsonObject, name: str) -> str | None:
    """A nicety: shown to people, never relied on, left out where it is odd."""
    value = claims.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable() else None


def _json(value: object) -> Json:
    """`value`, which a JSON parser made, as the type says it."""
    if isinstance(value, dict):
        return {str(name): _json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else None


def _refused(reason: TokenReason, why: str) -> IdTokenRefused:
    return IdTokenRefused(reason, why)
