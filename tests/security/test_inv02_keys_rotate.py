"""Invariant 2 while keys change: calls in the air finish, a retired key opens nothing, JWKS says what verifies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette

from bot.identity.keyring import KEEP, LEAD, KeyRing, key_id
from bot.identity.rotation import rotate
from bot.identity.tokens import AUDIENCE, CallTokens
from bot.keys import make_keys
from bot.web.jwks import MAX_AGE_S, PATH, jwks_routes
from policy.approval import ApprovalStatus, PressResult
from policy.model import Principal, RoleName, Subject, TenantId, ToolName
from tests.kit.door import DEMO, House
from tools.gateway import Gateway
from tools.held import Blocked, BlockReason, EffectState, Executed
from tools.ports import TokenRefused

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
READ = ToolName("crm.read")
ORDER = {"kind": "order", "key": "1042"}
DANA = Principal(
    TenantId("demo"), Subject("urn:countersign:directory", "dana"), "Dana", frozenset({RoleName("support_agent")}), None
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


def with_ring(house: House, keys: Path) -> House:
    """The same door, checking with the keys of a folder."""
    tokens = CallTokens(KeyRing(keys))
    door = replace(house.door, tokens=tokens)
    return replace(house, tokens=tokens, door=door, gateway=Gateway(door))


async def published(keys: Path, now: datetime) -> httpx2.Response:
    app = Starlette(routes=jwks_routes(KeyRing(keys), lambda: now))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://cs.test") as client:
        return await client.get(PATH)


def test_the_issuer_is_part_of_who_we_are(keys: Path) -> None:
    ring = KeyRing(keys)
    here, there = (
        CallTokens(ring, issuer="https://cs.acme.example"),
        CallTokens(ring, issuer="https://cs.other.example"),
    )
    token = here.mint(DANA, READ, NOW)
    assert jwt.decode(token, options={"verify_signature": False})["iss"] == "https://cs.acme.example"
    assert here.verify(token, tool=READ, now=NOW).principal == DANA
    for other in (there, CallTokens(ring)):
        with pytest.raises(TokenRefused, match="InvalidIssuerError"):
            other.verify(token, tool=READ, now=NOW)


async def test_what_is_published_checks_our_tokens_and_nothing_else(keys: Path) -> None:
    rotate(keys, NOW)
    answer = await published(keys, NOW)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jwk-set+json"
    document: dict[str, Any] = answer.json()
    for one in document["keys"]:
        assert one.keys() == {"kty", "crv", "x", "kid", "use", "alg"}, "no private member"
        assert (one["kty"], one["crv"], one["use"], one["alg"]) == ("OKP", "Ed25519", "sig", "EdDSA")
    found = jwt.PyJWKSet.from_dict(document)
    token = CallTokens(KeyRing(keys)).mint(DANA, READ, NOW)
    key = found[jwt.get_unverified_header(token)["kid"]]
    late = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    assert jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, options=late)["sub"] == "dana"  # type: ignore[arg-type]
    foreign = CallTokens(Ed25519PrivateKey.generate()).mint(DANA, READ, NOW)
    with pytest.raises(KeyError):
        found[jwt.get_unverified_header(foreign)["kid"]]


async def test_a_key_is_published_longer_than_caches_keep_before_it_signs(keys: Path) -> None:
    rotate(keys, NOW)
    answer = await published(keys, NOW)
    assert answer.headers["cache-control"] == f"public, max-age={MAX_AGE_S}"
    assert timedelta(seconds=MAX_AGE_S) * 2 < LEAD
    cached = {one["kid"] for one in answer.json()["keys"]}
    rotate(keys, NOW + LEAD)
    assert KeyRing(keys).now().current.kid in cached, "who fetched at publication knows what signs now"
    after = {one["kid"] for one in (await published(keys, NOW + LEAD)).json()["keys"]}
    assert len(after) == 3
    gone = {one["kid"] for one in (await published(keys, NOW + LEAD + KEEP)).json()["keys"]}
    assert len(gone) == 2


async def test_other_methods_are_refused(keys: Path) -> None:
    app = Starlette(routes=jwks_routes(KeyRing(keys), lambda: NOW))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://cs.test") as client:
        for method in ("POST", "PUT", "DELETE"):
            assert (await client.request(method, PATH)).status_code == 405


def test_a_retired_key_opens_nothing(keys: Path) -> None:
    stolen = KeyRing(keys).now().current.key
    rotate(keys, NOW, at_once=True)
    tokens, late = CallTokens(KeyRing(keys)), NOW + KEEP
    assert tokens.verify(CallTokens(stolen).mint(DANA, READ, NOW), tool=READ, now=NOW).principal == DANA
    with pytest.raises(TokenRefused, match="not trusted"):
        tokens.verify(CallTokens(stolen).mint(DANA, READ, late), tool=READ, now=late)
    rotate(keys, late, leaked=True)
    with pytest.raises(TokenRefused, match="not trusted"):
        tokens.verify(CallTokens(stolen).mint(DANA, READ, NOW), tool=READ, now=NOW)


def test_the_next_key_verifies_where_a_replica_has_rotated_first(keys: Path) -> None:
    """Both have the next key; one of them signs with it a moment before the other has looked."""
    rotate(keys, NOW)
    slow = KeyRing(keys).now()

    class Slow:
        def now(self) -> Any:
            return slow

    rotate(keys, NOW + LEAD)
    token = CallTokens(KeyRing(keys)).mint(DANA, READ, NOW + LEAD)
    assert CallTokens(Slow()).verify(token, tool=READ, now=NOW + LEAD).principal == DANA


async def test_rotation_with_calls_in_the_air(local_house: House, keys: Path) -> None:
    """Signed before, checked after: every call of a busy minute is let in, and none needs a restart."""
    house = with_ring(local_house, keys)
    used: set[str] = set()

    async def call(number: int) -> None:
        proposal = house.proposal("dana", "crm.read", ORDER, f"air-{number}")
        used.add(jwt.get_unverified_header(proposal.token)["kid"])
        await asyncio.sleep(0.002 * (number % 5))
        (outcome,) = await house.gateway.propose(house.turn("dana"), [proposal])
        assert isinstance(outcome, Executed), outcome

    for round_ in range(4):
        calls = [asyncio.create_task(call(round_ * 10 + number)) for number in range(10)]
        await asyncio.sleep(0)
        await asyncio.to_thread(rotate, keys, house.clock.now, at_once=True)
        await asyncio.gather(*calls)
    assert len(used) >= 4


async def test_an_approval_given_under_the_old_key_runs_under_the_new_one(local_house: House, keys: Path) -> None:
    house = with_ring(local_house, keys)
    view = await house.ask_refund()
    token = house.token_for(view)
    rotate(keys, house.clock.now, at_once=True)
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    ended = await house.gateway.execute(DEMO, view.held_id, 1, token)
    assert (ended.status, ended.effect) == (ApprovalStatus.APPROVED, EffectState.DONE)


async def test_after_a_leak_the_calls_in_the_air_are_refused_and_nothing_runs(local_house: House, keys: Path) -> None:
    house = with_ring(local_house, keys)
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    token, proposal = house.token_for(view), house.proposal("dana", "crm.read", ORDER)
    rotate(keys, house.clock.now, leaked=True)
    ended = await house.gateway.execute(DEMO, view.held_id, 1, token)
    assert (ended.status, ended.effect) == (ApprovalStatus.VOIDED, EffectState.NONE)
    assert house.refunds() == []
    (outcome,) = await house.gateway.propose(house.turn("dana"), [proposal])
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.TOKEN


async def test_a_jti_is_one_call(house: House) -> None:
    """The same token again is the same call: it holds nothing twice, and does not open another request."""
    args = {"order_id": "1042", "amount": "10.00", "currency": "USD", "reason": "r"}
    proposal = house.proposal("dana", "refund.issue", args, "one-jti")
    turn = house.turn("dana")
    (first,) = await house.gateway.propose(turn, [proposal])
    (second,) = await house.gateway.propose(turn, [proposal])
    assert first == second
    other = {**args, "amount": "20.00"}
    (swapped,) = await house.gateway.propose(turn, [replace(proposal, arguments=other)])
    assert swapped == first, "other arguments under a used jti are not asked for"
    (renamed,) = await house.gateway.propose(house.turn("dana"), [replace(proposal, call_id="another")])
    assert isinstance(renamed, Blocked)
    assert renamed.reason is BlockReason.TOKEN
    ((held,),) = house.rows("SELECT count(*) FROM held_call")
    assert held == 1


async def test_an_execution_token_is_used_once(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    token = house.token_for(view)
    assert (await house.gateway.execute(DEMO, view.held_id, 1, token)).effect is EffectState.DONE
    await house.gateway.execute(DEMO, view.held_id, 1, token)
    assert len(house.refunds()) == 1


async def test_a_token_of_one_tenant_at_another(house: House) -> None:
    """Both directions: a foreign token in our turn, and a foreign turn with our token."""
    other = TenantId("other")
    eve = house.tokens.mint(house.who("eve", other), READ, house.clock.now, jti="x-1")
    mine = house.proposal("dana", "crm.read", ORDER, "x-2")
    for turn, proposal in (
        (house.turn("dana"), replace(mine, call_id="x-1", token=eve)),
        (replace(house.turn("dana"), tenant=other), mine),
    ):
        (outcome,) = await house.gateway.propose(turn, [proposal])
        assert isinstance(outcome, Blocked)
        assert outcome.reason is BlockReason.TENANT


def test_a_key_in_the_notes_is_named_by_its_thumbprint(keys: Path) -> None:
    ring = KeyRing(keys).now()
    assert ring.current.kid == key_id(ring.current.key.public_key())
