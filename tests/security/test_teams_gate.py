"""Teams' gate (invariants 13 and 14): what is not the Bot Connector's, or not for us, reaches nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.kit.idp_keys import ED_KEY, OTHER_RSA_KEY, RSA_KEY, SECONDS, ed_jwk, rsa_jwk, signed
from tests.kit.teams_bodies import (
    ARNO_ID,
    OTHER_TENANT,
    RITA_ID,
    SERVICE_URL,
    TENANT,
    channel,
    execute,
    invoke,
    personal,
)
from tests.kit.teams_gate import APP_ID, ISSUER, KID, PUBLISHED, Gate, claims, header, teams_gate, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREIGN = "33333333-3333-4333-8333-333333333333"
PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
KEYS = (
    PUBLISHED,
    rsa_jwk(OTHER_RSA_KEY, "for-others", alg="RS256", endorsements=["webchat", "directline", "MSTEAMS", "msteams "]),
    rsa_jwk(OTHER_RSA_KEY, "for-nobody", alg="RS256"),
    rsa_jwk(OTHER_RSA_KEY, "for-none", alg="RS256", endorsements=[]),
    rsa_jwk(OTHER_RSA_KEY, "for-a-word", alg="RS256", endorsements="msteams"),
    rsa_jwk(OTHER_RSA_KEY, "for-encryption", use="enc", endorsements=["msteams"]),
    ed_jwk(ED_KEY, "ed-1", endorsements=["msteams"]),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running() -> AsyncIterator[Gate]:
    async with teams_gate() as running:
        running.publishes(*KEYS)
        assert await running.send(personal("warm up")) == 200
        yield running


@pytest.fixture
def gate(running: Gate) -> Gate:
    for kept in (running.asked, running.turned_away, running.delivered, running.met):
        kept.clear()
    return running


def press() -> dict[str, Any]:
    return invoke(execute({"cs": 1, "act": "press"}))


def installed() -> dict[str, Any]:
    return personal(type="installationUpdate", action="add")


def joined() -> dict[str, Any]:
    return channel(type="conversationUpdate", membersAdded=[{"id": "29:new"}])


def said() -> dict[str, Any]:
    return personal("refund order 1042")


KINDS = [pytest.param(make, id=make.__name__) for make in (said, press, joined, installed)]
Make = Callable[[], dict[str, Any]]


@pytest.mark.parametrize("make", KINDS)
async def test_what_teams_sends_is_let_through(gate: Gate, make: Make) -> None:
    assert await gate.send(make()) == 200
    assert gate.delivered == [make()]


def _bearer(made: str) -> str:
    return f"Bearer {made}"


def _spoiled(made: str) -> str:
    """The signature with one bit turned, in canonical form."""
    head, body, signature = made.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[10] ^= 1
    return f"{head}.{body}.{base64.urlsafe_b64encode(bytes(raw)).rstrip(b'=').decode()}"


def _resigned(made: str) -> str:
    """Somebody else's claims under a good signature."""
    other = token(aud="another-bot")
    return ".".join((made.split(".")[0], other.split(".")[1], made.split(".")[2]))


OWN = header(kid="mine")
AUTHORIZATIONS: dict[str, str | list[str]] = {
    "no header": [],
    "empty": "",
    "no token": "Bearer ",
    "garbage": "Bearer garbage",
    "garbage in three parts": "Bearer a.b.c",
    "not ascii": _bearer("é.é.é"),
    "another scheme": f"Basic {token()}",
    "no scheme": token(),
    "two headers": [_bearer(token()), _bearer(token())],
    "two tokens": f"{_bearer(token())}, {_bearer(token())}",
    "too long": _bearer(token(padding="a" * 20_000)),
    "five segments": _bearer(token() + ".a.b"),
    "wrong key": _bearer(token(by=OTHER_RSA_KEY)),
    "spoiled signature": _bearer(_spoiled(token())),
    "no signature": _bearer(token().rpartition(".")[0] + "."),
    "claims exchanged": _bearer(_resigned(token())),
    "unknown kid": _bearer(token(by=OTHER_RSA_KEY, head=OWN)),
    "no kid": _bearer(token(head=header(kid=...))),
    "kid is a path": _bearer(token(head=header(kid="../../keys"))),
    "kid is no text": _bearer(token(head=header(kid=[KID]))),
    "alg none": _bearer(signed(header(alg="none"), claims(), None)),
    "alg none, signed": _bearer(signed(header(alg="none"), claims(), RSA_KEY)),
    "alg NoNe": _bearer(signed(header(alg="NoNe"), claims(), None)),
    "alg missing": _bearer(token(head=header(alg=...))),
    "HS256 by the public key in PEM": _bearer(signed(header(alg="HS256"), claims(), PEM)),
    "HS256 by the public key in DER": _bearer(signed(header(alg="HS256"), claims(), DER)),
    "HS256 by the app id": _bearer(signed(header(alg="HS256"), claims(), APP_ID.encode())),
    "PS256": _bearer(signed(header(alg="PS256"), claims(), RSA_KEY)),
    "EdDSA by a key of the set": _bearer(signed(header(alg="EdDSA", kid="ed-1"), claims(), ED_KEY)),
    "a key for encryption": _bearer(token(by=OTHER_RSA_KEY, head=header(kid="for-encryption"))),
    "its own key": _bearer(token(by=OTHER_RSA_KEY, head=header(jwk=rsa_jwk(OTHER_RSA_KEY, KID)))),
    "its own key's address": _bearer(token(by=OTHER_RSA_KEY, head=header(jku="https://evil.example/keys"))),
    "its own certificate": _bearer(token(head=header(x5c=["MIIB"]))),
    "critical": _bearer(token(head=header(crit=["exp"], exp=0))),
    "another kind": _bearer(token(head=header(typ="logout+jwt"))),
    "claims are no object": _bearer(signed(header(), "[]")),
    "claims say something twice": _bearer(signed(header(), f'{{"iss":"x",{json.dumps(claims())[1:]}')),
    "expired": _bearer(token(exp=SECONDS - 301)),
    "expired at the second": _bearer(token(exp=SECONDS - 300)),
    "no exp": _bearer(token(exp=...)),
    "exp is text": _bearer(token(exp=str(SECONDS + 300))),
    "exp is true": _bearer(token(exp=True)),
    "exp is endless": _bearer(signed(header(), json.dumps(claims()).replace(str(SECONDS + 3600), "1e999"))),
    "not yet valid": _bearer(token(nbf=SECONDS + 301)),
    "nbf is true": _bearer(token(nbf=True)),
    "nbf is text": _bearer(token(nbf="now")),
    "from the future": _bearer(token(iat=SECONDS + 301)),
    "wrong aud": _bearer(token(aud="00000000-0000-4000-8000-00000000ffff")),
    "aud is a part": _bearer(token(aud=APP_ID[:-1])),
    "aud is a list": _bearer(token(aud=[APP_ID, "another-bot"])),
    "no aud": _bearer(token(aud=...)),
    "wrong iss": _bearer(token(iss="https://api.botframework.us")),
    "iss with a slash": _bearer(token(iss=ISSUER + "/")),
    "iss is a list": _bearer(token(iss=[ISSUER])),
    "no iss": _bearer(token(iss=...)),
    "of a skill": _bearer(token(iss=f"https://sts.windows.net/{TENANT}/", ver="1.0", appid=APP_ID)),
    "serviceurl mismatch": _bearer(token(serviceurl="https://smba.trafficmanager.net/amer/")),
    "serviceurl of another host": _bearer(token(serviceurl="https://evil.example/")),
    "serviceurl missing": _bearer(token(serviceurl=...)),
    "serviceurl empty": _bearer(token(serviceurl="")),
    "serviceurl null": _bearer(token(serviceurl=None)),
    "serviceurl is a list": _bearer(token(serviceurl=[SERVICE_URL])),
    "serviceUrl in its place": _bearer(token(serviceurl=..., serviceUrl=SERVICE_URL)),
    "unendorsed channel": _bearer(token(by=OTHER_RSA_KEY, head=header(kid="for-others"))),
    "key without endorsements": _bearer(token(by=OTHER_RSA_KEY, head=header(kid="for-nobody"))),
    "key with no endorsement": _bearer(token(by=OTHER_RSA_KEY, head=header(kid="for-none"))),
    "endorsements are a word": _bearer(token(by=OTHER_RSA_KEY, head=header(kid="for-a-word"))),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", AUTHORIZATIONS)
async def test_a_token_that_does_not_hold_reaches_no_handler(gate: Gate, name: str, make: Make) -> None:
    assert await gate.send(make(), authorization=AUTHORIZATIONS[name]) == 401
    assert gate.untouched


async def test_the_tokens_above_are_wrong_in_one_thing_each(gate: Gate) -> None:
    """What each of them was made from is let through: no row is refused for a reason it does not name."""
    for good in (
        token(),
        token(head=header(typ=..., x5t=...)),
        token(exp=SECONDS - 299),
        token(nbf=SECONDS + 299),
        token(nbf=...),
        token(iat=SECONDS),
        token(aud=APP_ID.upper()),
        token(serviceurl=SERVICE_URL.removesuffix("/")),
        signed(header(), json.dumps(claims())),
    ):
        assert await gate.send(said(), authorization=_bearer(good)) == 200
    assert await gate.send(said(), authorization=f"bearer  {token()}") == 200
    assert len(gate.delivered) == 10


SERVED_ELSEWHERE: dict[str, dict[str, Any]] = {
    "web chat": {"channelId": "webchat"},
    "direct line, whose callers write whom they are": {"channelId": "directline"},
    "emulator": {"channelId": "emulator"},
    "capitals": {"channelId": "MSTEAMS"},
    "with more": {"channelId": "msteams "},
    "agents": {"channelId": "agents"},
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", SERVED_ELSEWHERE)
async def test_another_channel_reaches_no_handler(gate: Gate, name: str, make: Make) -> None:
    assert await gate.send(make() | SERVED_ELSEWHERE[name]) == 403
    assert gate.untouched


ADDRESSES = (
    "https://evil.example/",
    "http://smba.trafficmanager.net/emea/",
    "https://smba.trafficmanager.net.evil.example/",
    "https://smba.trafficmanager.net@evil.example/",
    "https://smba.trafficmanager.net:8443/",
    "https://evil.example/smba.trafficmanager.net/",
    "https://smba.trafficmanager.net/emea/?to=https://evil.example",
    "http://127.0.0.1:8080/",
    "https://169.254.169.254/",
)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("address", ADDRESSES)
async def test_an_address_off_the_list_reaches_no_handler_even_signed(gate: Gate, address: str, make: Make) -> None:
    assert await gate.send(make() | {"serviceUrl": address}, serviceurl=address) == 403
    assert gate.untouched


def _of(told: object, where: object) -> dict[str, Any]:
    """Which tenants the activity names; `...` leaves one out."""
    conversation = {"id": "a:1", "conversationType": "personal"} | ({} if where is ... else {"tenantId": where})
    return {"conversation": conversation, "channelData": {} if told is ... else {"tenant": {"id": told}}}


TENANTS: dict[str, dict[str, Any]] = {
    "foreign": _of(FOREIGN, FOREIGN),
    "foreign channelData": _of(FOREIGN, TENANT),
    "foreign conversation": _of(TENANT, FOREIGN),
    "two of ours": _of(TENANT, OTHER_TENANT),
    "none": _of(..., ...),
    "no channelData": _of(..., TENANT),
    "null channelData": _of(None, TENANT),
    "empty channelData": _of("", TENANT),
    "empty both": _of("", ""),
    "empty conversation": _of(TENANT, ""),
    "a list": _of([TENANT], [TENANT]),
    "true": _of(True, True),
    "with a blank": _of(TENANT + " ", TENANT + " "),
    "with a NUL": _of(TENANT + "\x00", TENANT + "\x00"),
    "a name": _of("acme", "acme"),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", TENANTS)
async def test_a_foreign_tenant_reaches_no_handler(gate: Gate, name: str, make: Make) -> None:
    assert await gate.send(make() | TENANTS[name]) == 403
    assert gate.untouched


@pytest.mark.parametrize("make", [said, press, installed])
async def test_a_conversation_without_its_tenant_reaches_no_handler(gate: Gate, make: Make) -> None:
    assert await gate.send(make() | _of(TENANT, ...)) == 403
    assert gate.untouched


async def test_the_two_kinds_that_lack_one_of_the_tenants_are_known(gate: Gate) -> None:
    thumb = invoke({"actionName": "feedback"}, name="message/submitAction")
    assert await gate.send(thumb | _of(..., TENANT)) == 200
    assert await gate.send(joined() | _of(TENANT, ...)) == 200
    gate.delivered.clear()
    for body in (
        thumb | _of(..., FOREIGN),
        thumb | _of(TENANT, ...),
        thumb | _of(..., ...),
        thumb | {"name": "adaptiveCard/action"} | _of(..., TENANT),
        thumb | {"type": "message"} | _of(..., TENANT),
        joined() | _of(FOREIGN, ...),
        joined() | _of(..., TENANT),
        joined() | _of(..., ...),
    ):
        assert await gate.send(body) == 403
    assert gate.delivered == []


async def test_tenants_are_told_apart_by_id_whatever_its_letters(gate: Gate) -> None:
    for team in (TENANT, OTHER_TENANT):
        assert await gate.send(said() | _of(team.upper(), team)) == 200
    assert [who.team for who in gate.asked] == [TENANT, OTHER_TENANT]


async def test_two_tenants_with_one_conversation_id_are_two(gate: Gate) -> None:
    for team in (TENANT, OTHER_TENANT):
        assert await gate.send(personal("hello", tenant=team)) == 200
    assert [who.team for who in gate.asked] == [TENANT, OTHER_TENANT]
    assert gate.asked[0].user == gate.asked[1].user == RITA_ID


async def test_nobody_is_kept_from_another_persons_decision(gate: Gate) -> None:
    """The sender's own account is asked about, as it is spelled."""
    assert await gate.send(personal("hello", person=ARNO_ID.upper())) == 200
    assert [who.user for who in gate.asked] == [ARNO_ID]
