"""Sealed refresh tokens: bound to one person, used by one at a time, replaced and ended. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.identity.grants import LEASE, GrantAway, NoGrant
from bot.identity.oidc import OidcError, OidcFault, Refreshed
from tests.kit.grant_house import ACME, ADA, BOB, GRANT, OTHER, Idp, Replica, replica


@pytest.fixture
def one(engine_url: str, tmp_path: Path) -> Iterator[Replica]:
    with replica(engine_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def local(sqlite_url: str, tmp_path: Path) -> Iterator[Replica]:
    with replica(sqlite_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def two(engine_url: str, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    with replica(engine_url, tmp_path) as first, replica(engine_url, tmp_path, fresh=False) as second:
        yield first, second


# -- stored and used -----------------------------------------------------------------------------------------------


async def test_each_use_takes_the_token_that_came_last(one: Replica) -> None:
    idp = Idp()
    await one.sign_in()
    for number in (1, 2, 3):
        assert (await one.grants.use(ACME, ADA, idp)).access_token == f"at-{number}"
    assert idp.asked == ["rt-0", "rt-1", "rt-2"]
    assert one.rows("SELECT generation, lease FROM sealed_grant") == [(4, None)]
    assert one.audit() == [("grant.stored", "stored", "ada", "acme")]


async def test_a_provider_that_does_not_rotate(local: Replica) -> None:
    async def steady(token: str) -> Refreshed:
        assert token == "rt-0"
        return Refreshed("at")

    await local.sign_in()
    for _ in range(3):
        await local.grants.use(ACME, ADA, steady)


async def test_no_token_lies_open_anywhere_in_the_database(local: Replica, tmp_path: Path) -> None:
    await local.sign_in("very-secret-refresh-token")
    local.writer.close()
    for path in tmp_path.glob("countersign.sqlite*"):
        assert b"very-secret-refresh-token" not in path.read_bytes()
    assert "very-secret" not in repr(await local.grants.prepare(ACME, ADA))


async def test_nobody_signed_in(local: Replica) -> None:
    with pytest.raises(NoGrant):
        await local.grants.use(ACME, ADA, Idp())
    await local.sign_in()
    for tenant, subject in ((ACME, BOB), (OTHER, ADA)):
        with pytest.raises(NoGrant):
            await local.grants.use(tenant, subject, Idp())


async def test_a_new_sign_in_takes_the_place_of_what_ended(one: Replica) -> None:
    await one.sign_in("stale")
    with pytest.raises(NoGrant):
        await one.grants.use(ACME, ADA, Idp())
    await one.sign_in("rt-0")
    assert (await one.grants.use(ACME, ADA, Idp())).access_token == "at-1"


# -- two replicas --------------------------------------------------------------------------------------------------


async def test_two_replicas_that_refresh_at_once_take_turns(two: tuple[Replica, Replica]) -> None:
    """An IdP that rotates revokes everything when one token comes twice: twenty calls, and nothing is revoked."""
    idp = Idp()
    await two[0].sign_in()
    got = await asyncio.gather(*(two[number % 2].grants.use(ACME, ADA, idp) for number in range(20)))
    assert sorted(one.access_token for one in got) == sorted(f"at-{number}" for number in range(1, 21))
    assert idp.most == 1
    assert len(set(idp.asked)) == 20
    assert two[0].rows("SELECT generation, ended_at FROM sealed_grant") == [(21, None)]


async def test_two_people_do_not_wait_for_each_other(two: tuple[Replica, Replica]) -> None:
    reached = asyncio.Event()
    done = asyncio.Event()

    async def slow(token: str) -> Refreshed:
        reached.set()
        await done.wait()
        return Refreshed("slow")

    await two[0].sign_in(subject=ADA)
    await two[0].sign_in(subject=BOB)
    waiting = asyncio.create_task(two[0].grants.use(ACME, ADA, slow))
    await reached.wait()
    assert (await two[1].grants.use(ACME, BOB, Idp())).access_token == "at-1"
    done.set()
    await waiting


async def test_a_replica_that_died_holding_it_is_waited_for_and_then_passed(engine_url: str, tmp_path: Path) -> None:
    with replica(engine_url, tmp_path, patience=0.1) as one:
        await one.sign_in()
        one.write(sa.update(GRANT).values(lease="the dead", lease_until=one.clock.now + LEASE))
        with pytest.raises(GrantAway, match="under way"):
            await one.grants.use(ACME, ADA, Idp())
        one.clock.now += LEASE
        assert (await one.grants.use(ACME, ADA, Idp())).access_token == "at-1"


async def test_one_token_used_twice_ends_the_grant(two: tuple[Replica, Replica]) -> None:
    """The first replica's lease runs out while it asks; the second goes on from the same token."""
    first, second = two
    steady_answers = {"n": 0}
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(token: str) -> Refreshed:
        reached.set()
        await go.wait()
        return Refreshed("late", "rt-late")

    async def fast(token: str) -> Refreshed:
        steady_answers["n"] += 1
        return Refreshed("quick", "rt-quick")

    await first.sign_in()
    waiting = asyncio.create_task(first.grants.use(ACME, ADA, slow))
    await reached.wait()
    second.clock.now += LEASE + timedelta(seconds=1)
    assert (await second.grants.use(ACME, ADA, fast)).access_token == "quick"
    go.set()
    with pytest.raises(NoGrant):
        await waiting
    assert [row[:2] for row in first.audit()] == [("grant.stored", "stored"), ("grant.ended", "reused")]
    with pytest.raises(NoGrant):
        await second.grants.use(ACME, ADA, fast)
    assert steady_answers["n"] == 1, "nobody asks again with what has ended"


@pytest.mark.parametrize("tidy", [True, False])
async def test_a_leaver_gets_nothing_for_what_was_under_way(two: tuple[Replica, Replica], tidy: bool) -> None:
    """`tidy`: ended by the grants themselves; else by whoever only marks the row, with our lease still in it."""
    first, second = two
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(token: str) -> Refreshed:
        reached.set()
        await go.wait()
        return Refreshed("late", "rt-1")

    await first.sign_in()
    waiting = asyncio.create_task(first.grants.use(ACME, ADA, slow))
    await reached.wait()
    if tidy:
        events = await second.writer.run(lambda conn: second.grants.end(conn, ACME, ADA, "left", second.clock()))
        assert [event.status for event in events] == ["left"]
    else:
        second.write(sa.update(GRANT).values(ended_at=second.clock.now, ended="left", sealed="", wrapped_key=""))
    go.set()
    with pytest.raises(NoGrant):
        await waiting
    assert first.rows("SELECT sealed, wrapped_key, ended FROM sealed_grant") == [("", "", "left")]


# -- what the IdP says -----------------------------------------------------------------------------------------------


async def test_a_refused_token_ends_the_grant_once_and_is_not_tried_again(one: Replica) -> None:
    idp = Idp()
    await one.sign_in("an-older-one")
    outcomes = await asyncio.gather(*(one.grants.use(ACME, ADA, idp) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, NoGrant) for outcome in outcomes)
    assert idp.asked == ["an-older-one"], "no storm"
    assert one.audit()[1:] == [("grant.ended", "refused", "ada", "acme")]
    assert one.rows("SELECT sealed, wrapped_key FROM sealed_grant") == [("", "")]


@pytest.mark.parametrize("fault", [fault for fault in OidcFault if fault is not OidcFault.GRANT])
async def test_an_idp_that_is_away_ends_nothing(local: Replica, fault: OidcFault) -> None:
    async def away(token: str) -> Refreshed:
        raise OidcError(fault, "Not now.")

    await local.sign_in()
    with pytest.raises(GrantAway, match=r"^Not now\.$"):
        await local.grants.use(ACME, ADA, away)
    assert (await local.grants.use(ACME, ADA, Idp())).access_token == "at-1"


async def test_what_breaks_off_lets_go(local: Replica) -> None:
    async def broken(token: str) -> Refreshed:
        raise RuntimeError

    await local.sign_in()
    with pytest.raises(RuntimeError):
        await local.grants.use(ACME, ADA, broken)
    assert (await local.grants.use(ACME, ADA, Idp())).access_token == "at-1"


async def test_who_gives_up_waiting_loses_no_token(local: Replica) -> None:
    """The action's time is over while the IdP has already replaced the token: the new one is kept all the same."""
    idp, reached = Idp(), asyncio.Event()

    async def ask(token: str) -> Refreshed:
        reached.set()
        await asyncio.sleep(0.05)
        return await idp(token)

    await local.sign_in()
    waiting = asyncio.create_task(local.grants.use(ACME, ADA, ask))
    await reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await local.grants.use(ACME, ADA, idp)).access_token == "at-2"
    assert idp.asked == ["rt-0", "rt-1"]
