"""Teams counts what is asked about a conversation; whoever uses that up keeps nobody else from deciding there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.ports import Standing
from policy.model import Json
from tests.kit.teams_out import ACCOUNTS, ANN, DANA, FINANCE, Out, member, own, person, teams_out
from tests.rigs.teams_connector import limited

NOBODY = "bbbbbbbb-0000-4000-8000-000000000009"


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Out]:
    async with teams_out(tmp_path) as running:
        await running.settle(DANA, ANN)
        yield running


def _from(out: Out, user: str) -> dict[str, Json]:
    """As much of an activity in the approvers' channel as says who sent it."""
    return {"serviceUrl": out.rig.service_url, "conversation": {"id": FINANCE}, "from": {"id": ACCOUNTS[user]}}


async def _asked_out(out: Out) -> dict[str, Json]:
    """Dana has sent so much there that nothing more may be asked about it for a while; then Ann sends something."""
    for _ in range(120):
        assert await out.surface.standing_at(person(DANA), _from(out, DANA)) is Standing.MEMBER
        out.time.now += 0.13
    out.time.waits.clear()
    return _from(out, ANN)


async def test_who_floods_a_channel_does_not_keep_the_others_from_deciding_there(out: Out) -> None:
    body = await _asked_out(out)
    assert await out.surface.standing_at(person(ANN), body) is Standing.MEMBER
    assert out.time.waits == []
    assert out.rig.called("member")[-1].conversation == own(ANN)
    out.rig.members[ACCOUNTS[ANN]] = member(ANN, userRole="guest")
    assert await out.surface.standing_at(person(ANN), body) is Standing.GUEST


async def test_nobody_passes_for_a_member_because_too_much_was_asked(out: Out) -> None:
    body = await _asked_out(out)
    assert await out.surface.standing_at(person(NOBODY), body) is Standing.UNKNOWN
    assert len(out.rig.called("member")) == 120


async def test_teams_own_word_that_it_is_too_much_is_taken_in_the_same_way(out: Out) -> None:
    out.rig.fault("member", limited("30"))
    assert await out.surface.standing_at(person(ANN), _from(out, ANN)) is Standing.MEMBER
    assert [call.conversation for call in out.rig.called("member")] == [FINANCE, own(ANN)]
