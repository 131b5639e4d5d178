"""Invariant 14 when tenants.yaml changes: a chat team that was acme's is globex' now and takes nothing with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import Connection

from bot.core import utc_now
from bot.identity import links
from bot.identity.links import How
from bot.ports import Standing
from policy.approval import ApprovalStatus, Verb
from tests.kit.two_tenants import ACME, GLOBEX, TEAM, WORD, Two, chat, dm, serving, subject, tenants_file
from tools.held import HeldView, PressRequest, Scope, ScopeKind
from tools.stops import By

MOVED = {ACME: (), GLOBEX: (TEAM[GLOBEX], TEAM[ACME])}


@asynccontextmanager
async def after_the_move(two_folder: Path, before: list[HeldView]) -> AsyncIterator[Two]:
    """Something of acme's is held and its card stands; then the service starts with another tenants.yaml."""
    async with serving(two_folder) as two:
        await two.write(ACME, "dana")
        before.append(await two.pending(ACME))
    tenants_file(two_folder, MOVED)
    async with serving(two_folder) as two:
        yield two


async def test_nobody_of_acme_is_known_in_the_team_any_more(two_folder: Path) -> None:
    held: list[HeldView] = []
    async with after_the_move(two_folder, held) as two:
        for text in ("whoami", "pending", "status", "kill all because"):
            for sub in ("dana", "ann", "ada"):
                said = await two.command(ACME, sub, text)
                assert WORD[ACME] not in said, said
                assert "Stopped:" not in said, said
        reply = await two.press(ACME, "ann", held[0])
        assert reply.card is None
        assert WORD[ACME] not in reply.sentence
        assert (await two.turn.home(chat(ACME, "ann"))).waiting_for_me == ()
        assert not await two.turn.follows(dm(ACME, "dana"))
        await two.turn.on_account_changed(chat(ACME, "dana"), Standing.DEACTIVATED)
        view = await two.core.gateway.view(ACME, held[0].held_id)
        assert view is not None
        assert view.status is ApprovalStatus.PENDING
        assert [row for row in await two.log(ACME, kinds="approval.pressed") if "ann" in str(row)] == []
        # Globex' chain has what was tried in its team, and names nobody of acme's.
        assert WORD[ACME] not in str(await two.log(GLOBEX))


async def test_cards_and_words_of_acme_are_not_brought_into_the_team(two_folder: Path) -> None:
    """Whatever changes about the request afterwards: the copy in what was acme's channel is not touched."""
    held: list[HeldView] = []
    async with after_the_move(two_folder, held) as two:
        gateway, by = two.core.gateway, By("ada", f"Ada {WORD[ACME]}", ("admin",))
        await gateway.kill(ACME, Scope(ScopeKind.TENANT), by, f"because {WORD[ACME]}")
        await gateway.resume(ACME, Scope(ScopeKind.TENANT), by)
        ann = await two.who(ACME, "ann")
        for verb in (Verb.ASK, Verb.APPROVE):
            press = PressRequest(
                two.next("p"), held[0].held_id, held[0].revision, held[0].digest, verb, f"why {WORD[ACME]}", "web"
            )
            await gateway.countersign(ACME, ann, press)
        again = await two.refund(ACME, "10.00", "1043")
        await _over(two, held[0].held_id)
        await two.core.durable.stop()  # everything that was queued has been tried
        assert again.status is ApprovalStatus.PENDING
        assert WORD[ACME] not in two.wall.heard(ACME), two.wall.heard(ACME)
        assert WORD[ACME] not in two.wall.heard(GLOBEX)


async def _over(two: Two, held_id: str) -> None:
    end = asyncio.get_running_loop().time() + 30
    while True:
        view = await two.core.gateway.view(ACME, held_id)
        assert view is not None
        if view.effect == "done":
            break
        assert asyncio.get_running_loop().time() < end, view
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.5)


async def test_an_approver_is_not_written_to_in_a_team_that_is_another_organisation_s(two_folder: Path) -> None:
    """Cards that go to people directly go to accounts in teams of their own organisation."""
    tenants_file(two_folder, {ACME: ("T0NEW",), GLOBEX: (TEAM[GLOBEX], TEAM[ACME])})
    async with serving(two_folder) as two:
        lee = await two.core.book.by_subject(ACME, subject("lee"))
        assert lee is not None
        assert lee.accounts == ()


async def test_who_is_linked_anew_in_the_team_belongs_to_globex(two_folder: Path) -> None:
    """The account's own holder says who they are at globex: what it was at acme stands in nobody's way."""
    held: list[HeldView] = []
    async with after_the_move(two_folder, held) as two:

        def unit(conn: Connection) -> None:
            events = links.bind(conn, GLOBEX, chat(ACME, "dana"), subject("dana"), How.SHELL, utc_now(), "op")
            two.core.audit.append(conn, events)

        await two.core.writer.run(unit)
        said = await two.command(ACME, "dana", "whoami")
        assert WORD[GLOBEX] in said
        assert WORD[ACME] not in said
        assert "Nothing is open" in await two.command(ACME, "dana", "pending")


async def test_moved_back_it_is_acme_s_again(two_folder: Path) -> None:
    """A mistake in tenants.yaml that was mended: links are proofs, and nobody has disproved them."""
    held: list[HeldView] = []
    async with after_the_move(two_folder, held):
        pass
    tenants_file(two_folder, {name: (team,) for name, team in TEAM.items()})
    async with serving(two_folder) as two:
        assert (await two.press(ACME, "ann", held[0])).sentence == "Approved."
