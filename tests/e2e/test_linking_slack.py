"""Linking as people in Slack have it: `countersign serve`, a real IdP that provisions and signs in, a person unknown.

Everything is said where that person alone reads it. The browser is one without scripts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml

from bot import local_idp
from tests.kit.link_browser import Browser, text_of
from tests.kit.provision import idp as provisioned
from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import ADA, ANN, BOB, DANA, FINANCE, GENERAL, Desk, Message, labels, plain, read
from tests.rigs.canaille_rig import CLIENT_ID, CLIENT_SECRET, Canaille, start
from tests.rigs.local_slack import TEAM, LocalSlack, free_port, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "I do not know who you are"


@dataclass(frozen=True)
class Office:
    """A company on its first day: its IdP has sent everybody, and nobody is linked."""

    desk: Desk
    home: Home
    service: Service
    idp: Canaille

    def browser(self) -> Browser:
        return Browser(self.service.base, None, {})

    def address(self, message: Message) -> str:
        """Where its one button leads."""
        assert labels(message) == ["Say who you are"]
        found: str = next(
            element["url"] for block in message["blocks"] if block["type"] == "actions" for element in block["elements"]
        )
        assert found.startswith(f"{self.service.base}/link/")
        return found

    async def sign_in(self, browser: Browser, link: str, user: str) -> Any:
        """Opens the link and signs in as `user`; the page that names both."""
        there = (await browser.press(await browser.open(link))).url
        back = await self.idp.login(browser.client, str(there), user)
        return await browser.open(back)

    async def link(self, account: str, link: str, user: str) -> str:
        """All of it, as the holder of both does it; what the last page says."""
        browser = self.browser()
        page = await browser.press(await self.sign_in(browser, link, user), {"answer": "yes"})
        dm = await self.desk.dm(account)
        asked = await self.desk.find(dm, lambda _text, m: "Yes, link me" in labels(m), "the question")
        await self.desk.press(asked, account, "Yes, link me")
        told = await self.desk.private(dm, account, "Your code is")
        code = re.search(r"[A-Z0-9]{4}-[A-Z0-9]{4}", told)
        assert code is not None, told
        said = text_of(await browser.press(page, {"code": code[0]}))
        await browser.client.aclose()
        return said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(home_template: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    if not local_idp.PYTHON.exists() and os.environ.get("CI") != "true":
        pytest.skip("Canaille: run `make test`, or `make rigs`")
    folder = tmp_path_factory.mktemp("linking")
    home, port = copy_home(home_template, folder / "home"), free_port()
    with provisioned(home.environment()) as theirs:
        theirs.forget()
    base = f"http://127.0.0.1:{port}"
    async with start((f"{base}/signin/callback",)) as idp, LocalSlack.start("socket", folder) as slack:
        issuer = {"preset": "oidc", "issuer": idp.issuer, "client_id": CLIENT_ID, "client_secret_env": "ACME_SECRET"}
        team = {"surface": "slack", "team": TEAM}
        acme = {"name": "Acme GmbH", "issuer": "acme", "teams": [team]}
        home.tenants.write_text(yaml.safe_dump({"issuers": {"acme": issuer}, "tenants": {"demo": acme}}))
        made = await home.cli("scim", "token", "create", "--json", ACME_SECRET=CLIENT_SECRET)
        async with serving(home, slack.api_url, port=port, ACME_SECRET=CLIENT_SECRET) as service:
            await idp.provision_to(f"{base}/scim/v2", json.loads(made.stdout)["token"])
            await idp.push()
            yield Office(Desk(slack), home, service, idp)


async def test_somebody_unknown_is_told_alone_and_linked_from_both_sides(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, "Refund order 1042, 3 dollars, it came late")
    invited = await desk.said(dm, UNKNOWN)
    done = await office.link(DANA, office.address(invited), "dana")
    assert "Linked" in done
    told = await desk.said(dm, "This chat account is linked to")
    assert "Dana Reyes" in read(told)
    await desk.ask(DANA, "Refund order 1042, 3 dollars, it came late")
    await desk.card(FINANCE, "for order 1042")
    kinds = [kind for kind, *_ in home.audit()]
    assert "identity.linked" in kinds
    sub = office.idp.people["dana"].sub
    assert ("identity.linked", "proved", sub) in home.audit()


async def test_in_a_channel_the_invitation_is_for_the_asker_alone(office: Office) -> None:
    desk = office.desk
    await desk.slack.say(GENERAL, BOB, "<@U0BOT> what waits for me?")

    async def whispered() -> Message | None:
        found = [m for m in await desk.slack.messages(GENERAL) if UNKNOWN in read(m)]
        return found[-1] if found else None

    invited = await until(whispered, "the invitation")
    assert (invited.get("subtype"), invited.get("ephemeral_to")) == ("ephemeral", BOB)
    office.address(invited)


async def test_a_link_that_is_passed_on_makes_nobody_somebody_else(office: Office) -> None:
    """Bob sends his link to Ann, who signs in as herself and says yes: his account is asked, and a yes is no code."""
    desk, home = office.desk, office.home
    dm = await desk.ask(BOB, "what waits for me?")
    link = office.address(await desk.said(dm, UNKNOWN))
    ann = office.browser()
    page = await ann.press(await office.sign_in(ann, link, "ann"), {"answer": "yes"})
    asked = await desk.find(dm, lambda _text, m: "Yes, link me" in labels(m), "the question")
    assert "Ann Okafor" in read(asked)
    await desk.press(asked, BOB, "No, that was not me")
    await desk.private(dm, BOB, "Nothing was linked")
    assert "Nothing was linked" in text_of(await ann.press(page, {"code": "ABCD-EFGH"}))
    await ann.client.aclose()
    assert ("identity.refused", "declined_in_chat", None) in home.audit()
    assert [row for row in home.audit() if row[0] == "identity.linked" and row[2] == office.idp.people["ann"].sub] == []


async def test_the_commands_of_ones_own_link(office: Office) -> None:
    desk = office.desk
    assert "/countersign link" in await desk.command(DANA, "help", "/countersign unlink")
    assert "Dana Reyes" in await desk.command(DANA, "whoami", "You may ask for")
    assert "Nothing was changed" in await desk.command(DANA, "link", "linked to")
    await desk.command(ANN, "whoami", UNKNOWN)
    address = re.search(r"http://\S+/link/[\w-]+", await desk.command(ANN, "link", "/link/"))
    assert address is not None
    assert "Linked" in await office.link(ANN, address[0], "ann")
    await desk.command(DANA, f"unlink <@{ANN}>", "Only people with the role admin")
    # Ada runs the house: she links herself, and takes Ann's link away.
    address = re.search(r"http://\S+/link/[\w-]+", await desk.command(ADA, "link", "/link/"))
    assert address is not None
    await office.link(ADA, address[0], "ada")
    await desk.command(ADA, f"unlink <@{ANN}>", "Done.")
    told = await desk.said(await desk.dm(ANN), "no longer linked")
    assert "Ann Okafor" in plain(read(told))
    await desk.command(DANA, "unlink", "linked to nobody any more")
    dm = await desk.dm(DANA)
    before = (await desk.slack.bot_messages(dm))[-1]["ts"]
    await desk.ask(DANA, "what waits for me?")
    await desk.said(dm, UNKNOWN, after=before)
