"""Invariants 3 and 4: what a card shows is the request it was posted for, whatever a press says where it was pressed.

In Teams the client writes both the button's data and the message it stands on: neither may be believed of the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.messages import Press
from bot.ports import PressReply
from policy.approval import ApprovalStatus, Verb
from tests.kit.two_chats import ACME, FINANCE, TEAMS, Floor, account, two_chats
from tools.held import HeldView


@pytest.fixture
async def floor(engine_url: str, tmp_path: Path) -> AsyncIterator[Floor]:
    async with two_chats(tmp_path / "floor", engine_url) as made:
        yield made


async def _copies(floor: Floor, view: HeldView) -> list[tuple[str, str]]:
    """Where the card stands in Teams: destination and message."""
    query = "SELECT destination, message_id FROM posted_card WHERE surface = 'teams' AND card_id"
    return [(str(row[0]), str(row[1])) for row in await floor.rows(f"{query} = '{view.card_id}'")]


async def _pressed(floor: Floor, sub: str, view: HeldView, verb: Verb, channel: str, message: str) -> PressReply:
    who, name = account(sub, TEAMS), f"forged-{next(floor.numbers)}"
    press = Press(who, name, view.held_id, view.revision, view.digest, verb, "", channel, message)
    return await floor.service.turn.on_press(press)


async def _two(floor: Floor) -> tuple[HeldView, HeldView]:
    """Dana's own request, and Lee's, which waits in the same channel."""
    mine = await floor.ask("dana", TEAMS)
    theirs = await floor.ask("lee", TEAMS, "30.00", "1043")
    await floor.quiet()
    return mine, theirs


@pytest.mark.parametrize("verb", [Verb.WITHDRAW, Verb.APPROVE])
async def test_nobody_has_their_request_drawn_over_another(floor: Floor, verb: Verb) -> None:
    mine, theirs = await _two(floor)
    ((place, message),) = await _copies(floor, theirs)
    reply = await _pressed(floor, "dana", mine, verb, place, message)
    assert reply.card is None
    await floor.quiet()
    assert [where for where, _ in await _copies(floor, mine)] == [FINANCE]
    assert await _copies(floor, theirs) == [(FINANCE, message)]
    # The press itself was judged like any other.
    done = ApprovalStatus.WITHDRAWN if verb is Verb.WITHDRAW else ApprovalStatus.PENDING
    assert (await floor.view(mine.held_id)).status is done
    assert (await floor.view(theirs.held_id)).status is ApprovalStatus.PENDING
    assert len(await floor.audit("approval.pressed", ACME)) == 1


async def test_nor_over_one_sheet_of_several(floor: Floor) -> None:
    mine, theirs = await _two(floor)
    sheets = f"UPDATE posted_card SET message_id = 'm_1+m2' WHERE surface = 'teams' AND card_id = '{theirs.card_id}'"
    await floor.core.writer.run(lambda conn: conn.exec_driver_sql(sheets))
    assert (await _pressed(floor, "dana", mine, Verb.APPROVE, FINANCE, "m_1")).card is None
    # Another message, though a pattern would match it: nobody remembers it, and it becomes the pressed card's.
    assert (await _pressed(floor, "dana", mine, Verb.APPROVE, FINANCE, "mx1")).card is not None


async def test_a_message_nobody_remembers_is_the_pressed_card_s(floor: Floor) -> None:
    mine, _ = await _two(floor)
    reply = await _pressed(floor, "ann", mine, Verb.APPROVE, FINANCE, "lost-1")
    assert reply.card is not None
    await floor.quiet()
    assert {message for _, message in await _copies(floor, mine)} >= {"lost-1"}
