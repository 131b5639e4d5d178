"""kill -9 of the service at the worst moments, with money at localstripe and mail at aiosmtpd (invariant 7).

The provider's own list of refunds is what counts: exactly one, or the call is parked in doubt and a person is told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.kit.service_process import Home, Service, start
from tests.kit.slack_desk import ADA, ANN, BOB, DANA, FINANCE, LEE, Desk, Message, plain, read
from tests.kit.slow_line import MailServer, PaymentLine, mail_server, payment_line
from tests.rigs.local_slack import LocalSlack, until
from tests.rigs.localstripe_server import KEY, charge, localstripe, refunds_of

A_MINUTE = "60"
"""Longer than any action may take: whoever restarts need not wait for one that may still be at it."""


@pytest.fixture(scope="module")
def stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe")) as address:
        yield address


@dataclass
class Office:
    desk: Desk
    home: Home
    line: PaymentLine
    post: MailServer
    stripe: str
    charge: str
    ahead: Path
    running: list[Service] = field(default_factory=list)

    @property
    def service(self) -> Service:
        return self.running[-1]

    async def start(self, **more: Any) -> Service:
        env: dict[str, Any] = {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": self.line.base, **self.post.environment}
        env |= {"COUNTERSIGN_PERSON_KEY": "employee_number", **more}
        self.running.append(await start(self.home, self.desk.slack.api_url, ahead=self.ahead, **env))
        return self.service

    async def paid_back(self) -> list[int]:
        """Minor units of each refund, as the provider lists them."""
        return [amount for amount, _call in await refunds_of(self.stripe, self.charge)]

    async def status(self, card: Message, words: str, channel: str = FINANCE, seconds: float = 30) -> str:
        found = await self.desk.find(
            channel,
            lambda text, m: m["ts"] == card["ts"] and words in plain(text),
            f"the card to say {words!r}",
            seconds,
        )
        return plain(read(found))

    async def audited(self, kind: str) -> None:
        async def there() -> list[dict[str, Any]]:
            return self.home.rows(f"SELECT seq FROM agent_audit_log WHERE kind='{kind}'")

        await until(there, f"an audit row {kind}", 20)


@pytest.fixture
async def office(home: Home, tmp_path: Path, stripe: str) -> AsyncIterator[Office]:
    paid = await charge(stripe, 8400, "USD")
    home.pay_with("1042", paid)
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack.start("socket", tmp_path))
        line = await stack.enter_async_context(payment_line(stripe))
        post = await stack.enter_async_context(mail_server())
        office = Office(Desk(slack), home, line, post, stripe, paid, ahead)
        try:
            await office.start()
            yield office
        finally:
            for service in office.running:
                if service.process.returncode is None:
                    await service.kill9()


REFUND = "Refund order 1042, 42 dollars, the parcel never came"


async def test_the_journey_with_real_money_and_real_mail(office: Office) -> None:
    desk = office.desk
    dm = await desk.ask(DANA, REFUND + ", and mail the customer that it's on its way")
    card, lees = await desk.card(FINANCE, "Refund 42.00 USD for order 1042"), await desk.dm(LEE)
    mail = await desk.card(lees, "Send an e-mail to Ada Lindqvist")
    await desk.press(mail, LEE, "Approve")
    await office.status(mail, "It runs after: Refund 42.00 USD", lees)
    assert (await office.paid_back(), office.post.mails) == ([], [])
    await desk.press(card, ANN, "Approve")
    await office.status(card, "Refunded 42.00 USD for order 1042")
    await office.status(mail, "Sent the e-mail", lees)
    await desk.said(dm, "Sent the e-mail")
    assert await office.paid_back() == [4200]
    (sent,) = office.post.mails
    assert (sent["To"], sent["From"]) == ("ada.lindqvist@example.com", "support@shop.example")
    assert "42.00 USD" in sent.get_content()


async def test_killed_while_it_waits_and_again_right_after_the_press(office: Office) -> None:
    desk = office.desk
    dm = await desk.ask(DANA, REFUND)
    card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
    await office.service.kill9()
    await office.start()

    office.line.reads.shut()  # what was approved cannot be begun before the process is gone
    await desk.press(card, ANN, "Approve")
    await office.audited("approval.decided")
    await office.line.reads.until_reached()
    await office.service.kill9()
    office.line.reads.open.set()
    assert await office.paid_back() == []

    await office.start()
    await office.status(card, "Refunded 42.00 USD for order 1042")
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    assert await office.paid_back() == [4200]
    await desk.press(card, BOB, "Approve")
    await desk.private(FINANCE, BOB, "Your press changed nothing.")
    assert await office.paid_back() == [4200]


async def test_killed_between_the_refund_and_its_record(office: Office) -> None:
    desk = office.desk
    dm = await desk.ask(DANA, REFUND)
    card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
    office.line.refunds.shut()
    await desk.press(card, ANN, "Approve")
    await office.line.refunds.until_reached()
    assert await office.paid_back() == [4200]
    await office.service.kill9()
    office.line.refunds.open.set()
    assert (
        office.home.rows("SELECT 1 FROM agent_audit_log WHERE kind='tool.executed' AND tool_name='refund.issue'") == []
    )

    office.ahead.write_text(A_MINUTE)
    await office.start()
    await office.status(card, "Refunded 42.00 USD for order 1042")
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    assert await office.paid_back() == [4200]
    kinds = [kind for kind, _status, _actor in office.home.audit() if kind.startswith("tool.")]
    assert kinds.count("tool.executed") == 2  # the look-up and the refund


async def test_killed_between_a_mail_and_its_record_a_person_has_to_look(office: Office) -> None:
    desk = office.desk
    dm = await desk.ask(DANA, "Mail customer C-1007 that the parcel is on its way")
    lees = await desk.dm(LEE)
    card = await desk.card(lees, "Send an e-mail to Ada Lindqvist")
    office.post.taken.shut()
    await desk.press(card, LEE, "Approve")
    await office.post.taken.until_reached()
    await office.service.kill9()
    office.post.taken.open.set()

    office.ahead.write_text(A_MINUTE)
    await office.start()
    said = await office.status(card, "Nobody can say whether it happened", lees)
    assert "an admin has to look" in said
    adas = await desk.dm(ADA)
    told = plain(read(await desk.said(adas, "Please look at this")))
    assert "approved by Lee Morgan" in told
    await desk.said(dm, "ada.lindqvist@example.com")
    assert len(office.post.mails) == 1
    (doubt,) = office.home.rows("SELECT status FROM agent_audit_log WHERE kind='tool.in_doubt'")
    assert doubt["status"] == "in_doubt"
