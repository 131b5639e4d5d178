"""The bot's own token: cached, renewed in time, asked for once, and never told to anybody."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from bot.identity.idp_http import IdpHttp
from bot.ports import SurfaceError
from bot.settings import Teams
from bot.teams.token import AppToken
from tests.kit.teams_out import Time
from tools.credentials import Secret

PASSWORD = "hunter2-the-apps-own"


@dataclass
class Login:
    """Microsoft's, in one process."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[httpx2.Request] = field(default_factory=list)

    async def handler(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        await asyncio.sleep(0)
        number = len(self.asked)
        good = {"access_token": f"token-{number}", "expires_in": 3600}
        status, body = self.answers.pop(0) if self.answers else (200, good)
        return httpx2.Response(status, json=body)

    def token(self, clock: Time, login_url: str | None = None, tenant: str = "the-tenant") -> AppToken:
        http = IdpHttp(httpx2.AsyncClient(transport=httpx2.MockTransport(self.handler)))
        settings = Teams("the-app", Secret("TEAMS_APP_PASSWORD", PASSWORD), tenant, None, login_url)
        return AppToken(http, settings, clock)


async def test_what_is_asked_for() -> None:
    login = Login()
    assert await login.token(Time()).get() == "token-1"
    request = login.asked[0]
    assert str(request.url) == "https://login.microsoftonline.com/the-tenant/oauth2/v2.0/token"
    form = parse_qs(request.content.decode())
    assert form == {
        "grant_type": ["client_credentials"],
        "client_id": ["the-app"],
        "client_secret": [PASSWORD],
        "scope": ["https://api.botframework.com/.default"],
    }


async def test_it_is_kept_until_five_minutes_before_its_end() -> None:
    login, clock = Login(), Time()
    token = login.token(clock)
    assert await token.get() == "token-1"
    clock.now += 3600 - 301
    assert await token.get() == "token-1"
    clock.now += 2
    assert await token.get() == "token-2"
    assert len(login.asked) == 2


async def test_many_at_once_ask_once() -> None:
    login = Login()
    token = login.token(Time())
    assert set(await asyncio.gather(*(token.get() for _ in range(20)))) == {"token-1"}
    assert len(login.asked) == 1


async def test_a_spoiled_token_is_replaced_and_an_older_one_changes_nothing() -> None:
    login = Login()
    token = login.token(Time())
    first = await token.get()
    token.spoiled(first)
    assert await token.get() == "token-2"
    token.spoiled(first)
    assert await token.get() == "token-2"
    assert len(login.asked) == 2


async def test_a_login_that_is_down_costs_nothing_while_the_token_holds() -> None:
    login, clock = Login(), Time()
    token = login.token(clock)
    await token.get()
    clock.now += 3400
    login.answers.append((500, {}))
    assert await token.get() == "token-1"
    clock.now += 201
    login.answers.append((500, {}))
    with pytest.raises(SurfaceError, match="HTTP 500"):
        await token.get()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": "invalid_client", "error_description": PASSWORD}, "TEAMS_APP_PASSWORD has expired"),
        (400, {"error": "unauthorized_client"}, "TEAMS_TENANT_ID"),
        (200, {"token_type": "Bearer"}, "HTTP 200"),
        (200, {"access_token": 7}, "HTTP 200"),
        (503, {}, "HTTP 503"),
        (302, {}, "redirect"),
    ],
)
async def test_refusals(status: int, body: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    login = Login([(status, body)])
    with pytest.raises(SurfaceError, match=words) as caught:
        await login.token(Time()).get()
    assert PASSWORD not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("expires_in", "lives"), [("3600", 3299), (None, 0), (True, 0), (-5, 0), ("soon", 0), (200, 99)]
)
async def test_when_it_ends(expires_in: Any, lives: float) -> None:
    clock = Time()
    login = Login([(200, {"access_token": "token-x", "expires_in": expires_in})])
    token = login.token(clock)
    assert await token.get() == "token-x"
    clock.now += lives
    assert await token.get() == ("token-x" if lives else "token-2")
    clock.now += 2
    await token.get()
    assert len(login.asked) == 2


@pytest.mark.parametrize(
    ("login_url", "address", "scope"),
    [
        (
            "https://login.microsoftonline.us/",
            "https://login.microsoftonline.us/",
            "https://api.botframework.us/.default",
        ),
        (
            "https://login.partner.microsoftonline.cn",
            "https://login.partner.microsoftonline.cn/",
            "https://api.botframework.azure.cn/.default",
        ),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x/", "https://api.botframework.com/.default"),
    ],
)
async def test_other_clouds(login_url: str, address: str, scope: str) -> None:
    login = Login()
    await login.token(Time(), login_url).get()
    assert str(login.asked[0].url) == f"{address}the-tenant/oauth2/v2.0/token"
    assert parse_qs(login.asked[0].content.decode())["scope"] == [scope]


@pytest.mark.parametrize("login_url", ["http://login.test/", "https://user:pw@login.test/", "ftp://x/", "https://a b/"])
async def test_the_secret_goes_over_tls_alone(login_url: str) -> None:
    login = Login()
    with pytest.raises(SurfaceError, match="TEAMS_LOGIN_URL"):
        await login.token(Time(), login_url).get()
    assert login.asked == []


async def test_a_tenant_is_one_part_of_the_address() -> None:
    login = Login()
    await login.token(Time(), tenant="../evil?x=").get()
    assert login.asked[0].url.raw_path.startswith(b"/..%2Fevil%3Fx%3D/oauth2/")


async def test_many_at_once_are_refused_once() -> None:
    """A login that hangs would otherwise keep the last of them waiting as many times as there are others."""
    login = Login([(503, {})])
    token = login.token(Time())
    found = await asyncio.gather(*(token.get() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(one, SurfaceError) for one in found), found
    assert len(login.asked) == 1
    assert await token.get() == "token-2", "whoever comes later asks anew"


async def test_who_waited_goes_on_with_a_token_that_still_holds() -> None:
    login, clock = Login(), Time()
    token = login.token(clock)
    await token.get()
    clock.now += 3600 - 200
    login.answers.append((503, {}))
    assert set(await asyncio.gather(*(token.get() for _ in range(20)))) == {"token-1"}
    assert len(login.asked) == 2


async def test_who_gave_up_waiting_leaves_the_asking_to_the_next() -> None:
    login = Login()
    token = login.token(Time())
    first, second = asyncio.create_task(token.get()), asyncio.create_task(token.get())
    await asyncio.sleep(0)
    first.cancel()
    assert (await asyncio.gather(first, second, return_exceptions=True))[1] in ("token-1", "token-2")
