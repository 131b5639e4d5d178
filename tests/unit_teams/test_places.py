"""What is kept of where the bot is and whom it met: refreshed by each activity, one organisation's alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from audit.writer import make_engine
from bot.teams import places
from bot.teams.places import Met
from bot.teams.tables import Kind
from policy.model import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CHANNEL = Met(
    "t1", "19:c", Kind.CHANNEL, "https://one/", "28:b", NOW, "approvals", "19:team", person="p1", account="29:1"
)
OWN = Met("t1", "a:1", Kind.PERSONAL, "https://one/", "28:b", NOW, person="p1", account="29:1")


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    engine = make_engine(f"sqlite:///{tmp_path / 'places.sqlite'}")
    places.CONVERSATION.metadata.create_all(engine, tables=[places.CONVERSATION, places.PERSON])
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def test_an_activity_refreshes_what_is_known(conn: Connection) -> None:
    assert places.remember(conn, ACME, CHANNEL)
    assert not places.remember(conn, ACME, replace(CHANNEL, service_url="https://two/", name=None, teams_team=None))
    found = places.place(conn, ACME, "t1", "19:c")
    assert found is not None
    assert (found.service_url, found.name, found.teams_team) == ("https://two/", "approvals", "19:team")
    places.remember(conn, ACME, replace(CHANNEL, name="refunds"))
    assert [one.name for one in places.shared(conn, ACME, "t1")] == ["refunds"]


def test_a_removed_place_comes_back_with_an_activity(conn: Connection) -> None:
    places.remember(conn, ACME, CHANNEL)
    places.remember(conn, ACME, OWN)
    assert places.removed(conn, ACME, "t1", "19:c", NOW) == 1
    assert places.removed(conn, ACME, "t1", "19:c", NOW) == 0
    found = places.place(conn, ACME, "t1", "19:c")
    assert found is not None
    assert found.removed
    assert places.shared(conn, ACME, "t1") == ()
    assert places.remember(conn, ACME, CHANNEL)
    assert len(places.shared(conn, ACME, "t1")) == 1


def test_a_team_that_is_left_takes_its_channels_along(conn: Connection) -> None:
    for conversation in ("19:team", "19:c", "19:d"):
        places.remember(conn, ACME, replace(CHANNEL, conversation=conversation))
    places.remember(conn, ACME, replace(CHANNEL, conversation="19:e", teams_team="19:other"))
    assert places.removed(conn, ACME, "t1", "19:team", NOW) == 3
    assert [one.conversation for one in places.shared(conn, ACME, "t1")] == ["19:e"]


def test_two_organisations_with_one_conversation_id(conn: Connection) -> None:
    places.remember(conn, ACME, CHANNEL)
    places.remember(conn, GLOBEX, replace(CHANNEL, team="t2", service_url="https://theirs/", name="theirs"))
    mine, theirs = places.place(conn, ACME, "t1", "19:c"), places.place(conn, GLOBEX, "t2", "19:c")
    assert mine is not None
    assert theirs is not None
    assert (mine.service_url, theirs.service_url) == ("https://one/", "https://theirs/")
    places.removed(conn, GLOBEX, "t2", "19:c", NOW)
    assert places.shared(conn, ACME, "t1") != ()
    for tenant, team in ((ACME, "t2"), (GLOBEX, "t1")):
        assert places.place(conn, tenant, team, "19:c") is None
        assert places.known(conn, tenant, team, ["p1"]) == {}
        assert places.behind(conn, tenant, team, ["29:1"]) == {}
        assert places.anywhere(conn, tenant, team) is None
        assert places.removed(conn, tenant, team, "19:c", NOW) == 0


def test_a_team_that_changed_hands_keeps_nothing_of_the_first(conn: Connection) -> None:
    """tenants.yaml gives the Entra tenant to another organisation: what was met before is not theirs to speak in."""
    places.remember(conn, ACME, CHANNEL)
    assert places.shared(conn, GLOBEX, "t1") == ()
    assert places.remember(conn, GLOBEX, CHANNEL)
    assert places.shared(conn, ACME, "t1") == ()
    assert len(places.shared(conn, GLOBEX, "t1")) == 1


def test_whose_chat_it_is(conn: Connection) -> None:
    places.remember(conn, ACME, CHANNEL)
    assert places.personal(conn, ACME, "t1", "p1") is None
    places.remember(conn, ACME, OWN)
    found = places.personal(conn, ACME, "t1", "p1")
    assert found is not None
    assert found.conversation == "a:1"
    channel = places.place(conn, ACME, "t1", "19:c")
    assert channel is not None
    assert channel.person is None
    places.removed(conn, ACME, "t1", "a:1", NOW)
    places.remember(conn, ACME, replace(OWN, conversation="a:2", at=NOW - timedelta(days=1)))
    found = places.personal(conn, ACME, "t1", "p1")
    assert found is not None
    assert found.conversation == "a:2"


def test_whom_it_met(conn: Connection) -> None:
    places.remember(conn, ACME, OWN)
    places.remember(conn, ACME, replace(CHANNEL, account="29:renewed"))
    known = places.known(conn, ACME, "t1", ["p1", "p2"])
    assert list(known) == ["p1"]
    assert (known["p1"].account, known["p1"].met_in) == ("29:renewed", "19:c")
    assert places.behind(conn, ACME, "t1", ["29:renewed", "29:1"]) == {"29:renewed": "p1"}
    places.remember(conn, ACME, replace(CHANNEL, person=None, account=None))
    assert places.known(conn, ACME, "t1", ["p1"])["p1"].account == "29:renewed"


def test_a_list_of_channels_brings_back_nothing_that_was_left(conn: Connection) -> None:
    places.remember(conn, ACME, CHANNEL)
    places.remember(conn, ACME, replace(CHANNEL, conversation="19:gone"))
    places.removed(conn, ACME, "t1", "19:gone", NOW)
    near = places.place(conn, ACME, "t1", "19:c")
    assert near is not None
    places.rename(conn, ACME, near, {"19:c": "renamed", "19:gone": "gone", "19:new": "new"}, NOW)
    shared = {one.conversation: one for one in places.shared(conn, ACME, "t1")}
    assert {name: one.name for name, one in shared.items()} == {"19:c": "renamed", "19:new": "new"}
    assert (shared["19:new"].service_url, shared["19:new"].bot) == (near.service_url, near.bot)


def test_names_as_people_write_them(conn: Connection) -> None:
    places.remember(conn, ACME, CHANNEL)
    places.remember(conn, ACME, replace(CHANNEL, conversation="19:unnamed", name=None))
    shared = places.shared(conn, ACME, "t1")
    assert [one.conversation for one in places.named(shared, " APPROVALS ")] == ["19:c"]
    assert places.named(shared, "") == ()
