"""Two `countersign serve` on one PostgreSQL: press races, the kill-switch, and the take-over of a dead one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.service_process import Home, Service, fresh_database, make_home, start
from tests.kit.slack_desk import ADA, ANN, BOB, DANA, FINANCE, RITA, SAM, Desk, Message, labels, plain, read
from tests.kit.slow_line import PaymentLine, payment_line
from tests.rigs.local_slack import LocalSlack, until
from tests.rigs.localstripe_server import KEY, charge, localstripe, refunds_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe")) as address:
        yield address


@dataclass
class Office:
    """Both processes see every message of the workspace, or one of them does: it must not matter."""

    desk: Desk
    home: Home
    line: PaymentLine
    stripe: str
    ahead: Path
    replicas: list[Service]

    async def start(self) -> Service:
        env: dict[str, Any] = {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": self.line.base}
        self.replicas.append(await start(self.home, self.desk.slack.api_url, ahead=self.ahead, **env))
        return self.replicas[-1]

    async def paid(self, order: str, minor: int) -> str:
        """Has the order be paid at the provider; the charge."""
        made = await charge(self.stripe, minor, "USD")
        self.home.pay_with(order, made)
        return made

    async def refund(self, user: str, text: str, words: str) -> Message:
        await self.desk.ask(user, text)
        return await self.desk.card(FINANCE, words)

    async def status(self, card: Message, words: str, seconds: float = 30) -> str:
        found = await self.desk.find(
            FINANCE,
            lambda text, m: m["ts"] == card["ts"] and words in plain(text),
            f"the card to say {words!r}",
            seconds,
        )
        return plain(read(found))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(postgres_server: str, tmp_path_factory: pytest.TempPathFactory, stripe: str) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("replicas")
    with fresh_database(postgres_server) as url:
        home = await asyncio.to_thread(lambda: make_home(folder / "home", url))
        for name in ("Sam Patel", "Rita Ray"):
            home.change_person(name, groups=["support"])
        ahead = folder / "ahead"
        ahead.write_text("0")
        async with AsyncExitStack() as stack:
            slack = await stack.enter_async_context(LocalSlack.start("socket", folder))
            line = await stack.enter_async_context(payment_line(stripe))
            office = Office(Desk(slack), home, line, stripe, ahead, [])
            try:
                await asyncio.gather(office.start(), office.start())
                yield office
            finally:
                for replica in office.replicas:
                    if replica.process.returncode is None:
                        await replica.kill9()


async def test_presses_that_race_through_both_count_once(office: Office) -> None:
    charges = {order: await office.paid(order, 8000) for order in ("1042", "1045", "1046")}
    cards = [
        await office.refund(
            DANA, f"Refund order {order}, 8 dollars, it came late", f"Refund 8.00 USD for order {order}"
        )
        for order in charges
    ]
    presses = [
        office.desk.press(card, who, "Approve") for _ in range(3) for card in cards for who in (ANN, BOB)
    ]  # 18 at once: double clicks of two approvers
    await asyncio.gather(*presses)
    for card in cards:
        await office.status(card, "Refunded 8.00 USD")
    for paid in charges.values():
        assert [amount for amount, _call in await refunds_of(office.stripe, paid)] == [800]

    def rows() -> list[str]:
        found = office.home.rows("SELECT status FROM agent_audit_log WHERE kind='approval.pressed'")
        return [row["status"] for row in found]

    async def all_rows() -> bool:
        return len(rows()) >= len(presses)

    await until(all_rows, "a row for every press")
    # local-slack delivers each press to both processes: the same one twice is a duplicate, never a second vote.
    assert sorted(set(rows()) - {"late", "duplicate"}) == ["approved"]
    assert rows().count("approved") == 3
    decided = office.home.rows("SELECT status FROM agent_audit_log WHERE kind='approval.decided'")
    assert [row["status"] for row in decided] == ["approved"] * 3


async def test_one_message_is_one_turn_however_many_listen(office: Office) -> None:
    before = len(office.home.rows("SELECT 1 FROM agent_audit_log WHERE kind='turn.started'"))
    dm = await office.desk.ask(RITA, "What did order 1042 cost?")
    await office.desk.said(dm, "84.00 USD")
    assert len(office.home.rows("SELECT 1 FROM agent_audit_log WHERE kind='turn.started'")) == before + 1
    answers = [m for m in await office.desk.slack.bot_messages(dm) if "84.00 USD" in read(m)]
    assert len(answers) == 1


async def test_after_a_kill_nothing_is_claimed_by_either(office: Office) -> None:
    desk, home = office.desk, office.home
    paid = await office.paid("1031", 12000)
    cards = [
        await office.refund(SAM, f"Refund order 1031, {n} dollars, a stain", f"Refund {n}.00 USD for order 1031")
        for n in (3, 4, 5)
    ]
    kill = asyncio.create_task(home.cli("kill", "tool", "refund.issue", "wrong", "amounts"))
    before = len(home.rows("SELECT 1 FROM agent_audit_log WHERE kind='tool.started' AND tool_name='refund.issue'"))

    async def pressing() -> None:
        while not kill.done():
            await asyncio.gather(*(desk.press(card, who, "Approve") for card in cards[:1] for who in (ANN, BOB)))
            await asyncio.sleep(0.05)

    await pressing()
    stopped = kill.result()
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    await asyncio.gather(*(desk.press(card, who, "Approve") for card in cards for who in (ANN, BOB)))
    await desk.private(FINANCE, BOB, "wrong amounts")
    (kill_row,) = home.rows("SELECT seq FROM agent_audit_log WHERE kind='kill.switched'")
    late = home.rows(
        "SELECT seq FROM agent_audit_log WHERE kind='tool.started' AND tool_name='refund.issue' "
        f"AND seq > {kill_row['seq']}"
    )
    assert late == []
    started = len(home.rows("SELECT 1 FROM agent_audit_log WHERE kind='tool.started' AND tool_name='refund.issue'"))
    assert len(await refunds_of(office.stripe, paid)) <= started - before <= 1
    resumed = await home.cli("resume", "tool", "refund.issue")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    await desk.command(ADA, "status", "Nothing is stopped.")
    for card in cards[1:]:
        waiting = await desk.find(FINANCE, partial(_can_be_approved, ts=card["ts"]), "Approve again")
        await desk.press(waiting, ANN, "Approve")
    await office.status(cards[1], "Refunded 4.00 USD")
    await office.status(cards[2], "Refunded 5.00 USD")


async def test_the_dead_ones_refund_is_finished_by_the_other_and_never_made_twice(office: Office) -> None:
    """Last: one of the two is gone afterwards."""
    paid = await office.paid("1056", 9750)
    card = await office.refund(RITA, "Refund order 1056, 20 dollars, a dent", "Refund 20.00 USD for order 1056")
    office.line.refunds.shut()
    await office.desk.press(card, ANN, "Approve")
    await office.line.refunds.until_reached()
    victim, survivor = await _who_runs(office)
    await victim.kill9()
    office.ahead.write_text("60")
    office.line.refunds.open.set()
    began = time.monotonic()
    await office.status(card, "Refunded 20.00 USD", 40)
    assert [amount for amount, _call in await refunds_of(office.stripe, paid)] == [2000]
    dm = await office.desk.dm(RITA)
    await office.desk.said(dm, "Refunded 20.00 USD for order 1056")
    assert survivor.process.returncode is None
    assert time.monotonic() - began < 40
    verified = await office.home.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _can_be_approved(_text: str, message: Message, ts: str) -> bool:
    return message["ts"] == ts and "Approve" in labels(message)


async def _who_runs(office: Office) -> tuple[Service, Service]:
    """The process that has claimed the effect, and the other one."""
    (claimed,) = office.home.rows("SELECT executor FROM effect WHERE state='started'")
    (replica,) = office.home.rows(f"SELECT pid FROM replica WHERE replica_id='{claimed['executor']}'")
    first, second = office.replicas
    return (first, second) if first.process.pid == replica["pid"] else (second, first)
