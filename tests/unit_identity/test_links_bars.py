"""Accounts that need no link and were taken away: barred once, until somebody links them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.identity import links
from bot.identity.links import How
from bot.messages import ChatUser, SurfaceName
from policy.model import Subject, TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ANN = ChatUser(SurfaceName("teams"), "aaaaaaaa-0000-4000-8000-000000000000", "00000001-1111-4111-8111-abcdefabcdef")
SUB = Subject("https://idp.example", ANN.user)


@pytest.fixture
def writer(engine_url: str) -> Iterator[Writer]:
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine)
    made = Writer(engine)
    yield made
    made.close()
    engine.dispose()


def barred(writer: Writer, tenant: TenantId = ACME) -> bool:
    return writer.read_blocking(lambda conn: links.barred(conn, tenant, ANN))


def test_an_account_is_barred_once_in_one_organisation(writer: Writer) -> None:
    (event,) = writer.run_blocking(lambda conn: links.bar(conn, ACME, ANN, SUB, "by_admin", NOW, "ada"))
    assert (event.kind.value, event.status, event.actor_user_id) == ("identity.unlinked", "by_admin", "ada")
    assert event.detail is not None
    assert (event.detail["account"], event.detail["subject"]) == (ANN.user, SUB.sub)
    assert writer.run_blocking(lambda conn: links.bar(conn, ACME, ANN, SUB, "by_holder", NOW)) == []
    assert barred(writer)
    assert not barred(writer, GLOBEX)


@pytest.mark.parametrize("how", list(How))
def test_whoever_links_it_says_anew_whose_it_is(writer: Writer, how: How) -> None:
    writer.run_blocking(lambda conn: links.bar(conn, ACME, ANN, SUB, "by_holder", NOW))
    writer.run_blocking(lambda conn: links.bar(conn, GLOBEX, ANN, SUB, "by_holder", NOW))
    assert len(writer.run_blocking(lambda conn: links.bind(conn, ACME, ANN, SUB, how, NOW))) == 1
    assert not barred(writer)
    assert barred(writer, GLOBEX)
