"""Invariant 13: what is no proper token, or signed by no proper key, is refused; whatever comes in, nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from bot.identity.id_token import IdTokenRefused, TokenReason, issuer_named_in, verify_id_token, verify_logout_token
from tests.kit.id_tokens import ENTRA, KEYS, TID, refused, verify
from tests.kit.idp_keys import (
    EC_KEY,
    ISSUER,
    NONCE,
    NOW,
    RSA_KEY,
    Published,
    b64,
    claims,
    ec_jwk,
    header,
    id_token,
    rsa_jwk,
    signed,
)

PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
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


def deep(levels: int, opens: str = "[", closes: str = "]") -> str:
    """Good claims, and one that holds `levels` of boxes in boxes."""
    return json.dumps(claims(x="box")).replace('"box"', f"{opens * levels}1{closes * levels}")


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
    "deeper than any claim": (lambda: signed(header(), deep(900)), TokenReason.NOT_JSON),
    "deeper than any claim, in keys": (lambda: signed(header(), deep(33, '{"a":', "}")), TokenReason.NOT_JSON),
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


async def test_claims_within_claims_are_fine() -> None:
    """Else the refusals above might be for the wrong reason."""
    assert (await verify(signed(header(), deep(20)))).subject == "00u-dana"


@pytest.mark.parametrize("at", range(0, len(GOOD), 11))
async def test_one_changed_letter_anywhere_is_refused(at: int) -> None:
    letter = "A" if GOOD[at] != "A" else "B"
    await refused(GOOD[:at] + letter + GOOD[at + 1 :])


# --- keys -------------------------------------------------------------------------------------------

SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 that is what it is for
P384 = ec.generate_private_key(ec.SECP384R1())
PRIVATE = {"d": b64(EC_KEY.private_numbers().private_value.to_bytes(32, "big"))}
SYMMETRIC: dict[str, object] = {"kty": "oct", "kid": "rsa-1", "k": b64(PEM)}
UNFIT: dict[str, list[dict[str, object]]] = {
    "for encryption": [rsa_jwk(RSA_KEY, "rsa-1", use="enc")],
    "for another algorithm": [rsa_jwk(RSA_KEY, "rsa-1", alg="RS512")],
    "for signing alone": [rsa_jwk(RSA_KEY, "rsa-1", key_ops=["sign"])],
    "key_ops that is no list": [rsa_jwk(RSA_KEY, "rsa-1", key_ops="verify")],
    "a shared secret": [SYMMETRIC],
    "half a private key": [rsa_jwk(RSA_KEY, "rsa-1", **PRIVATE)],
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


async def test_a_key_whose_private_half_is_published_proves_nothing() -> None:
    rsa_private = json.loads(RSAAlgorithm.to_jwk(RSA_KEY)) | {"kid": "rsa-1", "key_ops": ["sign", "verify"]}
    keys = Published({"keys": [rsa_private, ec_jwk(EC_KEY, "ec-1", **PRIVATE)]})
    assert await refused(GOOD, keys=keys) is TokenReason.KEY_UNFIT
    by_ec = signed(header(alg="ES256", kid="ec-1"), claims())
    assert await refused(by_ec, keys=keys) is TokenReason.KEY_UNFIT


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


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | st.text(alphabet="aA0-_=."))
async def test_whatever_comes_in_only_a_refusal_comes_out(token: str) -> None:
    await only_a_refusal(token)


@settings(deadline=None)
@given(st.lists(st.binary(), min_size=3, max_size=3))
async def test_whatever_bytes_are_in_the_parts_only_a_refusal_comes_out(raw: list[bytes]) -> None:
    await only_a_refusal(".".join(b64(part) for part in raw))


@settings(deadline=None)
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


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
async def test_whatever_the_provider_signs_only_a_refusal_comes_out(changes: dict[str, object]) -> None:
    await only_a_refusal(signed(header(), claims() | {"tid": TID, "oid": "obj-1"} | changes))


@settings(deadline=None)
@given(JSON)
async def test_whatever_the_key_set_holds_only_a_refusal_comes_out(made: object) -> None:
    for member in ("kty", "n", "e", "use", "alg", "key_ops", "crv", "d"):
        keys = Published({"keys": [rsa_jwk(RSA_KEY, "rsa-1", **{member: made})]})
        with contextlib.suppress(IdTokenRefused):
            await verify(GOOD, keys=keys)
