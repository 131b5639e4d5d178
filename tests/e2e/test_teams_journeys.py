"""The main job in Teams: `countersign serve`, the Agents Playground behind a signing proxy, the production token check.

One service and one tenant for the whole file, as in an organisation; every test asks for an order of its own.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import plain
from tests.kit.teams_desk import WAIT_S, Desk, held, labels, read
from tests.rigs.local_slack import until
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
from tests.rigs.teams_wire import Shown

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WORDS = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"
CLOCK = r"\d\d:\d\d UTC"


@dataclass(frozen=True)
class Office:
    """The organisation at work."""

    desk: Desk
    home: Home
    service: Service

    async def refund(self, who: Member, text: str, words: str) -> Shown:
        """Asks for a refund; its card."""
        await self.desk.ask(who, text)
        return await self.desk.card(FINANCE, words)

    async def settled(self, card: Shown, words: str) -> str:
        return plain(await self.desk.settled(card, words))

    def statuses(self, kind: str, actor: str | None = None) -> list[str]:
        return [status for found, status, who in self.home.audit() if found == kind and actor in (None, who)]

    async def noted(self, kind: str, before: int, actor: str | None = None) -> list[str]:
        """The statuses of a kind's rows, once there are more than `before`."""

        async def probe() -> list[str] | None:
            found = self.statuses(kind, actor)
            return found if len(found) > before else None

        return await until(probe, f"another row {kind}", WAIT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    home_template: Home, teams_playground: Playground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    home = copy_home(home_template, tmp_path_factory.mktemp("teams") / "home")
    home.join_teams("teams")
    # A second support agent: the sum of one of them must not count for the other.
    home.change_person("Lee Morgan", groups=["support", "support-leads"])
    async with teams(teams_playground) as rig, serving(home, None, also=environment(rig)) as service:
        rig.wire.bot = f"{service.base}/api/messages"
        await rig.install(DANA, ANN, BOB, LEE, ADA)
        yield Office(Desk(rig), home, service)


async def test_a_refund_and_its_mail_from_the_request_to_the_answer(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, WORDS)
    card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
    shown = plain(read(card.activity))
    for words in (
        "Approval needed: refund",
        "Asked by Dana Reyes",
        "Waiting for a finance approver.",
        "Ada Lindqvist (C-1007), ada.lindqvist@example.com",
        "84.00 USD, 42.00 USD after this",
        WORDS,
        "Before this, the AI had read text by strangers: order 1042 in crm.read.",
        "Until it is approved, nothing happens.",
    ):
        assert words in shown, shown
    assert labels(card) == ["Approve", "Reject", "Ask requester"]

    mail = await desk.card(await desk.dm(LEE), "Send an e-mail to Ada Lindqvist")
    draft = plain(read(mail.activity))
    for words in (
        "ada.lindqvist@example.com",
        "Your refund for order 1042",
        "our refund of 42.00 USD for order 1042 is on its way.",
        "It runs only after: Refund 42.00 USD for order 1042 to Ada Lindqvist.",
    ):
        assert words in draft, draft

    waiting = await desk.said(dm, "This needs somebody's approval")
    assert "waits for a finance approver" in plain(read(waiting.activity))
    await desk.find(dm, lambda _text, m: labels(m) == ["Withdraw refund", "Withdraw e-mail"], "the buttons below it")

    told = await desk.press(card, ANN, "Ask requester", "Which carrier was it?")
    assert "Your question goes to Dana Reyes. Nothing was decided." in told
    await desk.said(dm, "Which carrier was it?")

    told = await desk.press(mail, LEE, "Approve")
    assert "Approved" in told
    assert "It runs after: Refund 42.00 USD" in await office.settled(mail, "Approved by Lee Morgan")
    assert (home.refunds(), home.mails()) == ([], [])

    await desk.press(card, ANN, "Approve")
    done = await office.settled(card, "Refunded 42.00 USD for order 1042")
    assert re.search(rf"Approved by Ann Okafor \({CLOCK}\)\. Refunded 42\.00 USD for order 1042 \(re_\w+\)\.", done)
    await office.settled(mail, "Sent the e-mail")
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    assert home.refunds() == [4200]
    assert [(mail["recipient"], mail["subject"]) for mail in home.mails()] == [
        ("ada.lindqvist@example.com", "Your refund for order 1042")
    ]

    # A second click, and one on the card as it was: nothing happens twice.
    await desk.press(card, ANN, "Approve")
    assert "Your press changed nothing." in await desk.press(card, BOB, "Approve")
    assert home.refunds() == [4200]


async def test_a_rejection_needs_its_reason_on_the_same_card(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1047, 10 dollars, the vase was cracked", "Refund 10.00 USD")
    await desk.press(card, ANN, "Reject")
    assert "Approve" in labels(await desk.card(FINANCE, "Refund 10.00 USD"))
    told = await desk.press(card, ANN, "Reject", "The photos show no crack")
    assert "Rejected" in told
    said = await office.settled(card, "Rejected by Ann Okafor")
    assert re.search(rf"Rejected by Ann Okafor, {CLOCK}: The photos show no crack\. Nothing was done\.", said)
    assert labels(await desk.said(FINANCE, "The photos show no crack")) == []
    await desk.private(DANA, "The photos show no crack")
    assert home.refunds("1047") == []


async def test_above_the_threshold_two_different_people_approve(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(LEE, "Refund order 1017, 649 dollars, the sofa is broken", "Refund 649.00 USD")
    await desk.press(card, ANN, "Approve")
    await office.settled(card, "1 of 2")
    assert "already" in await desk.press(card, ANN, "Approve")
    assert home.refunds("1017") == []
    await desk.press(card, BOB, "Approve")
    said = await office.settled(card, "Refunded 649.00 USD")
    assert re.search(rf"Approved by Ann Okafor \({CLOCK}\) and Bob Lindgren \({CLOCK}\)\.", said)
    assert home.refunds("1017") == [64900]


async def test_who_asked_may_not_press_and_who_is_no_approver_neither(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1012, 3 dollars, a scratch", "Refund 3.00 USD")
    for who, words in ((DANA, "You asked for this"), (LEE, "Only"), (ADA, "Only")):
        assert words in await desk.press(card, who, "Approve")
    assert home.refunds("1012") == []
    assert "approved" not in office.statuses("approval.pressed")[-3:]


async def test_each_reader_gets_the_card_that_is_theirs(office: Office) -> None:
    """`refresh`: Teams asks for a view of one's own, for those whom the card names."""
    desk = office.desk
    card = await office.refund(DANA, "Refund order 1013, 3 dollars, a dent", "Refund 3.00 USD for order 1013")
    content = card.activity["attachments"][0]["content"]
    for who in (ANN, DANA):
        assert set(content["refresh"]["userIds"]) & {who.id, who.oid}, who.name
    action = content["refresh"]["action"] | {"data": content["refresh"]["action"]["data"]}
    views = {}
    for who in (ANN, DANA):
        heard = await desk.teams.invoke(who, card, action)
        assert heard.status == 200
        views[who.name] = labels(heard.body["value"]) if isinstance(heard.body["value"], dict) else []
    assert views == {"Ann Okafor": ["Approve", "Reject", "Ask requester"], "Dana Reyes": ["Withdraw"]}
    assert office.statuses("approval.pressed", "ann")[-1:] != ["refresh"]


async def test_the_requester_withdraws(office: Office) -> None:
    desk = office.desk
    card = await office.refund(DANA, "Refund order 1031, 4 dollars, a pulled thread", "Refund 4.00 USD")
    waiting = await desk.find(
        await desk.dm(DANA), lambda _text, m: labels(m) == ["Withdraw"] and held(m) == held(card), "its button"
    )
    await desk.press(waiting, DANA, "Withdraw")
    said = await office.settled(card, "Withdrawn by Dana Reyes")
    assert "Nothing was done." in said
    assert office.home.refunds("1031") == [4500]  # what the shop had refunded before


async def test_a_mention_in_a_channel_is_answered_in_its_reply_chain(office: Office) -> None:
    desk = office.desk
    root = await desk.teams.say(GENERAL, DANA, "refund order 1048, 5 dollars, it came late", mention=True)
    card = await desk.card(FINANCE, "Refund 5.00 USD")
    public = await desk.said(GENERAL, "waits for a finance approver")
    assert public.root == root
    customer = plain(read(card.activity)).partition("Customer ")[2].partition(" (")[0]
    assert customer
    chain = [read(one.activity) for one in desk.teams.messages(GENERAL) if one.root == root]
    assert customer not in "\n".join(chain)
    await desk.press(card, ANN, "Approve")
    await office.settled(card, "Refunded 5.00 USD")
    # What was drawn from the shop is for Dana alone: it comes in her own chat.
    assert "order 1048" in await desk.private(DANA, "Refunded 5.00 USD")


async def test_a_group_chat_hears_its_mentions_alone(office: Office) -> None:
    desk = office.desk
    await desk.teams.say(GROUP, ANN, "refund order 1049, 500 dollars")
    await desk.teams.say(GROUP, DANA, "refund order 1050, 6 dollars, it came late", mention=True)
    card = await desk.card(FINANCE, "Refund 6.00 USD")
    await desk.said(GROUP, "waits for a finance approver")
    assert "500.00" not in desk.conversation(FINANCE)
    await desk.press(card, BOB, "Approve")
    await office.settled(card, "Refunded 6.00 USD")


async def test_a_delivery_that_comes_twice_is_one_press(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1037, 2 dollars, it rattles", "Refund 2.00 USD for order 1037")
    heard = await desk.pressed(card, ANN, "Approve")
    again = await desk.teams.wire.deliver(heard.activity)
    assert again.status == 200
    await office.settled(card, "Refunded 2.00 USD")
    late = await desk.teams.wire.deliver(heard.activity)
    assert late.status == 200
    assert home.refunds("1037") == [200]


async def test_words_of_people_are_never_markup(office: Office) -> None:
    card = await office.refund(
        DANA,
        "Refund order 1021, 2 dollars, **[a](https://evil.example)** <at>Ann Okafor</at>",
        "Refund 2.00 USD for order 1021",
    )
    spelled = [one for one in _blocks(card.activity) if "evil.example" in read(one)]
    assert spelled
    assert {one["type"] for one in spelled} == {"RichTextBlock"}


async def test_commands_are_messages_and_their_answers_private(office: Office) -> None:
    desk = office.desk
    assert "kill all" in await desk.command(DANA, "help", "What you can say to me")
    assert "Dana Reyes" in await desk.command(DANA, "whoami", "You may ask for")
    assert "Dana Reyes asks" in await desk.command(BOB, "pending", "Waiting for you")
    await desk.command(LEE, "status", "Nothing is stopped.")
    before = len(desk.teams.bot_messages(GENERAL))
    await desk.command(DANA, "whoami", "Dana Reyes", at=GENERAL)
    assert len(desk.teams.bot_messages(GENERAL)) == before


async def test_only_admins_kill_and_a_kill_by_message_stops_what_waits(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1003, 6 dollars, wrong colour", "Refund 6.00 USD for order 1003")
    await desk.command(LEE, "kill all I am angry", "can kill")
    assert home.rows("SELECT 1 FROM agent_audit_log WHERE kind='kill.switched'") == []
    await desk.command(ADA, "kill tool refund.issue amounts look wrong", "Stopped: the tool refund.issue.")
    assert "amounts look wrong" in await office.settled(card, "Stopped (the tool refund.issue) by Ada Kim since")
    assert "topped" in await desk.press(card, ANN, "Approve")
    assert home.refunds("1003") == []
    await desk.command(ADA, "resume tool refund.issue", "Resumed: the tool refund.issue.")
    await office.settled(card, "Waiting for a finance approver.")
    assert home.refunds("1003") == []
    await desk.press(await desk.card(FINANCE, "Refund 6.00 USD for order 1003"), ANN, "Approve")
    await office.settled(card, "Refunded 6.00 USD")
    assert home.refunds("1003") == [600]


async def test_a_person_is_stopped_by_a_mention_of_them(office: Office) -> None:
    desk = office.desk
    await desk.command(ADA, "kill user Bob Lindgren is on leave", "Stopped: Bob Lindgren.", BOB, at=GROUP)
    await desk.command(ADA, "resume user Bob Lindgren", "Resumed: Bob Lindgren.", BOB, at=GROUP)


async def test_an_answer_is_labelled_as_a_models_and_takes_a_thumb(office: Office) -> None:
    desk = office.desk
    dm = await desk.ask(DANA, "What did order 1042 cost?")
    answer = await desk.find(dm, lambda text, m: "84.00" in text and not labels(m), "the answer")
    entity = next(one for one in answer.activity["entities"] if one.get("type") == "https://schema.org/Message")
    assert entity["additionalType"] == ["AIGeneratedContent"]
    assert answer.activity["channelData"]["feedbackLoop"] == {"type": "default"}
    before = len(office.statuses("answer.rated"))
    value = {
        "actionName": "feedback",
        "actionValue": {"reaction": "dislike", "feedback": '{"feedbackText":"too short"}'},
    }
    heard = await desk.teams.invoke(DANA, answer, value, "message/submitAction")
    assert heard.status == 200
    assert (await office.noted("answer.rated", before))[-1:] == ["bad"]


async def test_a_guest_is_turned_away_with_a_row(office: Office) -> None:
    rig = office.desk.teams
    before = len(office.home.audit())
    await rig.say(GROUP, GUS, "refund order 1042, 80 dollars", mention=True)
    (heard,) = [one for one in rig.wire.heard if one.activity["from"].get("aadObjectId") == GUS.oid]
    assert heard.status == 403
    rows = office.home.audit()[before:]
    assert rows
    assert "turn.started" not in {kind for kind, _, _ in rows}


async def test_keys_rotate_without_a_restart(office: Office) -> None:
    wire, desk = office.desk.teams.wire, office.desk
    stale = wire.keys[0]
    wire.rotate()

    async def heard_again() -> bool:
        return (await wire.deliver(await desk.teams.template(GROUP, DANA, "userAdded"))).status < 300

    await until(heard_again, "the new key to be known", WAIT_S)
    published, wire.keys = wire.keys, [stale]
    token = wire.sign({"serviceUrl": wire.service_url})
    wire.keys = published
    assert (await wire.deliver(await desk.teams.template(GROUP, DANA, "userAdded"), token)).status == 401


async def test_where_the_app_was_removed_nothing_is_posted_until_it_is_back(office: Office) -> None:
    desk, rig = office.desk, office.desk.teams
    undelivered = len(office.statuses("notice.undelivered"))
    assert (await rig.wire.deliver(await rig.template(FINANCE, DANA, "uninstall"))).status < 300
    before = len(rig.bot_messages(FINANCE))
    await desk.ask(LEE, "Refund order 1027, 2 dollars, a spot")
    await desk.private(LEE, "I could not reach the approvers of Refund 2.00 USD for order 1027")
    assert len(rig.bot_messages(FINANCE)) == before
    assert (await office.noted("notice.undelivered", undelivered))[-1:] == ["place_gone"]
    await rig.install()
    card = await desk.card(FINANCE, "Refund 2.00 USD for order 1027", 120)
    await desk.press(card, BOB, "Reject", "It washes out")
    await office.settled(card, "Rejected by Bob Lindgren")


async def test_zz_the_auditor_can_prove_all_of_it(office: Office) -> None:
    """Last on purpose: what the whole file did is one unbroken chain."""
    assert await office.service.stop() == 0
    verified = await office.home.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    said = office.service.said()
    assert "ERROR" not in said
    assert "Traceback" not in said
    for secret in office.desk.teams.wire.tokens:
        assert secret not in said


def _blocks(node: object) -> list[dict[str, object]]:
    """Every element that holds words itself."""
    if isinstance(node, list):
        return [one for part in node for one in _blocks(part)]
    if not isinstance(node, dict):
        return []
    if node.get("type") in ("TextBlock", "RichTextBlock", "FactSet"):
        return [node]
    return [one for name, part in node.items() if name not in ("fallback", "data") for one in _blocks(part)]
