"""`countersign serve` as a company has it: people of a real IdP, asked in Slack, countersigned on the page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from playwright.async_api import async_playwright, expect
from sqlalchemy.engine import Connection

from bot import local_idp
from bot.core import open_core, utc_now
from bot.identity import links, scim_tokens
from bot.identity.links import How
from bot.messages import ChatUser, SurfaceName
from bot.settings import read as read_settings
from policy.model import Subject
from tests.kit.provision import idp as provisioned
from tests.kit.service_process import DEMO, Home, serving
from tests.kit.slack_desk import DANA, FINANCE, Desk, plain, read
from tests.rigs.canaille_rig import CLIENT_ID, CLIENT_SECRET, PASSWORD, Canaille, start
from tests.rigs.local_slack import PEOPLE, TEAM, LocalSlack, free_port

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

pytestmark = pytest.mark.browser


def _introduce(home: Home, idp: Canaille) -> str:
    """Canaille is the organisation's provider; its SCIM token."""
    with provisioned(home.environment()) as before:
        before.forget()
    issuer = {"preset": "oidc", "issuer": idp.issuer, "client_id": CLIENT_ID, "client_secret_env": "ACME_SECRET"}
    tenant = {"name": "Acme GmbH", "issuer": "acme", "teams": [{"surface": "slack", "team": TEAM}]}
    home.tenants.write_text(yaml.safe_dump({"issuers": {"acme": issuer}, "tenants": {"demo": tenant}}))
    core = open_core(read_settings(home.environment(), file_here=False))

    def unit(conn: Connection) -> str:
        _, secret, event = scim_tokens.create(conn, DEMO, "Canaille", "test", utc_now())
        core.audit.append(conn, [event])
        return secret

    try:
        return core.writer.run_blocking(unit)
    finally:
        core.close()


def _link(home: Home, idp: Canaille) -> None:
    """Whose Slack account is whose: what `/countersign link` proves, elsewhere tested."""
    core = open_core(read_settings(home.environment(), file_here=False))

    def unit(conn: Connection) -> None:
        names = {one.name: one for one in idp.people.values()}
        for user, name in PEOPLE.items():
            who, subject = ChatUser(SurfaceName("slack"), TEAM, user), Subject(idp.issuer, names[name].sub)
            links.unbind(conn, DEMO, who, "import", utc_now(), "import")
            core.audit.append(conn, links.bind(conn, DEMO, who, subject, How.SHELL, utc_now(), "import"))

    try:
        core.writer.run_blocking(unit)
    finally:
        core.close()


async def test_asked_in_slack_countersigned_on_the_page(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ci = os.environ.get("CI") == "true"
    if not ci and not (local_idp.PYTHON.exists() and CHROMIUM.exists()):
        pytest.skip("Canaille and Chromium: `make rigs`, apt-get install chromium")
    monkeypatch.setenv("ACME_SECRET", CLIENT_SECRET)
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    async with start((f"{base}/signin/callback",)) as idp, LocalSlack.start("socket", tmp_path) as slack:
        token = _introduce(home, idp)
        async with (
            serving(home, slack.api_url, port=port, ACME_SECRET=CLIENT_SECRET) as service,
            async_playwright() as playwright,
        ):
            await idp.provision_to(f"{base}/scim/v2", token)
            await idp.push()
            _link(home, idp)
            desk = Desk(slack)
            await desk.ask(DANA)
            card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")

            chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
            page = await chromium.new_page()
            page.set_default_timeout(15_000)
            await page.goto(service.base)
            await page.get_by_role("button", name="Sign in").click()
            for name, word in (("login", "ann"), ("password", PASSWORD)):
                await page.fill(f"input[name={name}]", word)
                await page.keyboard.press("Enter")
            await page.wait_for_url(f"{base}/requests")
            shown = plain(read(card))
            article = page.get_by_role("region", name="Dana Reyes asks for approval")
            for words in (
                "Customer",
                "Ada Lindqvist (C-1007)",
                "Dana Reyes asked",
                "Before this, the AI had read text",
            ):
                assert words in shown, shown
                await expect(article).to_contain_text(words)
            await article.get_by_role("button", name="Approve").click()
            await expect(page.locator("#notice")).to_contain_text("Approved.")

            settled = await desk.find(
                FINANCE,
                lambda text, m: m["ts"] == card["ts"] and "Approved by Ann Okafor" in plain(text),
                "the card in Slack to say who approved it",
            )
            assert "Approve" not in [read(block) for block in settled["blocks"] if block["type"] == "actions"]
            await expect(page.get_by_text("Approved by Ann Okafor").first).to_contain_text("Refunded 42.00 USD")
            assert home.refunds() == [4200]
            sub = idp.people["ann"].sub
            (pressed,) = home.rows(
                "SELECT actor_user_id, status, detail FROM agent_audit_log WHERE kind = 'approval.pressed'"
            )
            assert (pressed["actor_user_id"], pressed["status"]) == (sub, "approved")
            assert f"web:demo:{idp.issuer}|{sub}" in str(pressed["detail"])

            # Deactivated at the IdP: the open page empties itself.
            await idp.deactivate("ann")
            await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
            await chromium.close()
