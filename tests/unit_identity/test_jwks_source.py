"""A provider's keys over real HTTP: when they are fetched, how long they are believed, what is no key set."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bot.identity.discovery import Discovery
from bot.identity.id_token import IdTokenRefused, TokenReason, verify_id_token
from bot.identity.idp_http import MAX_BYTES, IdpHttp
from bot.identity.jwks import COOLDOWN_S, LIFETIME_S, MAX_KEYS, STALE_S, KeyFault, KeySource, NoKey
from tests.kit.idp_keys import EC_KEY, NONCE, NOW, OTHER_RSA_KEY, PUBLISHED, RSA_KEY, claims, header, rsa_jwk, signed
from tests.kit.idp_server import IdpServer, idp_server

FIRST, SECOND = rsa_jwk(RSA_KEY, "rsa-1"), rsa_jwk(OTHER_RSA_KEY, "rsa-2")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    idp: IdpServer
    keys: KeySource
    clock: Clock

    @property
    def fetched(self) -> int:
        return self.idp.asked.get("/jwks", 0)

    async def key(self, kid: str, alg: str = "RS256") -> str:
        """`ok`, or the fault's word."""
        try:
            found = await self.keys.key(self.idp.issuer, kid, alg)
        except NoKey as missing:
            return missing.fault.value
        assert found.algorithm_name == alg
        return "ok"

    async def verify(self, kid: str, by: object) -> str:
        token = signed(header(kid=kid), claims(iss=self.idp.base), by)
        try:
            await verify_id_token(token, self.idp.issuer, self.keys, nonce=NONCE, now=NOW)
        except IdTokenRefused as refusal:
            return refusal.reason.value
        return "ok"


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with idp_server() as idp:
        http, clock = IdpHttp(), Clock()
        try:
            yield House(idp, KeySource(http, Discovery(http, clock), clock), clock)
        finally:
            await http.close()


async def test_keys_are_fetched_once_and_serve_every_algorithm_they_fit(house: House) -> None:
    for kid, alg in (("rsa-1", "RS256"), ("rsa-1", "PS256"), ("rsa-1", "RS512"), ("ec-1", "ES256"), ("ed-1", "EdDSA")):
        assert await house.key(kid, alg) == "ok"
    assert house.fetched == 1
    assert await house.key("rsa-1", "ES256") == KeyFault.UNFIT
    assert await house.key("ec-1", "ES384") == KeyFault.UNFIT
    assert await house.key("rsa-1", "HS256") == KeyFault.UNFIT
    assert await house.key("rsa-1", "none") == KeyFault.UNFIT


async def test_a_burst_of_200_unknown_key_ids_asks_the_provider_once(house: House) -> None:
    assert await house.key("rsa-1") == "ok"
    house.clock.now += COOLDOWN_S
    before = house.fetched
    said = await asyncio.gather(*(house.verify(f"made-up-{n}", OTHER_RSA_KEY) for n in range(200)))
    assert set(said) == {TokenReason.KEY_UNKNOWN}
    assert house.fetched == before + 1
    for n in range(200):
        assert await house.verify(f"later-{n}", OTHER_RSA_KEY) == TokenReason.KEY_UNKNOWN
    assert house.fetched == before + 1
    assert await house.verify("rsa-1", RSA_KEY) == "ok"


async def test_a_burst_at_the_start_asks_once_too(house: House) -> None:
    said = await asyncio.gather(*(house.key("rsa-1" if n % 2 else f"made-up-{n}") for n in range(200)))
    assert said.count("ok") == said.count(KeyFault.UNKNOWN) == 100
    assert (house.fetched, house.idp.asked["/.well-known/openid-configuration"]) == (1, 1)


async def test_a_new_key_is_found_without_a_restart_and_a_retired_one_is_gone(house: House) -> None:
    house.idp.publishes(FIRST)
    assert await house.verify("rsa-1", RSA_KEY) == "ok"
    house.idp.publishes(FIRST, SECOND)
    house.clock.now += COOLDOWN_S
    assert await house.verify("rsa-2", OTHER_RSA_KEY) == "ok"
    assert house.fetched == 2
    house.idp.publishes(SECOND)
    assert await house.verify("rsa-1", RSA_KEY) == "ok", "until the set is read again"
    house.clock.now += LIFETIME_S
    assert await house.verify("rsa-1", RSA_KEY) == TokenReason.KEY_UNKNOWN
    assert await house.verify("rsa-2", OTHER_RSA_KEY) == "ok"


async def test_an_emptied_set_is_believed(house: House) -> None:
    assert await house.key("rsa-1") == "ok"
    house.idp.publishes()
    house.clock.now += LIFETIME_S
    assert await house.key("rsa-1") == KeyFault.UNKNOWN


async def test_while_the_provider_is_silent_the_known_keys_serve_for_a_day(house: House) -> None:
    assert await house.key("rsa-1") == "ok"
    house.idp.says("/jwks", status=503)
    house.clock.now += LIFETIME_S
    assert await house.key("rsa-1") == "ok"
    assert await house.key("rsa-2") == KeyFault.UNKNOWN
    house.clock.now += STALE_S - LIFETIME_S - 1
    assert await house.key("rsa-1") == "ok"
    house.clock.now += 1
    assert await house.key("rsa-1") == KeyFault.UNAVAILABLE
    house.idp.says("/jwks", PUBLISHED)
    house.clock.now += COOLDOWN_S
    assert await house.key("rsa-1") == "ok"


async def test_a_silent_provider_is_not_asked_again_at_once(house: House) -> None:
    house.idp.says("/jwks", status=503)
    for _ in range(20):
        assert await house.key("rsa-1") == KeyFault.UNAVAILABLE
    assert house.fetched == 1
    house.clock.now += COOLDOWN_S
    house.idp.says("/jwks", PUBLISHED)
    assert await house.key("rsa-1") == "ok"


async def test_whoever_gives_up_waiting_does_not_end_the_request_for_the_others(house: House) -> None:
    house.idp.gate = asyncio.Event()
    impatient = asyncio.create_task(house.key("rsa-1"))
    patient = asyncio.create_task(house.key("rsa-1"))
    await house.idp.reached.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    house.idp.gate.set()
    assert await patient == "ok"


async def test_issuers_do_not_share_keys(house: House) -> None:
    async with idp_server() as other:
        other.publishes(SECOND)
        assert await house.key("rsa-1") == "ok"
        with pytest.raises(NoKey) as missing:
            await house.keys.key(other.issuer, "rsa-1", "RS256")
        assert missing.value.fault is KeyFault.UNKNOWN


async def test_keys_of_one_name_are_told_apart_by_kind_and_else_not_used(house: House) -> None:
    house.idp.publishes(FIRST, {**rsa_jwk(OTHER_RSA_KEY, "rsa-1"), "use": "enc"})
    assert await house.verify("rsa-1", RSA_KEY) == "ok"
    house.idp.publishes(FIRST, rsa_jwk(OTHER_RSA_KEY, "rsa-1"))
    house.clock.now += LIFETIME_S
    assert await house.key("rsa-1") == KeyFault.UNFIT


async def test_keys_without_a_name_are_left_out(house: House) -> None:
    nameless = {name: value for name, value in FIRST.items() if name != "kid"}
    house.idp.publishes(nameless, {**FIRST, "kid": 7}, SECOND)
    assert await house.key("rsa-2") == "ok"
    assert await house.key("rsa-1") == KeyFault.UNKNOWN


async def silent(house: House) -> bool:
    return await house.key("rsa-1") == KeyFault.UNAVAILABLE


NO_SETS = {
    "empty": b"",
    "a page": b"<html>",
    "a list": b"[]",
    "keys by name": b'{"keys": {}}',
    "keys in words": b'{"keys": "rsa-1"}',
    "no keys": b"{}",
    "deeper than any reader": b'{"a":' * 9000,
    "bytes": b"\xff",
    "too many": json.dumps({"keys": [FIRST] * (MAX_KEYS + 1)}).encode(),
    "too much": json.dumps(PUBLISHED).encode() + b" " * MAX_BYTES,
}


@pytest.mark.parametrize("name", NO_SETS)
async def test_what_is_no_key_set_is_not_believed(house: House, name: str) -> None:
    house.idp.says("/jwks", NO_SETS[name])
    assert await silent(house)


async def test_members_that_are_no_keys_are_left_out(house: House) -> None:
    house.idp.says("/jwks", {"keys": [None, [], "rsa-1", {"kid": ["rsa-1"]}, FIRST, {"kid": "odd", "kty": ["RSA"]}]})
    assert await house.key("rsa-1") == "ok"
    assert await house.key("odd") == KeyFault.UNFIT


async def test_a_redirect_is_not_followed(house: House) -> None:
    house.idp.says("/elsewhere", PUBLISHED)
    house.idp.says("/jwks", status=302, headers={"Location": f"{house.idp.base}/elsewhere"})
    assert await silent(house)
    assert "/elsewhere" not in house.idp.asked


async def test_what_is_compressed_is_not_unpacked(house: House) -> None:
    packed = gzip.compress(json.dumps(PUBLISHED).encode())
    house.idp.says("/jwks", packed, headers={"Content-Encoding": "gzip"})
    assert await silent(house)


@pytest.mark.parametrize("how", [{"hang_s": 60}, {"drip": True}], ids=["hangs", "drips"])
async def test_a_provider_that_does_not_end_is_given_up(house: House, how: dict[str, object]) -> None:
    house.idp.says("/jwks", PUBLISHED, **how)
    http = IdpHttp(timeout_s=0.5)
    keys = KeySource(http, Discovery(http))
    async with asyncio.timeout(30):
        with pytest.raises(NoKey) as missing:
            await keys.key(house.idp.issuer, "rsa-1", "RS256")
    assert missing.value.fault is KeyFault.UNAVAILABLE
    await http.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://id.evil.example"},
        {"jwks_uri": "http://id.acme.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ...},
        {"jwks_uri": ["/jwks"]},
        {"jwks_uri": "https://u:p@id.acme.example/jwks"},
    ],
)
async def test_a_discovery_document_that_cannot_be_trusted_brings_no_keys(
    house: House, changes: dict[str, object]
) -> None:
    house.idp.says("/.well-known/openid-configuration", house.idp.metadata(**changes))
    assert await silent(house)
    assert house.fetched == 0


async def test_a_provider_that_is_not_there_is_a_sentence_not_an_error() -> None:
    async with idp_server() as gone:
        issuer = gone.issuer
    http = IdpHttp()
    keys = KeySource(http, Discovery(http))
    with pytest.raises(NoKey, match="could not be reached"):
        await keys.key(issuer, "ec-1", "ES256")
    token = signed(header(alg="ES256", kid="ec-1"), claims(iss=issuer.issuer), EC_KEY)
    with pytest.raises(IdTokenRefused, match="Start again in a few minutes"):
        await verify_id_token(token, issuer, keys, nonce=NONCE, now=NOW)
    await http.close()
