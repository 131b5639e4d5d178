"""Call tokens: who asks, through which agent, for which one tool, for at most five minutes (invariant 2).

JWTs (RFC 7519) signed with Ed25519 (RFC 8037), checked explicitly. Knows claims and asks a ring for keys; does not
know what a tool does with them. A `jti` names one call: that it is used once is the gateway's to hold, which binds
it to the call's id in the database, so it holds across replicas.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bot.identity.jose import JoseRefused, JsonObject, parts
from bot.identity.keyring import FixedRing, Keys
from policy.model import Principal, RoleName, Subject, TenantId, ToolName
from tools.ports import CallToken, TokenRefused

ISSUER = "urn:countersign"
AUDIENCE = "countersign-gateway"
AGENT = "countersign"
TYPE = "countersign-call+jwt"
ALGORITHM = "EdDSA"
MAX_LIFETIME = timedelta(minutes=5)
CLOCK_SKEW = timedelta(seconds=5)
"""Between replicas. Allowed for a token from the future; an expired one is expired."""
MAX_CHARS = 8192

_HEADER = {"alg", "kid", "typ"}
_CLAIMS = {
    "act", "approval_id", "aud", "email", "exp", "iat", "iss", "jti", "name", "nbf", "person_key", "roles", "sub",
    "sub_iss", "tenant", "tool",
}  # fmt: skip

Claims: TypeAlias = JsonObject


class CallTokens:
    """Mints and verifies. Implements `tools.ports.TokenVerifier`."""

    def __init__(
        self,
        keys: Keys | Ed25519PrivateKey,
        also_trusted: Iterable[Ed25519PublicKey] = (),
        *,
        issuer: str = ISSUER,
    ) -> None:
        """`keys`: a ring, or one key that never changes with those that were signed with before it.

        `issuer`: this deployment's public address, where it has one. What checks our signatures elsewhere finds the
        keys by it, and a token of another deployment is refused by its issuer even where somebody copied a key.
        """
        self._keys = FixedRing(keys, also_trusted) if isinstance(keys, Ed25519PrivateKey) else keys
        self.issuer = issuer

    def mint(
        self,
        principal: Principal,
        tool: ToolName,
        now: datetime,
        *,
        approval_id: str | None = None,
        jti: str | None = None,
        lifetime: timedelta = MAX_LIFETIME,
    ) -> str:
        """A token for one call of `tool` by `principal`, from `now` (aware) for `lifetime`.

        Raises:
            ValueError: a lifetime that is not between a second and five minutes.
        """
        if not timedelta(seconds=1) <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"a call token lives one second to five minutes, not {lifetime}")
        issued = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": principal.subject.sub,
            "sub_iss": principal.subject.issuer,
            "tenant": principal.tenant,
            "name": principal.display_name,
            "email": principal.email,
            "person_key": principal.person_key,
            "roles": sorted(principal.roles),
            "act": {"sub": AGENT},
            "tool": tool,
            "jti": jti or uuid.uuid4().hex,
            "approval_id": approval_id,
            "iat": issued,
            "nbf": issued,
            "exp": issued + int(lifetime.total_seconds()),
        }
        return self.sign(claims, TYPE)

    def sign(self, claims: Claims, kind: str) -> str:
        """`claims` under the key that signs now. `kind` becomes ``typ``, so that one sort never passes for another."""
        signing = self._keys.now().current
        return jwt.encode(dict(claims), signing.key, algorithm=ALGORITHM, headers={"kid": signing.kid, "typ": kind})

    def verify(self, token: str, *, tool: ToolName, now: datetime) -> CallToken:
        """The claims of `token`.

        Raises:
            TokenRefused: it is not a token of ours for `tool`, valid at `now`. Nothing else is raised.
        """
        header, _ = _parts(token)
        if header.keys() != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE:
            raise TokenRefused("The token's header is not that of a call token.")
        kid = header["kid"]
        key = self._keys.now().verifying(now).get(kid) if isinstance(kid, str) else None
        if key is None:
            raise TokenRefused("The token is signed with a key that is not trusted.")
        try:
            # Times are checked below against the caller's clock.
            jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self.issuer,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TokenRefused(f"The token does not hold: {type(error).__name__}.") from error
        _, claims = _parts(token)
        return _call_token(claims, tool, now)


def _call_token(claims: Claims, tool: ToolName, now: datetime) -> CallToken:
    if claims.keys() != _CLAIMS:
        raise TokenRefused("The token does not carry exactly the claims of a call token.")
    if _text(claims, "tool") != tool:
        raise TokenRefused("The token is for another tool.")
    act = claims["act"]
    if act != {"sub": AGENT}:
        raise TokenRefused("The token names another agent.")
    return CallToken(
        principal=Principal(
            tenant=TenantId(_text(claims, "tenant")),
            subject=Subject(_text(claims, "sub_iss"), _text(claims, "sub")),
            display_name=_text(claims, "name"),
            roles=_roles(claims),
            person_key=_text_or_none(claims, "person_key"),
            email=_text_or_none(claims, "email"),
        ),
        tool=tool,
        actor=AGENT,
        jti=_text(claims, "jti"),
        expires_at=_lifetime(claims, now),
        approval_id=_text_or_none(claims, "approval_id"),
    )


def _lifetime(claims: Claims, now: datetime) -> datetime:
    issued, begins, ends = (_moment(claims, name) for name in ("iat", "nbf", "exp"))
    if not timedelta(0) < ends - issued <= MAX_LIFETIME or begins < issued:
        raise TokenRefused("The token's times make no call token.")
    if max(issued, begins) > now + CLOCK_SKEW:
        raise TokenRefused("The token is from the future.")
    if now >= ends:
        raise TokenRefused("The token has expired.")
    return ends


def _moment(claims: Claims, name: str) -> datetime:
    value = claims[name]
    if not isinstance(value, int) or not 0 <= value < 2**40:
        raise TokenRefused(f"The token's {name} is not a time.")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise TokenRefused(f"The token's {name} is not a time.") from error


def _text(claims: Claims, name: str) -> str:
    value = claims[name]
    if not isinstance(value, str) or not value:
        raise TokenRefused(f"The token's {name} is not text.")
    return value


def _text_or_none(claims: Claims, name: str) -> str | None:
    return None if claims[name] is None else _text(claims, name)


def _roles(claims: Claims) -> frozenset[RoleName]:
    value = claims["roles"]
    if not isinstance(value, list) or not all(isinstance(role, str) and role for role in value):
        raise TokenRefused("The token's roles are not a list of names.")
    return frozenset(RoleName(role) for role in value)


def _parts(token: str) -> tuple[Claims, Claims]:
    try:
        return parts(token, MAX_CHARS)
    except JoseRefused as refused:
        raise TokenRefused(str(refused)) from refused
