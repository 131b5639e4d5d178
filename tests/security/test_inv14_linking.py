"""Invariant 14 where people prove who they are: two organisations with people of one name and one e-mail address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.identity import links
from bot.identity.issuers import Preset
from bot.identity.links import How
from bot.identity.tables import ScimResource, table
from bot.identity.tenants import Team, Tenants
from bot.messages import ChatUser
from policy.model import Principal, RoleName, Subject
from tests.kit.link_browser import text_of
from tests.kit.link_house import (
    ACME,
    DANA,
    DANA_DEMO,
    DEMO,
    GLOBEX,
    SLACK,
    TEAMS,
    LinkHouse,
    Providers,
    link_house,
    person,
    providers,
    tenants_of,
)

GLOBEX_DANA = ChatUser(DEMO, "globex-floor", "dana")


@pytest.fixture(scope="module")
def idps() -> Iterator[Providers]:
    with providers() as both:
        yield both


@pytest.fixture
async def house(idps: Providers, engine_url: str) -> AsyncIterator[LinkHouse]:
    async with link_house(engine_url, idps) as opened:
        yield opened


async def test_the_same_address_in_another_organisation_is_somebody_else(house: LinkHouse) -> None:
    """Both are Dana Reyes, dana@acme.example: each is linked in her own organisation, by its own provider."""
    for who, tenant, sub in ((DANA_DEMO, ACME, "sub-dana"), (GLOBEX_DANA, GLOBEX, "globex-dana")):
        browser = house.browser()
        page = await house.prove(browser, await house.link(who), sub)
        page = await browser.press(page, {"answer": "yes"})
        assert "Linked" in text_of(await browser.press(page, {"code": await house.say_yes(who, tenant)}))
    assert await house.links() == [
        ("demo:acme-floor:dana", "acme", "sub-dana"),
        ("demo:globex-floor:dana", "globex", "globex-dana"),
    ]
    rows = await house.rows("SELECT tenant_id, detail FROM agent_audit_log WHERE kind = 'identity.linked'")
    assert {row.tenant_id for row in rows} == {"acme", "globex"}


async def test_an_address_proves_nobody(house: LinkHouse) -> None:
    """Globex' directory knows an e-mail address that Acme's provider vouches for: nobody is matched by it."""
    uma = person(GLOBEX, "globex-uma", "Uma Unsent", "uma@acme.example")
    also = person(ACME, "another-subject", "Uma Unsent", "uma@acme.example")
    for one in (uma, also):
        await house.write(partial(_provision, one))
    browser = house.browser()
    page = await house.prove(browser, await house.link(), "sub-unsent")
    assert (page.status_code, await house.refusals()) == (403, ["not_in_directory"])


async def test_the_links_organisation_decides_where_one_signs_in(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.press(await browser.open(await house.link(GLOBEX_DANA)))
    assert str(page.url).startswith(house.idps.world.issuer)
    # A person of Acme cannot get in there, and Acme's answer is not looked at in Globex' flow.
    other = house.browser()
    acme = await other.press(await other.open(await house.link(DANA_DEMO)))
    stolen = await other.log_in_until(acme, "sub-dana", f"{house.base_url}/signin/callback")
    assert (await browser.open(stolen)).status_code == 403
    assert await house.links() == []


async def test_a_confirmation_of_one_organisation_is_not_answered_in_another(house: LinkHouse) -> None:
    browser = house.browser()
    await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
    _, _, confirmation = house.chats.asked[0]
    assert "over" in await house.pages.linking.confirm(GLOBEX, DANA_DEMO, confirmation, True)
    assert len(await house.say_yes(DANA_DEMO)) == 9


async def test_a_team_that_changed_hands_takes_no_link_with_it(idps: Providers, sqlite_url: str) -> None:
    async with link_house(sqlite_url, idps) as before:
        link = await before.link()
        browser = before.browser()
        page = await before.prove(browser, link, "sub-dana")
        # Another replica has read a tenants.yaml in which the team is Globex'.
        moved = tenants_of(idps)
        floor = {**moved.teams, (DEMO, "acme-floor"): GLOBEX}
        served = Tenants(moved.tenants, moved.issuers, floor)
        async with link_house(sqlite_url, idps, tenants=served, fresh=False) as after:
            cookies = browser.client.cookies
            there = after.browser()
            there.client.cookies = cookies
            assert (await there.open(link)).status_code == 403
            assert (await there.press(page, {"answer": "yes"})).status_code == 403
            assert await after.refusals() == ["team_moved"]
            assert await after.links() == []


async def test_a_session_is_one_organisations(house: LinkHouse) -> None:
    browser = house.browser()
    start = await browser.open("/signin?tenant=globex")
    home = await browser.log_in(await browser.press(start), "globex-dana")
    said = home.json()
    assert (said["sub"], said["tenant"]) == ("globex-dana", "globex")
    assert said["account"] == f"web:globex:{house.idps.world.issuer}|globex-dana"
    (row,) = await house.rows("SELECT tenant, sub FROM web_session")
    assert (row.tenant, row.sub) == ("globex", "globex-dana")
    assert {row.tenant_id for row in await house.rows("SELECT tenant_id FROM agent_audit_log")} == {"globex"}


async def test_an_admin_unlinks_the_people_of_their_own_organisation(house: LinkHouse) -> None:
    here, there = Subject(house.idps.acme.issuer, "sub-dana"), Subject(house.idps.world.issuer, "globex-dana")
    now = datetime.now(UTC)
    await house.write(lambda conn: links.bind(conn, ACME, DANA_DEMO, here, How.SHELL, now))
    await house.write(lambda conn: links.bind(conn, GLOBEX, GLOBEX_DANA, there, How.SHELL, now))
    admin = Principal(GLOBEX, there, "Dana Reyes", frozenset({RoleName("admin")}), None)
    commands = house.pages.commands
    for word in ("sub-dana", str(DANA_DEMO), "@dana"):
        await commands.command_unlink(ChatUser(DEMO, "globex-floor", "admin"), word, admin)
    assert await house.links() == [("demo:acme-floor:dana", "acme", "sub-dana")]
    # An admin of one is nobody in the other.
    said = await commands.command_unlink(ChatUser(DEMO, "acme-floor", "x"), "@dana", admin)
    assert "role admin" in said
    assert len(await house.links()) == 1


async def test_only_an_admin_unlinks_others_and_the_others_hear_of_it(house: LinkHouse) -> None:
    here = Subject(house.idps.acme.issuer, "sub-dana")
    for who in (DANA_DEMO, DANA):
        await house.write(partial(_bind, who, here))
    ann = Principal(ACME, Subject(here.issuer, "sub-ann"), "Ann Okafor", frozenset({RoleName("support_agent")}), None)
    asker = ChatUser(DEMO, "acme-floor", "ann")
    assert "role admin" in await house.pages.commands.command_unlink(asker, "@dana", ann)
    assert "role admin" in await house.pages.commands.command_unlink(asker, "@dana", None)
    assert len(await house.links()) == 2
    boss = replace(ann, roles=frozenset({RoleName("admin")}))
    said = await house.pages.commands.command_unlink(asker, "<@dana>", boss)
    assert "No longer linked to Dana Reyes" in said
    assert "goes on" in said
    assert await house.links() == []
    assert "no longer linked" in house.chats.to(DANA)[0]
    kinds = await house.rows("SELECT kind, status, actor_user_id FROM agent_audit_log ORDER BY seq")
    assert [tuple(row) for row in kinds if row.kind == "identity.unlinked"] == [
        ("identity.unlinked", "by_admin", "sub-ann")
    ] * 2


@pytest.mark.parametrize(("account", "status"), [("sub-dana", 200), ("SUB-DANA", 200), ("sub-ann", 403)])
async def test_in_teams_chat_and_company_account_are_one(
    idps: Providers, sqlite_url: str, account: str, status: int
) -> None:
    """Where the company's provider is Entra, the chat account's object id is the token's, or it is somebody else."""
    served = tenants_of(idps)
    acme = served.tenants[ACME]
    issuer = replace(acme.issuer, preset=Preset.ENTRA, tid="entra-acme")
    entra = replace(acme, issuer=issuer, teams=(*acme.teams, Team(TEAMS, "entra-acme")))
    made = Tenants({**served.tenants, ACME: entra}, served.issuers, {**served.teams, (TEAMS, "entra-acme"): ACME})
    async with link_house(sqlite_url, idps, tenants=made) as house:
        who = ChatUser(TEAMS, "entra-acme", account)
        browser = house.browser()
        page = await house.prove(browser, await house.link(who), "sub-dana")
        assert page.status_code == status
        if status == 403:
            assert (await house.links(), await house.refusals()) == ([], ["other_chat_user"])
            return
        assert "Linked" in text_of(await browser.press(page, {"answer": "yes"}))
        link = await house.link_of(who)
        assert link is not None
        assert (link.how, link.subject.sub) == (How.TEAMS_SSO, "sub-dana")
        assert house.chats.asked == []


async def test_an_account_nobody_serves_gets_no_link(house: LinkHouse) -> None:
    stranger = ChatUser(SLACK, "T0NOBODY", "U1")
    assert await house.pages.commands.invite(stranger) is None
    for said in (
        await house.pages.commands.command_link(stranger),
        await house.pages.commands.command_unlink(stranger),
        await house.pages.commands.whoami(stranger),
    ):
        assert "not connected" in said
    assert await house.rows("SELECT * FROM link_ticket") == []


def _provision(one: ScimResource, conn: Connection) -> None:
    conn.execute(sa.insert(table(ScimResource)).values(**one.model_dump()))


def _bind(who: ChatUser, subject: Subject, conn: Connection) -> None:
    links.bind(conn, ACME, who, subject, How.PROVED, datetime.now(UTC))
