"""Invariant 8 where names decide whom a command means: nobody stands in for, or hides behind, another by a name."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.kit.two_tenants import ACME, Two


async def called(two: Two, sub: str, name: str) -> None:
    """`sub` calls themselves `name`, as many IdPs let people do."""

    def unit(conn: Connection) -> None:
        rename = "UPDATE scim_resource SET display_name = :name WHERE tenant = :tenant AND external_id = :sub"
        conn.execute(sa.text(rename), {"name": name, "tenant": ACME, "sub": sub})

    await two.core.writer.run(unit)


async def stopped(two: Two) -> list[str]:
    return [value for (value,) in await two.rows("SELECT value FROM kill_switch WHERE active AND kind = 'user'")]


async def test_a_mention_means_whom_it_mentions_whatever_others_call_themselves(two: Two) -> None:
    await called(two, "sam", "U-dana")
    said = await two.command(ACME, "ada", "kill user <@U-dana> odd refunds")
    assert said.startswith("Stopped: Dana")
    (value,) = await stopped(two)
    assert value.endswith("|dana")
    assert "No longer linked to Dana" in await two.command(ACME, "ada", "unlink <@U-dana>")


async def test_a_mention_of_nobody_known_means_nobody_else(two: Two) -> None:
    """Dana has unlinked her account a moment before; Sam goes by its id."""
    await called(two, "sam", "U-dana")
    await two.command(ACME, "dana", "unlink")
    assert "Nobody is called" in await two.command(ACME, "ada", "kill user <@U-dana> odd refunds")
    assert "Nobody is called" in await two.command(ACME, "ada", "unlink <@U-dana>")
    assert await stopped(two) == []


async def test_a_subject_means_its_holder_whatever_others_call_themselves(two: Two) -> None:
    await called(two, "sam", "dana")
    await two.command(ACME, "dana", "unlink")
    assert (await two.command(ACME, "ada", "kill user dana odd refunds")).startswith("Stopped: Dana")
    assert "No chat account is linked to Dana" in await two.command(ACME, "ada", "unlink dana")
