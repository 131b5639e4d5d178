"""`/countersign link | unlink | whoami`: what people read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.identity import links
from bot.identity.links import How
from policy.model import Principal, RoleName, Subject
from tests.kit.link_house import ACME, ANN, DANA, DANA_DEMO, LinkHouse, Providers, database_of, link_house
from tests.rigs.oidc_provider_rig import OidcProvider

IDP = "http://127.0.0.1:9"
"""Nobody listens there: a command asks no provider."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[LinkHouse]:
    nobody = Providers(OidcProvider(IDP), OidcProvider("http://127.0.0.1:10"))
    async with link_house(database_of(tmp_path), nobody) as opened:
        yield opened


async def _linked(house: LinkHouse, how: How = How.PROVED, by: str | None = None) -> None:
    now, subject = datetime.now(UTC), Subject(IDP, "sub-dana")
    await house.write(lambda conn: links.bind(conn, ACME, DANA, subject, how, now, by))


async def test_link_answers_with_a_link_that_is_for_one_account(house: LinkHouse) -> None:
    said = await house.pages.commands.command_link(DANA)
    assert f"({house.base_url}/link/" in said
    assert "ten minutes" in said
    assert "send it to nobody" in said
    (row,) = await house.rows("SELECT tenant, surface, team, account FROM link_ticket")
    assert tuple(row) == ("acme", "slack", "T0ACME", "U01DANA")


async def test_link_of_who_is_linked_changes_nothing(house: LinkHouse) -> None:
    await _linked(house)
    said = await house.pages.commands.command_link(DANA)
    assert "linked to **Dana Reyes**" in said
    assert "unlink" in said
    assert await house.rows("SELECT * FROM link_ticket") == []


async def test_link_of_whose_person_left_gets_a_new_one(house: LinkHouse) -> None:
    """The account may have been given to somebody else: whoever it is proves themselves."""
    await _linked(house)
    await house.leaves("sub-dana")
    assert "/link/" in await house.pages.commands.command_link(DANA)
    assert "has left" in await house.pages.commands.whoami(DANA)


async def test_unlink_ends_the_own_link_and_says_what_goes_on(house: LinkHouse) -> None:
    await _linked(house)
    said = await house.pages.commands.command_unlink(DANA)
    assert "linked to nobody any more" in said
    assert "goes on" in said
    assert await house.links() == []
    assert await house.audit() == [("identity.unlinked", "by_holder")]
    again = await house.pages.commands.command_unlink(DANA)
    assert "linked to nobody" in again
    assert await house.audit() == [("identity.unlinked", "by_holder")]


@pytest.mark.parametrize(
    ("how", "by", "said"),
    [(How.PROVED, None, "you proved both sides"), (How.SHELL, "shell:ops", "shell:ops linked it from the shell")],
)
async def test_whoami_says_on_what_the_link_rests(house: LinkHouse, how: How, by: str | None, said: str) -> None:
    assert "do not know who you are" in await house.pages.commands.whoami(DANA)
    assert "/countersign link" in await house.pages.commands.whoami(DANA_DEMO)
    await _linked(house, how, by)
    told = await house.pages.commands.whoami(DANA)
    assert "**Dana Reyes**" in told
    assert said in told


async def test_an_unclear_name_unlinks_nobody(house: LinkHouse) -> None:
    await _linked(house)
    admin = Principal(ACME, Subject(IDP, "sub-ann"), "Ann", frozenset({RoleName("admin")}), None)
    said = await house.pages.commands.command_unlink(DANA_DEMO, "dan", admin)
    assert "Nobody is called dan" in said
    assert "No chat account is linked" in await house.pages.commands.command_unlink(DANA_DEMO, "sub-ann", admin)
    assert len(await house.links()) == 1
    # A mention is of the chat it is written in.
    assert "Nobody is called" in await house.pages.commands.command_unlink(DANA_DEMO, "<@U01DANA>", admin)
    assert "No longer linked" in await house.pages.commands.command_unlink(ANN, "<@U01DANA>", admin)
    assert await house.links() == []
