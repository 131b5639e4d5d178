"""The main job as people have it: `countersign serve`, a real Slack workspace, Socket Mode, the offline stand-in.

One service and one workspace for the whole file, as in an organisation; every test asks for an order of its own.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import (
    ADA,
    ANN,
    BOB,
    DANA,
    FINANCE,
    GENERAL,
    LEE,
    RITA,
    SALLY,
    SAM,
    Desk,
    Message,
    labels,
    plain,
    read,
)  # fmt: skip
from tests.rigs.local_slack import LocalSlack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"
CLOCK = r"\d\d:\d\d UTC"


@dataclass(frozen=True)
class Office:
    """The organisation at work."""

    desk: Desk
    home: Home
    service: Service

    async def refund(self, user: str, text: str, words: str) -> Message:
        """Asks for a refund; its card."""
        await self.desk.ask(user, text)
        return await self.desk.card(FINANCE, words)

    async def settled(self, card: Message, words: str, channel: str = FINANCE) -> str:
        """What a card says once it says `words`."""
        return plain(
            read(
                await self.desk.find(
                    channel,
                    lambda text, m: m["ts"] == card["ts"] and words in plain(text),
                    f"the card to say {words!r}",
                )
            )
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(home_template: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    home = copy_home(home_template, folder / "home")
    # Several support agents: the sum of one of them must not count for another.
    home.change_person("Sam Patel", groups=["support"])
    home.change_person("Rita Ray", groups=["support"])
    home.change_person("Sally Berg", groups=["support"])
    async with LocalSlack.start("socket", folder) as slack, serving(home, slack.api_url) as service:
        yield Office(Desk(slack), home, service)


async def test_a_refund_and_its_mail_from_the_request_to_the_answer(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, WORDS)
    card, lees = await desk.card(FINANCE, "Refund 42.00 USD for order 1042"), await desk.dm(LEE)
    shown = plain(read(card))
    for words in (
        "Approval needed: refund",
        "Asked by Dana Reyes",
        "@Ann Okafor @Bob Lindgren",
        "Waiting for a finance approver.",
        "Customer Ada Lindqvist (C-1007), ada.lindqvist@example.com",
        "Paid 84.00 USD",
        "Refunded before nothing",
        "Left to refund 84.00 USD, 42.00 USD after this",
        f"Dana Reyes asked {WORDS}",
        "Why you were asked:",
        "Before this, the AI had read text by strangers: order 1042 in crm.read.",
        "Until it is approved, nothing happens.",
    ):
        assert words in shown, shown
    assert labels(card) == ["Approve", "Reject", "Ask requester"]

    mail = await desk.card(lees, "Send an e-mail to Ada Lindqvist")
    draft = plain(read(mail))
    for words in (
        "To: ada.lindqvist@example.com",
        "Subject: Your refund for order 1042",
        "our refund of 42.00 USD for order 1042 is on its way.",
        "It runs only after: Refund 42.00 USD for order 1042 to Ada Lindqvist.",
    ):
        assert words in draft, draft
    assert await desk.slack.bot_messages(await desk.dm(SALLY)) == []

    waiting = await desk.said(dm, "This needs somebody's approval")
    told = plain(read(waiting))
    assert "waits for a finance approver, asked in #finance-approvals" in told
    assert "waits for a support lead, asked by direct message" in told
    assert labels(waiting) == ["Withdraw refund", "Withdraw e-mail"]

    await desk.press_and_write(card, ANN, "Ask requester", "Which carrier was it?")
    question = read(await desk.said(dm, "Which carrier was it?"))
    assert "> Which carrier was it?\n\nNothing is decided yet." in question
    await desk.private(FINANCE, ANN, "Your question goes to Dana Reyes. Nothing was decided.")

    await desk.press(mail, LEE, "Approve")
    assert "It runs after: Refund 42.00 USD" in await office.settled(mail, "Approved by Lee Morgan", lees)
    assert (home.refunds(), home.mails()) == ([], [])

    await desk.press(card, ANN, "Approve")
    done = await office.settled(card, "Refunded 42.00 USD for order 1042")
    assert re.search(rf"Approved by Ann Okafor \({CLOCK}\)\. Refunded 42\.00 USD for order 1042 \(re_\w+\)\.", done)
    assert "Sent the e-mail" in await office.settled(mail, "Sent the e-mail", lees)
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    await desk.said(dm, 'Sent the e-mail "Your refund for order 1042" to ada.lindqvist@example.com')
    assert home.refunds() == [4200]
    assert [(mail["recipient"], mail["subject"]) for mail in home.mails()] == [
        ("ada.lindqvist@example.com", "Your refund for order 1042")
    ]

    # A second click, and one on the card as it was: nothing happens twice.
    await desk.press(card, ANN, "Approve")
    await desk.press(card, BOB, "Approve")
    await desk.private(FINANCE, BOB, "Already approved. Your press changed nothing.")
    assert home.refunds() == [4200]


async def test_a_rejected_refund_takes_its_approved_mail_with_it(office: Office) -> None:
    desk, home = office.desk, office.home
    before = len(home.mails())
    dm = await desk.ask(DANA, "Refund order 1047, 10 dollars, the vase was cracked, and mail the customer about it")
    card, lees = await desk.card(FINANCE, "Refund 10.00 USD for order 1047"), await desk.dm(LEE)
    mail = await desk.card(lees, "Erik Lindqvist")
    await desk.press(mail, LEE, "Approve")
    await office.settled(mail, "Approved by Lee Morgan", lees)
    asked = await desk.press_and_write(card, ANN, "Reject", "The photos show no crack")
    assert "Why? The person who asked reads this." in asked
    said = await office.settled(card, "Rejected by Ann Okafor")
    assert re.search(rf"Rejected by Ann Okafor, {CLOCK}: The photos show no crack\. Nothing was done\.", said)
    assert "Cancelled" in await office.settled(mail, "Cancelled", lees)
    assert labels(await desk.said(FINANCE, "The photos show no crack")) == []
    await desk.said(dm, "The photos show no crack")
    await desk.said(dm, "e-mail")
    assert (home.refunds("1047"), len(home.mails())) == ([], before)


async def test_above_the_threshold_two_different_people_approve(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(RITA, "Refund order 1017, 649 dollars, the sofa is broken", "Refund 649.00 USD")
    assert "Waiting for 2 different people, each a finance approver." in plain(read(card))
    await desk.press(card, ANN, "Approve")
    first = await office.settled(card, "1 of 2")
    assert re.search(rf"1 of 2: Ann Okafor, {CLOCK}\. One more person has to approve it\.", first)
    await desk.press(card, ANN, "Approve")
    await desk.private(FINANCE, ANN, "already")
    assert home.refunds("1017") == []
    await desk.press(card, BOB, "Approve")
    said = await office.settled(card, "Refunded 649.00 USD")
    assert re.search(rf"Approved by Ann Okafor \({CLOCK}\) and Bob Lindgren \({CLOCK}\)\.", said)
    assert home.refunds("1017") == [64900]


async def test_splitting_does_not_get_under_the_threshold(office: Office) -> None:
    desk, home = office.desk, office.home
    first = await office.refund(SAM, "Refund order 1044, 60 pounds, one chair wobbles", "Refund 60.00 GBP")
    assert "Waiting for a finance approver." in plain(read(first))
    second = await office.refund(SAM, "Refund order 1044, 55 pounds, the other chair too", "Refund 55.00 GBP")
    assert "Waiting for 2 different people" in plain(read(second))
    await desk.press(second, ANN, "Approve")
    await office.settled(second, "1 of 2")
    assert home.refunds("1044") == []


async def test_who_asked_may_not_press_and_who_is_no_approver_neither(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1012, 3 dollars, a scratch", "Refund 3.00 USD")
    for user in (DANA, LEE, ADA):
        await desk.press(card, user, "Approve")
        refusal = await desk.private(FINANCE, user, "")
        assert refusal.startswith("You asked for this" if user == DANA else "Only")
    assert home.refunds("1012") == []
    pressed = home.rows("SELECT actor_user_id, status FROM agent_audit_log WHERE kind='approval.pressed' ORDER BY seq")
    assert {row["actor_user_id"] for row in pressed[-3:]} == {"dana", "lee", "ada"}
    assert "approved" not in {row["status"] for row in pressed[-3:]}


async def test_the_requester_withdraws(office: Office) -> None:
    desk = office.desk
    card = await office.refund(DANA, "Refund order 1031, 4 dollars, a pulled thread", "Refund 4.00 USD")
    dm = await desk.dm(DANA)
    waiting = await desk.find(dm, lambda text, m: "4.00 USD" in text and labels(m) == ["Withdraw"], "the summary")
    await desk.press(waiting, DANA, "Withdraw")
    said = await office.settled(card, "Withdrawn by Dana Reyes")
    assert "Nothing was done." in said
    assert office.home.refunds("1031") == [4500]  # what the shop had refunded before


async def test_a_mention_is_answered_in_its_thread_and_goes_on_without_one(office: Office) -> None:
    desk = office.desk
    root = await desk.slack.say(GENERAL, DANA, "<@U0BOT> refund order 1047, 5 dollars, it came late")
    card = await desk.card(FINANCE, "Refund 5.00 USD")
    assert "Open the thread <" in read(card)
    public = await desk.said(GENERAL, "waits for a finance approver")
    assert public["thread_ts"] == root
    assert "Erik" not in read(public)
    await desk.private(GENERAL, DANA, "Erik Lindqvist")

    async def answers() -> int | None:
        found = [m for m in await desk.slack.bot_messages(GENERAL) if m.get("thread_ts") == root]
        return len(found) if len(found) > count else None

    count = 0
    count = await until(answers, "the first answers")
    await desk.slack.say(GENERAL, DANA, "and what is waiting now?", thread_ts=root)
    await until(answers, "an answer without a mention", 20)
    await desk.press(card, ANN, "Approve")
    await office.settled(card, "Refunded 5.00 USD")
    told = await desk.private(GENERAL, DANA, "Refunded 5.00 USD")
    assert "order 1047" in told


async def test_a_withdrawal_in_a_channel_shows_the_others_nothing(office: Office) -> None:
    desk = office.desk
    root = await desk.slack.say(GENERAL, DANA, "<@U0BOT> refund order 1055, 3 dollars, it leaks")
    card = await desk.card(FINANCE, "Refund 3.00 USD for order 1055")
    public = await desk.find(
        GENERAL, lambda _text, m: m.get("thread_ts") == root and "Withdraw" in labels(m), "the public summary"
    )
    await desk.press(public, DANA, "Withdraw")
    await office.settled(card, "Withdrawn by Dana Reyes")
    await desk.private(GENERAL, DANA, "ithdrawn")
    customer = plain(read(card)).partition("Customer ")[2].partition(" (")[0]
    thread = [
        read(m) for m in await desk.slack.messages(GENERAL) if m.get("thread_ts") == root and not m.get("subtype")
    ]
    assert customer
    assert customer not in "\n".join(thread)


async def test_an_approver_whose_role_went_meanwhile_may_not_press(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1037, 2 dollars, it rattles", "Refund 2.00 USD for order 1037")
    home.change_person("Bob Lindgren", groups=["support-leads"])
    await desk.press(card, BOB, "Approve")
    await desk.private(FINANCE, BOB, "Only")
    home.change_person("Bob Lindgren", groups=["finance-approvers"])
    assert home.refunds("1037") == []
    await desk.press(card, BOB, "Approve")
    await office.settled(card, "Refunded 2.00 USD")
    assert home.refunds("1037") == [200]


async def test_somebody_else_in_a_waiting_thread_is_somebody_else(office: Office) -> None:
    desk, home = office.desk, office.home
    root = await desk.slack.say(GENERAL, DANA, "<@U0BOT> refund order 1038, 4 dollars, it squeaks")
    card = await desk.card(FINANCE, "Refund 4.00 USD for order 1038")
    await desk.slack.say(GENERAL, LEE, "make that the whole amount, I approve it", thread_ts=root)

    async def lee_was_heard() -> list[str]:
        return (
            await desk.slack.private(GENERAL, LEE)
            or [read(m) for m in await desk.slack.bot_messages(GENERAL) if m.get("thread_ts") == root][2:]
        )

    await until(lee_was_heard, "an answer to Lee")
    turns = home.rows("SELECT actor_user_id FROM agent_audit_log WHERE kind='turn.started' ORDER BY seq DESC LIMIT 2")
    assert [turn["actor_user_id"] for turn in turns] == ["lee", "dana"]
    assert home.refunds("1038") == []
    await desk.press(card, ANN, "Approve")
    await office.settled(card, "Refunded 4.00 USD")
    await desk.private(GENERAL, DANA, "Refunded 4.00 USD for order 1038")
    assert home.refunds("1038") == [400]


async def test_app_home_shows_what_waits_and_what_was_asked(office: Office) -> None:
    desk = office.desk
    await office.refund(DANA, "Refund order 1021, 2 dollars, a stain", "Refund 2.00 USD")
    bobs = plain(await desk.home(BOB, "Refund 2.00 USD"))
    assert re.search(r"Waiting for me \(\d+\)", bobs)
    assert "Dana Reyes asks. Waiting for a finance approver." in bobs
    danas = plain(await desk.home(DANA, "Refund 2.00 USD"))
    assert re.search(r"Asked by me \(\d+\).*Refund 2\.00 USD for order 1021", danas)


async def test_the_slash_commands_anyone_may_use(office: Office) -> None:
    desk = office.desk
    assert "/countersign kill all REASON" in await desk.command(DANA, "help", "What you can say to me")
    assert "Dana Reyes" in await desk.command(DANA, "whoami", "You may ask for: crm.read")
    assert "You may approve, for others: refund.issue." in await desk.command(ANN, "whoami", "Ann Okafor")
    assert "Dana Reyes asks" in await desk.command(BOB, "pending", "Waiting for you")
    assert "Waiting for approval" in await desk.command(SALLY, "status", "Nothing is stopped.")
    assert "What you can say to me" in await desk.command(SALLY, "frobnicate", "I do not know the command")


async def test_only_admins_kill_and_resume(office: Office) -> None:
    desk, home = office.desk, office.home
    await desk.command(LEE, "kill all I am angry", "can kill")
    await desk.command(LEE, "resume all", "can resume")
    refused = home.rows("SELECT status FROM agent_audit_log WHERE kind='command.refused' AND actor_user_id='lee'")
    assert [row["status"] for row in refused] == ["refused", "refused"]
    assert home.rows("SELECT 1 FROM agent_audit_log WHERE kind='kill.switched'") == []
    shown = await desk.command(ADA, "kill", "Nothing was stopped.")
    assert "would stop everything in this organisation" in shown
    assert home.rows("SELECT 1 FROM agent_audit_log WHERE kind='kill.switched'") == []


async def test_a_kill_stops_what_waits_and_a_resume_needs_a_fresh_press(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "Refund order 1003, 6 dollars, wrong colour", "Refund 6.00 USD")
    await desk.command(ADA, "kill tool refund.issue amounts look wrong", "Stopped: the tool refund.issue.")
    said = await office.settled(card, "Stopped (the tool refund.issue) by Ada Kim since")
    assert "amounts look wrong" in said
    assert labels(await desk.said(FINANCE, "Refund 6.00 USD")) == ["Reject", "Ask requester"]
    await desk.press(card, ANN, "Approve")
    await desk.private(FINANCE, ANN, "topped")
    dm = await desk.ask(DANA, "Refund order 1003, 7 dollars, wrong size")
    await desk.said(dm, "amounts look wrong")
    assert "amounts look wrong" in await desk.command(SALLY, "status", "Stopped (the tool refund.issue)")
    assert home.refunds("1003") == []
    await desk.command(ADA, "resume tool refund.issue", "Resumed: the tool refund.issue.")
    await office.settled(card, "Waiting for a finance approver.")
    assert home.refunds("1003") == []
    await desk.press(await desk.card(FINANCE, "Refund 6.00 USD"), ANN, "Approve")
    await office.settled(card, "Refunded 6.00 USD")
    assert home.refunds("1003") == [600]


async def test_a_person_is_stopped_by_their_name_and_told_why(office: Office) -> None:
    desk = office.desk
    await desk.command(ADA, f"kill user <@{SAM}> is on leave", "Stopped: Sam Patel.")
    dm = await desk.ask(SAM, "Refund order 1044, 1 pound, a scratch")
    assert "is on leave" in read(await desk.said(dm, "Ada Kim"))
    await desk.command(ADA, f"resume user <@{SAM}>", "Resumed: Sam Patel.")


async def test_the_shell_stops_everything_while_the_service_runs(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(SALLY, "Refund order 1038, 8 dollars, a dent", "Refund 8.00 USD")
    stopped = await home.cli("kill", "all", "strange", "refunds", "tonight")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "Stopped: everything. Nothing new starts from this moment." in stopped.stdout
    await desk.press(card, BOB, "Approve")
    await desk.private(FINANCE, BOB, "strange refunds tonight")
    await office.settled(card, "strange refunds tonight")
    dm = await desk.ask(DANA, "What did order 1042 cost?")
    await desk.said(dm, "strange refunds tonight")
    assert home.refunds("1038") == [400]
    resumed = await home.cli("resume", "all")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    await desk.press(await desk.card(FINANCE, "Refund 8.00 USD"), BOB, "Approve")
    await office.settled(card, "Refunded 8.00 USD")
    assert sorted(home.refunds("1038")) == [400, 800]


async def test_zz_the_auditor_can_prove_all_of_it(office: Office) -> None:
    """Last on purpose: what the whole file did is one unbroken chain."""
    assert await office.service.stop() == 0
    verified = await office.home.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "ERROR" not in office.service.said()
    assert "Traceback" not in office.service.said()
