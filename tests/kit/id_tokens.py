"""Asking about one ID token: who it is, or by which word it is refused. Knows the tokens of `tests.kit.idp_keys`."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from bot.identity.id_token import IdClaims, IdTokenRefused, TokenReason, verify_id_token
from bot.identity.issuers import Issuer
from tests.kit.idp_keys import ISSUER, NONCE, NOW, Published

KEYS = Published()
TID = "8f0c1a2b-0000-4000-8000-00000000abcd"
ENTRA = dataclasses.replace(ISSUER, subject_claim="oid", tid=TID)
GOOGLE = dataclasses.replace(ISSUER, hd="acme.example")
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


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
