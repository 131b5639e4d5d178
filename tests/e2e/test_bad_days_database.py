"""The service's database is locked, or its disk is full: said where the person is, nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.service_process import Home, Service, exclusive_lock, serving
from tests.kit.slack_desk import ANN, BOB, DANA, FINANCE, Desk, read
from tests.rigs.local_slack import LocalSlack


@dataclass(frozen=True)
class Office:
    desk: Desk
    home: Home
    service: Service


@pytest.fixture
async def office(home: Home, tmp_path: Path) -> AsyncIterator[Office]:
    async with LocalSlack.start("socket", tmp_path) as slack, serving(home, slack.api_url) as service:
        yield Office(Desk(slack), home, service)


@contextmanager
def full_disk(service: Service) -> Iterator[None]:
    """No file of the process can grow any more. To SQLite it is a write that the disk does not take."""
    pid = service.process.pid
    _soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


async def test_a_short_lock_is_waited_for(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, "Refund order 1042, 42 dollars, the parcel never came")
    card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
    with exclusive_lock(home.database):
        # local-slack answers a press when the service has acknowledged it: within Slack's three seconds.
        began = time.monotonic()
        await asyncio.gather(desk.press(card, ANN, "Approve"), desk.press(card, BOB, "Approve"))
        assert time.monotonic() - began < 3
        asking = asyncio.create_task(desk.ask(DANA, "Refund order 1047, 5 dollars, a crack"))
        await asyncio.sleep(1)  # the length of the bad day itself
        assert home.refunds() == []
    await asking
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    await desk.card(FINANCE, "Refund 5.00 USD for order 1047")
    assert home.refunds() == [4200]
    pressed = [status for kind, status, _who in home.audit() if kind == "approval.pressed"]
    assert sorted(pressed) in (["approved", "late"], ["approved", "duplicate"])


@pytest.mark.slow
async def test_a_long_lock_is_told_and_what_was_not_taken_is_asked_for_again(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, "Refund order 1042, 42 dollars, the parcel never came")
    card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
    await desk.said(dm, "asked in #finance-approvals")
    with exclusive_lock(home.database):
        await desk.press(card, ANN, "Approve")
        await desk.ask(DANA, "Refund order 1047, 5 dollars, a crack")
        told = read(await desk.said(dm, "I could not note your message", 45))
        pressed = await desk.private(FINANCE, ANN, "could not be recorded", 45)
    assert "is locked by another program" in told
    assert "nothing was done with it" in told
    assert "send it again" in told
    assert "it did not count" in pressed
    assert home.refunds() == []
    await desk.ask(DANA, "Refund order 1047, 5 dollars, a crack")
    await desk.card(FINANCE, "Refund 5.00 USD for order 1047")
    await desk.press(card, ANN, "Approve")
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    assert home.refunds() == [4200]
    assert len([1 for kind, _status, _who in home.audit() if kind == "turn.started"]) == 2


async def test_a_full_disk_is_told_and_nothing_is_lost_or_doubled(office: Office) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, "Refund order 1042, 42 dollars, the parcel never came")
    card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
    await desk.said(dm, "asked in #finance-approvals")
    with full_disk(office.service):
        await desk.press(card, ANN, "Approve")
        pressed = await desk.private(FINANCE, ANN, "could not be recorded", 30)
        await desk.ask(DANA, "Refund order 1047, 5 dollars, a crack")
        told = read(await desk.said(dm, "I could not note your message", 30))
        assert home.refunds() == []
    assert "it did not count" in pressed
    assert "Check its disk" in told
    await desk.press(card, ANN, "Approve")
    await desk.said(dm, "Refunded 42.00 USD for order 1042")
    await desk.ask(DANA, "Refund order 1047, 5 dollars, a crack")
    await desk.card(FINANCE, "Refund 5.00 USD for order 1047")
    assert home.refunds() == [4200]
    assert await office.service.stop() == 0
    verified = await home.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
