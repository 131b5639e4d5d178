"""Invariant 13: a logout token that is wrong in any way logs nobody out, each way by its own word."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from bot.identity.id_token import IdTokenRefused, TokenReason, issuer_named_in, verify_logout_token
from tests.kit.id_tokens import KEYS, LOGOUT_EVENT
from tests.kit.idp_keys import ISSUER, NONCE, NOW, OTHER_RSA_KEY, RSA_KEY, SECONDS, claims, header, signed


def logout_claims(**changes: object) -> dict[str, object]:
    return claims(nonce=..., jti="l-1", sid="s-1", events={LOGOUT_EVENT: {}}, **changes)


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
    "an event that says nothing": ({}, {"events": {LOGOUT_EVENT: None}}, TokenReason.EVENTS),
    "events in a list": ({}, {"events": [LOGOUT_EVENT]}, TokenReason.EVENTS),
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
