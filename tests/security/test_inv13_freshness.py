"""Invariant 13: people are acted for as long as somebody has vouched for them lately, IdP and directory up or down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.faults import StoreUnavailable
from bot.core import parts_of, utc_now
from bot.identity import sessions
from bot.identity.resolve import Refusal, RefusalReason
from bot.identity.tables import ScimContact, table
from bot.keys import make_keys
from bot.messages import ChatUser, SurfaceName
from bot.migrations import migrate
from policy.model import Principal, Subject, TenantId
from tests.kit.provision import ISSUER, Hire, Idp, idp, write_tenants
from tests.kit.scripted import RecordedChat

ACME = TenantId("acme")
SLACK = SurfaceName("slack")
DANA, ANN = (ChatUser(SLACK, "T1", user) for user in ("UDANA", "UANN"))
LIMIT = timedelta(hours=24)


@pytest.fixture
def company(engine_url: str, tmp_path: Path) -> Iterator[Idp]:
    environment = {
        "COUNTERSIGN_DATABASE_URL": engine_url,
        "COUNTERSIGN_DATA_DIR": str(tmp_path / "data"),
        "COUNTERSIGN_TENANTS": str(tmp_path / "tenants.yaml"),
        "COUNTERSIGN_BASE_URL": "https://countersign.example",
    }
    write_tenants(tmp_path / "tenants.yaml", {ACME: [{"surface": "slack", "team": "T1"}]})
    text = (tmp_path / "tenants.yaml").read_text()
    (tmp_path / "tenants.yaml").write_text(
        text.replace("    name: Acme\n", "    name: Acme\n    directory_max_age_hours: 24\n")
    )
    make_keys(tmp_path / "data" / "keys")
    with idp(environment, ACME) as theirs:
        migrate(theirs.core.engine)
        theirs.hire(
            [
                Hire("dana", "Dana Reyes", ("support",), accounts=(DANA,)),
                Hire("ann", "Ann", ("support",), accounts=(ANN,)),
            ]
        )
        yield theirs


def last_heard(company: Idp, ago: timedelta) -> None:
    """The IdP was heard from that long ago, and never since."""
    query = sa.update(table(ScimContact)).values(at=utc_now() - ago)
    company.core.writer.run_blocking(lambda conn: conn.execute(query))


async def resolved(company: Idp, who: ChatUser) -> Principal | Refusal:
    chat = RecordedChat(name=SLACK)
    parts = parts_of(company.core, _NoRouter(), {SLACK: chat})  # type: ignore[arg-type]
    return await parts.resolver.resolve(who, chat)


class _NoRouter:
    model = price = None


async def test_inv13_an_idp_that_is_away_keeps_nobody_from_working_at_first(company: Idp) -> None:
    last_heard(company, LIMIT - timedelta(minutes=5))
    assert isinstance(await resolved(company, DANA), Principal)


async def test_inv13_what_is_older_than_the_limit_is_not_acted_on_and_the_sentence_helps(company: Idp) -> None:
    last_heard(company, LIMIT + timedelta(minutes=5))
    no = await resolved(company, DANA)
    assert isinstance(no, Refusal)
    assert no.reason is RefusalReason.STALE
    assert "I have not heard from your company's directory since" in no.sentence
    assert "https://countersign.example/signin" in no.sentence
    assert "Nothing was done." in no.sentence


async def test_inv13_the_idps_next_word_ends_it(company: Idp) -> None:
    last_heard(company, LIMIT + timedelta(days=3))
    company.ask(
        "PATCH",
        f"/Users/{company.user('ann')}",
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "path": "title", "value": "Lead"}],
        },
    )
    assert isinstance(await resolved(company, DANA), Principal)


async def test_inv13_a_sign_in_vouches_for_that_person_alone(company: Idp) -> None:
    last_heard(company, LIMIT + timedelta(days=3))
    company.core.writer.run_blocking(lambda conn: sessions.vouched(conn, ACME, Subject(ISSUER, "dana"), utc_now()))
    assert isinstance(await resolved(company, DANA), Principal)
    no = await resolved(company, ANN)
    assert isinstance(no, Refusal)
    assert no.reason is RefusalReason.STALE


async def test_inv13_a_database_that_is_away_is_no_ones_permission(
    company: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("The database does not answer.")

    monkeypatch.setattr(type(company.core.writer), "read", away)
    no = await resolved(company, DANA)
    assert isinstance(no, Refusal)
    assert no.reason is RefusalReason.DIRECTORY_SILENT
