"""Leaving as the door alone does it: people of a directory file, a thousand requests of one, the work bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from audit.event import Event
from policy.approval import ApprovalStatus, PressResult
from policy.model import Subject
from tests.kit.door import DEMO, ISSUER, House
from tools import approvals, leaving, signing
from tools.approvals import HELD
from tools.held import EffectState, HeldView
from tools.integrity import MacKey


@contextmanager
def statements(house: House) -> Iterator[list[str]]:
    """Every statement the house's database is asked within the block."""
    found: list[str] = []

    def note(conn: object, cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(house.writer.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(house.writer.engine, "before_cursor_execute", note)


def reconsider(house: House, *subs: str, force: bool = False, cause: str = "asked") -> list[Event]:
    subjects = [Subject(ISSUER, sub) for sub in subs]

    def unit(conn: Connection) -> list[Event]:
        events = house.gateway.reconsider(conn, DEMO, subjects, cause, force=force)
        house.door.audit.append(conn, events)
        return events

    return house.writer.run_blocking(unit)


def copies(house: House, view: HeldView, many: int, sub: str) -> None:
    """`many` requests like `view`, of `sub`, each on a card of its own."""
    row = house.writer.read_blocking(lambda conn: approvals.read(conn, DEMO, view.held_id))
    assert row is not None
    made = []
    for number in range(many):
        new = row.model_copy(update={"resource": None, "requester_sub": sub, "nonce": f"{number:032x}"})
        for name in ("held_id", "call_id", "card_id", "turn_id", "session_id"):
            setattr(new, name, f"{getattr(row, name)}-{sub}-{number}")
        new.digest = signing.drawn_up(new).digest()
        new.mac = signing.seal(MacKey(b"k" * 32), new, ())
        made.append(new.model_dump())
    house.writer.run_blocking(lambda conn: conn.execute(sa.insert(HELD), made).rowcount)


async def test_somebody_removed_from_the_file_loses_what_waits_once_it_is_asked(house: House) -> None:
    view = await house.ask_refund()
    house.change_people("sub: dana\n", "sub: dana\n    active: false\n")
    events = reconsider(house, "dana")
    assert [one.kind.value for one in events] == ["approval.voided", "person.left"]
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert reconsider(house, "dana") == []


async def test_forced_the_person_is_gone_whatever_the_directory_says(house: House) -> None:
    view = await house.ask_refund()
    assert reconsider(house, "dana") == []
    reconsider(house, "dana", force=True, cause=leaving.SIGNED_OUT)
    now = await house.now(view.held_id)
    assert now.status is ApprovalStatus.VOIDED
    assert now.reason is not None
    assert "was signed out" in now.reason


async def test_the_requester_s_thread_is_told_in_the_way_every_end_is(house: House) -> None:
    """Whether anybody is there to hear it is asked when it is told."""
    view = await house.ask_refund()
    reconsider(house, "dana", force=True)
    assert house.queue.outcomes == [(DEMO, view.held_id)]


@pytest.mark.parametrize("altered", ["held_call", "vote"])
async def test_what_was_altered_is_not_reopened_but_voided(house: House, altered: str) -> None:
    """An approved call that lost a vote is sealed anew: never over what somebody changed by hand."""
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    if altered == "vote":
        house.write("UPDATE vote SET digest = 'x'")
    else:
        house.write("UPDATE held_call SET arguments = '{}'")
    reconsider(house, "ann", force=True)
    now = await house.now(view.held_id)
    assert (now.status, now.effect) == (ApprovalStatus.VOIDED, EffectState.NONE)
    await house.settle()
    assert house.refunds() == []


async def test_a_thousand_requests_of_one_person_end_in_one_transaction(house: House) -> None:
    view = await house.ask_refund()
    copies(house, view, 999, "dana")
    copies(house, view, 300, "greedy")
    house.queue.notices.clear()
    reconsider(house, "dana", force=True)
    left = house.rows("SELECT requester_sub, status, COUNT(*) FROM held_call GROUP BY requester_sub, status")
    assert sorted(left) == [("dana", "voided", 1000), ("greedy", "pending", 300)]
    assert len(house.queue.notices) == 1000
    assert house.rows("SELECT COUNT(*) FROM agent_audit_log WHERE kind = 'approval.voided'") == [(1000,)]


async def test_the_work_does_not_grow_with_what_others_have_waiting(house: House) -> None:
    view = await house.ask_refund()
    with statements(house) as alone:
        reconsider(house, "sam", "ann", force=True)
    copies(house, view, 500, "greedy")
    with statements(house) as in_a_crowd:
        reconsider(house, "sam", "ann", force=True)
    assert len(in_a_crowd) == len(alone)


def explained(conn: Connection, statement: str) -> list[str]:
    values = ("x",) * statement.count("?")
    return [str(row[-1]) for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]


async def test_what_a_person_has_waiting_is_found_by_index(local_house: House) -> None:
    """Not by looking through the tenant's ten thousand requests, or through all its votes."""
    view = await local_house.ask_refund()
    assert (await local_house.press("ann", view)).result is PressResult.APPROVED
    with statements(local_house) as found:
        reconsider(local_house, "ann", "dana", force=True)
    steps = [
        (step, statement)
        for statement in found
        if statement.startswith("SELECT")
        for step in local_house.writer.read_blocking(partial(explained, statement=statement))
    ]
    # One person's, by their name; or single rows, by their key.
    narrow = ("requester_sub=?", "sub=?", "held_id=?")
    ours = [one for one in steps if re.search(r"(SCAN|SEARCH) (vote|held_call)\b", one[0])]
    wide = [one for one in ours if not any(name in one[0] for name in narrow)]
    assert wide == []
    assert any("vote_voter" in step for step, _ in steps)
    assert any("held_call_requester" in step for step, _ in steps)


async def test_a_replica_with_another_key_reopens_nothing(house: House) -> None:
    """Its seal would not hold at the replica that claims: what it cannot check it voids."""
    view = await house.ask_refund()
    await house.press("ann", view)
    stranger = replace(house.door, mac=MacKey(b"x" * 32))
    ann = [Subject(ISSUER, "ann")]
    house.writer.run_blocking(
        lambda conn: leaving.reconsider(conn, stranger, DEMO, ann, "asked", house.clock.now, force=True)
    )
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
