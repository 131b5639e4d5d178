"""One checked SELECT on PostgreSQL under the tenant's own login role, with row-level security. Knows no tool.

A tenant in a setting (GUC) could be changed by ``set_config`` inside a SELECT; a login role cannot. Every tenant
has its own role, with SELECT on the columns of db.query alone and a policy that shows its tenant's rows. Views
in a schema of their own let ``SELECT *`` mean those columns; they read with the rights of whoever asks.
https://www.postgresql.org/docs/current/ddl-rowsecurity.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from policy.model import TenantId
from tools.actions.args import refuse
from tools.actions.query_sqlite import COLUMNS, Rows
from tools.credentials import Secret

SCHEMA = "countersign_query"
"""Holds the views; nothing else is on the search path of a query."""


def tenant_role(role: str, tenant: TenantId) -> tuple[sql.Composed, ...]:
    """What the owner of the tables runs once so that the login `role` sees the rows of `tenant` and nothing else.

    Idempotent. The role itself is made by the database's admin: LOGIN, no other right, not a member of anything.
    """
    schema = sql.Identifier(SCHEMA)
    statements = [sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema)]
    who, policy = sql.Identifier(role), sql.Identifier(f"db_query_{role}")
    for table, columns in COLUMNS.items():
        name = sql.Identifier(table)
        listed = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
        statements += [
            sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(name),
            sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, name),
            sql.SQL("CREATE POLICY {} ON {} FOR SELECT TO {} USING (tenant = {})").format(
                policy, name, who, sql.Literal(tenant)
            ),
            sql.SQL("REVOKE ALL ON {} FROM {}").format(name, who),
            sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(listed, name, who),
            sql.SQL("CREATE OR REPLACE VIEW {}.{} WITH (security_invoker = true) AS SELECT {} FROM {}").format(
                schema, name, listed, name
            ),
            sql.SQL("GRANT SELECT ON {}.{} TO {}").format(schema, name, who),
        ]
    statements.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, who))
    return tuple(statements)


@dataclass(frozen=True, slots=True)
class PostgresQuery:
    logins: Mapping[str, Secret]
    """Tenant -> address of its read-only login."""
    row_limit: int
    time_limit_s: float

    def __call__(self, tenant: TenantId, statement: str) -> Rows:
        """Runs `statement`, which `sql_guard.guard` has let through. Blocking: call it in a worker thread.

        Raises:
            ActionError: no login for the tenant, a login that is not bound by row-level security, too slow, wrong SQL.
        """
        login = self.logins.get(tenant)
        if login is None:
            raise refuse("db.query has no read-only database login for your organisation. Ask an admin to add one.")
        try:
            with psycopg.connect(login.reveal(), connect_timeout=max(2, int(self.time_limit_s))) as connection:
                connection.read_only = True
                with connection.transaction(), connection.cursor(name="db_query") as cursor:
                    _require_bound(connection)
                    connection.execute(
                        "SELECT set_config('search_path', %s, true), set_config('statement_timeout', %s, true)",
                        (SCHEMA, f"{int(self.time_limit_s * 1000)}ms"),
                    )
                    cursor.execute(statement.encode())
                    rows = cursor.fetchmany(self.row_limit + 1)
                    columns = tuple(column.name for column in cursor.description or ())
                    return Rows(columns, tuple(rows[: self.row_limit]), len(rows) <= self.row_limit)
        except psycopg.Error as error:
            raise _refused(error, self.time_limit_s) from error


def _require_bound(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Fails closed if this login owns a table, is a superuser or bypasses row-level security."""
    for table in COLUMNS:
        row = connection.execute("SELECT row_security_active(%s)", (table,)).fetchone()
        if row is None or row[0] is not True:
            raise refuse(
                "db.query's database login is not held to one organisation's rows, so nothing was read. "
                "Ask an admin to set up row-level security for it."
            )


def _refused(error: psycopg.Error, time_limit_s: float) -> Exception:
    match error:
        case psycopg.errors.QueryCanceled():
            return refuse(f"The query took longer than {time_limit_s:g} seconds and was stopped. Narrow it down.")
        case psycopg.errors.InsufficientPrivilege() | psycopg.errors.ReadOnlySqlTransaction():
            return refuse("The query reads something that db.query may not read. Use its four tables.")
        case psycopg.ProgrammingError() | psycopg.DataError():
            detail = (error.diag.message_primary or "").splitlines()[0:1]
            return refuse(f"The query is wrong: {''.join(detail)[:200]}. Mend it and try again.")
        case _:
            return refuse("The business database did not answer. Try again in a moment.", retryable=True)
