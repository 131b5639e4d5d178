"""Signing in at a certified OpenID Connect server: what it really sends holds, its keys rotate, it logs people out."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from bot.identity.discovery import Discovery, Metadata
from bot.identity.id_token import IdClaims, IdTokenRefused, TokenReason, verify_id_token, verify_logout_token
from bot.identity.idp_http import IdpHttp
from bot.identity.issuers import Issuer, Preset
from bot.identity.jwks import COOLDOWN_S, LIFETIME_S, KeySource
from bot.identity.oidc import OidcClient, OidcError, OidcFault, TokenSet, challenge_of, check_response_issuer
from tests.rigs.oidc_provider_rig import Browser, OidcProvider, client, installed, oidc_provider
from tools.credentials import Secret

CALLBACK = "http://127.0.0.1:9/signin/callback"
PUBLIC_CALLBACK = "http://127.0.0.1:9/public"
TID = "8f0c1a2b-0000-4000-8000-00000000abcd"
ACCOUNTS: dict[str, dict[str, object]] = {
    "00u-dana": {"email": "dana@acme.example", "name": "Dana Reyes", "oid": "obj-dana", "tid": TID},
    "00u-overage": {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://else"}}},
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    rig: OidcProvider
    issuer: Issuer
    client: OidcClient
    keys: KeySource
    clock: Clock
    back_channel: list[str]

    async def sign_in(
        self, browser: Browser, login: str = "00u-dana", issuer: Issuer | None = None, callback: str = CALLBACK
    ) -> tuple[TokenSet, str, Metadata]:
        """As a person does it: away to the provider, log in, consent, back with a code. The tokens and the nonce."""
        issuer = issuer or self.issuer
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        meta = await self.client.discover(issuer)
        url = self.client.authorize_url(
            meta,
            issuer,
            redirect_uri=callback,
            state=state,
            nonce=nonce,
            code_challenge=challenge_of(verifier),
            prompt="consent",
        )
        came_back = await asyncio.to_thread(browser.log_in, url, login)
        assert came_back["state"] == state, came_back
        check_response_issuer(meta, came_back.get("iss"))
        got = await self.client.redeem(issuer, code=came_back["code"], redirect_uri=callback, code_verifier=verifier)
        return got, nonce, meta

    async def verify(self, got: TokenSet, nonce: str | None, issuer: Issuer | None = None) -> IdClaims:
        return await verify_id_token(
            got.id_token,
            issuer or self.issuer,
            self.keys,
            nonce=nonce,
            now=datetime.now(UTC),
            access_token=got.access_token,
        )


@pytest.fixture
async def back_channel() -> AsyncIterator[tuple[str, list[str]]]:
    """Where the provider posts logout tokens, and those it posted."""
    posted: list[str] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(str((await request.post())["logout_token"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/signin/backchannel", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/signin/backchannel", posted
    await runner.cleanup()


@pytest.fixture
async def house(back_channel: tuple[str, list[str]]) -> AsyncIterator[House]:
    if not installed() and os.environ.get("CI") != "true":
        pytest.skip(
            "oidc-provider: run `make test`, or `cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts`"
        )
    address, posted = back_channel
    clients = [
        client(
            "countersign",
            CALLBACK,
            secret="s3cr:et/+",
            post_logout_redirect_uris=["http://127.0.0.1:9/bye"],
            backchannel_logout_uri=address,
            backchannel_logout_session_required=True,
        ),
        client("countersign-public", PUBLIC_CALLBACK, secret=None),
    ]
    with oidc_provider(clients=clients, accounts=ACCOUNTS) as rig:
        http, clock = IdpHttp(), Clock()
        discovery = Discovery(http, clock)
        issuer = Issuer(
            "rig",
            Preset.OIDC,
            rig.issuer,
            "countersign",
            Secret("client secret of rig", "s3cr:et/+"),
            scopes=("openid", "profile", "email", "offline_access"),
        )
        try:
            yield House(rig, issuer, OidcClient(http, discovery), KeySource(http, discovery, clock), clock, posted)
        finally:
            await http.close()


@pytest.fixture
def browser(house: House) -> Iterator[Browser]:
    with house.rig.browser() as one:
        yield one


async def test_somebody_signs_in_and_is_who_the_provider_says(house: House, browser: Browser) -> None:
    got, nonce, meta = await house.sign_in(browser)
    assert meta.iss_in_response, "this provider sends iss beside the code, so its absence would be refused"
    said = await house.verify(got, nonce)
    assert (said.issuer, said.subject, said.email, said.name) == (
        house.rig.issuer,
        "00u-dana",
        "dana@acme.example",
        "Dana Reyes",
    )
    assert said.sid is not None
    assert not said.groups_overage
    with pytest.raises(IdTokenRefused) as other:
        await house.verify(got, "another sign-in's")
    assert other.value.reason is TokenReason.NONCE


async def test_an_issuer_with_tenants_reads_tid_and_oid(house: House, browser: Browser) -> None:
    got, nonce, _ = await house.sign_in(browser)
    entra = replace(house.issuer, tid=TID, subject_claim="oid")
    said = await house.verify(got, nonce, entra)
    assert (said.subject, said.sub) == ("obj-dana", "00u-dana")
    with pytest.raises(IdTokenRefused) as other:
        await house.verify(got, nonce, replace(entra, tid=TID.replace("8", "9")))
    assert other.value.reason is TokenReason.TID


async def test_an_overage_is_said_and_grants_nothing(house: House, browser: Browser) -> None:
    got, nonce, _ = await house.sign_in(browser, "00u-overage")
    said = await house.verify(got, nonce)
    assert said.groups_overage
    assert not said.extra.keys() & {"groups", "_claim_names", "_claim_sources"}


async def test_a_public_client_is_protected_by_pkce_alone(house: House, browser: Browser) -> None:
    public = replace(house.issuer, client_id="countersign-public", client_secret=None)
    got, nonce, _ = await house.sign_in(browser, issuer=public, callback=PUBLIC_CALLBACK)
    assert (await house.verify(got, nonce, public)).subject == "00u-dana"
    with pytest.raises(IdTokenRefused) as other:
        await house.verify(got, nonce)
    assert other.value.reason is TokenReason.AUD


async def test_a_stolen_or_spent_code_is_worth_nothing(house: House, browser: Browser) -> None:
    meta = await house.client.discover(house.issuer)
    url = house.client.authorize_url(
        meta, house.issuer, redirect_uri=CALLBACK, state="s", nonce="n", code_challenge=challenge_of("v" * 43)
    )
    code = (await asyncio.to_thread(browser.log_in, url, "00u-dana"))["code"]
    for _ in range(2):
        with pytest.raises(OidcError, match="Start again from the chat") as refused:
            await house.client.redeem(house.issuer, code=code, redirect_uri=CALLBACK, code_verifier="w" * 43)
        assert refused.value.fault is OidcFault.GRANT


async def test_a_wrong_secret_is_for_an_admin_to_mend(house: House) -> None:
    wrong = replace(house.issuer, client_secret=Secret("client secret of rig", "wrong"))
    with pytest.raises(OidcError, match="client id or secret") as refused:
        await house.client.redeem(wrong, code="c", redirect_uri=CALLBACK, code_verifier="v" * 43)
    assert refused.value.fault is OidcFault.CLIENT


async def test_refresh_tokens_are_rotated_and_a_spent_one_ends_the_grant(house: House, browser: Browser) -> None:
    got, *_ = await house.sign_in(browser)
    assert got.refresh_token is not None
    fresh = await house.client.refresh(house.issuer, got.refresh_token)
    assert fresh.refresh_token not in (None, got.refresh_token)
    assert fresh.id_token is not None
    renewed = TokenSet(fresh.id_token, fresh.access_token)
    assert (await house.verify(renewed, None)).subject == "00u-dana"
    for spent in (got.refresh_token, fresh.refresh_token):
        assert spent is not None
        with pytest.raises(OidcError) as refused:
            await house.client.refresh(house.issuer, spent)
        assert refused.value.fault is OidcFault.GRANT


async def test_a_new_key_is_followed_and_a_retired_one_refused_without_a_restart(
    house: House, browser: Browser
) -> None:
    before, nonce, _ = await house.sign_in(browser)
    assert (await house.verify(before, nonce)).subject == "00u-dana"
    house.rig.rotate()
    house.clock.now += COOLDOWN_S
    after, later, _ = await house.sign_in(browser)
    assert (await house.verify(after, later)).subject == "00u-dana"
    assert (await house.verify(before, nonce)).subject == "00u-dana", "the old key is still published"
    house.rig.rotate(retire=True)
    house.clock.now += LIFETIME_S
    for token, its_nonce in ((before, nonce), (after, later)):
        with pytest.raises(IdTokenRefused) as retired:
            await house.verify(token, its_nonce)
        assert retired.value.reason is TokenReason.KEY_UNKNOWN


async def test_signing_out_at_the_provider_reaches_us_over_the_back_channel(house: House, browser: Browser) -> None:
    got, nonce, meta = await house.sign_in(browser)
    said = await house.verify(got, nonce)
    url = house.client.end_session_url(
        meta, house.issuer, post_logout_redirect_uri="http://127.0.0.1:9/bye", id_token_hint=got.id_token
    )
    assert url is not None
    await asyncio.to_thread(browser.log_out, url)
    [posted] = house.back_channel
    told = await verify_logout_token(posted, house.issuer, house.keys, now=datetime.now(UTC))
    assert told.sid == said.sid
    assert told.jti
    with pytest.raises(IdTokenRefused) as shown:
        await verify_id_token(posted, house.issuer, house.keys, nonce=None, now=datetime.now(UTC))
    assert shown.value.reason is TokenReason.TYP
    with pytest.raises(IdTokenRefused) as shown:
        await verify_logout_token(got.id_token, house.issuer, house.keys, now=datetime.now(UTC))
    assert shown.value.reason is TokenReason.EVENTS
