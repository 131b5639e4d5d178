"""Linking as people in Teams have it: `countersign serve`, the Agents Playground, a real IdP, a person unknown.

Everything is said in that person's own chat. The browser is one without scripts.
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
from tests.kit.slack_desk import plain
from tests.kit.teams_desk import Desk, buttons, labels, pieces, read
from tests.rigs.canaille_rig import CLIENT_ID, CLIENT_SECRET, Canaille, start
from tests.rigs.local_slack import free_port
from tests.rigs.teams_playground import (
    ADA,
    ANN,
    BOB,
    DANA,
    FINANCE,
    GENERAL,
    GROUP,
    GUS,
    LEE,
    Member,
    Playground,
    environment,
    teams,
)
from tests.rigs.teams_wire import BOT, TENANT, Shown

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "I do not know who you are"
ASK = "Refund order 1042, 3 dollars, it came late"
LINK = re.compile(r"http://[^\s)]+/link/[\w-]+")


def opening(message: Shown) -> list[dict[str, Any]]:
    """The buttons that lead to a page."""
    return list(pieces(message.activity, "Action.OpenUrl"))


@dataclass(frozen=True)
class Office:
    """A company on its first day: its IdP, which is not Entra, has sent everybody, and nobody is linked."""

    desk: Desk
    home: Home
    service: Service
    idp: Canaille

    def browser(self) -> Browser:
        return Browser(self.service.base, None, {})

    async def invited(self, who: Member, *, after: Shown | None = None) -> str:
        """Where the one button leads that `who` alone is shown, because nobody knows them."""
        dm = await self.desk.dm(who)
        said = await self.desk.said(dm, UNKNOWN, after=after)
        told = self.desk.teams.messages(dm)
        old = {one.id for one in told[: [one.id for one in told].index(said.id)]}
        shown = await self.desk.find(dm, lambda _, m: m.id not in old and opening(m) != [], "the button")
        (button,) = opening(shown)
        assert (button["title"], labels(shown)) == ("Say who you are", [])
        assert str(button["url"]).startswith(f"{self.service.base}/link/")
        return str(button["url"])

    async def sign_in(self, browser: Browser, link: str, user: str) -> Any:
        """Opens the link and signs in as `user`; the page that names both."""
        there = (await browser.press(await browser.open(link))).url
        back = await self.idp.login(browser.client, str(there), user)
        return await browser.open(back)

    async def asked(self, who: Member, words: str) -> Shown:
        """The buttons below the last question whether it was them, which names `words`."""
        dm = await self.desk.dm(who)
        said = await self.desk.find(
            dm, lambda text, _: "wants to link this chat" in text and words in text, "a question"
        )
        return await self.desk.find(
            dm, lambda _, m: "Yes, link me" in labels(m) and self._below(m, said), "its buttons"
        )

    def _below(self, message: Shown, said: Shown) -> bool:
        told = [one.id for one in self.desk.teams.messages(said.conversation)]
        return told.index(message.id) > told.index(said.id)

    async def link(self, who: Member, link: str, user: str) -> str:
        """All of it, as the holder of both does it; what the last page says."""
        browser = self.browser()
        page = await browser.press(await self.sign_in(browser, link, user), {"answer": "yes"})
        told = await self.desk.press(await self.asked(who, who.name), who, "Yes, link me")
        code = re.search(r"[A-Z0-9]{4}-[A-Z0-9]{4}", plain(told))
        assert code is not None, told
        said = text_of(await browser.press(page, {"code": code[0]}))
        await browser.client.aclose()
        return said

    def linked(self) -> list[tuple[str, str]]:
        """(account, subject) of every link."""
        rows = self.home.rows("SELECT account, sub FROM identity_link WHERE surface = 'teams' ORDER BY linked_at")
        return [(row["account"], row["sub"]) for row in rows]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    home_template: Home, teams_playground: Playground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    if not local_idp.PYTHON.exists() and os.environ.get("CI") != "true":
        pytest.skip("Canaille: run `make test`, or `make rigs`")
    home, port = copy_home(home_template, tmp_path_factory.mktemp("linking-teams") / "home"), free_port()
    with provisioned(home.environment()) as theirs:
        theirs.forget()
    base = f"http://127.0.0.1:{port}"
    async with start((f"{base}/signin/callback",)) as idp, teams(teams_playground) as rig:
        issuer = {"preset": "oidc", "issuer": idp.issuer, "client_id": CLIENT_ID, "client_secret_env": "ACME_SECRET"}
        acme = {"name": "Acme GmbH", "issuer": "acme", "teams": [{"surface": "teams", "team": TENANT}]}
        home.tenants.write_text(yaml.safe_dump({"issuers": {"acme": issuer}, "tenants": {"demo": acme}}))
        made = await home.cli("scim", "token", "create", "--json", ACME_SECRET=CLIENT_SECRET)
        async with serving(home, None, port=port, also=environment(rig), ACME_SECRET=CLIENT_SECRET) as service:
            rig.wire.bot = f"{service.base}/api/messages"
            await idp.provision_to(f"{base}/scim/v2", json.loads(made.stdout)["token"])
            await idp.push()
            await rig.install(DANA, ANN, BOB, LEE, ADA)
            yield Office(Desk(rig), home, service, idp)


async def test_somebody_unknown_is_told_alone_and_linked_from_both_sides(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, ASK)
    assert "Linked" in await office.link(DANA, await office.invited(DANA), "dana")
    told = await desk.said(dm, "This chat account is linked to")
    assert "Dana Reyes" in plain(read(told.activity))
    await desk.ask(DANA, ASK)
    await desk.card(FINANCE, "for order 1042")
    sub = office.idp.people["dana"].sub
    assert (DANA.oid, sub) in office.linked()
    assert ("identity.linked", "proved", sub) in home.audit()


async def test_in_a_channel_the_invitation_is_for_the_asker_alone(office: Office) -> None:
    desk = office.desk
    await desk.teams.say(GENERAL, BOB, "what waits for me?", mention=True)
    await office.invited(BOB)
    for where in (GENERAL, FINANCE):
        for message in desk.teams.bot_messages(where):
            assert "/link/" not in json.dumps(message.activity), "whoever reads along could open it"
            assert UNKNOWN not in read(message.activity)


async def test_a_link_that_is_passed_on_makes_nobody_somebody_else(office: Office) -> None:
    """Lee sends his link to Ann, who signs in as herself and says yes: his account is asked, and he says no."""
    desk, home = office.desk, office.home
    await desk.ask(LEE, "what waits for me?")
    link = await office.invited(LEE)
    ann = office.browser()
    confirmation = await office.sign_in(ann, link, "ann")
    for name in ("Lee Morgan", "Ann Okafor"):
        assert name in text_of(confirmation), "the page names both, as their own sides call them"
    page = await ann.press(confirmation, {"answer": "yes"})
    asked = await office.asked(LEE, "Ann Okafor")
    assert "Nothing was linked" in plain(await desk.press(asked, LEE, "No, that was not me"))
    assert "Nothing was linked" in text_of(await ann.press(page, {"code": "ABCD-EFGH"}))
    await ann.client.aclose()
    assert ("identity.refused", "declined_in_chat", None) in home.audit()
    people = office.idp.people
    assert [sub for _, sub in office.linked() if sub in (people["ann"].sub, people["lee"].sub)] == []


async def test_a_question_is_answered_by_whom_it_was_put_to(office: Office) -> None:
    """Somebody else's press on the same button says nothing, whatever it carries."""
    desk = office.desk
    address = LINK.search(await desk.command(LEE, "link", "/link/"))
    assert address is not None
    lee = office.browser()
    page = await lee.press(await office.sign_in(lee, address[0], "lee"), {"answer": "yes"})
    asked = await office.asked(LEE, "Lee Morgan")
    (yes,) = [one for one in buttons(asked) if one["title"] == "Yes, link me"]
    heard = await desk.teams.wire.deliver(
        {
            "type": "invoke",
            "id": "f:of-somebody-else",
            "name": "adaptiveCard/action",
            "channelId": "msteams",
            "serviceUrl": desk.teams.wire.service_url,
            "from": BOB.told,
            "recipient": {"id": BOT, "name": "Countersign"},
            "conversation": {"id": await desk.dm(BOB), "conversationType": "personal", "tenantId": TENANT},
            "channelData": {"tenant": {"id": TENANT}},
            "replyToId": asked.id,
            "value": {"action": {"type": "Action.Execute", "verb": yes["verb"], "data": yes["data"]}},
        }
    )
    assert "This question is over" in str(heard.body)
    assert re.search(r"[A-Z0-9]{4}-[A-Z0-9]{4}", str(heard.body)) is None
    assert office.idp.people["lee"].sub not in [sub for _, sub in office.linked()]
    code = re.search(r"[A-Z0-9]{4}-[A-Z0-9]{4}", plain(await desk.press(asked, LEE, "Yes, link me")))
    assert code is not None
    assert "Linked" in text_of(await lee.press(page, {"code": code[0]}))
    await lee.client.aclose()
    assert (LEE.oid, office.idp.people["lee"].sub) in office.linked()


async def test_the_commands_of_ones_own_link(office: Office) -> None:
    desk = office.desk
    assert "unlink" in await desk.command(DANA, "help", "unlink")
    assert "Dana Reyes" in await desk.command(DANA, "whoami", "You may ask for")
    assert "Nothing was changed" in await desk.command(DANA, "link", "linked to")
    await desk.command(ANN, "whoami", UNKNOWN)
    address = LINK.search(await desk.command(ANN, "link", "/link/"))
    assert address is not None
    assert "Linked" in await office.link(ANN, address[0], "ann")
    await desk.teams.say(GROUP, DANA, "unlink Ann Okafor", mention=True, naming=[ANN])
    await desk.private(DANA, "Only people with the role admin")
    # Ada runs the house: she links herself, and takes Ann's link away.
    address = LINK.search(await desk.command(ADA, "link", "/link/"))
    assert address is not None
    await office.link(ADA, address[0], "ada")
    await desk.teams.say(GROUP, ADA, "unlink Ann Okafor", mention=True, naming=[ANN])
    await desk.private(ADA, "Done.")
    assert "Ann Okafor" in plain(await desk.private(ANN, "no longer linked"))
    await desk.command(DANA, "unlink", "linked to nobody any more")
    dm = await desk.dm(DANA)
    before = desk.teams.bot_messages(dm)[-1]
    await desk.ask(DANA, "what waits for me?")
    await office.invited(DANA, after=before)


async def test_a_guest_gets_no_link(office: Office) -> None:
    desk = office.desk
    known = len(office.home.rows("SELECT sha256 FROM link_ticket"))
    await desk.teams.say(GENERAL, GUS, "link", mention=True)
    (heard,) = [one for one in desk.teams.wire.heard if one.activity["from"].get("aadObjectId") == GUS.oid][-1:]
    assert heard.status == 403
    assert len(office.home.rows("SELECT sha256 FROM link_ticket")) == known
