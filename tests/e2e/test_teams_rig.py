"""The rig that the Teams tests stand on: what it remembers is what the playground's page shows; who it believes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from aiohttp import web

from tests.rigs.local_slack import until
from tests.rigs.teams_playground import ANN, DANA, FINANCE, GENERAL, GROUP, GUS, Playground, Rig, teams
from tests.rigs.teams_wire import APP_ID, APP_PASSWORD, SCOPE, TENANT, Body

CARD = {"contentType": "application/vnd.microsoft.card.adaptive", "content": {"type": "AdaptiveCard", "body": []}}


class Echo:
    """A bot that keeps what it is told."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.told: list[tuple[Body, str]] = []

    async def hear(self, request: web.Request) -> web.Response:
        self.told.append((await request.json(), request.headers["Authorization"].removeprefix("Bearer ")))
        return web.json_response(
            {"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": "ok"}
        )

    async def token(self, password: str = APP_PASSWORD) -> tuple[int, Body]:
        form = {"grant_type": "client_credentials", "client_id": APP_ID, "client_secret": password, "scope": SCOPE}
        url = f"{self.rig.wire.base}/{TENANT}/oauth2/v2.0/token"
        async with self.rig.wire.session.post(url, data=form) as answer:
            return answer.status, await answer.json()

    async def call(self, method: str, path: str, body: Body | None = None, token: str | None = None) -> tuple[int, str]:
        own = token if token is not None else (await self.token())[1]["access_token"]
        headers = {"Authorization": f"Bearer {own}"}
        url = f"{self.rig.wire.service_url}/v3/{path}"
        async with self.rig.wire.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def bot(teams_playground: Playground) -> AsyncIterator[Echo]:
    async with teams(teams_playground) as rig:
        echo = Echo(rig)
        app = web.Application()
        app.router.add_post("/api/messages", echo.hear)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        rig.wire.bot = f"http://127.0.0.1:{runner.addresses[0][1]}/api/messages"
        yield echo
        await runner.cleanup()


async def test_deliveries_are_signed_with_a_key_that_is_published(bot: Echo) -> None:
    wire = bot.rig.wire
    for _ in range(2):
        await bot.rig.say(await bot.rig.personal(DANA), DANA, "hello")
        activity, token = bot.told[-1]
        async with aiohttp.ClientSession() as session, session.get(wire.metadata_url) as told:
            document = await told.json()
        async with aiohttp.ClientSession() as session, session.get(document["jwks_uri"]) as told:
            (key,) = jwt.PyJWKSet.from_dict(await told.json()).keys
        claims = jwt.decode(token, key, ["RS256"], audience=APP_ID, issuer=document["issuer"])
        assert claims["serviceurl"] == activity["serviceUrl"] == wire.service_url
        assert jwt.get_unverified_header(token)["kid"] == key.key_id
        wire.rotate()


async def test_each_member_speaks_for_themselves(bot: Echo) -> None:
    for where, mention in ((await bot.rig.personal(ANN), False), (GROUP, True), (GENERAL, True)):
        await bot.rig.say(where, ANN, "hello", mention=mention)
        assert bot.told[-1][0]["from"] == ANN.told
    await bot.rig.say(GROUP, ANN, "not for the bot")
    assert len(bot.told) == 3


async def test_the_connector_asks_for_the_bots_own_token(bot: Echo) -> None:
    post = f"conversations/{FINANCE}/activities"
    assert (await bot.token("wrong"))[0] == 401
    assert (await bot.call("POST", post, {"type": "message", "text": "x"}, token="made-up"))[0] == 401
    assert bot.rig.bot_messages(FINANCE) == []
    assert (await bot.call("POST", post, {"type": "message", "text": "x"}))[0] == 201


async def test_what_is_remembered_is_what_the_page_shows(bot: Echo) -> None:
    before = len(bot.rig.ui)
    await bot.call("POST", f"conversations/{FINANCE}/activities", {"type": "message", "text": "posted"})
    await bot.call("POST", f"conversations/{FINANCE}/activities", {"type": "message", "attachments": [CARD]})
    text, card = bot.rig.bot_messages(FINANCE)
    await bot.call("PUT", f"conversations/{FINANCE}/activities/{text.id}", {"type": "message", "text": "changed"})
    assert text.activity["text"] == "changed"

    async def shown() -> list[tuple[str, str]] | None:
        frames = [one for one in bot.rig.ui[before:] if one["actionConversationId"] == FINANCE]
        return [(one["action"], one["message"]["messageId"]) for one in frames] if len(frames) == 3 else None

    seen = await until(shown, "the page to show it")
    assert seen == [("createMessage", text.id), ("createMessage", card.id), ("updateMessage", text.id)]
    assert (await bot.call("DELETE", f"conversations/{FINANCE}/activities/{card.id}"))[0] == 200
    assert [one.id for one in bot.rig.bot_messages(FINANCE)] == [text.id]
    assert (await bot.call("PUT", f"conversations/{FINANCE}/activities/1", {"type": "message", "text": "x"}))[0] == 404


async def test_a_press_is_any_members(bot: Echo) -> None:
    await bot.call("POST", f"conversations/{FINANCE}/activities", {"type": "message", "attachments": [CARD]})
    (card,) = bot.rig.bot_messages(FINANCE)
    heard = await bot.rig.invoke(ANN, card, {"type": "Action.Execute", "verb": "approve", "data": {"a": 1}})
    assert (heard.status, heard.activity["from"], heard.activity["replyToId"]) == (200, ANN.told, card.id)


async def test_people_are_asked_for_by_either_id_and_guests_are_guests(bot: Echo) -> None:
    for who, role in ((ANN, "user"), (GUS, "guest")):
        for name in (who.id, who.oid):
            status, told = await bot.call("GET", f"conversations/{GENERAL}/members/{name}")
            assert (status, f'"userRole": "{role}"' in told) == (200, True)
    assert (await bot.call("GET", f"conversations/{GENERAL}/members/29:nobody"))[0] == 404
    body = {"isGroup": False, "bot": {"id": "28:x"}, "members": [{"id": ANN.oid}], "tenantId": TENANT}
    assert await bot.rig.personal(ANN) in (await bot.call("POST", "conversations", body))[1]
