"""`countersign serve` without a bot token: ready at once, installed in the browser, and then it answers there.

``oauth.v2.access`` is a stand-in (tests/rigs/slack_oauth.py); the workspace is local-slack, the service a real process.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from tests.kit import service_process
from tests.kit.service_process import Home
from tests.rigs.local_slack import SIGNING_SECRET, TEAM, LocalSlack, free_port, until
from tests.rigs.slack_oauth import CLIENT_ID, CLIENT_SECRET, SlackOAuth, Team

DANA = "U01DANA"


async def test_installed_in_the_browser_it_answers(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    async with (
        LocalSlack.start("events", tmp_path, base + "/slack/events") as slack,
        SlackOAuth().serve() as oauth,
    ):
        oauth.add(Team(TEAM, api_url=slack.api_url, expires_in=43_200))
        env = {"SLACK_API_URL": oauth.api_url, "SLACK_SIGNING_SECRET": SIGNING_SECRET}
        env |= {"SLACK_CLIENT_ID": CLIENT_ID, "SLACK_CLIENT_SECRET": CLIENT_SECRET}
        monkeypatch.setattr(service_process, "slack_environment", lambda _api_url, _mode: env)
        async with service_process.serving(home, oauth.api_url, mode="events", port=port) as service:
            dm = await slack.dm(DANA)
            await slack.say(dm, DANA, "is anybody there?")
            async with httpx2.AsyncClient(base_url=base) as visitor:
                page = await visitor.get("/slack/install")
                state = re.search(r"state=([\w-]+)", page.text)
                assert state is not None, page.text
                query = {"state": state[1], "code": oauth.code(TEAM)}
                done = await visitor.get("/slack/oauth_redirect", params=query)
            assert (done.status_code, "Installed" in done.text) == (200, True), service.said()
            await slack.say(dm, DANA, "Show me order 1042")

            async def answered() -> bool:
                return "1042" in str(await slack.bot_messages(dm))

            await until(answered, "the answer", 30)
            assert "anybody" not in str(await slack.bot_messages(dm)), "what came before was refused"
        installed = [row for row in home.audit() if row[0] == "chat.installed"]
        assert [status for _, status, _ in installed] == ["installed"]
        assert "xoxb-" not in service.said()
        assert {team for name, team, _ in oauth.calls if name == "chat.postMessage"} == {TEAM}
