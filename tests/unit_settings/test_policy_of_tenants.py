"""A tenant's own policy files: what a reload changed is told for that tenant, in its own chain."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import AuditRow
from bot.identity.tables import table
from bot.keys import make_keys
from bot.migrations import migrate
from bot.policy_files import PolicyFiles
from bot.settings import default_policy_dir
from policy.model import TenantId
from tests.kit.provision import Idp, idp, write_tenants

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
ROWS = table(AuditRow)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    shutil.copy(default_policy_dir() / "roles.yaml", folder)
    return folder


@pytest.fixture
def company(sqlite_url: str, tmp_path: Path, own: Path) -> Iterator[Idp]:
    write_tenants(tmp_path / "tenants.yaml", {ACME: [], GLOBEX: []})
    text = (tmp_path / "tenants.yaml").read_text()
    (tmp_path / "tenants.yaml").write_text(text.replace("    name: Acme\n", f"    name: Acme\n    policy: {own}\n"))
    make_keys(tmp_path / "data" / "keys")
    environment = {
        "COUNTERSIGN_DATABASE_URL": sqlite_url,
        "COUNTERSIGN_DATA_DIR": str(tmp_path / "data"),
        "COUNTERSIGN_TENANTS": str(tmp_path / "tenants.yaml"),
    }
    with idp(environment, ACME) as theirs:
        migrate(theirs.core.engine)
        yield theirs


def grow(own: Path) -> None:
    """Another group for a role; the meaning of the rest stays."""
    text = (own / "roles.yaml").read_text()
    assert "groups: [support" in text
    (own / "roles.yaml").write_text(text.replace("groups: [support", "groups: [helpdesk, support", 1))


def test_a_reload_says_which_tenants_own_version_changed(own: Path) -> None:
    files = PolicyFiles(default_policy_dir(), over={ACME: own})
    files.reload()
    assert files.changed == {}
    grow(own)
    files.reload()
    assert files.changed == {ACME: files.of(ACME).version}
    assert files.of(GLOBEX) is files.current()


def test_it_stands_in_that_tenants_chain(company: Idp, own: Path) -> None:
    grow(own)
    company.core.policy.reload()
    found: set[str] = set()
    until = time.monotonic() + 20
    while found != {"_system", ACME} and time.monotonic() < until:
        with company.core.engine.connect() as conn:
            told = sa.select(ROWS.c.tenant_id).where(ROWS.c.kind == "policy.reloaded")
            found = set(conn.execute(told).scalars())
        time.sleep(0.02)
    assert found == {"_system", ACME}
