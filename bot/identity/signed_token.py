"""A token somebody else signed: its header and signature, checked before a claim is believed.

Knows algorithms, keys and every header that is refused; what the claims must say is `id_token`'s. The words of
every refusal are here. A header that names or carries a key (jku, x5u, jwk, x5c) is refused, not ignored: no
provider sends one, and whoever does hopes that somebody follows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from typing import assert_never

import jwt

from bot.identity.issuers import Issuer
from bot.identity.jose import JoseFault, JoseRefused, JsonObject, parts
from bot.identity.jwks import KeyFault, Keys, NoKey

MAX_CHARS = 16 * 1024
_KID = re.compile(r"[A-Za-z0-9_.~:@=+-]{1,200}", re.ASCII)
_NONE = re.compile(r"\s*none\s*", re.IGNORECASE)


class TokenReason(StrEnum):
    """Why a token was refused. Closed: the audit stores these words."""

    # Its form.
    NOT_A_TOKEN = "not_a_token"
    TOO_LONG = "too_long"
    ENCRYPTED = "encrypted"
    NOT_CANONICAL = "not_canonical"
    NOT_JSON = "not_json"
    SAID_TWICE = "said_twice"
    # Its header.
    ALG_NONE = "alg_none"
    ALG_SYMMETRIC = "alg_symmetric"
    ALG = "alg"
    TYP = "typ"
    CRIT = "crit"
    JKU = "jku"
    X5U = "x5u"
    JWK = "jwk"
    X5C = "x5c"
    PAYLOAD = "payload"
    """zip, b64, cty or enc: the payload is not what it looks like, a token within a token among them."""
    KID_MISSING = "kid_missing"
    KID = "kid"
    # Its key and signature.
    KEY_UNKNOWN = "key_unknown"
    KEY_UNFIT = "key_unfit"
    KEYS_UNAVAILABLE = "keys_unavailable"
    SIGNATURE = "signature"
    # Its claims.
    ISS = "iss"
    AUD = "aud"
    AZP = "azp"
    NONCE = "nonce"
    TIMES = "times"
    """exp or iat is missing, or one of the times is no time."""
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    FUTURE = "future"
    STALE = "stale"
    TID = "tid"
    HD = "hd"
    SUBJECT = "subject"
    AT_HASH = "at_hash"
    SCOPE = "scope"
    """An access token's."""
    # A logout token's.
    EVENTS = "events"
    JTI = "jti"
    NOBODY = "nobody"
    """Neither sub nor sid: nobody is logged out by it."""


class IdTokenRefused(Exception):
    """A token did not hold. `str(e)` is for people and holds nothing of the token."""

    def __init__(self, reason: TokenReason, why: str) -> None:
        mend = (
            "Start again in a few minutes."
            if reason is TokenReason.KEYS_UNAVAILABLE
            else f"Start again; if it happens twice, tell an admin: “{reason.value}”."
        )
        super().__init__(f"Your company's sign-in was not accepted: {why}. Nothing was done. {mend}")
        self.reason = reason


async def signed_claims(
    token: str, issuer: Issuer, keys: Keys, types: Collection[str]
) -> tuple[JsonObject, JsonObject]:
    """Header and claims of `token`, which `issuer` signed just so. `types`: the `typ` it may have, in lower case.

    Raises:
        IdTokenRefused: it did not. Nothing else is raised.
    """
    try:
        header, claims = parts(token, MAX_CHARS)
    except JoseRefused as refused:
        raise IdTokenRefused(_form(refused.fault), "what came back is no proper token") from refused
    alg, kid = _header(header, issuer, types)
    try:
        key = await keys.key(issuer, kid, alg)
    except NoKey as missing:
        raise _without_key(missing) from missing
    try:
        jwt.PyJWS(algorithms=[alg]).decode(token, key, algorithms=[alg])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise IdTokenRefused(TokenReason.SIGNATURE, "its signature is not the provider's") from error
    return header, claims


def _form(fault: JoseFault) -> TokenReason:
    return TokenReason(fault.value)


def _header(header: JsonObject, issuer: Issuer, types: Collection[str]) -> tuple[str, str]:
    """The algorithm and the key id, if nothing in `header` speaks against the token."""
    alg = header.get("alg")
    if not isinstance(alg, str):
        raise IdTokenRefused(TokenReason.ALG, "it does not say how it is signed")
    if _NONE.fullmatch(alg) or not alg:
        raise IdTokenRefused(TokenReason.ALG_NONE, "it is not signed")
    if alg.upper().startswith("HS"):
        raise IdTokenRefused(TokenReason.ALG_SYMMETRIC, "it is signed with a shared secret")
    if alg not in issuer.algorithms:
        raise IdTokenRefused(TokenReason.ALG, "it is signed in a way that is not allowed for this provider")
    typ = header.get("typ")
    if "typ" in header and (not isinstance(typ, str) or typ.lower() not in types):
        raise IdTokenRefused(TokenReason.TYP, "it is a token of another kind")
    if "crit" in header:
        raise IdTokenRefused(TokenReason.CRIT, "it demands something that is not known here")
    for name in (TokenReason.JKU, TokenReason.X5U, TokenReason.JWK, TokenReason.X5C):
        if name in header:
            raise IdTokenRefused(name, "it brings its own key")
    if header.keys() & {"zip", "b64", "cty", "enc"}:
        raise IdTokenRefused(TokenReason.PAYLOAD, "it wraps something else")
    kid = header.get("kid")
    if kid is None:
        raise IdTokenRefused(TokenReason.KID_MISSING, "it does not say which key signed it")
    if not isinstance(kid, str) or not _KID.fullmatch(kid) or ".." in kid:
        raise IdTokenRefused(TokenReason.KID, "it names its key in a way no provider does")
    return alg, kid


def _without_key(missing: NoKey) -> IdTokenRefused:
    match missing.fault:
        case KeyFault.UNKNOWN:
            return IdTokenRefused(TokenReason.KEY_UNKNOWN, "it is signed with a key the provider does not publish")
        case KeyFault.UNFIT:
            return IdTokenRefused(TokenReason.KEY_UNFIT, "it is signed with a key that is not for that")
        case KeyFault.UNAVAILABLE:
            return IdTokenRefused(TokenReason.KEYS_UNAVAILABLE, "the provider cannot be asked for its keys just now")
        case _:
            assert_never(missing.fault)
