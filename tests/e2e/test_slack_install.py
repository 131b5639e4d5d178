"""Installing the app through the browser: pages, states, store, seals and audit rows are the real ones.

``oauth.v2.access`` is a stand-in (tests/rigs/slack_oauth.py): local-slack has no OAuth.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import sqlalchemy as sa

from bot.ports import SurfaceError
from bot.slack.install import SCOPES
from bot.slack.installs import Installs
from bot.slack.tables import STATES
from bot.slack.workspaces import NotInstalled
from tests.rigs.slack_installs import BASE, Listed, Replica, replica
from tests.rigs.slack_oauth import CLIENT_ID, SlackOAuth, Team


@pytest.fixture
async def oauth() -> AsyncIterator[SlackOAuth]:
    async with SlackOAuth().serve() as running:
        running.add(Team("T0ACME", expires_in=43_200))
        running.add(Team("T0FOREIGN", enterprise="E0FAR"))
        yield running


@pytest.fixture
def house(engine_url: str, tmp_path: Path, oauth: SlackOAuth) -> Iterator[Replica]:
    with replica(engine_url, tmp_path / "keys", oauth, Listed({"T0ACME": "acme"})) as opened:
        yield opened


def browser(house: Replica) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=house.web()), base_url=BASE)


async def begun(visitor: httpx2.AsyncClient) -> str:
    """The state that Slack would be given."""
    page = await visitor.get("/slack/install")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")
    found = re.search(r'href="(https://slack\.test/[^"]+)"', page.text)
    assert found is not None
    query = parse_qs(urlsplit(found[1].replace("&amp;", "&")).query)
    assert query["client_id"] == [CLIENT_ID]
    assert query["redirect_uri"] == [BASE + "/slack/oauth_redirect"]
    assert query["scope"] == [",".join(SCOPES)]
    assert "user_scope" not in query, "no scope of a person's"
    return query["state"][0]


async def back(visitor: httpx2.AsyncClient, **query: str) -> httpx2.Response:
    return await visitor.get("/slack/oauth_redirect", params=query)


def kept(house: Replica) -> list[str]:
    return [str(team) for (team,) in house.rows("SELECT team_id FROM slack_bots")]


async def test_a_listed_workspace_is_installed_and_audited(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        done = await back(visitor, state=await begun(visitor), code=oauth.code("T0ACME"))
    assert (done.status_code, kept(house)) == (200, ["T0ACME"])
    assert "Workspace &lt;T0ACME&gt;" in done.text, "names from outside are escaped"
    workspace = await house.installs.of("T0ACME")
    await workspace.calls.call("auth.test", {})
    assert oauth.asked("auth.test")[-1][0] == "T0ACME"
    assert house.audited() == [("chat.installed", "installed", "acme")]
    assert await house.installs.teams() == ("T0ACME",)


async def test_no_token_lies_in_the_database_as_it_is(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        await back(visitor, state=await begun(visitor), code=oauth.code("T0ACME"))
    for table in ("slack_bots", "slack_installations"):
        text = str(house.rows(f"SELECT * FROM {table}"))
        assert "T0ACME" in text
        assert "xoxb-" not in text
        assert "xoxe-" not in text


async def test_a_sealed_token_opens_for_its_own_workspace_and_field_alone(house: Replica, oauth: SlackOAuth) -> None:
    house.book.teams["T0OTHER"] = "other"
    oauth.add(Team("T0OTHER", expires_in=43_200))
    await house.install(oauth, "T0ACME")
    await house.install(oauth, "T0OTHER")
    with house.engine.begin() as conn:
        conn.execute(
            sa.text(
                "UPDATE slack_bots SET bot_token = (SELECT b.bot_token FROM slack_bots b WHERE b.team_id='T0OTHER') "
                "WHERE team_id='T0ACME'"
            )
        )
    with pytest.raises(SurfaceError, match="does not open"):
        await house.installs.of("T0ACME")
    with house.engine.begin() as conn:
        conn.execute(sa.text("UPDATE slack_bots SET bot_token = bot_refresh_token WHERE team_id='T0OTHER'"))
    with pytest.raises(SurfaceError, match="does not open"):
        await house.installs.of("T0OTHER")


async def test_a_workspace_nobody_listed_is_told_which_line_to_add(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        refused = await back(visitor, state=await begun(visitor), code=oauth.code("T0FOREIGN"))
    assert refused.status_code == 403
    assert "- {surface: slack, team: T0FOREIGN, enterprise: E0FAR}" in refused.text
    assert house.rows("SELECT team_id FROM slack_bots UNION SELECT team_id FROM slack_installations") == []
    assert [team for team, _ in oauth.asked("auth.revoke")] == ["T0FOREIGN"]
    assert not oauth.teams["T0FOREIGN"].tokens, "its token was given back"
    assert house.audited() == [("chat.refused", "unlisted", "_system")]
    with pytest.raises(NotInstalled):
        await house.installs.of("T0FOREIGN")


async def test_a_whole_organisation_is_not_installed(house: Replica, oauth: SlackOAuth) -> None:
    oauth.teams["T0ACME"].org_wide = True
    async with browser(house) as visitor:
        refused = await back(visitor, state=await begun(visitor), code=oauth.code("T0ACME"))
    assert (refused.status_code, kept(house)) == (403, [])
    assert "each workspace by itself" in refused.text
    assert not oauth.teams["T0ACME"].tokens


async def test_a_state_is_good_once(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        state = await begun(visitor)
        cookie = dict(visitor.cookies)
        assert (await back(visitor, state=state, code=oauth.code("T0ACME"))).status_code == 200
        assert not dict(visitor.cookies), "the cookie is taken back"
        visitor.cookies.update(cookie)
        replayed = await back(visitor, state=state, code=oauth.code("T0ACME"))
    assert replayed.status_code == 400
    assert "finished before" in replayed.text
    assert len(oauth.asked("oauth.v2.access")) == 1


async def test_of_many_at_once_with_one_state_one_gets_through(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        state = await begun(visitor)
        answers = await asyncio.gather(
            *(back(visitor, state=state, code=oauth.code("T0ACME")) for _ in range(6)), return_exceptions=False
        )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400, 400]


async def test_another_browser_cannot_finish_it(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as one, browser(house) as two:
        state = await begun(one)
        assert "another browser" in (await back(two, state=state, code=oauth.code("T0ACME"))).text
        await begun(two)
        swapped = await back(two, state=state, code=oauth.code("T0ACME"))
        assert swapped.status_code == 400
        assert not oauth.asked("oauth.v2.access")
        assert (await back(one, state=state, code=oauth.code("T0ACME"))).status_code == 200


async def test_a_state_that_took_too_long_is_refused_and_swept_away(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        state = await begun(visitor)
        with house.engine.begin() as conn:
            conn.execute(sa.update(STATES).values(expire_at=sa.text("'2020-01-01 00:00:00'")))
        assert (await back(visitor, state=state, code=oauth.code("T0ACME"))).status_code == 400
        assert not oauth.asked("oauth.v2.access")
        state = await begun(visitor)
    ((kept_as,),) = house.rows("SELECT state FROM slack_oauth_states")
    assert state not in kept_as, "kept as a hash"


@pytest.mark.parametrize("query", [{"error": "access_denied"}, {"error": "<script>"}, {}, {"code": "made-up"}])
async def test_denied_or_incomplete(house: Replica, oauth: SlackOAuth, query: dict[str, str]) -> None:
    async with browser(house) as visitor:
        state = await begun(visitor)
        refused = await back(visitor, state=state, **query)
    assert "othing was stored" in refused.text
    assert "<script>" not in refused.text
    assert refused.status_code == (200 if query.get("error") == "access_denied" else 502 if "code" in query else 400)
    assert kept(house) == []


async def test_slack_is_down(house: Replica, oauth: SlackOAuth) -> None:
    async with browser(house) as visitor:
        state = await begun(visitor)
        oauth.down = True
        refused = await back(visitor, state=state, code=oauth.code("T0ACME"))
    assert refused.status_code in (502, 503)
    assert kept(house) == []


async def test_the_store_is_down(sqlite_url: str, tmp_path: Path, oauth: SlackOAuth) -> None:
    with replica(sqlite_url, tmp_path / "keys", oauth, Listed({"T0ACME": "acme"})) as house:
        async with browser(house) as visitor:
            state = await begun(visitor)
            house.writer.close()
            assert (await visitor.get("/slack/install")).status_code == 503
            refused = await back(visitor, state=state, code=oauth.code("T0ACME"))
            assert refused.status_code == 503
            assert "was not installed" in refused.text
            assert refused.headers["referrer-policy"] == "no-referrer"
        with pytest.raises(SurfaceError):
            await house.installs.health()
        with pytest.raises(SurfaceError, match="cannot be looked up"):
            await house.installs.of("T0ACME")


async def test_installing_anew_replaces_what_was_there(house: Replica, oauth: SlackOAuth) -> None:
    await house.install(oauth, "T0ACME")
    first = (await house.installs.of("T0ACME")).calls.client.token
    await house.install(oauth, "T0ACME")
    assert kept(house) == ["T0ACME"]
    assert (await house.installs.of("T0ACME")).calls.client.token != first


async def test_a_workspace_taken_from_the_list_is_served_no_more(house: Replica, oauth: SlackOAuth) -> None:
    await house.install(oauth, "T0ACME")
    await house.installs.of("T0ACME")
    del house.book.teams["T0ACME"]
    with pytest.raises(NotInstalled, match=r"tenants\.yaml"):
        await house.installs.of("T0ACME")
    assert await house.installs.teams() == ()


async def test_uninstalled_is_forgotten_and_late_news_is_not_believed(house: Replica, oauth: SlackOAuth) -> None:
    await house.install(oauth, "T0ACME")
    await house.installs.of("T0ACME")
    await house.installs.removed("T0ACME", "uninstalled")
    assert kept(house) == ["T0ACME"], "Slack still takes the token: the news is of an earlier installation"
    oauth.teams["T0ACME"].tokens.clear()
    oauth.down = True
    with pytest.raises(SurfaceError):
        await house.installs.removed("T0ACME", "uninstalled")
    assert kept(house) == ["T0ACME"], "nobody could say"
    oauth.down = False
    await house.installs.removed("T0ACME", "uninstalled")
    assert kept(house) == []
    with pytest.raises(NotInstalled, match=r"/slack/install"):
        await house.installs.of("T0ACME")
    assert ("chat.removed", "uninstalled", "acme") in house.audited()
    await house.installs.removed("T0ACME", "uninstalled")


async def test_a_cookie_is_for_this_host_alone_where_there_is_tls(house: Replica) -> None:
    app = house.installs.app
    secure = Installs(
        type(app)(CLIENT_ID, "s", "https://bot.acme.test", app.api_url), house.installs.ledger, house.book
    )
    house.installs = secure
    async with browser(house) as visitor:
        cookie = (await visitor.get("/slack/install")).headers["set-cookie"]
    assert cookie.startswith("__Host-cs-slack-install=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
