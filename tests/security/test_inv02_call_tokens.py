"""Invariant 2: every call carries a short token for one person and one tool, and nothing else passes for one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bot.identity.keyring import key_id
from bot.identity.tokens import AUDIENCE, TYPE, CallTokens
from policy.model import Principal, RoleName, Subject, TenantId, ToolName
from tools.ports import TokenRefused

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REFUND, MAIL = ToolName("refund.issue"), ToolName("email.send")
KEY = Ed25519PrivateKey.generate()
TOKENS = CallTokens(KEY)
DANA = Principal(
    TenantId("demo"),
    Subject("urn:countersign:directory", "dana"),
    "Dana Reyes",
    frozenset({RoleName("support_agent"), RoleName("readonly")}),
    "employee:1001",
    "dana@acme.example",
)
GOOD = TOKENS.mint(DANA, REFUND, NOW, approval_id="h-1", jti="call-1")


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


def signed(header: object, payload: object, key: Ed25519PrivateKey = KEY) -> str:
    """What an attacker with `key` could sign. Text goes in as it is, values as JSON."""
    raw = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload)]
    body = ".".join(b64(part.encode()) for part in raw)
    return f"{body}.{b64(key.sign(body.encode()))}"


def header(**changes: object) -> dict[str, object]:
    return {"alg": "EdDSA", "typ": TYPE, "kid": key_id(KEY.public_key())} | changes


def refused(token: str, tool: ToolName = REFUND, now: datetime = NOW) -> str:
    with pytest.raises(TokenRefused) as refusal:
        TOKENS.verify(token, tool=tool, now=now)
    return str(refusal.value)


def test_says_who_through_whom_and_for_what() -> None:
    call = TOKENS.verify(GOOD, tool=REFUND, now=NOW)
    assert call.principal == DANA
    assert (call.tool, call.actor, call.jti, call.approval_id) == (REFUND, "countersign", "call-1", "h-1")
    assert call.expires_at == NOW + timedelta(minutes=5)


def test_the_forger_of_these_tests_can_also_make_a_good_one() -> None:
    """Else every refusal below might be for the wrong reason."""
    assert TOKENS.verify(signed(header(), claims_of(GOOD)), tool=REFUND, now=NOW).principal == DANA


def test_each_token_has_a_name_of_its_own() -> None:
    first, second = (TOKENS.verify(TOKENS.mint(DANA, REFUND, NOW), tool=REFUND, now=NOW).jti for _ in range(2))
    assert first != second


def test_two_replicas_with_one_key_accept_each_others_tokens() -> None:
    other = CallTokens(Ed25519PrivateKey.from_private_bytes(KEY.private_bytes_raw()))
    assert other.verify(GOOD, tool=REFUND, now=NOW).principal == DANA


def test_a_key_of_before_is_trusted_only_where_it_is_named() -> None:
    new = Ed25519PrivateKey.generate()
    assert CallTokens(new, [KEY.public_key()]).verify(GOOD, tool=REFUND, now=NOW).principal == DANA
    with pytest.raises(TokenRefused, match="not trusted"):
        CallTokens(new).verify(GOOD, tool=REFUND, now=NOW)


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5, seconds=1), timedelta(0), timedelta(seconds=-1)])
def test_no_token_is_minted_for_longer_than_five_minutes(lifetime: timedelta) -> None:
    with pytest.raises(ValueError, match="five minutes"):
        TOKENS.mint(DANA, REFUND, NOW, lifetime=lifetime)


def test_another_tool_is_refused() -> None:
    assert "another tool" in refused(GOOD, tool=MAIL)


@pytest.mark.parametrize(
    ("now", "valid"),
    [
        (NOW + timedelta(minutes=4, seconds=59), True),
        (NOW + timedelta(minutes=5), False),
        (NOW + timedelta(days=400), False),
        (NOW - timedelta(seconds=5), True),
        (NOW - timedelta(seconds=6), False),
    ],
)
def test_lives_five_minutes_by_the_callers_clock(now: datetime, valid: bool) -> None:
    if valid:
        assert TOKENS.verify(GOOD, tool=REFUND, now=now).tool == REFUND
    else:
        refused(GOOD, now=now)


def without(name: str) -> Callable[[dict[str, object]], object]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def with_(**changes: object) -> Callable[[dict[str, object]], object]:
    return lambda claims: claims | changes


FORGED: dict[str, Callable[[dict[str, object]], object]] = {
    "another issuer": with_(iss="urn:other"),
    "issuers": with_(iss=["urn:countersign"]),
    "another audience": with_(aud="payroll"),
    "two audiences": with_(aud=[AUDIENCE, "payroll"]),
    "one audience in a list": with_(aud=[AUDIENCE]),
    "another agent": with_(act={"sub": "somebody"}),
    "a chain of agents": with_(act={"sub": "countersign", "act": {"sub": "other"}}),
    "no agent": with_(act=None),
    "lives an hour": with_(exp=int(NOW.timestamp()) + 3600),
    "never expires": without("exp"),
    "ends before it begins": with_(exp=int(NOW.timestamp()) - 1),
    "begins before it was issued": with_(nbf=0),
    "issued long ago": with_(iat=0),
    "time as text": with_(exp=str(int(NOW.timestamp()) + 60)),
    "time as a fraction": with_(exp=NOW.timestamp() + 60.5),
    "time as truth": with_(iat=True),
    "time beyond the calendar": with_(iat=2**70, nbf=2**70, exp=2**70 + 60),
    "negative time": with_(iat=-5, nbf=-5, exp=60),
    "no subject": with_(sub=""),
    "a number as subject": with_(sub=7),
    "no issuer of the subject": without("sub_iss"),
    "no tenant": with_(tenant=None),
    "roles as text": with_(roles="admin"),
    "roles as numbers": with_(roles=[1]),
    "a claim too many": with_(admin=True),
    "an object as jti": with_(jti={"a": 1}),
    "no jti": without("jti"),
    "an empty approval": with_(approval_id=""),
    "a list": lambda claims: [claims],
    "nothing": lambda claims: None,
    "time is no number": with_(exp=float("nan")),
    "the tool twice": lambda claims: json.dumps(claims).replace('"tool"', '"tool": "email.send", "tool"'),
    "the agent twice, nested": lambda claims: json.dumps(claims).replace('{"sub"', '{"sub": "other", "sub"'),
    "not JSON": lambda claims: "{",
    "nested without end": lambda claims: "[" * 5000,
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_wrong_claims_are_refused_even_under_our_key(change: Callable[[dict[str, object]], object]) -> None:
    refused(signed(header(), change(claims_of(GOOD))))


HEADERS: dict[str, object] = {
    "algorithm none": header(alg="none"),
    "algorithm None": header(alg="None"),
    "algorithm HS256": header(alg="HS256"),
    "algorithm RS256": header(alg="RS256"),
    "algorithms": header(alg=["EdDSA"]),
    "no algorithm": {"typ": TYPE, "kid": key_id(KEY.public_key())},
    "an ID token's type": header(typ="JWT"),
    "no type": {"alg": "EdDSA", "kid": key_id(KEY.public_key())},
    "no key id": {"alg": "EdDSA", "typ": TYPE},
    "another key id": header(kid="x"),
    "a path as key id": header(kid="../../dev/null"),
    "SQL as key id": header(kid="' OR 1=1 --"),
    "a list as key id": header(kid=[key_id(KEY.public_key())]),
    "an object as key id": header(kid={}),
    "a key of their own": header(jwk={"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
    "an address of keys": header(jku="https://evil.example/keys"),
    "an address of a certificate": header(x5u="https://evil.example/c"),
    "unencoded payload": header(b64=False, crit=["b64"]),
    "compressed": header(zip="DEF"),
    "the algorithm twice": json.dumps(header()).replace('"alg"', '"alg": "none", "alg"'),
    "an array": [],
    "text": '"x"',
}


@pytest.mark.parametrize("forged", HEADERS.values(), ids=HEADERS.keys())
def test_wrong_headers_are_refused_even_under_our_key(forged: object) -> None:
    refused(signed(forged, claims_of(GOOD)))


def test_the_public_key_is_no_shared_secret() -> None:
    """HS256 with the public key as its secret: the classic confusion."""
    public = KEY.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.Raw, PublicFormat.Raw),
    ):
        for alg in ("HS256", "EdDSA"):
            body = f"{b64(json.dumps(header(alg=alg)).encode())}.{GOOD.split('.')[1]}"
            refused(f"{body}.{b64(hmac.new(secret, body.encode(), hashlib.sha256).digest())}")


def test_another_key_under_our_key_id_is_refused() -> None:
    refused(signed(header(), claims_of(GOOD), Ed25519PrivateKey.generate()))


def test_without_a_signature_there_is_no_token() -> None:
    head, body, signature = GOOD.split(".")
    for token in (f"{head}.{body}.", f"{head}.{body}", f"{head}..{signature}", f"{GOOD}.x", f"{GOOD}=", f" {GOOD}"):
        refused(token)
    refused(f"{b64(json.dumps(header(alg='none')).encode())}.{body}.")


def test_a_token_has_one_spelling() -> None:
    """base64url leaves spare bits in the last letter: a second spelling would be a second token."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = GOOD[:-1] + letters[letters.index(GOOD[-1]) ^ 1]
    assert base64.urlsafe_b64decode(twin.split(".")[2] + "==") == base64.urlsafe_b64decode(GOOD.split(".")[2] + "==")
    assert "canonical" in refused(twin)


def test_one_changed_letter_anywhere_is_refused() -> None:
    for at in range(0, len(GOOD), 7):
        other = "A" if GOOD[at] != "A" else "B"
        refused(GOOD[:at] + other + GOOD[at + 1 :])


def test_a_refusal_repeats_nothing_of_the_token() -> None:
    forged = signed(header(), claims_of(GOOD) | {"tool": "s3cret.tool"})
    assert "s3cret" not in refused(forged)


@given(st.one_of(st.text(), st.binary().map(lambda raw: f"{b64(raw)}.{b64(raw)}.{b64(raw)}"), st.text('{}[]".,eyJ0A')))
def test_whatever_comes_in_only_a_refusal_comes_out(token: str) -> None:
    refused(token)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(claims_of(GOOD))) | st.text(), inner),
    )
)
def test_whatever_our_key_signs_only_a_refusal_comes_out(payload: object) -> None:
    refused(signed(header(), payload))
    refused(signed(payload, claims_of(GOOD)))
    for name in claims_of(GOOD):
        with contextlib.suppress(TokenRefused):
            TOKENS.verify(signed(header(), claims_of(GOOD) | {name: payload}), tool=REFUND, now=NOW)
