"""Invariant 13: an ID or logout token that is wrong in any way is refused, each way by its own word."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bot.identity.id_token import (
    IdClaims,
    IdTokenRefused,
    TokenReason,
    issuer_named_in,
    verify_id_token,
    verify_logout_token,
)
from bot.identity.issuers import Issuer
from tests.kit.idp_keys import (
    EC_KEY,
    ED_KEY,
    ISSUER,
    NONCE,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECONDS,
    Published,
    b64,
    claims,
    ec_jwk,
    header,
    id_token,
    rsa_jwk,
    signed,
)

KEYS = Published()
TID = "8f0c1a2b-0000-4000-8000-00000000abcd"
ENTRA = dataclasses.replace(ISSUER, subject_claim="oid", tid=TID)
GOOGLE = dataclasses.replace(ISSUER, hd="acme.example")
PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
EVENT = "http://schemas.openid.net/event/backchannel-logout"


async def verify(
    token: str,
    issuer: Issuer = ISSUER,
    *,
    nonce: str | None = NONCE,
    now: datetime = NOW,
    access_token: str | None = None,
    keys: Published = KEYS,
) -> IdClaims:
    return await verify_id_token(token, issuer, keys, nonce=nonce, now=now, access_token=access_token)


async def refused(token: str, issuer: Issuer = ISSUER, **asked: object) -> TokenReason:
    with pytest.raises(IdTokenRefused) as refusal:
        await verify(token, issuer, **asked)  # type: ignore[arg-type]
    said = str(refusal.value)
    assert said.startswith("Your company's sign-in was not accepted: ")
    assert "Nothing was done. Start again" in said
    assert ISSUER.client_id not in said
    return refusal.value.reason


# --- what holds -------------------------------------------------------------------------------------


async def test_says_who_signed_in() -> None:
    said = await verify(id_token(sid="s-1", auth_time=SECONDS - 60, acr="mfa", groups=["admin"], roles=["admin"]))
    assert (said.issuer, said.subject, said.sub, said.sid) == (ISSUER.issuer, "00u-dana", "00u-dana", "s-1")
    assert (said.email, said.name) == ("dana@acme.example", "Dana Reyes")
    assert said.auth_time == NOW - timedelta(seconds=60)
    assert (said.issued_at, said.expires_at) == (NOW - timedelta(seconds=5), NOW + timedelta(seconds=295))
    assert not said.groups_overage
    assert dict(said.extra) == {"acr": "mfa"}, "what would pass for rights is not handed on"


@pytest.mark.parametrize(
    ("head", "by"),
    [
        ({"alg": "RS256", "kid": "rsa-1"}, RSA_KEY),
        ({"alg": "RS256", "kid": "rsa-1", "typ": "JWT"}, RSA_KEY),
        ({"alg": "RS256", "kid": "rsa-1", "typ": "jwt"}, RSA_KEY),
        ({"alg": "RS256", "kid": "rsa-1", "typ": "id_token+jwt"}, RSA_KEY),
        ({"alg": "RS256", "kid": "rsa-1", "typ": "ID"}, RSA_KEY),
        ({"alg": "RS256", "kid": "rsa-1", "x5t": "thumb"}, RSA_KEY),
        ({"alg": "PS256", "kid": "rsa-1"}, RSA_KEY),
        ({"alg": "ES256", "kid": "ec-1"}, EC_KEY),
    ],
)
async def test_each_kind_of_signature_that_the_issuer_allows_holds(head: dict[str, object], by: object) -> None:
    """Else every refusal below might be for the wrong reason."""
    assert (await verify(signed(head, claims(), by))).subject == "00u-dana"


async def test_eddsa_holds_where_the_issuer_allows_it() -> None:
    issuer = dataclasses.replace(ISSUER, algorithms=("EdDSA",))
    token = signed(header(alg="EdDSA", kid="ed-1"), claims(), ED_KEY)
    assert (await verify(token, issuer)).subject == "00u-dana"


@pytest.mark.parametrize(
    "said",
    [
        {"aud": [ISSUER.client_id]},
        {"aud": [ISSUER.client_id], "azp": ISSUER.client_id},
        {"aud": ["payroll", ISSUER.client_id], "azp": ISSUER.client_id},
        {"azp": ISSUER.client_id},
        {"nbf": SECONDS},
        {"iat": SECONDS - 0.5, "exp": SECONDS + 10.5},
        {"typ": "ID"},
        {"tid": "of no interest", "hd": "neither"},
    ],
)
async def test_claims_that_a_provider_may_write_hold(said: dict[str, object]) -> None:
    assert (await verify(id_token(**said))).subject == "00u-dana"


async def test_entras_subject_is_the_object_id_and_its_tenant_is_checked() -> None:
    said = await verify(id_token(oid="obj-1", tid=TID), ENTRA)
    assert (said.subject, said.sub, said.extra["oid"]) == ("obj-1", "00u-dana", "obj-1")


async def test_a_workspace_domain_is_checked() -> None:
    assert (await verify(id_token(hd="acme.example"), GOOGLE)).subject == "00u-dana"


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (timedelta(seconds=294 + 60), None),
        (timedelta(seconds=295 + 60), TokenReason.EXPIRED),
        (timedelta(seconds=-5 - 60), None),
        (timedelta(seconds=-5 - 61), TokenReason.FUTURE),
    ],
)
async def test_a_minute_of_skew_is_allowed_and_no_more(offset: timedelta, reason: TokenReason | None) -> None:
    if reason is None:
        assert (await verify(id_token(), now=NOW + offset)).subject == "00u-dana"
    else:
        assert await refused(id_token(), now=NOW + offset) is reason


async def test_an_access_token_belongs_to_its_id_token() -> None:
    half = hashlib.sha256(b"at-1").digest()[:16]
    token = id_token(at_hash=b64(half))
    assert (await verify(token, access_token="at-1")).subject == "00u-dana"
    assert await refused(token, access_token="at-2") is TokenReason.AT_HASH
    assert await refused(id_token(at_hash=7), access_token="at-1") is TokenReason.AT_HASH
    # In the code flow it may say nothing of it.
    assert (await verify(id_token(), access_token="at-1")).subject == "00u-dana"


async def test_a_refreshed_token_needs_no_nonce_and_is_else_checked_the_same() -> None:
    assert (await verify(id_token(nonce=...), nonce=None)).subject == "00u-dana"
    assert await refused(id_token(nonce=..., aud="other"), nonce=None) is TokenReason.AUD


@pytest.mark.parametrize(
    "said",
    [
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://evil.example"}}},
        {"hasgroups": True},
        {"_claim_sources": {}},
    ],
)
async def test_too_many_groups_for_the_token_is_said_and_none_is_taken(said: dict[str, object]) -> None:
    """Groups are read from SCIM, of everybody: an overage grants nothing and its endpoint is not asked."""
    found = await verify(id_token(**said))
    assert found.groups_overage
    assert dict(found.extra) == {}


async def test_niceties_that_are_odd_are_left_out() -> None:
    said = await verify(id_token(email=["a"], name="x" * 500, sid=7))
    assert (said.email, said.name, said.sid) == (None, None, None)
    assert (await verify(id_token(name="Dana\u202egnp"))).name is None


# --- what does not ----------------------------------------------------------------------------------

NONE = TokenReason.ALG_NONE
HEADERS: dict[str, tuple[dict[str, object], object, TokenReason]] = {
    "alg none": ({"alg": "none"}, None, NONE),
    "alg None": ({"alg": "None"}, None, NONE),
    "alg nOnE": ({"alg": "nOnE"}, None, NONE),
    "alg none, signed": ({"alg": "none"}, RSA_KEY, NONE),
    "alg empty": ({"alg": ""}, None, NONE),
    "alg missing": ({"alg": ...}, RSA_KEY, TokenReason.ALG),
    "alg a list": ({"alg": ["RS256"]}, RSA_KEY, TokenReason.ALG),
    "HS256 with the public key, PEM": ({"alg": "HS256"}, PEM, TokenReason.ALG_SYMMETRIC),
    "HS256 with the public key, DER": ({"alg": "HS256"}, DER, TokenReason.ALG_SYMMETRIC),
    "HS256 with the client secret": ({"alg": "HS256"}, b"secret", TokenReason.ALG_SYMMETRIC),
    "hs512 in small letters": ({"alg": "hs512"}, b"secret", TokenReason.ALG_SYMMETRIC),
    "RS384, which is not allowed": ({"alg": "RS384"}, RSA_KEY, TokenReason.ALG),
    "EdDSA, which is not allowed": ({"alg": "EdDSA", "kid": "ed-1"}, ED_KEY, TokenReason.ALG),
    "rs256 in small letters": ({"alg": "rs256"}, RSA_KEY, TokenReason.ALG),
    "ES256 by an RSA key's name": ({"alg": "ES256"}, EC_KEY, TokenReason.KEY_UNFIT),
    "RS256 by an EC key's name": ({"kid": "ec-1"}, RSA_KEY, TokenReason.KEY_UNFIT),
    "RS256 that is signed as PS256": ({"alg": "PS256", "kid": "rsa-1"}, OTHER_RSA_KEY, TokenReason.SIGNATURE),
    "another key signed": ({}, OTHER_RSA_KEY, TokenReason.SIGNATURE),
    "nobody signed": ({}, None, TokenReason.SIGNATURE),
    "a key nobody published": ({"kid": "rsa-2"}, OTHER_RSA_KEY, TokenReason.KEY_UNKNOWN),
    "kid missing": ({"kid": ...}, RSA_KEY, TokenReason.KID_MISSING),
    "kid null": ({"kid": None}, RSA_KEY, TokenReason.KID_MISSING),
    "kid a path": ({"kid": "../../../../dev/null"}, b"", TokenReason.KID),
    "kid two dots": ({"kid": ".."}, RSA_KEY, TokenReason.KID),
    "kid an address": ({"kid": "https://evil.example/key"}, OTHER_RSA_KEY, TokenReason.KID),
    "kid a query": ({"kid": "x' UNION SELECT 'key"}, b"key", TokenReason.KID),
    "kid with a line end": ({"kid": "rsa-1\n"}, RSA_KEY, TokenReason.KID),
    "kid with a zero": ({"kid": "rsa-1\x00"}, RSA_KEY, TokenReason.KID),
    "kid without end": ({"kid": "k" * 201}, RSA_KEY, TokenReason.KID),
    "kid empty": ({"kid": ""}, RSA_KEY, TokenReason.KID),
    "kid a number": ({"kid": 1}, RSA_KEY, TokenReason.KID),
    "kid a list": ({"kid": ["rsa-1"]}, RSA_KEY, TokenReason.KID),
    "jku": ({"jku": "https://evil.example/jwks"}, OTHER_RSA_KEY, TokenReason.JKU),
    "jku of the provider itself": ({"jku": "https://id.acme.example/jwks"}, RSA_KEY, TokenReason.JKU),
    "x5u": ({"x5u": "https://evil.example/cert"}, OTHER_RSA_KEY, TokenReason.X5U),
    "embedded jwk": ({"jwk": rsa_jwk(OTHER_RSA_KEY, "rsa-1")}, OTHER_RSA_KEY, TokenReason.JWK),
    "embedded certificate": ({"x5c": ["MIIB"]}, OTHER_RSA_KEY, TokenReason.X5C),
    "crit": ({"crit": ["exp"]}, RSA_KEY, TokenReason.CRIT),
    "crit, empty": ({"crit": []}, RSA_KEY, TokenReason.CRIT),
    "crit and b64": ({"crit": ["b64"], "b64": False}, RSA_KEY, TokenReason.CRIT),
    "b64": ({"b64": False}, RSA_KEY, TokenReason.PAYLOAD),
    "zip": ({"zip": "DEF"}, RSA_KEY, TokenReason.PAYLOAD),
    "nested": ({"cty": "JWT"}, RSA_KEY, TokenReason.PAYLOAD),
    "an access token": ({"typ": "at+jwt"}, RSA_KEY, TokenReason.TYP),
    "a logout token": ({"typ": "logout+jwt"}, RSA_KEY, TokenReason.TYP),
    "a call token of ours": ({"typ": "countersign-call+jwt"}, RSA_KEY, TokenReason.TYP),
    "a security event": ({"typ": "secevent+jwt"}, RSA_KEY, TokenReason.TYP),
    "typ empty": ({"typ": ""}, RSA_KEY, TokenReason.TYP),
    "typ null": ({"typ": None}, RSA_KEY, TokenReason.TYP),
    "typ a list": ({"typ": ["JWT"]}, RSA_KEY, TokenReason.TYP),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_that_is_wrong_is_refused_by_its_own_word(name: str) -> None:
    changes, by, reason = HEADERS[name]
    head = {key: value for key, value in header(**changes).items() if value is not ...}
    assert await refused(signed(head, claims(), by)) is reason


CLAIMS: dict[str, tuple[dict[str, object], TokenReason]] = {
    "another issuer": ({"iss": "https://id.evil.example"}, TokenReason.ISS),
    "the issuer with a slash": ({"iss": ISSUER.issuer + "/"}, TokenReason.ISS),
    "the issuer in capitals": ({"iss": ISSUER.issuer.upper()}, TokenReason.ISS),
    "issuers": ({"iss": [ISSUER.issuer]}, TokenReason.ISS),
    "no issuer": ({"iss": ...}, TokenReason.ISS),
    "another audience": ({"aud": "payroll"}, TokenReason.AUD),
    "another audience in a list": ({"aud": ["payroll"]}, TokenReason.AUD),
    "a longer audience": ({"aud": ISSUER.client_id + "-2"}, TokenReason.AUD),
    "no audience": ({"aud": ...}, TokenReason.AUD),
    "an empty audience": ({"aud": []}, TokenReason.AUD),
    "an audience that is no text": ({"aud": [ISSUER.client_id, 7], "azp": ISSUER.client_id}, TokenReason.AUD),
    "an audience by key": ({"aud": {ISSUER.client_id: 1}}, TokenReason.AUD),
    "two audiences, no azp": ({"aud": [ISSUER.client_id, "payroll"]}, TokenReason.AZP),
    "two audiences, another azp": ({"aud": [ISSUER.client_id, "payroll"], "azp": "payroll"}, TokenReason.AZP),
    "one audience, another azp": ({"azp": "payroll"}, TokenReason.AZP),
    "azp null": ({"azp": None}, TokenReason.AZP),
    "azp a list": ({"azp": [ISSUER.client_id]}, TokenReason.AZP),
    "another nonce": ({"nonce": NONCE + "x"}, TokenReason.NONCE),
    "no nonce": ({"nonce": ...}, TokenReason.NONCE),
    "nonce null": ({"nonce": None}, TokenReason.NONCE),
    "nonce a list": ({"nonce": [NONCE]}, TokenReason.NONCE),
    "nonce of other letters": ({"nonce": "ñ"}, TokenReason.NONCE),
    "expired": ({"exp": SECONDS - 61, "iat": SECONDS - 361}, TokenReason.EXPIRED),
    "never expires": ({"exp": ...}, TokenReason.TIMES),
    "exp as text": ({"exp": str(SECONDS + 60)}, TokenReason.TIMES),
    "exp as truth": ({"exp": True}, TokenReason.TIMES),
    "exp beyond the calendar": ({"exp": 2**60}, TokenReason.TIMES),
    "exp beyond numbers": ({"exp": 2**3000}, TokenReason.TIMES),
    "exp before numbers": ({"exp": -(2**3000)}, TokenReason.TIMES),
    "issued nowhen": ({"iat": ...}, TokenReason.TIMES),
    "iat as text": ({"iat": "now"}, TokenReason.TIMES),
    "negative iat": ({"iat": -1}, TokenReason.TIMES),
    "nbf as text": ({"nbf": "now"}, TokenReason.TIMES),
    "nbf null": ({"nbf": None}, TokenReason.TIMES),
    "from the future": ({"iat": SECONDS + 61, "exp": SECONDS + 361}, TokenReason.FUTURE),
    "not valid yet": ({"nbf": SECONDS + 61}, TokenReason.NOT_YET),
    "issued long ago": ({"iat": SECONDS - 661, "exp": SECONDS + 3600}, TokenReason.STALE),
    "no subject": ({"sub": ...}, TokenReason.SUBJECT),
    "an empty subject": ({"sub": ""}, TokenReason.SUBJECT),
    "a blank subject": ({"sub": " "}, TokenReason.SUBJECT),
    "a subject of several lines": ({"sub": "dana\nadmin"}, TokenReason.SUBJECT),
    "a subject with a zero": ({"sub": "dana\x00"}, TokenReason.SUBJECT),
    "a subject without end": ({"sub": "d" * 256}, TokenReason.SUBJECT),
    "a number as subject": ({"sub": 7}, TokenReason.SUBJECT),
    "a logout token without typ": ({"events": {EVENT: {}}}, TokenReason.TYP),
    "an access token of Keycloak": ({"typ": "Bearer"}, TokenReason.TYP),
    "a kind that is no text": ({"typ": 7}, TokenReason.TYP),
    "auth_time that is no time": ({"auth_time": "yesterday"}, TokenReason.TIMES),
}


@pytest.mark.parametrize("name", CLAIMS)
async def test_claims_that_are_wrong_are_refused_by_their_own_word(name: str) -> None:
    changes, reason = CLAIMS[name]
    assert await refused(id_token(**changes)) is reason


@pytest.mark.parametrize(
    ("issuer", "changes", "reason"),
    [
        (ENTRA, {"oid": "obj-1"}, TokenReason.TID),
        (ENTRA, {"oid": "obj-1", "tid": TID.replace("8f", "9f")}, TokenReason.TID),
        (ENTRA, {"oid": "obj-1", "tid": [TID]}, TokenReason.TID),
        (ENTRA, {"tid": TID}, TokenReason.SUBJECT),
        (ENTRA, {"tid": TID, "oid": "obj-1", "sub": ...}, TokenReason.SUBJECT),
        (GOOGLE, {}, TokenReason.HD),
        (GOOGLE, {"hd": "evil.example"}, TokenReason.HD),
        (GOOGLE, {"hd": "acme.example.evil.example"}, TokenReason.HD),
    ],
)
async def test_another_organisation_at_the_same_provider_is_refused(
    issuer: Issuer, changes: dict[str, object], reason: TokenReason
) -> None:
    assert await refused(id_token(**changes), issuer) is reason


GOOD = id_token()
HEAD, BODY, SIGN = GOOD.split(".")


def padded(part: str) -> str:
    return part + "=" * (-len(part) % 4)


def other_spelling(part: str) -> str:
    """The same bytes, the unused last bits set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def twice(first: str, second: str) -> str:
    good = json.dumps(claims())
    return good[:-1] + f', "{first}": "{second}"}}'


FORMS: dict[str, tuple[str | Callable[[], str], TokenReason]] = {
    "nothing": ("", TokenReason.NOT_A_TOKEN),
    "one part": (HEAD, TokenReason.NOT_A_TOKEN),
    "two parts": (f"{HEAD}.{BODY}", TokenReason.NOT_A_TOKEN),
    "four parts": (f"{GOOD}.{SIGN}", TokenReason.NOT_A_TOKEN),
    "an encrypted token": (f"{HEAD}.{BODY}.{SIGN}.{SIGN}.{SIGN}", TokenReason.ENCRYPTED),
    "letters that are none": (GOOD.replace(".", "．"), TokenReason.NOT_A_TOKEN),
    "too long": (f"{HEAD}.{BODY}{'A' * 20000}.{SIGN}", TokenReason.TOO_LONG),
    "padding": (f"{HEAD}.{padded(BODY)}=.{SIGN}", TokenReason.NOT_CANONICAL),
    "other bits at the end": (f"{HEAD}.{BODY}.{other_spelling(SIGN)}", TokenReason.NOT_CANONICAL),
    "base64 of the other kind": (f"{HEAD}.{BODY}.{SIGN[:-4]}++//", TokenReason.NOT_CANONICAL),
    "a line end": (f"{HEAD}.{BODY}.{SIGN}\n", TokenReason.NOT_CANONICAL),
    "space": (f" {GOOD}", TokenReason.NOT_CANONICAL),
    "header that is no JSON": (f"{b64(b'{')}.{BODY}.{SIGN}", TokenReason.NOT_JSON),
    "header that is a list": (f"{b64(b'[]')}.{BODY}.{SIGN}", TokenReason.NOT_JSON),
    "claims of another encoding": (f"{HEAD}.{b64(json.dumps(claims()).encode('utf-16'))}.{SIGN}", TokenReason.NOT_JSON),
    "no bytes": ("..", TokenReason.NOT_JSON),
    "deeper than any reader": (f"{HEAD}.{b64(b'[' * 9000)}.{SIGN}", TokenReason.NOT_JSON),
    "a number that is none": (lambda: signed(header(), '{"exp": NaN}'), TokenReason.NOT_JSON),
    "a number beyond numbers": (lambda: signed(header(), '{"exp": Infinity}'), TokenReason.NOT_JSON),
    "half a letter": (lambda: signed(header(), '{"sub": "\\ud800"}'), TokenReason.NOT_JSON),
    "claim twice": (lambda: signed(header(), twice("sub", "00u-admin")), TokenReason.SAID_TWICE),
    "claim twice, the same": (lambda: signed(header(), twice("iss", ISSUER.issuer)), TokenReason.SAID_TWICE),
    "claim twice, further in": (lambda: signed(header(), '{"a": {"b": 1, "b": 2}}'), TokenReason.SAID_TWICE),
    "header twice": (
        lambda: signed('{"alg": "RS256", "kid": "rsa-1", "alg": "none"}', claims()),
        TokenReason.SAID_TWICE,
    ),
}


@pytest.mark.parametrize("name", FORMS)
async def test_what_is_no_proper_token_is_refused_by_its_own_word(name: str) -> None:
    made, reason = FORMS[name]
    assert await refused(made if isinstance(made, str) else made()) is reason


@pytest.mark.parametrize("at", range(0, len(GOOD), 11))
async def test_one_changed_letter_anywhere_is_refused(at: int) -> None:
    letter = "A" if GOOD[at] != "A" else "B"
    await refused(GOOD[:at] + letter + GOOD[at + 1 :])


# --- keys -------------------------------------------------------------------------------------------

SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 that is what it is for
P384 = ec.generate_private_key(ec.SECP384R1())
PRIVATE = {"d": b64(b"1" * 32)}
SYMMETRIC: dict[str, object] = {"kty": "oct", "kid": "rsa-1", "k": b64(PEM)}
UNFIT: dict[str, list[dict[str, object]]] = {
    "for encryption": [rsa_jwk(RSA_KEY, "rsa-1", use="enc")],
    "for another algorithm": [rsa_jwk(RSA_KEY, "rsa-1", alg="RS512")],
    "for signing alone": [rsa_jwk(RSA_KEY, "rsa-1", key_ops=["sign"])],
    "key_ops that is no list": [rsa_jwk(RSA_KEY, "rsa-1", key_ops="verify")],
    "a shared secret": [SYMMETRIC],
    "a private key": [rsa_jwk(RSA_KEY, "rsa-1", **PRIVATE)],
    "of another kind": [ec_jwk(EC_KEY, "rsa-1")],
    "without its number": [{"kty": "RSA", "kid": "rsa-1"}],
    "a number that is none": [rsa_jwk(RSA_KEY, "rsa-1", n="!")],
    "a number that is a list": [rsa_jwk(RSA_KEY, "rsa-1", n=[1])],
    "an exponent of zero": [rsa_jwk(RSA_KEY, "rsa-1", e="AA")],
}


@pytest.mark.parametrize("name", UNFIT)
async def test_a_key_that_is_not_for_this_is_not_used(name: str) -> None:
    keys = Published({"keys": UNFIT[name]})
    assert await refused(GOOD, keys=keys) is TokenReason.KEY_UNFIT


async def test_a_short_key_and_a_curve_of_another_size_are_not_used() -> None:
    keys = Published({"keys": [rsa_jwk(SHORT, "rsa-1"), ec_jwk(P384, "ec-1")]})
    assert await refused(signed(header(), claims(), SHORT), keys=keys) is TokenReason.KEY_UNFIT
    assert await refused(signed(header(alg="ES256", kid="ec-1"), claims(), P384), keys=keys) is TokenReason.KEY_UNFIT


async def test_a_provider_that_cannot_be_asked_is_no_reason_to_believe() -> None:
    with pytest.raises(IdTokenRefused, match="Start again in a few minutes") as refusal:
        await verify(GOOD, keys=Published(silent=True))
    assert refusal.value.reason is TokenReason.KEYS_UNAVAILABLE


# --- whatever comes in ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def only_a_refusal(token: str) -> None:
    for check in (
        lambda: verify_id_token(token, ENTRA, KEYS, nonce=NONCE, now=NOW, access_token="at"),
        lambda: verify_logout_token(token, ISSUER, KEYS, now=NOW),
    ):
        with contextlib.suppress(IdTokenRefused):
            await check()
    issuer_named_in(token, [ISSUER])


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | st.text(alphabet="aA0-_=."))
async def test_whatever_comes_in_only_a_refusal_comes_out(token: str) -> None:
    await only_a_refusal(token)


@given(st.lists(st.binary(), min_size=3, max_size=3))
async def test_whatever_bytes_are_in_the_parts_only_a_refusal_comes_out(raw: list[bytes]) -> None:
    await only_a_refusal(".".join(b64(part) for part in raw))


@given(st.dictionaries(st.sampled_from([*header(), "crit", "jku", "jwk", "b64", "zip"]), JSON))
async def test_whatever_the_header_holds_only_a_refusal_comes_out(changes: dict[str, object]) -> None:
    await only_a_refusal(signed(header(**changes), claims()))


NAMES = [
    *claims(),
    "azp",
    "nbf",
    "tid",
    "oid",
    "hd",
    "sid",
    "at_hash",
    "auth_time",
    "events",
    "jti",
    "_claim_names",
    "x",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
async def test_whatever_the_provider_signs_only_a_refusal_comes_out(changes: dict[str, object]) -> None:
    await only_a_refusal(signed(header(), claims() | {"tid": TID, "oid": "obj-1"} | changes))


@given(JSON)
async def test_whatever_the_key_set_holds_only_a_refusal_comes_out(made: object) -> None:
    for member in ("kty", "n", "e", "use", "alg", "key_ops", "crv", "d"):
        keys = Published({"keys": [rsa_jwk(RSA_KEY, "rsa-1", **{member: made})]})
        with contextlib.suppress(IdTokenRefused):
            await verify(GOOD, keys=keys)


# --- logout tokens ----------------------------------------------------------------------------------


def logout_claims(**changes: object) -> dict[str, object]:
    return claims(nonce=..., jti="l-1", sid="s-1", events={EVENT: {}}, **changes)


async def logout_refused(head: dict[str, object], said: dict[str, object], by: object = RSA_KEY) -> TokenReason:
    with pytest.raises(IdTokenRefused) as refusal:
        await verify_logout_token(signed(head, said, by), ISSUER, KEYS, now=NOW)
    return refusal.value.reason


@pytest.mark.parametrize("typ", ["logout+jwt", "JWT", ...])
async def test_says_whom_the_provider_logged_out(typ: object) -> None:
    head = {key: value for key, value in header(typ=typ).items() if value is not ...}
    said = await verify_logout_token(signed(head, logout_claims()), ISSUER, KEYS, now=NOW)
    assert (said.issuer, said.sub, said.subject, said.sid, said.jti) == (
        ISSUER.issuer,
        "00u-dana",
        "00u-dana",
        "s-1",
        "l-1",
    )
    assert said.issued_at == datetime.fromtimestamp(SECONDS - 5, UTC)


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"sub": ...}, (None, "s-1")),
        ({"sid": ...}, ("00u-dana", None)),
        ({"exp": ..., "iat": SECONDS - 500}, ("00u-dana", "s-1")),
    ],
)
async def test_a_session_or_a_person_is_enough(changes: dict[str, object], who: tuple[str | None, str | None]) -> None:
    made = {key: value for key, value in (logout_claims() | changes).items() if value is not ...}
    said = await verify_logout_token(signed(header(typ="logout+jwt"), made), ISSUER, KEYS, now=NOW)
    assert (said.sub, said.sid) == who


LOGOUTS: dict[str, tuple[dict[str, object], dict[str, object], TokenReason]] = {
    "an ID token": ({"typ": "JWT"}, {"events": ...}, TokenReason.EVENTS),
    "another event": ({}, {"events": {"https://else": {}}}, TokenReason.EVENTS),
    "an event that says nothing": ({}, {"events": {EVENT: None}}, TokenReason.EVENTS),
    "events in a list": ({}, {"events": [EVENT]}, TokenReason.EVENTS),
    "a nonce": ({}, {"nonce": NONCE}, TokenReason.NONCE),
    "nobody": ({}, {"sub": ..., "sid": ...}, TokenReason.NOBODY),
    "a sid that is none": ({}, {"sid": ""}, TokenReason.SUBJECT),
    "a sub that is none": ({}, {"sub": 7}, TokenReason.SUBJECT),
    "nameless": ({}, {"jti": ...}, TokenReason.JTI),
    "a name without end": ({}, {"jti": "j" * 256}, TokenReason.JTI),
    "a number as name": ({}, {"jti": 1}, TokenReason.JTI),
    "another issuer": ({}, {"iss": "https://id.evil.example"}, TokenReason.ISS),
    "another audience": ({}, {"aud": "payroll"}, TokenReason.AUD),
    "stale": ({}, {"iat": SECONDS - 661}, TokenReason.STALE),
    "stale, and no end": ({}, {"iat": SECONDS - 661, "exp": ...}, TokenReason.EXPIRED),
    "from the future": ({}, {"iat": SECONDS + 61}, TokenReason.FUTURE),
    "issued nowhen": ({}, {"iat": ...}, TokenReason.TIMES),
    "expired": ({}, {"exp": SECONDS - 61}, TokenReason.EXPIRED),
    "an access token": ({"typ": "at+jwt"}, {}, TokenReason.TYP),
    "alg none": ({"alg": "none"}, {}, TokenReason.ALG_NONE),
    "no key": ({"kid": ...}, {}, TokenReason.KID_MISSING),
}


@pytest.mark.parametrize("name", LOGOUTS)
async def test_a_logout_token_that_is_wrong_is_refused_by_its_own_word(name: str) -> None:
    heads, said, reason = LOGOUTS[name]
    head = {key: value for key, value in header(**({"typ": "logout+jwt"} | heads)).items() if value is not ...}
    made = {key: value for key, value in (logout_claims() | said).items() if value is not ...}
    assert await logout_refused(head, made) is reason


async def test_somebody_elses_signature_logs_nobody_out() -> None:
    assert await logout_refused(header(), logout_claims(), OTHER_RSA_KEY) is TokenReason.SIGNATURE


def test_an_unverified_token_says_only_whose_keys_to_check_it_with() -> None:
    other = dataclasses.replace(ISSUER, name="other", client_id="other-app")
    token = signed(header(), logout_claims(), None)
    assert issuer_named_in(token, [other, ISSUER]) == ISSUER
    assert issuer_named_in(token, [other]) is None
    assert issuer_named_in("not a token", [ISSUER]) is None
