"""Tokens that run out, renewed: by one replica alone, before their end, and never lost to a store that is away.

``oauth.v2.access`` is a stand-in (tests/rigs/slack_oauth.py) whose refresh tokens are good once, as Slack's are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.faults import StoreUnavailable
from bot.ports import SurfaceError
from bot.slack import installs
from tests.rigs.local_slack import until
from tests.rigs.slack_installs import Listed, Replica, replica, settled
from tests.rigs.slack_oauth import SlackOAuth, Team

SOON = 600
"""Seconds that a token still lives when it is time to renew it, though it works."""


@pytest.fixture
async def oauth() -> AsyncIterator[SlackOAuth]:
    async with SlackOAuth().serve() as running:
        running.add(Team("T0ACME", expires_in=SOON))
        yield running


@pytest.fixture
def pair(engine_url: str, tmp_path: Path, oauth: SlackOAuth) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas on one database, with the same keys."""
    book = Listed({"T0ACME": "acme"})
    with (
        replica(engine_url, tmp_path / "keys", oauth, book) as one,
        replica(engine_url, tmp_path / "keys", oauth, book) as two,
    ):
        yield one, two


def expire(house: Replica) -> None:
    """The token's time is over."""
    with house.engine.begin() as conn:
        conn.execute(sa.text("UPDATE slack_bots SET bot_token_expires_at = '2020-01-01 00:00:00'"))


async def token(house: Replica) -> str:
    return str((await house.installs.of("T0ACME")).calls.client.token)


def refreshes(oauth: SlackOAuth) -> int:
    return len([args for _, args in oauth.asked("oauth.v2.access") if args.get("grant_type") == "refresh_token"])


async def test_it_is_renewed_before_its_end_and_calls_do_not_wait(
    pair: tuple[Replica, Replica], oauth: SlackOAuth
) -> None:
    one, two = pair
    await one.install(oauth, "T0ACME")
    first = await token(one)
    oauth.teams["T0ACME"].expires_in = 43_200
    oauth.slow_s = 0.3
    started = asyncio.get_running_loop().time()
    assert await token(one) == first
    assert asyncio.get_running_loop().time() - started < 0.25, "nobody waits while the token there is works"

    async def renewed() -> bool:
        return await token(one) != first

    await until(renewed, "the next token")
    await one.installs.close()
    assert await token(two) == await token(one)
    assert (refreshes(oauth), oauth.spent) == (1, [])
    stored = one.rows("SELECT b.bot_refresh_token = i.bot_refresh_token FROM slack_bots b, slack_installations i")
    assert [bool(same) for (same,) in stored] == [True]


@pytest.mark.parametrize("round_", range(3))
async def test_two_replicas_at_once_spend_one_refresh_token(
    pair: tuple[Replica, Replica], oauth: SlackOAuth, round_: int
) -> None:
    one, two = pair
    await one.install(oauth, "T0ACME")
    expire(one)
    oauth.teams["T0ACME"].expires_in = 43_200
    oauth.slow_s = 0.1
    told = await asyncio.gather(*(token(house) for house in (one, two) for _ in range(5)))
    assert len(set(told)) == 1, "all speak with the token that was renewed"
    assert (refreshes(oauth), oauth.spent) == (1, [])
    assert one.rows("SELECT lease FROM slack_bots") == [(None,)]


async def test_a_holder_that_died_is_followed_by_another(pair: tuple[Replica, Replica], oauth: SlackOAuth) -> None:
    one, two = pair
    await one.install(oauth, "T0ACME")
    expire(one)
    oauth.teams["T0ACME"].expires_in = 43_200
    kept = await one.installs.ledger.kept("T0ACME")
    assert kept is not None
    assert await one.installs.ledger.lease(kept, "dead", 1.5)
    assert not await one.installs.ledger.lease(kept, "another", 60)
    assert await token(two), "it waits for the holder, and then does it itself"
    assert (refreshes(oauth), oauth.spent) == (1, [])


async def test_the_store_goes_away_between_slacks_answer_and_ours(
    pair: tuple[Replica, Replica], oauth: SlackOAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh token is spent: what came for it is stored as soon as that can be, and works meanwhile."""
    one, two = pair
    await one.install(oauth, "T0ACME")
    first = await token(one)
    oauth.teams["T0ACME"].expires_in = 43_200
    ledger = one.installs.ledger
    whole, away = ledger._writer.run, 3

    async def failing(unit):  # type: ignore[no-untyped-def]
        nonlocal away
        if refreshes(oauth) and away:
            away -= 1
            raise StoreUnavailable("The database of Countersign cannot be reached.")
        return await whole(unit)

    monkeypatch.setattr(ledger._writer, "run", failing)
    async with settled(one, two):

        async def renewed() -> bool:
            return await token(one) != first

        await until(renewed, "the next token to be used")

        async def stored() -> bool:
            return not away and not one.installs._renewing

        await until(stored, "the next token to be stored")
    assert await token(two) == await token(one) != first
    assert (refreshes(oauth), oauth.spent) == (1, [])


async def test_a_refresh_token_that_was_spent_elsewhere_is_said_plainly(
    pair: tuple[Replica, Replica], oauth: SlackOAuth
) -> None:
    one, _ = pair
    await one.install(oauth, "T0ACME")
    expire(one)
    oauth.teams["T0ACME"].refresh = "xoxe-somebody-else-has-the-next-one"
    for _again in range(3):
        with pytest.raises(SurfaceError, match="invalid_refresh_token") as told:
            await token(one)
        assert "/slack/install" in str(told.value)
    assert refreshes(oauth) == 1, "it is not tried at every call"
    assert one.rows("SELECT lease FROM slack_bots") == [(None,)]


async def test_slack_does_not_answer_the_renewal(pair: tuple[Replica, Replica], oauth: SlackOAuth) -> None:
    one, _ = pair
    await one.install(oauth, "T0ACME")
    first = await token(one)
    oauth.down = True
    await token(one)
    await one.installs.close()
    assert await token(one) == first, "it works until its time is over"
    expire(one)
    one.installs.drop("T0ACME")
    with pytest.raises(SurfaceError, match="run out"):
        await token(one)


async def test_installed_anew_while_it_was_renewed(pair: tuple[Replica, Replica], oauth: SlackOAuth) -> None:
    """What the newer installation brought stays; the renewal was of the older one."""
    one, two = pair
    await one.install(oauth, "T0ACME")
    oauth.slow_s = 0.3
    await token(one)

    async def under_way() -> bool:
        return bool(one.rows("SELECT lease FROM slack_bots WHERE lease IS NOT NULL"))

    await until(under_way, "the renewal")
    oauth.teams["T0ACME"].expires_in = 43_200
    await two.install(oauth, "T0ACME")
    newest = await token(two)
    await one.installs.close()
    one.installs.drop("T0ACME")
    assert await token(one) == newest


async def test_a_token_that_slack_does_not_take_is_read_anew(pair: tuple[Replica, Replica], oauth: SlackOAuth) -> None:
    """Renewed or installed anew at another replica: this one learns of it at the first refusal, not later."""
    one, two = pair
    oauth.teams["T0ACME"].expires_in = 43_200
    await one.install(oauth, "T0ACME")
    old = await token(one)
    oauth.teams["T0ACME"].tokens.clear()
    await two.install(oauth, "T0ACME")
    assert await token(one) == old
    with pytest.raises(SurfaceError):
        await (await one.installs.of("T0ACME")).calls.call("auth.test", {})
    assert await token(one) == await token(two) != old


async def test_a_removal_elsewhere_holds_within_half_a_minute(
    pair: tuple[Replica, Replica], oauth: SlackOAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    oauth.teams["T0ACME"].expires_in = 43_200
    await one.install(oauth, "T0ACME")
    await token(two)
    oauth.teams["T0ACME"].tokens.clear()
    await one.installs.removed("T0ACME", "uninstalled")
    monkeypatch.setattr(installs, "_FRESH_S", 0.0)
    with pytest.raises(SurfaceError, match="not installed"):
        await token(two)


async def test_removed_while_it_was_renewed(pair: tuple[Replica, Replica], oauth: SlackOAuth) -> None:
    """The renewal changes the row that is to go: it goes all the same."""
    one, two = pair
    await one.install(oauth, "T0ACME")
    oauth.slow_s = 0.2
    await token(two)
    oauth.teams["T0ACME"].tokens.clear()

    async def remove() -> bool:
        oauth.teams["T0ACME"].tokens.clear()
        await one.installs.removed("T0ACME", "uninstalled")
        return one.rows("SELECT count(*) FROM slack_bots") == [(0,)]

    await until(remove, "the installation to be gone")
    await two.installs.close()
    assert one.rows("SELECT count(*) FROM slack_bots") == [(0,)]
