"""Each way to get a person's token for an API, against a real OpenID Connect server."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from aiohttp import web

from bot.identity.downstream import Client, Downstream, DownstreamKind, SubjectToken
from bot.identity.idp_http import IdpHttp
from bot.identity.keyring import KeyRing
from bot.identity.minting import ACTOR
from bot.identity.rotation import rotate
from bot.identity.tokens import CallTokens
from bot.keys import make_keys
from bot.web.jwks import jwk
from tests.kit.downstream import (
    APIS,
    BASE_URL,
    BEARER,
    CALLBACK,
    EXCHANGE,
    ORDERS,
    OWN,
    REFUND,
    Downstreams,
    approved,
    downstreams,
    provider,
    read,
    served,
)
from tests.kit.downstream import orders as orders_at
from tests.rigs.oidc_provider_rig import OidcProvider, client, installed, oidc_provider
from tools.credentials import Secret
from tools.held import EffectState
from tools.spec import ActionError, SignInAgain

AT_ORDERS = "countersign-at-orders"
"""Our name at the API's own authorization server."""

pytestmark = pytest.mark.skipif(
    not installed() and os.environ.get("CI") != "true",
    reason="oidc-provider: run `make test`, or `cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts`",
)


@pytest.fixture(scope="module")
def rig() -> Iterator[OidcProvider]:
    with provider(step_up=["sam"]) as running:
        yield running


@pytest.fixture
async def local(
    sqlite_url: str, tmp_path: Path, rig: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Downstreams]:
    async with downstreams(sqlite_url, tmp_path, rig, monkeypatch) as opened:
        yield opened


# -- each protocol ---------------------------------------------------------------------------------------------------


async def test_an_id_token_as_the_subject(local: Downstreams) -> None:
    await local.sign_in()
    local.configured["orders"] = orders_at(local.rig, subject=SubjectToken.ID_TOKEN)
    assert read(await local.bearer())["sub"] == "dana"


async def test_our_own_assertion_and_actor_where_the_server_trusts_our_keys(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server fetches our JWKS. A rotation between two calls changes nothing for it."""
    make_keys(tmp_path / "keys")
    ring = KeyRing(tmp_path / "keys")
    app = web.Application()

    async def keys(request: web.Request) -> web.Response:
        found = ring.now().verifying(datetime.now(UTC))
        return web.json_response({"keys": [jwk(kid, key) for kid, key in found.items()]})

    app.router.add_get("/.well-known/jwks.json", keys)
    async with served(app) as here:
        with provider(trusted={BASE_URL: f"{here}/.well-known/jwks.json"}) as rig:
            async with downstreams(
                sqlite_url, tmp_path, rig, monkeypatch, tokens=lambda _: CallTokens(ring, issuer=BASE_URL)
            ) as at:
                at.configured["orders"] = orders_at(rig, subject=SubjectToken.OWN, actor=True)
                for _ in range(2):
                    claims = read(await at.bearer())
                    assert (claims["sub"], claims["act"]) == ("dana", {"sub": ACTOR})
                    rotate(tmp_path / "keys", datetime.now(UTC), at_once=True)
                call_token = CallTokens(ring, issuer=BASE_URL).mint(at.who(), REFUND, datetime.now(UTC))
                async with httpx2.AsyncClient(auth=("app", "rig-secret")) as http:
                    kind = "urn:ietf:params:oauth:token-type:jwt"
                    form = {"grant_type": EXCHANGE, "subject_token": call_token, "subject_token_type": kind}
                    form |= {"audience": ORDERS, "scope": "orders.refund"}
                    answer = await http.post(f"{rig.issuer}/token", data=form)
                assert answer.status_code == 400, "a token for our gateway is none for another server"
                assert at.house.audit("count(*)", where="kind='grant.ended'") == [(0,)]


async def test_entra_on_behalf_of(local: Downstreams) -> None:
    await local.sign_in()
    local.configured["orders"] = orders_at(
        local.rig,
        kind=DownstreamKind.ENTRA_OBO,
        tools={REFUND: (f"{ORDERS}/orders.refund",)},
        subject_claim="oid",
    )
    with pytest.raises(ActionError, match="somebody else's"):
        await local.bearer()
    local.configured["orders"] = replace(local.configured["orders"], subject_claim="sub")
    claims = read(await local.bearer())
    assert (claims["oid"], claims["aud"], claims["scp"]) == ("obj-dana", ORDERS, "orders.refund")


async def test_entra_wants_the_person_there(local: Downstreams) -> None:
    await local.sign_in("sam")
    local.configured["orders"] = orders_at(
        local.rig, kind=DownstreamKind.ENTRA_OBO, tools={REFUND: (f"{ORDERS}/orders.refund",)}
    )
    with pytest.raises(SignInAgain, match="sign in again"):
        await local.bearer("sam")
    assert local.house.audit("status", "actor_user_id", where="kind='grant.exchanged'") == [("interaction", "sam")]


@pytest.fixture
def partners() -> Iterator[tuple[OidcProvider, OidcProvider]]:
    """The company's IdP, and the API's own authorization server, which trusts that IdP and nobody else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server_issuer = f"http://127.0.0.1:{port}"
    with provider(partners={server_issuer: AT_ORDERS}) as idp:
        theirs = oidc_provider(
            clients=[client(name, CALLBACK, grant_types=[BEARER, "authorization_code"]) for name in (AT_ORDERS, "x")],
            accounts={},
            exchange={"own": OWN, "apis": APIS, "trusted": {idp.issuer: f"{idp.issuer}/jwks"}},
            port=port,
        )
        with theirs as server:
            assert server.issuer == server_issuer
            yield idp, server


def assertion_at(idp: OidcProvider, server: OidcProvider, **changes: Any) -> Downstream:
    redeem_at = Client(f"{server.issuer}/token", AT_ORDERS, Secret("orders", "rig-secret"))
    jag = {
        "kind": DownstreamKind.ID_JAG,
        "subject": SubjectToken.ID_TOKEN,
        "resource": ORDERS,
        "redeem_at": redeem_at,
        "redeem_audience": server.issuer,
    }
    return orders_at(idp, **(jag | changes))


async def test_an_identity_assertion_between_two_servers(
    sqlite_url: str, tmp_path: Path, partners: tuple[OidcProvider, OidcProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    idp, server = partners
    async with downstreams(sqlite_url, tmp_path, idp, monkeypatch, api_issuer=server.issuer) as at:
        await at.sign_in()
        at.configured["orders"] = assertion_at(idp, server)
        ended = await at.house.execute(await approved(at))
        assert ended.effect is EffectState.DONE
        (claims,) = at.api.done
        assert (claims["iss"], claims["sub"], claims["scope"]) == (server.issuer, "dana", "orders.refund")
        assert claims["act"] == {"sub": AT_ORDERS}

        at.configured["orders"] = assertion_at(idp, server, redeem_audience="https://elsewhere.example")
        with pytest.raises(ActionError, match="does not give the rights"):
            await at.bearer()
        other = Client(f"{server.issuer}/token", "x", Secret("orders", "rig-secret"))
        at.configured["orders"] = assertion_at(idp, server, redeem_at=other)
        with pytest.raises(ActionError, match="for another server"):
            await at.bearer()


async def test_an_assertion_is_redeemed_once_and_only_by_whom_it_is_for(
    partners: tuple[OidcProvider, OidcProvider], sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the API's server makes of it when it comes again, from somebody else, or from a stranger's IdP."""
    idp, server = partners
    seen: list[str] = []
    async with downstreams(sqlite_url, tmp_path, idp, monkeypatch, api_issuer=server.issuer) as at:
        await at.sign_in()
        at.configured["orders"] = assertion_at(idp, server)
        post = IdpHttp.post

        async def watched(self: IdpHttp, url: str, form: Any, headers: Any = None) -> Any:
            if form.get("assertion"):
                seen.append(form["assertion"])
            return await post(self, url, form, headers)

        monkeypatch.setattr(IdpHttp, "post", watched)
        await at.bearer()
    (assertion,) = seen
    assert jwt.get_unverified_header(assertion)["typ"] == "oauth-id-jag+jwt"
    async with httpx2.AsyncClient() as http:
        for name in (AT_ORDERS, "x"):
            form = {"grant_type": BEARER, "assertion": assertion}
            answer = await http.post(f"{server.issuer}/token", data=form, auth=(name, "rig-secret"))
            assert answer.json()["error"] == "invalid_grant"
