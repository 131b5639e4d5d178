"""Leaving as the chat sees it: the IdP's PATCH to /scim/v2 of a running service, and what stands in Slack after it.

The token is made with `countersign scim token create` while the service runs; nothing is restarted, nobody signs in.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import ANN, BOB, DANA, FINANCE, RITA, SAM, Desk, Message, labels, plain, read
from tests.rigs.local_slack import LocalSlack

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@dataclass(frozen=True)
class Office:
    """The organisation at work, and its IdP with a token of its own."""

    desk: Desk
    home: Home
    service: Service
    token: str

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/scim+json"}
        async with (
            aiohttp.ClientSession(headers=headers) as idp,
            idp.request(method, f"{self.service.base}/scim/v2{path}", json=body) as told,
        ):
            assert told.status in (200, 204), await told.text()
            return {} if told.status == 204 else await told.json(content_type=None)

    async def find(self, kind: str, asked: str) -> str:
        found = await self.ask("GET", f"/{kind}?filter={asked}")
        (one,) = found["Resources"]
        return str(one["id"])

    async def activate(self, sub: str, active: bool) -> None:
        """As Entra says it: the operation with a capital, the truth as a string."""
        who = await self.find("Users", f'externalId eq "{sub}"')
        operation = {"op": "Replace", "path": "active", "value": str(active)}
        await self.ask("PATCH", f"/Users/{who}", {"schemas": [PATCH], "Operations": [operation]})

    async def member(self, op: str, group: str, sub: str) -> None:
        who = await self.find("Users", f'externalId eq "{sub}"')
        where = await self.find("Groups", f'displayName eq "{group}"')
        operation = {"op": op, "path": "members", "value": [{"value": who}]}
        await self.ask("PATCH", f"/Groups/{where}", {"schemas": [PATCH], "Operations": [operation]})

    async def refund(self, user: str, order: str, amount: str) -> Message:
        await self.desk.ask(user, f"Refund order {order}, {amount} dollars, the parcel never came")
        return await self.desk.card(FINANCE, f"for order {order}")

    async def says(self, card: Message, words: str) -> Message:
        """The card, once it has `words`."""
        like = f"the card to say {words!r}"
        return await self.desk.find(FINANCE, lambda text, m: m["ts"] == card["ts"] and words in plain(text), like)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(home_template: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("leavers")
    home = copy_home(home_template, folder / "home")
    home.change_person("Rita Ray", groups=["support"])
    async with LocalSlack.start("socket", folder) as slack, serving(home, slack.api_url) as service:
        made = await home.cli("scim", "token", "create", "--name", "idp", "--json")
        assert made.returncode == 0, made.stdout + made.stderr
        yield Office(Desk(slack), home, service, json.loads(made.stdout)["token"])


async def test_a_leavers_card_is_voided_where_it_stands_and_who_left_is_refused(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(RITA, "1040", "42")
    await office.activate("rita", False)
    voided = await office.says(card, "Cancelled")
    said = plain(read(voided))
    assert "Rita Ray is no longer active in the directory" in said
    assert "Nothing was done" in said
    assert "Approve" not in labels(voided)
    # The picture an approver still had on screen decides nothing either.
    await desk.press(card, ANN, "Approve")
    await desk.private(FINANCE, ANN, "Already cancelled. Your press changed nothing.")
    dm = await desk.ask(RITA, "What is the status of order 1040?")
    await desk.said(dm, "I do not know who you are")
    assert home.refunds("1040") == []
    kinds = [(kind, status) for kind, status, _ in home.audit()]
    for row in (("approval.voided", "voided"), ("identity.unlinked", "scim"), ("person.left", "left")):
        assert row in kinds, kinds


async def test_a_leavers_vote_is_taken_back_on_the_card(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "1017", "600")
    await desk.press(card, ANN, "Approve")
    counted = await office.says(card, "1 of 2: Ann Okafor")
    await office.activate("ann", False)
    like = "the card without Ann's vote"
    reset = await desk.find(FINANCE, lambda text, m: m["ts"] == card["ts"] and "1 of 2" not in plain(text), like)
    assert "Waiting for 2 different people" in plain(read(reset))
    # On Bob's screen it may still say that one more is needed: his press is the first again.
    await desk.press(counted, BOB, "Approve")
    await office.says(card, "1 of 2: Bob Lindgren")
    assert home.refunds("1017") == []
    assert ("approval.voided", "vote_voided", "ann") in home.audit()


async def test_a_group_that_is_lost_or_given_counts_at_the_next_call(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "1042", "5")
    await office.member("remove", "support", "dana")
    await office.says(card, "Cancelled")
    dm = await desk.ask(DANA, "Refund order 1042, 5 dollars, the parcel never came")
    await desk.said(dm, "I do not know who you are")
    assert home.refunds() == []
    # Sam has no right to ask for refunds until the IdP says so; then with the very next message.
    await office.member("add", "support", "sam")
    await office.refund(SAM, "1037", "3")
