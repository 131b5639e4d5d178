"""Where the bot is and whom it met, kept from activities: per tenant, renewed, left, and written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot import migrations
from bot.teams import places
from bot.teams.places import Place
from bot.teams.tables import Kind
from bot.teams.whereabouts import Whereabouts
from policy.model import TenantId
from policy.pii import redact
from tests.kit.teams_bodies import (
    ARNO,
    ARNO_ID,
    BOT,
    CHANNEL,
    GROUP,
    OTHER_TENANT,
    PERSONAL,
    RITA,
    RITA_ID,
    SERVICE_URL,
    TEAM,
    TENANT,
    Body,
    channel,
    group,
    invoke,
    personal,
)

T = TypeVar("T")
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


class House:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.whereabouts = Whereabouts(
            writer, AuditStore(redact), {TENANT: ACME, OTHER_TENANT: GLOBEX}.get, lambda: NOW
        )

    async def note(self, body: Body) -> bool:
        return await self.whereabouts.note(body)

    async def read(self, unit: Callable[[Connection], T]) -> T:
        return await self.writer.read(unit)

    async def place(self, conversation: str, tenant: TenantId = ACME, team: str = TENANT) -> Place | None:
        return await self.read(lambda conn: places.place(conn, tenant, team, conversation))

    async def rows(self) -> list[tuple[str, str | None, str]]:
        query = sa.text("SELECT kind, tenant_id, detail FROM agent_audit_log ORDER BY tenant_id, seq")
        return [(row[0], row[1], str(row[2])) for row in await self.read(lambda conn: conn.execute(query).all())]


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    engine = make_engine(f"sqlite:///{tmp_path / 'db.sqlite'}")
    migrations.migrate(engine)
    writer = Writer(engine)
    yield House(writer)
    writer.close()
    engine.dispose()


async def test_a_message_tells_where_and_who(house: House) -> None:
    assert await house.note(personal("hello"))
    got = await house.place(PERSONAL)
    assert got == Place(TENANT, PERSONAL, Kind.PERSONAL, SERVICE_URL, BOT, None, None, RITA_ID, removed=False)
    assert await house.whereabouts.behind(TENANT, (RITA, ARNO)) == {RITA: RITA_ID}
    assert not await house.note(personal("again", id="2"))
    assert await house.rows() == []


async def test_a_channel_is_kept_without_its_reply_chain(house: House) -> None:
    await house.note(channel("hello", channel={"name": "approvals"}))
    got = await house.place(CHANNEL)
    assert got is not None
    assert (got.kind, got.name, got.teams_team, got.person) == (Kind.CHANNEL, "approvals", TEAM, None)


async def test_an_address_that_moved_is_kept_from_any_activity(house: House) -> None:
    await house.note(group("hello"))
    await house.note({**invoke({}, where=group()), "serviceUrl": "https://smba.trafficmanager.net/amer/"})
    got = await house.place(GROUP)
    assert got is not None
    assert got.service_url.endswith("/amer/")


async def test_two_tenants_with_one_conversation_id(house: House) -> None:
    await house.note(group("hello", account=RITA, person=RITA_ID))
    await house.note(group("hello", tenant=OTHER_TENANT, account=RITA, person=ARNO_ID))
    await house.note(group(type="installationUpdate", action="remove", mention=False))
    mine, theirs = await house.place(GROUP), await house.place(GROUP, GLOBEX, OTHER_TENANT)
    assert mine is not None
    assert theirs is not None
    assert (mine.removed, theirs.removed) == (True, False)
    assert await house.whereabouts.behind(TENANT, (RITA,)) == {RITA: RITA_ID}
    assert await house.whereabouts.behind(OTHER_TENANT, (RITA,)) == {RITA: ARNO_ID}


async def test_a_tenant_that_is_not_served_leaves_nothing(house: House) -> None:
    assert not await house.note(personal("hello", tenant="33333333-3333-4333-8333-333333333333"))
    query = sa.text("SELECT (SELECT count(*) FROM teams_conversation) + (SELECT count(*) FROM teams_person)")
    assert await house.read(lambda conn: conn.execute(query).scalar_one()) == 0
    assert await house.whereabouts.behind("33333333-3333-4333-8333-333333333333", (RITA,)) == {}


async def test_the_app_comes_and_goes_and_comes_back(house: House) -> None:
    add = personal(type="installationUpdate", action="add")
    remove = personal(type="installationUpdate", action="remove")
    assert [await house.note(body) for body in (add, add, remove, remove, add)] == [True, False, False, False, True]
    kinds = [(kind, tenant) for kind, tenant, _ in await house.rows()]
    assert kinds == [("chat.installed", ACME), ("chat.removed", ACME), ("chat.installed", ACME)]
    assert RITA_ID in (await house.rows())[0][2]


async def test_a_message_after_a_removal_brings_the_conversation_back(house: House) -> None:
    await house.note(personal(type="installationUpdate", action="remove"))
    await house.note(personal("hello"))
    got = await house.place(PERSONAL)
    assert got is not None
    assert not got.removed


async def test_removed_from_a_team_is_removed_from_its_channels(house: House) -> None:
    await house.note(channel("hello"))
    body = channel(type="conversationUpdate", mention=False, membersRemoved=[{"id": BOT}])
    body["conversation"]["id"] = TEAM
    await house.note(body)
    got = await house.place(CHANNEL)
    assert got is not None
    assert got.removed
    assert [kind for kind, _, _ in await house.rows()] == ["chat.removed"]


def about_channel(event: str, **told: Any) -> Body:
    body = channel(type="conversationUpdate", mention=False)
    body["conversation"]["id"] = TEAM
    body["channelData"] |= {"eventType": event, "channel": {"id": CHANNEL, **told}}
    return body


async def test_a_channel_gets_its_new_name(house: House) -> None:
    await house.note(channel("hello", channel={"name": "old"}))
    await house.note(about_channel("channelRenamed", name="approvals"))
    got = await house.place(CHANNEL)
    assert got is not None
    assert (got.name, got.teams_team) == ("approvals", TEAM)
    await house.note(channel("no name here", id="9"))
    still = await house.place(CHANNEL)
    assert still is not None
    assert still.name == "approvals"


async def test_a_channel_that_is_deleted_is_left_and_the_team_is_not(house: House) -> None:
    await house.note(channel("hello"))
    await house.note(channel("hello", conversation=TEAM))
    await house.note(about_channel("channelDeleted"))
    gone, stays = await house.place(CHANNEL), await house.place(TEAM)
    assert gone is not None
    assert stays is not None
    assert (gone.removed, stays.removed) == (True, False)


@pytest.mark.parametrize("kind", ["private", "Shared"])
async def test_a_new_channel_that_is_not_the_teams_is_not_the_bots(house: House, kind: str) -> None:
    await house.note(about_channel("channelCreated", name="x", type=kind))
    assert await house.place(CHANNEL) is None


async def test_what_only_looks_like_a_person_is_not_kept(house: House) -> None:
    await house.note(personal("hello", person="not-a-guid"))
    await house.note(personal("hello", account="28:other-bot", person=ARNO_ID, id="2"))
    assert await house.whereabouts.behind(TENANT, (RITA, "28:other-bot")) == {}


async def test_an_app_that_an_administrator_installs_for_somebody_does_not_make_their_chat_the_administrators(
    house: House,
) -> None:
    await house.note(personal("hello"))
    for kind in ("installationUpdate", "conversationUpdate"):
        await house.note(personal(type=kind, action="add", account=ARNO, person=ARNO_ID, membersAdded=[{"id": BOT}]))
        await house.note(
            personal(type=kind, action="add", account=ARNO, person=ARNO_ID, conversation="a:of-somebody-new")
        )
        assert await house.read(lambda conn: places.personal(conn, ACME, TENANT, ARNO_ID)) is None
        own = await house.read(lambda conn: places.personal(conn, ACME, TENANT, RITA_ID))
        assert own is not None
        assert own.conversation == PERSONAL
    # Nor were they met there: Teams would say that they are none of it, and they would pass for a stranger.
    assert await house.read(lambda conn: places.known(conn, ACME, TENANT, [ARNO_ID])) == {}
    installed = [detail for kind, _, detail in await house.rows() if kind == "chat.installed"]
    assert len(installed) == 1
    assert ARNO_ID in installed[0], "who did it is in the audit"


async def test_a_chat_that_is_no_longer_personal_is_nobodys_own(house: House) -> None:
    await house.note(personal("hello"))
    await house.note(group("hello", conversation=PERSONAL))
    got = await house.place(PERSONAL)
    assert got is not None
    assert (got.kind, got.person) == (Kind.GROUP, None)
