"""Single sign-on in Teams through `countersign serve`: Teams' card, Entra's token, and one link that comes of them.

The provider is one on loopback that says what Entra says; the tokens are built by hand, so that some are wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.kit.entra_tokens import access_token
from tests.kit.idp_keys import PUBLISHED
from tests.kit.idp_server import IdpServer, idp_server
from tests.kit.provision import hires
from tests.kit.provision import idp as provisioned
from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import plain
from tests.kit.teams_desk import Desk, read
from tests.rigs.teams_playground import ANN, BOB, DANA, FINANCE, PEOPLE, Member, Playground, environment, teams
from tests.rigs.teams_wire import APP_ID, BOT, TENANT, Heard

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
RESOURCE = f"api://botid-{APP_ID}"
UNKNOWN = "I do not know who you are"
ASK = "Refund order 1042, 3 dollars, it came late"


@dataclass(frozen=True)
class Office:
    """A company whose IdP is its Teams' own Entra tenant, and which wants accounts linked all the same."""

    desk: Desk
    home: Home
    service: Service
    idp: IdpServer

    @property
    def issuer(self) -> str:
        return f"{self.idp.base}/{TENANT}/v2.0"

    async def card(self, who: Member) -> dict[str, Any]:
        """The sign-in card that `who` gets for asking."""
        dm = await self.desk.dm(who)
        before = self.desk.teams.messages(dm)[-1:]
        await self.desk.ask(who, ASK)
        said = await self.desk.said(dm, UNKNOWN, after=before[0] if before else None)
        known = [one.id for one in self.desk.teams.messages(dm)]
        old = set(known[: known.index(said.id)])
        shown = await self.desk.find(
            dm, lambda _, m: m.id not in old and bool(m.activity.get("attachments")), "the card"
        )
        (attachment,) = shown.activity["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.oauth"
        content: dict[str, Any] = attachment["content"]
        return content

    async def answers(self, who: Member, card: dict[str, Any], token: str) -> Heard:
        """What the bot says to Teams, which hands it a token for `card`."""
        value = {"id": card["tokenExchangeResource"]["id"], "connectionName": card["connectionName"], "token": token}
        return await self.desk.teams.wire.deliver(await self.invoke(who, "signin/tokenExchange", value))

    async def invoke(self, who: Member, name: str, value: dict[str, Any]) -> dict[str, Any]:
        dm = await self.desk.dm(who)
        return {
            "type": "invoke",
            "id": f"f:{name}:{len(self.desk.teams.wire.heard)}",
            "name": name,
            "channelId": "msteams",
            "serviceUrl": self.desk.teams.wire.service_url,
            "from": who.told,
            "recipient": {"id": BOT, "name": "Countersign"},
            "conversation": {"id": dm, "conversationType": "personal", "tenantId": TENANT},
            "channelData": {"tenant": {"id": TENANT}, "source": {"name": "message"}},
            "value": value,
        }

    def token(self, who: Member, **changes: Any) -> str:
        return access_token(self.issuer, APP_ID, who.oid, TENANT, **changes)

    def links(self) -> list[tuple[str, str]]:
        rows = self.home.rows("SELECT account, sub FROM identity_link WHERE surface = 'teams'")
        return [(row["account"], row["sub"]) for row in rows]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    home_template: Home, teams_playground: Playground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    home = copy_home(home_template, tmp_path_factory.mktemp("sso") / "home")
    oids = {one.name: one.oid for one in PEOPLE}
    people = hires((ROOT / "bot/web/demo/directory.yaml").read_text("utf-8"), {})
    with provisioned(home.environment()) as theirs:
        theirs.forget()
        theirs.hire([replace(one, sub=oids.get(one.name, one.sub)) for one in people])
    async with idp_server() as idp, teams(teams_playground) as rig:
        issuer = f"{idp.base}/{TENANT}/v2.0"
        keys = f"/{TENANT}/discovery/v2.0/keys"
        idp.says(
            f"/{TENANT}/v2.0/.well-known/openid-configuration", idp.metadata(issuer=issuer, jwks_uri=idp.base + keys)
        )
        idp.says(keys, PUBLISHED)
        entra = {"preset": "entra", "tid": TENANT, "issuer": issuer, "client_id": "the-page-of-this-company"}
        place = {"surface": "teams", "team": TENANT, "linking": "required"}
        acme = {"name": "Acme GmbH", "issuer": "entra", "teams": [place]}
        home.tenants.write_text(yaml.safe_dump({"issuers": {"entra": entra}, "tenants": {"demo": acme}}))
        also = environment(rig) | {"TEAMS_SSO_RESOURCE": RESOURCE}
        async with serving(home, None, also=also) as service:
            rig.wire.bot = f"{service.base}/api/messages"
            await rig.install(DANA, ANN, BOB)
            yield Office(Desk(rig), home, service, idp)


async def test_teams_answers_by_itself_and_the_person_is_known(office: Office) -> None:
    desk = office.desk
    card = await office.card(DANA)
    assert card["tokenExchangeResource"]["uri"] == RESOURCE
    (button,) = card["buttons"]
    assert (button["type"], button["value"].startswith(f"{office.service.base}/link/")) == ("signin", True)
    heard = await office.answers(DANA, card, office.token(DANA))
    assert heard.status == 200
    assert (DANA.oid, DANA.oid) in office.links()
    assert ("identity.linked", "teams_sso", DANA.oid) in office.home.audit()
    told = await desk.said(await desk.dm(DANA), "This chat account is linked to")
    assert "Dana Reyes" in plain(read(told.activity))
    # Her other clients answer the same card.
    assert (await office.answers(DANA, card, office.token(DANA))).status == 200
    made = [row for row in office.home.audit() if row[:2] == ("identity.linked", "teams_sso")]
    assert made == [("identity.linked", "teams_sso", DANA.oid)]
    await desk.ask(DANA, ASK)
    await desk.card(FINANCE, "for order 1042")


async def test_what_does_not_hold_shows_the_button_and_links_nobody(office: Office) -> None:
    card = await office.card(ANN)
    for token in (
        "nonsense",
        office.token(ANN, azp="04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
        office.token(ANN, tid="22222222-2222-4222-8222-222222222222"),
        office.token(BOB),
    ):
        heard = await office.answers(ANN, card, token)
        assert heard.status == 412
        assert heard.body["id"] == card["tokenExchangeResource"]["id"]
    # Bob hands in Ann's card with a good token of his own.
    assert (await office.answers(BOB, card, office.token(BOB))).status == 412
    assert {account for account, _ in office.links()} <= {DANA.oid}
    failed = [
        status for kind, status, _ in office.home.audit() if kind == "identity.refused" and status != "unknown_person"
    ]
    assert failed == ["id_token"] * 3 + ["other_chat_user", "link_unknown"]
    # Her button leads to the page, and her own good token still counts.
    assert (await office.answers(ANN, card, office.token(ANN))).status == 200
    assert (ANN.oid, ANN.oid) in office.links()


async def test_what_teams_says_of_a_failure_is_taken(office: Office) -> None:
    wire = office.desk.teams.wire
    for name, value, status in (
        ("signin/failure", {"code": "resourcematchfailed", "message": "Resource match failed"}, 200),
        ("signin/verifyState", {"state": "CancelledByUser"}, 200),
        ("signin/verifyState", {"state": "123456"}, 412),
    ):
        heard = await wire.deliver(await office.invoke(BOB, name, value))
        assert heard.status == status, heard
    assert "resourcematchfailed" in office.service.said()
    assert "eyJ" not in office.service.said(), "no token in the log"
