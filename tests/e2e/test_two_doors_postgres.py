"""Presses, kills and take-overs raced by real processes on PostgreSQL; one of them dies where it hurts most."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

from audit.verify import verify
from policy.approval import ApprovalStatus, PressResult
from tests.kit.door import DEMO, ROOT, House, open_house
from tests.kit.second_door import QUICK
from tools.held import EffectState, Held, HeldView

SCRIPT = ROOT / "tests" / "kit" / "second_door.py"
DIED = 9
ORDERS = ("1002", "1003", "1006", "1012", "1016", "1017", "1021", "1024", "1027", "1028")


class Other:
    """Another process with a door on the same database."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._in, self._out = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)

    def ready(self) -> None:
        assert self._out.readline() == "ready\n"

    def go(self) -> None:
        self._in.write("go\n")
        self._in.flush()

    def said(self) -> list[str]:
        line = self._out.readline()
        assert self.process.wait(60) == 0
        found: list[str] = json.loads(line)
        return found

    def died(self) -> None:
        assert self.process.wait(60) == DIED


@pytest.fixture
def house(postgres_url: str, tmp_path: Path) -> Iterator[House]:
    with open_house(postgres_url, tmp_path, timings=QUICK) as opened:
        yield opened


@contextmanager
def others(url: str, folder: Path, *commands: tuple[str, ...]) -> Iterator[list[Other]]:
    """Processes that stand ready; whatever happens, none outlives the test."""
    found = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), url, str(folder), f"p{number}", *command],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, command in enumerate(commands)
    ]
    try:
        ready = [Other(process) for process in found]
        for other in ready:
            other.ready()
        yield ready
    finally:
        for process in found:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


async def approved(house: House, order: str = "1042", amount: str = "5.00") -> HeldView:
    view = await house.ask_refund(amount, order=order, sub="dana" if int(order) % 2 else "greedy")
    for sub in ("ann", "bob")[: view.needed]:
        pressed = await house.press(sub, view)
    assert pressed.result is PressResult.APPROVED
    return view


def holds(house: House) -> None:
    report = verify(house.writer.engine)
    assert report.holds, report.sentences()


@pytest.mark.parametrize("when", ["before_claim", "claimed", "done", "recording"])
async def test_a_process_that_dies_leaves_exactly_one_refund(
    house: House, postgres_url: str, tmp_path: Path, when: str
) -> None:
    view = await approved(house)
    with others(postgres_url, tmp_path, ("dies", when, view.held_id)) as (other,):
        other.go()
        other.died()
    house.clock.move(seconds=60)
    assert (await house.execute(view)).effect is EffectState.DONE
    assert len(house.refunds()) == 1
    assert len(house.audit("seq", where="kind='tool.executed'")) == 1
    holds(house)


@pytest.mark.parametrize("when", ["claimed", "done"])
async def test_a_process_that_dies_over_a_mail_never_has_it_sent_twice(
    house: House, postgres_url: str, tmp_path: Path, when: str
) -> None:
    held = await house.ask("dana", "email.send", to="C-1007", subject="s", body="b")
    assert isinstance(held, Held)
    await house.press("lee", held.view)
    with others(postgres_url, tmp_path, ("dies", when, held.view.held_id)) as (other,):
        other.go()
        other.died()
    house.clock.move(seconds=60)
    watched = house.watch("email.send", blind=True)
    assert (await house.execute(held.view)).effect is EffectState.IN_DOUBT
    assert watched.runs == []
    assert len(house.mails()) == (1 if when == "done" else 0)


async def test_two_processes_execute_the_same_calls_once_each(house: House, postgres_url: str, tmp_path: Path) -> None:
    views = [await approved(house, order) for order in ORDERS[:4]]
    ids = tuple(view.held_id for view in views)
    with others(postgres_url, tmp_path, ("claims", *ids), ("claims", *reversed(ids))) as pair:
        for other in pair:
            other.go()
        for other in pair:
            other.said()
    assert [(await house.now(held_id)).effect for held_id in ids] == [EffectState.DONE] * len(ids)
    assert [len(house.refunds(order)) for order in ORDERS[:4]] == [1] * len(ids)
    assert len(house.audit("seq", where="kind='tool.started'")) == len(ids)
    holds(house)


async def test_after_the_kill_no_process_starts_anything(house: House, postgres_url: str, tmp_path: Path) -> None:
    views = [await approved(house, order) for order in ORDERS]
    ids = tuple(view.held_id for view in views)
    commands = (("claims", *ids), ("claims", *reversed(ids)), ("kill",))
    with others(postgres_url, tmp_path, *commands) as (one, two, killer):
        for other in (one, two, killer):
            other.go()
        reopened, *in_flight = killer.said()
        one.said()
        two.said()
    rows = house.audit("kind", "seq", where="kind IN ('kill.switched','tool.started')")
    switched = next(int(str(seq)) for kind, seq in rows if kind == "kill.switched")
    assert [seq for kind, seq in rows if kind == "tool.started" and int(str(seq)) > switched] == []
    now = [await house.now(held_id) for held_id in ids]
    pending = [view for view in now if view.status is ApprovalStatus.PENDING]
    assert len(pending) == int(reopened)
    started = {view.held_id for view in now} - {view.held_id for view in pending}
    assert set(in_flight) <= started
    assert sum(len(house.refunds(order)) for order in ORDERS) == len(started)
    holds(house)


async def test_presses_of_two_processes_settle_each_request_once(
    house: House, postgres_url: str, tmp_path: Path
) -> None:
    views = [
        await house.ask_refund("101.00", order=order, sub=sub)
        for order, sub in zip(ORDERS[:4], ("dana", "greedy") * 2, strict=True)
    ]
    ids = tuple(view.held_id for view in views)
    commands = [("press", sub, *order) for sub, order in (("ann", ids), ("bob", ids[::-1]), ("ann-private", ids))]
    with others(postgres_url, tmp_path, *commands) as presses:
        for other in presses:
            other.go()
        said = [other.said() for other in presses]
    results = [result for results in said for result in results]
    assert len(house.audit("seq", where="kind='approval.pressed'")) == len(results) == 12
    assert results.count("approved") == 4
    for held_id in ids:
        view = await house.now(held_id)
        assert view.status is ApprovalStatus.APPROVED
        assert {vote.subject.sub for vote in view.votes} & {"bob"}
        assert len(view.votes) == 2
    assert len(house.audit("seq", where="kind='approval.decided'")) == 4
    assert {tenant for (tenant,) in house.audit("tenant_id")} == {str(DEMO)}
    holds(house)
