"""What time does to a request that nobody decides: one reminder at half, then it is over and can be asked again.

A real service and a real Slack; only its clock is put forward.
"""

from __future__ import annotations

from pathlib import Path

from tests.kit.service_process import Home, serving
from tests.kit.slack_desk import ANN, DANA, FINANCE, Desk, labels, plain, read
from tests.rigs.local_slack import LocalSlack

HOUR = 3600


async def test_a_reminder_then_the_end_then_ask_again(home: Home, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    async with LocalSlack.start("socket", tmp_path) as slack, serving(home, slack.api_url, ahead=ahead):
        desk = Desk(slack)
        dm = await desk.ask(DANA, "Refund order 1042, 42 dollars, the parcel never came")
        card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")

        ahead.write_text(str(12.1 * HOUR))
        reminder = await desk.said(FINANCE, "Reminder: Refund 42.00 USD")
        assert reminder["thread_ts"] == card["ts"]

        ahead.write_text(str(24.1 * HOUR))
        over = plain(
            read(await desk.find(FINANCE, lambda text, m: m["ts"] == card["ts"] and "Expired" in text, "the end"))
        )
        assert "Nobody decided in time; nothing was done." in over
        told = await desk.find(dm, lambda _text, m: labels(m) == ["Ask again"], "the button Ask again")
        await desk.press(card, ANN, "Approve")
        assert "xpired" in await desk.private(FINANCE, ANN, "xpired")
        assert home.refunds() == []

        await desk.press(told, DANA, "Ask again")
        again = await desk.find(
            FINANCE, lambda text, m: m["ts"] > reminder["ts"] and "Approve" in labels(m), "a card of its own"
        )
        await desk.press(again, ANN, "Approve")
        await desk.said(dm, "Refunded 42.00 USD for order 1042")
        assert home.refunds() == [4200]
        said = await desk.conversation(FINANCE)
        assert said.count("Reminder: ") == 1, said
