"""Invariant 8's locks, on PostgreSQL: a kill waits for those who are claiming, and for nobody who comes after it.

Connections that stay inside until they are let go; what waits is read from the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.door import DEMO, House, open_house, until
from tests.kit.kill_house import (
    HANGS,
    OTHER,
    claims,
    kills,
    stopped,
    waiting,
)
from tools import killswitch


@pytest.fixture
def pair(postgres_url: str, tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two replicas: the first one claims, the second one kills."""
    with open_house(postgres_url, tmp_path) as one, open_house(postgres_url, tmp_path, executor="two") as two:
        yield one, two


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_kill_waits_for_those_before_it_and_for_nobody_after_it(
    pair: tuple[House, House], everywhere: bool
) -> None:
    """Of two row locks the later, shared one would pass; so a crowd of calls held a kill up for seconds."""
    one, two = pair
    before = claims(one)
    assert not stopped(await before.inside())
    kill = kills(two, None if everywhere else DEMO)
    await waiting(one, 1)
    after = claims(one)
    await waiting(one, 2)
    assert (kill.found, after.found) == ([], [])
    await before.go()
    await kill.inside()
    await waiting(one, 1)
    assert after.found == []
    await kill.go()
    assert stopped(await after.inside())
    await after.go()


async def test_a_kill_everywhere_waits_for_every_tenant_and_each_of_them_for_it(pair: tuple[House, House]) -> None:
    one, two = pair
    demo, other = claims(one), claims(one, OTHER)
    await demo.inside()
    await other.inside()
    kill = kills(two, None)
    await waiting(one, 1)
    await demo.go()
    await waiting(one, 1)
    assert kill.found == []
    late = [claims(one), claims(one, OTHER)]
    await waiting(one, 3)
    await other.go()
    await kill.inside()
    await waiting(one, 2)
    await kill.go()
    for locker in late:
        assert stopped(await locker.inside())
        await locker.go()


async def test_a_tenants_kill_neither_waits_for_another_tenant_nor_holds_it_up(pair: tuple[House, House]) -> None:
    one, two = pair
    other = claims(one, OTHER)
    await other.inside()
    kill = kills(two)
    await kill.inside()
    late = claims(one, OTHER)
    assert not stopped(await late.inside())
    for locker in (kill, late, other):
        await locker.go()


async def test_two_kills_and_a_resume_pass_one_after_the_other_and_are_counted(pair: tuple[House, House]) -> None:
    one, two = pair
    before = claims(one)
    await before.inside()
    first, second, everywhere = kills(one), kills(two), kills(two, None)
    await waiting(one, 3)
    await before.go()
    for _ in range(3):
        await until(lambda: any(k.found and not k.ended.is_set() for k in (first, second, everywhere)), HANGS)
        # One a round: the next in line may be in before this one's end has been seen.
        await next(k for k in (first, second, everywhere) if k.found and not k.ended.is_set()).go()
    after = claims(one)
    assert stopped(await after.inside())
    await after.go()
    rows = one.rows("SELECT tenant, number FROM kill_switch ORDER BY tenant, number")
    assert rows == [("*", 1), ("demo", 1), ("demo", 2)]
    generation = await one.writer.run(lambda conn: killswitch.lock(conn, DEMO))
    assert (generation.everywhere, generation.tenant) == (1, 2)
