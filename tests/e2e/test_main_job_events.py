"""The first journey over signed HTTP events: the same service, the other way in."""

from __future__ import annotations

from pathlib import Path

from tests.kit.service_process import Home, serving
from tests.kit.slack_desk import ADA, ANN, BOB, DANA, FINANCE, GENERAL, LEE, Desk
from tests.rigs.local_slack import LocalSlack, free_port

ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"


async def test_the_journey_over_http_events(home: Home, tmp_path: Path) -> None:
    port = free_port()
    async with (
        LocalSlack.start("events", tmp_path, f"http://127.0.0.1:{port}/slack/events") as slack,
        serving(home, slack.api_url, mode="events", port=port) as service,
    ):
        desk = Desk(slack)
        dm = await desk.ask(DANA, ASK)
        card, lees = await desk.card(FINANCE, "Refund 42.00 USD for order 1042"), await desk.dm(LEE)
        mail = await desk.card(lees, "Send an e-mail to Ada Lindqvist")
        await desk.press_and_write(card, BOB, "Ask requester", "Was it insured?")
        await desk.said(dm, "Was it insured?")
        await desk.press(mail, LEE, "Approve")
        await desk.press(card, ANN, "Approve")
        await desk.said(dm, "Refunded 42.00 USD for order 1042")
        await desk.said(dm, 'Sent the e-mail "Your refund for order 1042"')
        assert (home.refunds(), len(home.mails())) == ([4200], 1)

        dm = await desk.ask(DANA, "Refund order 1047, 9 dollars, a crack")
        second = await desk.card(FINANCE, "Refund 9.00 USD")
        await desk.press_and_write(second, ANN, "Reject", "No photo was sent")
        await desk.said(dm, "No photo was sent")
        assert home.refunds("1047") == []

        root = await slack.say(GENERAL, DANA, "<@U0BOT> refund order 1031, 3 dollars, it is stained")
        await desk.card(FINANCE, "Refund 3.00 USD")
        assert (await desk.said(GENERAL, "waits for a finance approver"))["thread_ts"] == root
        assert "refund.issue" in await desk.command(DANA, "whoami", "Dana Reyes")
        await desk.command(ADA, "kill tool refund.issue an exercise", "Stopped: the tool refund.issue.")
        await desk.said(FINANCE, "an exercise")
        assert "Refund 3.00 USD" in await desk.home(BOB, "Waiting for me (1)")
        assert "ERROR" not in service.said(), service.said()
        assert await service.stop() == 0
