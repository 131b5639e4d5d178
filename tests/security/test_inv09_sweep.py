"""Invariant 9: what nobody used for too long ends by itself, and the log says when; refused SCIM floods are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import AuditRow
from bot import core as wiring
from bot.core import utc_now
from bot.identity import scim_refusals, sessions
from bot.identity.scim_tokens import Nobody, NotValid
from bot.identity.tables import WebSession, table
from bot.keys import make_keys
from bot.migrations import migrate
from policy.model import Subject, TenantId
from tests.kit.provision import ISSUER, Hire, Idp, idp, write_tenants

ACME = TenantId("acme")
DANA = Subject(ISSUER, "dana")
ROWS = table(AuditRow)


@pytest.fixture
def company(engine_url: str, tmp_path: Path) -> Iterator[Idp]:
    write_tenants(tmp_path / "tenants.yaml", {ACME: [{"surface": "slack", "team": "T1"}]})
    make_keys(tmp_path / "data" / "keys")
    environment = {
        "COUNTERSIGN_DATABASE_URL": engine_url,
        "COUNTERSIGN_DATA_DIR": str(tmp_path / "data"),
        "COUNTERSIGN_TENANTS": str(tmp_path / "tenants.yaml"),
    }
    with idp(environment, ACME) as theirs:
        migrate(theirs.core.engine)
        theirs.hire([Hire("dana", "Dana Reyes", ("support",))])
        yield theirs


def kinds(company: Idp) -> list[tuple[str, str]]:
    with company.core.engine.connect() as conn:
        found = conn.execute(sa.select(ROWS.c.kind, ROWS.c.status).order_by(ROWS.c.tenant_id, ROWS.c.seq))
        return [(row.kind, row.status) for row in found]


async def swept(company: Idp, until: tuple[str, str]) -> None:
    """Lets the service's own timer run until the log says `until`."""
    task = asyncio.create_task(wiring._sweep_every(company.core))
    try:
        async with asyncio.timeout(20):
            while until not in kinds(company):  # noqa: ASYNC110 - another connection sees it
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_inv09_a_session_nobody_uses_ends_with_a_row(company: Idp) -> None:
    def unit(conn: sa.Connection) -> None:
        _, events = sessions.start(conn, ACME, DANA, utc_now())
        conn.execute(sa.update(table(WebSession)).values(seen_at=utc_now() - sessions.IDLE - timedelta(seconds=1)))
        company.core.audit.append(conn, events)

    company.core.writer.run_blocking(unit)
    await swept(company, ("session.ended", "idle"))
    assert kinds(company).count(("session.ended", "idle")) == 1


async def test_inv05_a_flood_of_refused_scim_requests_is_told_without_another_one(company: Idp) -> None:
    past = utc_now() - timedelta(minutes=3)

    def unit(conn: sa.Connection) -> None:
        for _ in range(scim_refusals.A_MINUTE + 5):
            scim_refusals.refused(conn, Nobody(NotValid.UNKNOWN), past)

    company.core.writer.run_blocking(unit)
    await swept(company, ("scim.flood", "counted"))
    assert kinds(company).count(("scim.flood", "counted")) == 1
