"""Invariant 13: an ID token that is wrong in its header or claims is refused, each way by its own word."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bot.identity.id_token import TokenReason
from bot.identity.issuers import Issuer
from tests.kit.id_tokens import ENTRA, GOOGLE, LOGOUT_EVENT, TID, refused, verify
from tests.kit.idp_keys import (
    EC_KEY,
    ED_KEY,
    ISSUER,
    NONCE,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECONDS,
    b64,
    claims,
    header,
    id_token,
    rsa_jwk,
    signed,
)

PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

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
    "a logout token without typ": ({"events": {LOGOUT_EVENT: {}}}, TokenReason.TYP),
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
