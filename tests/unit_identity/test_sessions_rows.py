"""Sessions as rows, on both databases, and how old what is known of a person may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.identity import sessions
from bot.identity.freshness import stale
from bot.identity.issuers import Issuer, Preset
from bot.identity.scim_directory import NEVER
from bot.identity.sessions import Session, SessionEnd
from bot.identity.tenants import Tenant
from bot.ports import Person
from policy.model import Subject, TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
IDP = "https://idp.example"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SUB, OTHER = Subject(IDP, "dana"), Subject(IDP, "ann")
BASE = "https://countersign.acme.example"


@pytest.fixture
def writer(engine_url: str) -> Iterator[Writer]:
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine)
    made = Writer(engine)
    yield made
    made.close()
    engine.dispose()


def _start(writer: Writer, tenant: TenantId = ACME, subject: Subject = SUB, sid: str | None = None) -> str:
    secret, events = writer.run_blocking(lambda conn: sessions.start(conn, tenant, subject, NOW, sid=sid))
    assert [(event.kind.value, event.tenant, event.actor_user_id) for event in events] == [
        ("session.started", tenant, subject.sub)
    ]
    assert secret not in str(events)
    return secret


def _at(writer: Writer, secret: str, now: datetime) -> Session | None:
    return writer.read_blocking(lambda conn: sessions.of_cookie(conn, secret, now))


def test_a_session_ends_idle_after_half_an_hour_and_old_after_ten(writer: Writer) -> None:
    secret = _start(writer)
    assert _at(writer, secret, NOW + sessions.IDLE - timedelta(seconds=1)) is not None
    assert _at(writer, secret, NOW + sessions.IDLE) is None
    now, session = NOW, _at(writer, secret, NOW)
    while now < NOW + sessions.ABSOLUTE - timedelta(minutes=20):
        now += timedelta(minutes=20)
        session = _at(writer, secret, now)
        assert session is not None
        writer.run_blocking(lambda conn, s=session, n=now: sessions.touch(conn, s, n))  # type: ignore[misc]
    assert _at(writer, secret, NOW + sessions.ABSOLUTE) is None
    # A request that is late does not make it older again.
    assert session is not None
    writer.run_blocking(lambda conn: sessions.touch(conn, session, NOW))
    found = _at(writer, secret, now)
    assert found is not None
    assert found.seen_at == now


def test_each_end_is_one_row_and_of_one_tenant(writer: Writer) -> None:
    mine, twice, theirs, abroad = (
        _start(writer),
        _start(writer, sid="s1"),
        _start(writer, subject=OTHER),
        _start(writer, GLOBEX),
    )
    session = _at(writer, mine, NOW)
    assert session is not None
    elsewhere = replace(session, tenant=GLOBEX)
    assert writer.run_blocking(lambda conn: sessions.end(conn, elsewhere, SessionEnd.SIGNED_OUT, NOW)) == []
    (event,) = writer.run_blocking(lambda conn: sessions.end(conn, session, SessionEnd.SIGNED_OUT, NOW))
    assert (event.kind.value, event.status, event.tenant) == ("session.ended", "signed_out", ACME)
    assert writer.run_blocking(lambda conn: sessions.end(conn, session, SessionEnd.SIGNED_OUT, NOW)) == []
    assert writer.run_blocking(lambda conn: sessions.end_of_sid(conn, GLOBEX, IDP, "s1", SessionEnd.IDP, NOW)) == []
    assert len(writer.run_blocking(lambda conn: sessions.end_of_sid(conn, ACME, IDP, "s1", SessionEnd.IDP, NOW))) == 1
    assert writer.run_blocking(lambda conn: sessions.end_of_subject(conn, ACME, SUB, SessionEnd.LEFT, NOW)) == []
    assert [_at(writer, secret, NOW) is not None for secret in (mine, twice, theirs, abroad)] == [
        False,
        False,
        True,
        True,
    ]


def test_what_nobody_used_is_ended_with_its_reason(writer: Writer) -> None:
    _start(writer)
    assert writer.run_blocking(lambda conn: sessions.end_overdue(conn, ACME, NOW)) == []
    idle = writer.run_blocking(lambda conn: sessions.end_overdue(conn, ACME, NOW + sessions.IDLE))
    assert [event.status for event in idle] == ["idle"]
    _start(writer)
    aged = writer.run_blocking(lambda conn: sessions.end_overdue(conn, ACME, NOW + sessions.ABSOLUTE))
    assert [event.status for event in aged] == ["aged"]


def test_a_sign_in_vouches_for_the_person(writer: Writer) -> None:
    _start(writer)
    later = NOW + timedelta(days=1)
    writer.run_blocking(lambda conn: sessions.vouched(conn, ACME, SUB, later))
    rows = writer.read_blocking(lambda conn: conn.execute(sa.select(sessions.SEEN)).all())
    assert [(row.tenant, row.sub, row.at) for row in rows] == [("acme", "dana", later)]


def test_a_token_is_used_once_by_each_issuer(writer: Writer) -> None:
    def use(issuer: str, jti: str) -> bool:
        return writer.run_blocking(lambda conn: sessions.first_use(conn, issuer, jti, NOW))

    assert [use("a", "1"), use("a", "1"), use("b", "1"), use("a", "2")] == [True, False, True, True]


def test_a_logout_token_names_people_as_their_provider_does(writer: Writer) -> None:
    """At Entra the ID token's `sub` is another value than the subject."""
    writer.run_blocking(lambda conn: sessions.start(conn, ACME, SUB, NOW, idp_sub="pairwise"))
    assert writer.read_blocking(lambda conn: sessions.subjects_of(conn, ACME, IDP, "pairwise")) == (SUB,)
    assert writer.read_blocking(lambda conn: sessions.subjects_of(conn, GLOBEX, IDP, "pairwise")) == ()


def _person(confirmed_at: datetime | None) -> Person:
    return Person(ACME, SUB, "Dana Reyes", None, True, (), None, (), confirmed_at)


def _tenant(tmp_path: Path) -> Tenant:
    return Tenant(ACME, "Acme GmbH", Issuer("idp", Preset.OIDC, IDP, "c"), (), None, timedelta(hours=168))


def test_what_is_old_is_not_acted_on_and_says_what_to_do(tmp_path: Path) -> None:
    tenant, week = _tenant(tmp_path), timedelta(hours=168)
    assert stale(_person(None), tenant, NOW, BASE) is None
    assert stale(_person(NOW - week), tenant, NOW, BASE) is None
    sentence = stale(_person(NOW - week - timedelta(seconds=1)), tenant, NOW, BASE)
    assert sentence is not None
    for word in ("since 16 November 2026, 08:59 UTC", f"{BASE}/signin", "Nothing was done"):
        assert word in sentence
    never = stale(_person(NEVER), tenant, NOW, BASE)
    assert never is not None
    assert "1970" not in never
