"""Invariant 10: on PostgreSQL the service's role owns no table and has INSERT and SELECT alone on the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner, Result

from audit.rights import over_guards
from bot.cli import app
from tests.kit.provision import write_tenants

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
ROWS = {"SELECT", "INSERT", "UPDATE", "DELETE"}


@dataclass(frozen=True)
class Server:
    """One empty database, an operator's shell beside it, and roles that go with the test."""

    url: str
    owner: Engine
    env: dict[str, str]
    role: str

    def countersign(self, *words: str, as_role: str | None = None, **more: str) -> Result:
        url = self.url if as_role is None else self.as_role(as_role).render_as_string(hide_password=False)
        env = self.env | {"COUNTERSIGN_DATABASE_URL": url} | more
        return CliRunner().invoke(app, list(words), prog_name="countersign", env=env)

    def as_role(self, role: str) -> URL:
        return make_url(self.url).set(username=role)

    def do(self, *statements: str) -> None:
        with self.owner.begin() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)

    def tables(self) -> dict[str, set[str]]:
        """What the role may do on each relation of the two schemas."""
        query = sa.text(
            "SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END AS name, verb"
            " FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace, unnest(CAST(:verbs AS text[])) verb"
            " WHERE nspname IN ('public', 'dbos') AND relkind IN ('r', 'v', 'p')"
            " AND has_table_privilege(CAST(:role AS name), pg_class.oid, verb)"
        )
        found: dict[str, set[str]] = {}
        with self.owner.connect() as conn:
            for name, verb in conn.execute(query, {"role": self.role, "verbs": list(VERBS)}):
                found.setdefault(name, set()).add(verb)
        return found

    def names(self, schema: str) -> set[str]:
        return set(sa.inspect(self.owner).get_table_names(schema))


@pytest.fixture
def server(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    write_tenants(tmp_path / "tenants.yaml", {"demo": [{"surface": "slack", "team": "T1"}]})
    owner = sa.create_engine(postgres_url, poolclass=sa.NullPool)
    role = f"service-{owner.url.database}"  # has to be quoted wherever it stands
    made = Server(postgres_url, owner, {"COLUMNS": "900"}, role)
    made.do(f'CREATE ROLE "{role}" LOGIN')
    yield made
    suffix = str(owner.url.database)
    with owner.connect() as conn:
        left = conn.execute(sa.text("SELECT rolname FROM pg_roles WHERE rolname LIKE :like"), {"like": f"%{suffix}"})
        names = [name for (name,) in left]
    for name in names:
        made.do(f'REASSIGN OWNED BY "{name}" TO CURRENT_USER', f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')
    owner.dispose()


def said(result: Result) -> str:
    return re.sub(r"\s+", " ", result.stdout + result.stderr).strip()


def test_the_role_is_given_what_the_service_needs_and_no_more(server: Server) -> None:
    server.do(f'CREATE TABLE neighbour (n int); GRANT ALL ON SCHEMA public TO "{server.role}"')
    migrated = server.countersign("migrate", "--service-role", server.role)
    assert migrated.exit_code == 0, said(migrated)
    may = server.tables()
    assert may.pop("agent_audit_log") == {"SELECT", "INSERT"}
    assert may.pop("audit_head") == {"SELECT"}
    assert may.pop("agent_calls") == {"SELECT"}
    assert may.pop("countersign_migration") == {"SELECT"}
    assert may.pop("dbos.dbos_migrations") == {"SELECT"}
    assert all(verbs == ROWS for verbs in may.values()), may
    ours = server.names("public") - {"agent_audit_log", "audit_head", "countersign_migration", "neighbour"}
    queue = {f"dbos.{name}" for name in server.names("dbos")} - {"dbos.dbos_migrations"}
    assert may.keys() == ours | queue
    assert {"held_call", "transcript", "dbos.workflow_status"} <= may.keys()
    with server.owner.connect() as conn:
        owned = "SELECT count(*) FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner WHERE rolname = :role"
        assert conn.execute(sa.text(owned), {"role": server.role}).scalar_one() == 0
        assert over_guards(conn, server.role) is None


def test_again_gives_the_same_and_takes_what_was_given_by_hand(server: Server) -> None:
    server.countersign("migrate", "--service-role", server.role)
    first = server.tables()
    for table in ("held_call", "agent_audit_log", "audit_head", "dbos.workflow_status"):
        server.do(f'GRANT ALL ON {table} TO "{server.role}"')
    assert server.tables() != first
    again = server.countersign("migrate", "--service-role", server.role)
    assert again.exit_code == 0, said(again)
    assert server.tables() == first


def test_business_tables_in_the_same_database_are_made_and_lent(server: Server) -> None:
    migrated = server.countersign("migrate", "--service-role", server.role, COUNTERSIGN_BUSINESS_URL=server.url)
    assert migrated.exit_code == 0, said(migrated)
    assert server.tables()["refunds"] == ROWS


def test_business_tables_elsewhere_are_not_touched(server: Server) -> None:
    server.do("CREATE TABLE orders (somebody_elses int)")
    assert server.countersign("migrate", "--service-role", server.role).exit_code == 0
    assert "orders" not in server.tables()


def refuse_unknown(_server: Server) -> str:
    return "nobody"


def refuse_superuser(server: Server) -> str:
    server.do(f'ALTER ROLE "{server.role}" SUPERUSER')
    return server.role


def refuse_maker_of_roles(server: Server) -> str:
    server.do(f'ALTER ROLE "{server.role}" CREATEROLE')
    return server.role


def refuse_itself(server: Server) -> str:
    with server.owner.connect() as conn:
        return str(conn.exec_driver_sql("SELECT current_user").scalar_one())


def refuse_owner_of_the_database(server: Server) -> str:
    server.do(f'ALTER DATABASE "{server.owner.url.database}" OWNER TO "{server.role}"')
    return server.role


def refuse_member_of_the_owner(server: Server) -> str:
    owner = f"owner-{server.owner.url.database}"
    server.countersign("migrate")
    server.do(f'CREATE ROLE "{owner}"', f'ALTER TABLE agent_audit_log OWNER TO "{owner}"')
    server.do(f'GRANT "{owner}" TO "{server.role}" WITH INHERIT FALSE')
    return server.role


def refuse_owner_of_a_function(server: Server) -> str:
    server.countersign("migrate")
    server.do(f'ALTER FUNCTION audit_log_continue() OWNER TO "{server.role}"')
    return server.role


def refuse_owner_of_another_table(server: Server) -> str:
    server.countersign("migrate")
    server.do(f'ALTER TABLE held_call OWNER TO "{server.role}"')
    return server.role


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (refuse_unknown, "knows no role nobody"),
        (refuse_superuser, "is a superuser"),
        (refuse_maker_of_roles, "may make roles"),
        (refuse_itself, "is the one that migrates"),
        (refuse_owner_of_the_database, "owns the"),
        (refuse_member_of_the_owner, "owns the table agent_audit_log, as a member of owner-"),
        (refuse_owner_of_a_function, "owns the function audit_log_continue"),
        (refuse_owner_of_another_table, "owns the table held_call"),
    ],
)
def test_a_role_that_could_take_the_guards_away_is_refused(
    server: Server, prepare: Callable[[Server], str], why: str
) -> None:
    name = prepare(server)
    there = server.names("public")
    refused = server.countersign("migrate", "--service-role", name)
    assert refused.exit_code == 2, said(refused)
    assert why in said(refused)
    assert "nothing was migrated" in said(refused)
    assert server.names("public") == there


@pytest.mark.parametrize(
    "extra",
    [
        "GRANT UPDATE (status) ON agent_audit_log TO PUBLIC; GRANT UPDATE (status) ON agent_audit_log TO {group}",
        "GRANT TRUNCATE ON agent_audit_log TO {group}",
        "GRANT INSERT ON audit_head TO {group}",
        "GRANT CREATE ON SCHEMA public TO {group}",
    ],
)
def test_what_it_has_from_a_group_is_found_and_nothing_is_given(server: Server, extra: str) -> None:
    group = f'"group-{server.owner.url.database}"'
    server.countersign("migrate")
    server.do(f"CREATE ROLE {group}", f'GRANT {group} TO "{server.role}"', extra.format(group=group))
    before = server.tables()
    refused = server.countersign("migrate", "--service-role", server.role)
    assert refused.exit_code == 2, said(refused)
    assert re.search(r"still (has the right to|may create things)", said(refused)), said(refused)
    assert server.tables() == before


def test_rights_that_are_not_ones_own_to_give(server: Server) -> None:
    server.countersign("migrate")
    other = f"other-{server.owner.url.database}"
    server.do(f'CREATE ROLE "{other}" LOGIN', f'GRANT SELECT ON countersign_migration TO "{other}"')
    server.do(f'GRANT USAGE ON SCHEMA dbos TO "{other}"', f'GRANT SELECT ON dbos.dbos_migrations TO "{other}"')
    refused = server.countersign("migrate", "--service-role", server.role, as_role=other)
    assert (refused.exit_code, "run this again as the owner" in said(refused)) == (2, True), said(refused)
    assert server.tables() == {}


def test_on_sqlite_it_is_wrong_use(server: Server, sqlite_url: str, tmp_path: Path) -> None:
    refused = server.countersign("migrate", "--service-role", "svc", COUNTERSIGN_DATABASE_URL=sqlite_url)
    assert (refused.exit_code, "SQLite knows no roles" in said(refused)) == (2, True)
    assert not list(tmp_path.glob("*.sqlite"))


def findings(server: Server, **how: Any) -> list[tuple[str, str, str]]:
    told = server.countersign("check", **how)
    lines = [line for line in told.stdout.splitlines() if "database role" in line or "DATABASE_URL" in line]
    return [(line.partition(":")[0], line, said(told)) for line in lines]


def test_check_warns_of_an_owner_and_is_content_with_the_role(server: Server) -> None:
    server.countersign("migrate", "--service-role", server.role)
    ((level, line, _),) = findings(server)
    assert level == "warning"
    assert "switch the guards of the audit log off" in line
    assert "--service-role NAME" in line
    assert findings(server, as_role=server.role) == []


def test_a_table_that_came_later_is_named_before_anything_runs(server: Server) -> None:
    """A migration that was run without naming the role: no command stumbles over it half-way."""
    server.countersign("migrate", "--service-role", server.role)
    server.do(f'REVOKE ALL ON held_call FROM "{server.role}"', f'REVOKE DELETE ON transcript FROM "{server.role}"')
    refused = server.countersign("status", as_role=server.role)
    mend = f"may not use held_call, transcript. Run `countersign migrate --service-role {server.role}`"
    assert (refused.exit_code, mend in said(refused)) == (1, True), said(refused)
    ((level, line, _),) = findings(server, as_role=server.role)
    assert (level, mend in line) == ("error", True)
    server.countersign("migrate", "--service-role", server.role)
    assert server.countersign("status", as_role=server.role).exit_code == 0


def test_check_says_that_the_database_cannot_be_reached(server: Server) -> None:
    ((level, line, _),) = findings(server, COUNTERSIGN_DATABASE_URL="postgresql://127.0.0.1:9/none")
    assert (level, "cannot be reached" in line) == ("error", True)


def test_the_role_can_do_nothing_to_the_log(server: Server) -> None:
    server.countersign("migrate", "--service-role", server.role)
    assert server.countersign("kill", "all", "a", "row", as_role=server.role).exit_code == 0
    engine = sa.create_engine(server.as_role(server.role), poolclass=sa.NullPool)
    for statement in (
        "UPDATE agent_audit_log SET status = 'x'",
        "DELETE FROM agent_audit_log",
        "TRUNCATE agent_audit_log",
        "DROP TRIGGER agent_audit_log_append_only ON agent_audit_log",
        "ALTER TABLE agent_audit_log DISABLE TRIGGER ALL",
        "ALTER TABLE agent_audit_log OWNER TO CURRENT_USER",
        "UPDATE audit_head SET seq = 0",
        "CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TABLE public.own (n int)",
        "DELETE FROM countersign_migration",
        "TRUNCATE held_call",
    ):
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"), engine.begin() as conn:
            conn.exec_driver_sql(statement)
    assert server.countersign("audit", "verify", as_role=server.role).exit_code == 0
    assert (
        "kill.switched"
        in server.countersign("audit", "query", "--tenant", "_system", "--json", as_role=server.role).stdout
    )
