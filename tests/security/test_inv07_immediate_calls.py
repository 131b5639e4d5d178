"""Invariant 7 for calls that need nobody: written once, whoever replays or races."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.door import DEMO, Crash, House, Watched, crash, later
from tools import effects
from tools.held import Executed, Failed, Held

CHANGE = {"customer_id": "C-1007", "field": "phone", "value": "+1 206 555 0199"}


async def write(house: House, call_id: str = "w1") -> Executed | Failed | object:
    (outcome,) = await house.gateway.propose(house.turn("sam"), [house.proposal("sam", "crm.write", CHANGE, call_id)])
    return outcome


async def test_a_write_replayed_after_its_end_is_one_write_and_two_rows(house: House) -> None:
    assert isinstance(await write(house), Executed)
    assert isinstance(await write(house), Executed)
    assert [kind for (kind,) in house.audit("kind")] == ["tool.started", "tool.executed"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_write_that_died_is_finished_once(pair: tuple[House, House], when: str) -> None:
    one, two = pair
    if when == "before":
        one.watch("crm.write", before=crash)
    else:
        one.watch("crm.write", after=crash)
    with pytest.raises(Crash):
        await write(one)
    assert isinstance(await write(later(two)), Executed)
    assert [kind for (kind,) in one.audit("kind")] == ["tool.started", "tool.executed"]


async def test_a_done_write_that_cannot_be_looked_up_is_still_done(house: House) -> None:
    assert isinstance(await write(house), Executed)
    watched: Watched = house.watch("crm.write", blind=True)
    assert isinstance(await write(house), Executed)
    assert watched.runs == []
    assert house.audit("seq", where="kind='tool.in_doubt'") == []


async def test_one_call_proposed_by_two_doors_at_once_is_held_once(pair: tuple[House, House]) -> None:
    one, two = pair
    args = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}
    turn = one.turn("dana")
    calls = [(house, house.proposal("dana", "refund.issue", args, "same")) for house in (one, two) for _ in range(4)]
    outcomes = await asyncio.gather(*(house.gateway.propose(turn, [call]) for house, call in calls))
    assert {type(outcome) for (outcome,) in outcomes} == {Held}
    assert one.rows("SELECT count(*) FROM held_call") == [(1,)]
    assert len(one.audit("seq", where="kind='tool.requested'")) == 1


async def test_one_write_proposed_by_two_doors_at_once_is_written_once(pair: tuple[House, House]) -> None:
    one, two = pair
    outcomes = await asyncio.gather(*(write(house) for house in (one, two) for _ in range(3)))
    assert {type(outcome) for outcome in outcomes} <= {Executed, Failed}
    assert len(one.audit("seq", where="kind='tool.executed'")) == 1
    assert one.rows("SELECT count(*), max(attempt) FROM effect") == [(1, 1)]


def test_a_claim_is_given_once(house: House) -> None:
    def claims() -> list[type]:
        def unit(conn: object) -> list[type]:
            from sqlalchemy.engine import Connection

            assert isinstance(conn, Connection)
            now = house.clock()
            return [
                type(effects.claim(conn, DEMO, "k", house.tools[name].name, "x", now)) for name in list(house.tools)[:2]
            ]

        return house.writer.run_blocking(unit)

    assert claims() == [effects.Claimed, effects.Taken]
