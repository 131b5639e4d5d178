"""The payment provider, the mail server and the model on a bad day; and a draft that fits no card."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import ADA, ANN, BOB, DANA, FINANCE, LEE, Desk, Message, labels, plain, read
from tests.kit.slow_line import MailServer, PaymentLine, mail_server, payment_line
from tests.rigs import aimock_rig
from tests.rigs.local_slack import LocalSlack
from tests.rigs.localstripe_server import KEY, charge, localstripe, refunds_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe")) as address:
        yield address


@dataclass(frozen=True)
class Office:
    desk: Desk
    home: Home
    service: Service
    line: PaymentLine
    post: MailServer
    stripe: str

    async def paid(self, order: str, minor: int) -> str:
        made = await charge(self.stripe, minor, "USD")
        self.home.pay_with(order, made)
        return made

    async def says(self, card: Message, words: str, channel: str = FINANCE, seconds: float = 30) -> str:
        found = await self.desk.find(
            channel,
            lambda text, m: m["ts"] == card["ts"] and words in plain(text),
            f"the card to say {words!r}",
            seconds,
        )
        return plain(read(found))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(home_template: Home, tmp_path_factory: pytest.TempPathFactory, stripe: str) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("providers")
    home = copy_home(home_template, folder / "home")
    async with (
        LocalSlack.start("socket", folder) as slack,
        payment_line(stripe) as line,
        mail_server() as post,
        serving(home, slack.api_url, STRIPE_API_KEY=KEY, STRIPE_API_BASE=line.base, **_mail(post)) as service,
    ):
        yield Office(Desk(slack), home, service, line, post, stripe)


def _mail(post: MailServer) -> dict[str, Any]:
    return dict(post.environment)


async def test_a_payment_provider_that_is_down_is_named_in_the_thread(office: Office) -> None:
    desk = office.desk
    paid = await office.paid("1042", 8400)
    dm = await desk.ask(DANA, "Refund order 1042, 11 dollars, the parcel never came")
    card = await desk.card(FINANCE, "Refund 11.00 USD for order 1042")
    office.line.down = True
    await desk.press(card, ANN, "Approve")
    said = await office.says(card, "It failed:")
    assert "Stripe" in said
    assert "Nothing was" in said
    assert "Stripe" in read(await desk.said(dm, "Nothing was"))
    office.line.down = False
    assert await refunds_of(office.stripe, paid) == []
    await desk.ask(DANA, "Refund order 1042, 12 dollars, the parcel never came")
    again = await desk.card(FINANCE, "Refund 12.00 USD for order 1042")
    await desk.press(again, ANN, "Approve")
    await desk.said(dm, "Refunded 12.00 USD for order 1042")
    assert [amount for amount, _call in await refunds_of(office.stripe, paid)] == [1200]


@pytest.mark.slow
async def test_a_provider_that_answers_too_late_leaves_a_doubt_that_a_person_settles(office: Office) -> None:
    desk, home = office.desk, office.home
    paid = await office.paid("1047", 5000)
    dm = await desk.ask(DANA, "Refund order 1047, 9 dollars, a crack")
    card = await desk.card(FINANCE, "Refund 9.00 USD for order 1047")
    office.line.refunds.shut()
    await desk.press(card, BOB, "Approve")
    said = await office.says(card, "Nobody can say whether it happened", seconds=40)
    office.line.refunds.open.set()
    assert "It will not be tried again by itself" in said
    await desk.said(dm, "order 1047")
    told = plain(read(await desk.said(await desk.dm(ADA), "Please look at this")))
    command = re.search(r"countersign doubt settle (h_\w+) ", told)
    assert command is not None, told
    assert [amount for amount, _call in await refunds_of(office.stripe, paid)] == [900]
    settled = await home.cli("doubt", "settle", command[1], "it is in Stripe", "--done")
    assert settled.returncode == 0, settled.stdout + settled.stderr
    await office.says(card, "it happened")
    assert [amount for amount, _call in await refunds_of(office.stripe, paid)] == [900]


async def test_a_mail_server_that_is_busy_is_named_in_the_thread(office: Office) -> None:
    desk = office.desk
    dm = await desk.ask(DANA, "Mail customer C-1007 that the parcel is on its way")
    lees = await desk.dm(LEE)
    card = await desk.card(lees, "Send an e-mail to Ada Lindqvist")
    office.post.down = True
    await desk.press(card, LEE, "Approve")
    assert "Nothing was sent" in await office.says(card, "It failed:", lees)
    assert "mail server" in read(await desk.said(dm, "Nothing was sent"))
    office.post.down = False
    assert office.post.mails == []


LONG = "".join(
    f"Paragraph {n}: we are sorry that the parcel did not come, and this is what we do now. \n" for n in range(360)
)


@pytest.fixture(scope="module")
def wordy_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aimock_rig.Aimock]:
    """A model that writes a draft of more than 30,000 characters."""
    if (aimock_rig.node() is None or not aimock_rig.CLI.exists()) and os.environ.get("CI") != "true":
        pytest.skip("aimock is not installed; `make test` installs it")
    assert len(LONG) > 30_000
    folder = tmp_path_factory.mktemp("wordy")
    mail = {"to": "C-1007", "subject": "All that happened", "body": LONG}
    call = {"id": "call_long_1", "name": "email_send", "arguments": json.dumps(mail)}
    fixtures = [
        {"match": {"userMessage": "long letter", "hasToolResult": False}, "response": {"toolCalls": [call]}},
        {"match": {"toolCallId": "call_long_1"}, "response": {"content": "The letter waits for approval."}},
        {"match": {"userMessage": "executed: Send an e-mail"}, "response": {"content": "The letter has left."}},
    ]
    (folder / "wordy.json").write_text(json.dumps({"fixtures": fixtures}))
    with aimock_rig.aimock(folder) as rig:
        yield rig


async def test_an_approver_can_read_all_of_a_draft_of_30_000_characters(
    home_template: Home, tmp_path: Path, wordy_model: aimock_rig.Aimock
) -> None:
    home = copy_home(home_template, tmp_path / "home")
    home.write_policy("anthropic:claude-sonnet-5-5")
    async with (
        LocalSlack.start("socket", tmp_path) as slack,
        serving(home, slack.api_url, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=wordy_model.base),
    ):
        desk = Desk(slack)
        dm = await desk.ask(DANA, "Write Ada Lindqvist a long letter about her parcel")
        lees = await desk.dm(LEE)
        card = await desk.card(lees, "Send an e-mail to Ada Lindqvist", 40)
        assert "stands whole in this card's thread. Read it before you decide." in read(card)
        pages = [m for m in await slack.messages(lees) if m.get("thread_ts") == card["ts"] and m["ts"] != card["ts"]]
        shown = "".join(
            read(element)
            for page in pages
            for block in page["blocks"]
            for element in block["elements"]
            if element["type"] == "rich_text_preformatted"
        )
        assert "".join(LONG.split()) in "".join(shown.split())
        for page in [card, *pages]:
            assert len(page["blocks"]) <= 50
            assert len(json.dumps(page["blocks"])) < 13_000
        await desk.press(card, LEE, "Approve")
        await desk.said(dm, "The letter has left.")
        (sent,) = home.mails()
        assert sent["body"].strip() == LONG.strip()
        assert labels(await desk.find(lees, lambda _t, m: m["ts"] == card["ts"], "the card")) == []
