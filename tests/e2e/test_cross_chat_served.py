"""One approval across both chats: `countersign serve` with a real Slack workspace and the Agents Playground beside it.

Most people here have an account in each chat; each is one person all the same.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.kit import slack_desk, teams_desk
from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import Message, plain
from tests.kit.teams_desk import WAIT_S
from tests.rigs import local_slack
from tests.rigs.local_slack import LocalSlack, until
from tests.rigs.teams_playground import ADA, ANN, BOB, DANA, FINANCE, LEE, Playground, environment, teams
from tests.rigs.teams_wire import Shown

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

SAME_STATE_S = 2.0
"""Within which both cards show the same."""


@dataclass(frozen=True)
class Office:
    slack: slack_desk.Desk
    teams: teams_desk.Desk
    home: Home
    service: Service

    async def cards(self, words: str) -> tuple[Message, Shown]:
        """The card of a request in both chats."""
        slack = self.slack.card(slack_desk.FINANCE, words, WAIT_S)
        return await asyncio.gather(slack, self.teams.card(FINANCE, words))

    async def both_say(self, cards: tuple[Message, Shown], words: str) -> float:
        """Until both cards say `words`; the seconds that took."""
        begun = time.monotonic()
        in_slack = self.slack.find(
            slack_desk.FINANCE, lambda text, m: m["ts"] == cards[0]["ts"] and words in plain(text), words, WAIT_S
        )
        await asyncio.gather(in_slack, self.teams.settled(cards[1], words))
        return time.monotonic() - begun


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    home_template: Home, teams_playground: Playground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    if not local_slack.BINARY.exists() and os.environ.get("CI") != "true":
        pytest.skip("local-slack: there is a build for Linux on x86-64 alone")
    folder = tmp_path_factory.mktemp("cross")
    home = copy_home(home_template, folder / "home")
    home.join_teams()
    # A second support agent: the sum of one of them must not count for the other.
    home.change_person("Lee Morgan", groups=["support", "support-leads"])
    async with (
        LocalSlack.start("socket", folder) as slack,
        teams(teams_playground) as rig,
        serving(home, slack.api_url, also=environment(rig)) as service,
    ):
        rig.wire.bot = f"{service.base}/api/messages"
        await rig.install(DANA, ANN, BOB, LEE, ADA)
        yield Office(slack_desk.Desk(slack), teams_desk.Desk(rig), home, service)


async def test_a_request_in_slack_is_decided_in_teams(office: Office) -> None:
    dm = await office.slack.ask(slack_desk.DANA, "Refund order 1042, 42 dollars, the parcel never came")
    cards = await office.cards("Refund 42.00 USD for order 1042")
    await office.teams.press(cards[1], ANN, "Approve")
    await office.both_say(cards, "Refunded 42.00 USD for order 1042")
    await office.slack.said(dm, "Refunded 42.00 USD", WAIT_S)
    for text in (slack_desk.read(await _as_is(office, cards[0])), teams_desk.read(_now(office, cards[1]).activity)):
        assert "Approved by Ann Okafor" in plain(text)
    assert office.home.refunds() == [4200]


async def test_a_request_in_teams_is_decided_in_slack(office: Office) -> None:
    dm = await office.teams.ask(DANA, "Refund order 1047, 10 dollars, the vase was cracked")
    cards = await office.cards("Refund 10.00 USD for order 1047")
    await office.slack.press(cards[0], slack_desk.BOB, "Approve")
    await office.both_say(cards, "Refunded 10.00 USD for order 1047")
    await office.teams.said(dm, "Refunded 10.00 USD")
    assert office.home.refunds("1047") == [1000]


@pytest.mark.parametrize(("decided_in", "amounts"), [("Teams", (3, 4, 5)), ("Slack", (13, 14, 15))])
async def test_both_cards_show_the_same_within_two_seconds(
    office: Office, decided_in: str, amounts: tuple[int, ...]
) -> None:
    """The best of three: what else runs on the machine is not the product's."""
    took = []
    for number in amounts:
        await office.slack.ask(slack_desk.DANA, f"Refund order 1012, {number} dollars, a scratch")
        cards = await office.cards(f"Refund {number}.00 USD")
        if decided_in == "Teams":
            await office.teams.press(cards[1], ANN, "Reject", "No scratch to be seen")
        else:
            await office.slack.press_and_write(cards[0], slack_desk.ANN, "Reject", "No scratch to be seen")
        took.append(await office.both_say(cards, "Rejected by Ann Okafor"))
        if took[-1] <= SAME_STATE_S:
            return
    raise AssertionError(f"the other chat's card followed after {took} s")


async def test_two_accounts_are_one_person_for_the_second_approval(office: Office) -> None:
    await office.teams.ask(LEE, "Refund order 1017, 649 dollars, the sofa is broken")
    cards = await office.cards("Refund 649.00 USD")
    await office.slack.press(cards[0], slack_desk.ANN, "Approve")
    await office.both_say(cards, "1 of 2")
    assert "already" in await office.teams.press(cards[1], ANN, "Approve")
    assert office.home.refunds("1017") == []
    await office.teams.press(cards[1], BOB, "Approve")
    await office.both_say(cards, "Refunded 649.00 USD")
    assert office.home.refunds("1017") == [64900]


async def test_who_asked_in_one_chat_may_not_approve_in_the_other(office: Office) -> None:
    await office.slack.ask(slack_desk.DANA, "Refund order 1021, 6 dollars, a stain")
    cards = await office.cards("Refund 6.00 USD")
    assert "You asked for this" in await office.teams.press(cards[1], DANA, "Approve")
    assert office.home.refunds("1021") == []
    await office.teams.press(cards[1], ANN, "Approve")
    await office.both_say(cards, "Refunded 6.00 USD")


async def test_a_kill_in_one_chat_holds_in_the_other(office: Office) -> None:
    await office.teams.command(ADA, "kill tool refund.issue amounts look wrong", "Stopped: the tool refund.issue.")
    told = await office.slack.command(slack_desk.SALLY, "status", "Stopped (the tool refund.issue)")
    assert "amounts look wrong" in told
    await office.slack.command(slack_desk.ADA, "resume tool refund.issue", "Resumed: the tool refund.issue.")
    await office.teams.command(LEE, "status", "Nothing is stopped.")


async def test_a_chat_that_is_down_keeps_the_other_from_nothing(office: Office) -> None:
    wire = office.teams.teams.wire
    wire.down = True
    try:
        await office.slack.ask(slack_desk.DANA, "Refund order 1027, 7 dollars, a spot")
        card = await office.slack.card(slack_desk.FINANCE, "Refund 7.00 USD", WAIT_S)
        await office.slack.press(card, slack_desk.ANN, "Approve")
        await office.slack.said(slack_desk.FINANCE, "Refunded 7.00 USD", WAIT_S)
        assert office.home.refunds("1027") == [700]
    finally:
        wire.down = False

    async def told() -> bool:
        return any("Refunded 7.00 USD" in teams_desk.read(m.activity) for m in office.teams.teams.bot_messages(FINANCE))

    await until(told, "Teams to be told once it is back", 90)


async def test_zz_the_auditor_can_prove_all_of_it(office: Office) -> None:
    """Last on purpose: what the whole file did is one unbroken chain."""
    assert await office.service.stop() == 0
    verified = await office.home.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Traceback" not in office.service.said()


def _now(office: Office, card: Shown) -> Shown:
    return next(one for one in office.teams.teams.messages(FINANCE) if one.id == card.id)


async def _as_is(office: Office, card: Message) -> Message:
    return next(m for m in await office.slack.slack.messages(slack_desk.FINANCE) if m["ts"] == card["ts"])
