"""The keys of the Bot Connector's tokens over real HTTP: when they are read, how long they are believed, who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bot.identity.idp_http import IdpHttp
from bot.identity.jwks import NoKey
from bot.teams.signing_keys import (
    COOLDOWN_S,
    FRESH_S,
    ISSUER,
    METADATA_URL,
    PATIENCE_S,
    STALE_S,
    STRANGE_PATIENCE_S,
    ConnectorKeys,
    issuer_of,
)
from tests.kit.idp_keys import EC_KEY, OTHER_RSA_KEY, RSA_KEY, ec_jwk, rsa_jwk
from tests.kit.idp_server import IdpServer, idp_server
from tests.kit.teams_bodies import personal
from tests.kit.teams_gate import METADATA, PUBLISHED, header, teams_gate, token
from tests.rigs.local_slack import until

FIRST = rsa_jwk(RSA_KEY, "bf-1", endorsements=["msteams"])
SECOND = rsa_jwk(OTHER_RSA_KEY, "bf-2", endorsements=["msteams", "webchat"])


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    idp: IdpServer
    keys: ConnectorKeys
    clock: Clock

    @property
    def readings(self) -> int:
        return self.idp.asked.get("/keys", 0)

    def publishes(self, *keys: dict[str, object]) -> None:
        self.idp.says("/keys", {"keys": list(keys)})

    async def key(self, kid: str, alg: str = "RS256") -> str:
        """The key's endorsements, or the fault's word."""
        try:
            found = await self.keys.signing_key(kid, alg)
        except NoKey as missing:
            return missing.fault.value
        assert found.key.algorithm_name == alg
        return " ".join(sorted(found.endorsements)) or "none"


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with idp_server() as idp:
        http, clock = IdpHttp(), Clock()
        idp.says(METADATA, {"issuer": ISSUER, "jwks_uri": f"{idp.base}/keys"})
        made = House(idp, ConnectorKeys(http, f"{idp.base}{METADATA}", clock), clock)
        made.publishes(FIRST)
        try:
            yield made
        finally:
            await http.close()


async def test_keys_are_read_once_and_bring_their_endorsements(house: House) -> None:
    house.publishes(FIRST, SECOND, ec_jwk(EC_KEY, "ec-1", endorsements=["msteams"]))
    assert [await house.key(kid) for kid in ("bf-1", "bf-2", "ec-1", "bf-1")] == [
        "msteams",
        "msteams webchat",
        "unfit",
        "msteams",
    ]
    assert (house.readings, house.idp.asked[METADATA]) == (1, 1)


async def test_a_new_key_needs_no_restart_and_a_withdrawn_one_is_gone(house: House) -> None:
    assert await house.key("bf-1") == "msteams"
    house.publishes(FIRST, SECOND)
    house.clock.now += COOLDOWN_S
    assert await house.key("bf-2") == "msteams webchat"
    house.publishes(SECOND)
    house.clock.now += FRESH_S
    assert await house.key("bf-1") == "unknown"
    assert await house.key("bf-2") == "msteams webchat"
    assert house.readings == 3


async def test_endorsements_that_were_withdrawn_are_gone_too(house: House) -> None:
    assert await house.key("bf-1") == "msteams"
    house.publishes(FIRST | {"endorsements": ["webchat"]})
    house.clock.now += FRESH_S
    assert await house.key("bf-1") == "webchat"


async def test_a_flood_of_unknown_key_ids_is_one_reading(house: House) -> None:
    assert await house.key("bf-1") == "msteams"
    house.clock.now += COOLDOWN_S
    assert set(await asyncio.gather(*(house.key(f"made-up-{n}") for n in range(300)))) == {"unknown"}
    assert house.readings == 2
    for n in range(300):
        assert await house.key(f"later-{n}") == "unknown"
    assert await house.key("bf-1") == "msteams"
    assert (house.readings, house.idp.asked[METADATA]) == (2, 2)


async def test_a_flood_through_the_gate_is_one_reading_and_keeps_nobody_out() -> None:
    async with teams_gate() as gate:
        strange = [token(by=OTHER_RSA_KEY, head=header(kid=f"k{n}")) for n in range(100)]
        said = await asyncio.gather(*(gate.send(personal("x"), authorization=f"Bearer {one}") for one in strange))
        assert set(said) == {401}
        assert await gate.send(personal("hello")) == 200
        assert gate.readings == 1


async def test_a_burst_at_the_start_is_one_reading(house: House) -> None:
    said = await asyncio.gather(*(house.key("bf-1" if n % 2 else f"made-up-{n}") for n in range(200)))
    assert said.count("msteams") == said.count("unknown") == 100
    assert house.readings == 1


async def test_while_the_server_is_down_the_known_keys_serve_for_a_day(house: House) -> None:
    assert await house.key("bf-1") == "msteams"
    house.idp.says(METADATA, status=503)
    house.clock.now += FRESH_S
    assert await house.key("bf-1") == "msteams"
    assert await house.key("bf-2") == "unknown"
    house.clock.now += STALE_S - FRESH_S - 1
    assert await house.key("bf-1") == "msteams"
    house.clock.now += 1
    assert await house.key("bf-1") == "unavailable"
    house.idp.says(METADATA, {"issuer": ISSUER, "jwks_uri": f"{house.idp.base}/keys"})
    house.clock.now += COOLDOWN_S
    assert await house.key("bf-1") == "msteams"


async def test_a_server_that_hangs_keeps_a_known_key_waiting_for_a_moment_and_only_once(house: House) -> None:
    assert await house.key("bf-1") == "msteams"
    house.clock.now += FRESH_S
    house.idp.gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(STRANGE_PATIENCE_S):
        assert await house.key("bf-1") == "msteams"
    assert loop.time() - began < STRANGE_PATIENCE_S - 1
    house.clock.now += PATIENCE_S
    async with asyncio.timeout(0.5):
        assert set(await asyncio.gather(*(house.key("bf-1") for _ in range(100)))) == {"msteams"}
    house.publishes(SECOND)
    house.idp.gate.set()

    async def renewed() -> bool:
        return await house.key("bf-2") == "msteams webchat"

    assert await until(renewed, "the set that was asked for before", 30)
    assert house.readings == 2


async def test_a_server_that_hangs_from_the_start_leaves_nobody_waiting_for_ever(house: House) -> None:
    house.idp.gate = asyncio.Event()
    async with asyncio.timeout(STRANGE_PATIENCE_S + 5):
        assert set(await asyncio.gather(*(house.key(f"k{n}") for n in range(50)))) == {"unavailable"}
    assert house.idp.asked == {METADATA: 1}
    house.idp.gate.set()


async def test_whoever_gives_up_waiting_does_not_end_the_reading_for_the_others(house: House) -> None:
    house.idp.gate = asyncio.Event()
    impatient = asyncio.create_task(house.key("bf-1"))
    patient = asyncio.create_task(house.key("bf-1"))
    await house.idp.reached.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    house.idp.gate.set()
    assert await patient == "msteams"


async def test_while_nobody_can_be_asked_the_gate_says_so_and_lets_nobody_in() -> None:
    async with teams_gate() as gate:
        gate.idp.says(METADATA, status=500)
        for _ in range(20):
            assert await gate.send(personal("hello")) == 503
        assert gate.untouched
        assert gate.idp.asked == {METADATA: 1}


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"issuer": ISSUER + "/"},
        {"jwks_uri": None},
        {"jwks_uri": "http://keys.evil.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ["/keys"]},
        {"jwks_uri": "http://somebody@{host}/keys"},
        {"jwks_uri": "http://{host}/keys#elsewhere"},
    ],
)
async def test_metadata_that_is_not_the_bot_connectors_is_not_believed(
    house: House, document: dict[str, object]
) -> None:
    assert await house.key("bf-1") == "msteams"
    good = {"issuer": ISSUER, "jwks_uri": f"{house.idp.base}/keys"}
    host = house.idp.base.removeprefix("http://")
    said = {name: value.format(host=host) if isinstance(value, str) else value for name, value in document.items()}
    house.idp.says(METADATA, good | said)
    house.publishes(SECOND)
    house.clock.now += FRESH_S
    assert await house.key("bf-2") == "unknown"
    assert await house.key("bf-1") == "msteams", "the set from before still serves"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"keys": "bf-1"}', b'{"keys": {}}', b'{"a":' * 9000])
async def test_what_is_no_key_set_does_not_replace_one(house: House, body: bytes) -> None:
    assert await house.key("bf-1") == "msteams"
    house.idp.says("/keys", body)
    house.clock.now += FRESH_S
    assert await house.key("bf-1") == "msteams"


async def test_an_emptied_set_is_believed(house: House) -> None:
    assert await house.key("bf-1") == "msteams"
    house.publishes()
    house.clock.now += FRESH_S
    assert await house.key("bf-1") == "unknown"


@pytest.mark.parametrize(
    "endorsements", [None, "msteams", {"msteams": True}, [["msteams"]], [7, None], [], {"0": "msteams"}]
)
async def test_endorsements_in_another_form_are_none(house: House, endorsements: object) -> None:
    house.publishes(FIRST | {"endorsements": endorsements})
    assert await house.key("bf-1") == "none"


async def test_two_keys_of_one_name_are_a_guess_and_not_used(house: House) -> None:
    house.publishes(FIRST | {"endorsements": []}, rsa_jwk(OTHER_RSA_KEY, "bf-1", endorsements=["msteams"]))
    assert await house.key("bf-1") == "unfit"


async def test_rotation_through_the_gate_needs_no_restart() -> None:
    async with teams_gate() as gate:
        assert await gate.send(personal("hello")) == 200
        gate.publishes(PUBLISHED, SECOND)
        keys = gate.app.routes[0].endpoint.__self__._tokens._keys  # type: ignore[attr-defined]
        keys._tried_at -= COOLDOWN_S
        new = token(by=OTHER_RSA_KEY, head=header(kid="bf-2"))
        assert await gate.send(personal("hello"), authorization=f"Bearer {new}") == 200
        assert gate.readings == 2


@pytest.mark.parametrize(
    ("address", "issuer"),
    [
        (METADATA_URL, ISSUER),
        ("http://127.0.0.1:9/openid", ISSUER),
        ("https://login.botframework.azure.us/v1/.well-known/openidconfiguration", "https://api.botframework.us"),
        ("https://login.botframework.azure.cn/v1/.well-known/openidconfiguration", "https://api.botframework.azure.cn"),
        ("https://evil.example/login.botframework.azure.us", ISSUER),
    ],
)
def test_who_signs_follows_from_where_the_keys_are_published(address: str, issuer: str) -> None:
    assert issuer_of(address) == issuer


@pytest.mark.parametrize("address", ["http://login.botframework.com/", "ftp://x/", "", "keys", "http://127.0.0.1@x/"])
async def test_keys_are_not_read_where_anybody_could_answer(address: str) -> None:
    with pytest.raises(ValueError, match="TEAMS_OPENID_METADATA_URL is not an https address"):
        ConnectorKeys(IdpHttp(), address)
