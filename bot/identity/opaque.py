"""Random secrets that people and browsers carry. The database holds their hashes; knows not what they open."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from bot.identity.jose import b64

BYTES = 32


def fresh() -> str:
    """A new secret of 256 bits, fit for an address and a cookie."""
    return secrets.token_urlsafe(BYTES)


def digest(secret: str) -> str:
    """What is stored of `secret`."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def derived(secret: str, purpose: str) -> str:
    """Another secret that follows from `secret`, and from which `secret` does not follow."""
    mac = hmac.new(secret.encode("utf-8", "replace"), b"countersign " + purpose.encode(), hashlib.sha256)
    return b64(mac.digest())


def same(given: str, expected: str) -> bool:
    """Whether a visitor's word is ours; takes equally long either way."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))
