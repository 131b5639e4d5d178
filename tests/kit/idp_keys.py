"""A provider of a test's own: keys it signs with and tokens built by hand, so that anything can be wrong in them.

Knows the bytes of a JWT; uses no library's encoder, which would refuse to write what an attacker writes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bot.identity.issuers import Issuer, Preset
from bot.identity.jwks import KeyFault, NoKey, read_keys, usable

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER = Issuer(
    "acme", Preset.OIDC, "https://id.acme.example", "countersign-app", algorithms=("RS256", "ES256", "PS256")
)
NONCE = "n-0S6_WzA2Mj"

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **more: object) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": number(numbers.n), "e": number(numbers.e), **more}


def ec_jwk(key: ec.EllipticCurvePrivateKey, kid: str, **more: object) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    size = (key.curve.key_size + 7) // 8
    point = {"x": b64(numbers.x.to_bytes(size, "big")), "y": b64(numbers.y.to_bytes(size, "big"))}
    curve = {256: "P-256", 384: "P-384"}[key.curve.key_size]
    return {"kty": "EC", "crv": curve, "kid": kid, "use": "sig", **point, **more}


def ed_jwk(key: ed25519.Ed25519PrivateKey, kid: str, **more: object) -> dict[str, object]:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": b64(raw), **more}


PUBLISHED = {
    "keys": [rsa_jwk(RSA_KEY, "rsa-1"), ec_jwk(EC_KEY, "ec-1"), ed_jwk(ED_KEY, "ed-1")],
}


class Published:
    """The provider's keys as they are, without asking anybody. Implements `bot.identity.jwks.Keys`."""

    def __init__(self, document: Mapping[str, object] = PUBLISHED, *, silent: bool = False) -> None:
        self.document = document
        self.silent = silent

    async def key(self, issuer: Issuer, kid: str, alg: str) -> jwt.PyJWK:
        if self.silent:
            raise NoKey(KeyFault.UNAVAILABLE, "its keys could not be read")
        found = read_keys(self.document).get(kid, ())
        if not found:
            raise NoKey(KeyFault.UNKNOWN, "it publishes no such key")
        for made in found:
            key = usable(made, alg)
            if key is not None:
                return key
        raise NoKey(KeyFault.UNFIT, "its key is not for this algorithm")


def header(**changes: object) -> dict[str, object]:
    return {"alg": "RS256", "typ": "JWT", "kid": "rsa-1"} | changes


def claims(**changes: object) -> dict[str, object]:
    """A good ID token's. `...` as a value removes the claim."""
    made: dict[str, object] = {
        "iss": ISSUER.issuer,
        "sub": "00u-dana",
        "aud": ISSUER.client_id,
        "iat": SECONDS - 5,
        "exp": SECONDS + 295,
        "nonce": NONCE,
        "email": "dana@acme.example",
        "name": "Dana Reyes",
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def text(part: object) -> bytes:
    """Bytes and text go in as they are, values as JSON."""
    if isinstance(part, bytes):
        return part
    return (part if isinstance(part, str) else json.dumps(part)).encode()


def signed(head: object, payload: object, by: object = RSA_KEY) -> str:
    """A JWS of exactly these parts. `by`: a private key, bytes for an HMAC, or None for no signature."""
    body = f"{b64(text(head))}.{b64(text(payload))}"
    return f"{body}.{b64(_signature(body.encode(), head, by))}"


def _signature(body: bytes, head: object, by: object) -> bytes:
    match by:
        case None:
            return b""
        case bytes():
            return hmac.digest(by, body, hashlib.sha256)
        case rsa.RSAPrivateKey():
            if isinstance(head, dict) and head.get("alg") == "PS256":
                return by.sign(body, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
            return by.sign(body, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            r, s = decode_dss_signature(by.sign(body, ec.ECDSA(hashes.SHA256())))
            size = (by.curve.key_size + 7) // 8
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        case ed25519.Ed25519PrivateKey():
            return by.sign(body)
        case _:
            raise TypeError(by)


def id_token(**changes: object) -> str:
    """A good one, but for `changes` of its claims."""
    return signed(header(), claims(**changes))
