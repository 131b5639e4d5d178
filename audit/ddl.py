"""What the database itself enforces on the log: triggers, the view of calls, the rights of the service.

Knows SQLite's and PostgreSQL's SQL; knows nothing of events. An owner or somebody with the file can remove
all of this: that it shows is the business of the chain and its checkpoints (`audit.verify`).

Everything here can be run again: what exists is dropped and made anew, the tables and their rows are left alone.
"""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from audit import ddl_postgresql, ddl_sqlite
from audit.tables import AuditHead, AuditRow

CALLS = """
WITH ends AS (
    SELECT tenant_id, call_id,
        min(seq) AS first_seq,
        max(seq) AS last_seq,
        max(CASE WHEN kind NOT IN ('approval.pressed', 'approval.reminded') THEN seq END) AS now_seq,
        max(CASE WHEN hitl_approver IS NOT NULL THEN seq END) AS approver_seq,
        max(CASE WHEN tool_args IS NOT NULL THEN seq END) AS args_seq
    FROM agent_audit_log
    WHERE call_id IS NOT NULL
    GROUP BY tenant_id, call_id
    HAVING count(CASE WHEN substr(kind, 1, 5) = 'tool.' THEN 1 END) > 0
)
SELECT ends.tenant_id, ends.call_id, first.occurred_at AS requested_at, now.occurred_at, first.actor_user_id,
    first.session_id, first.tool_name, args.tool_args, args.tool_args->>'amount' AS amount,
    args.tool_args->>'currency' AS currency, now.hitl_status, approver.hitl_approver, now.status, now.latency_ms,
    ends.last_seq
FROM ends
JOIN agent_audit_log first ON first.tenant_id = ends.tenant_id AND first.seq = ends.first_seq
JOIN agent_audit_log now ON now.tenant_id = ends.tenant_id AND now.seq = ends.now_seq
LEFT JOIN agent_audit_log args ON args.tenant_id = ends.tenant_id AND args.seq = ends.args_seq
LEFT JOIN agent_audit_log approver ON approver.tenant_id = ends.tenant_id AND approver.seq = ends.approver_seq
"""
"""One row per call. A press is no state of a call (a late one changes nothing), so `status` is that of the last row
that is not a press; `hitl_approver` is whoever the last row that names approvers names."""


def create_all(conn: Connection) -> None:
    """Makes the two tables if they are missing, then `guard`."""
    for table in _tables():
        table.create(conn, checkfirst=True)
    guard(conn)


def guard(conn: Connection) -> None:
    """Triggers and the view, for a database whose tables exist. Used by migration 0001."""
    if conn.dialect.name == "postgresql":
        schema = conn.dialect.identifier_preparer.quote(str(conn.exec_driver_sql("SELECT current_schema()").scalar()))
        for statement in _split(ddl_postgresql.GUARDS):
            conn.exec_driver_sql(statement.replace("{schema}", schema))
        conn.exec_driver_sql(f"CREATE OR REPLACE VIEW agent_calls AS {CALLS}")
        return
    for statement in _split(ddl_sqlite.GUARDS):
        conn.exec_driver_sql(statement)
    conn.exec_driver_sql("DROP VIEW IF EXISTS agent_calls")
    conn.exec_driver_sql(f"CREATE VIEW agent_calls AS {CALLS}")


def drop_all(conn: Connection) -> None:
    """Takes view, triggers and both tables away again; for a migration's way back and for tests."""
    conn.exec_driver_sql("DROP VIEW IF EXISTS agent_calls")
    for table in _tables():
        table.drop(conn, checkfirst=True)
    if conn.dialect.name == "postgresql":
        for function in ("audit_log_refuse()", "audit_log_continue()", "audit_head_guard()", "audit_lock_head(text)"):
            conn.exec_driver_sql(f"DROP FUNCTION IF EXISTS {function}")


def grant_service_role(conn: Connection, role: str) -> None:
    """Gives the PostgreSQL role of the service INSERT and SELECT on the log, SELECT on the rest, and no more.

    The heads are locked and moved by functions that run as the owner, so the role needs no right to change
    them. Run as the owner of the tables; `role` must exist and own none of them.

    Raises:
        ValueError: the database is not PostgreSQL, or `role` owns one of the tables.
    """
    if conn.dialect.name != "postgresql":
        raise ValueError("SQLite knows no roles: guard the file with the rights of the file system.")
    owners = conn.exec_driver_sql(
        "SELECT tableowner FROM pg_tables WHERE tablename IN ('agent_audit_log', 'audit_head')"
        " AND schemaname = current_schema()"
    ).scalars()
    if role in set(owners):
        raise ValueError(
            f"The role {role} owns the audit tables, so it could switch their guards off. "
            "Run the migration as another role and name the service's role here."
        )
    name = conn.dialect.identifier_preparer.quote_identifier(role)
    for statement in (
        f"REVOKE ALL ON agent_audit_log, audit_head, agent_calls FROM PUBLIC, {name}",
        f"GRANT INSERT, SELECT ON agent_audit_log TO {name}",
        f"GRANT SELECT ON audit_head, agent_calls TO {name}",
        "REVOKE ALL ON FUNCTION audit_lock_head(text) FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION audit_lock_head(text) TO {name}",
    ):
        conn.exec_driver_sql(statement)


def _tables() -> tuple[Table, ...]:
    return tuple(SQLModel.metadata.tables[str(model.__tablename__)] for model in (AuditRow, AuditHead))


def _split(script: str) -> list[str]:
    """The statements of `script`; a line of ``--;`` ends each, for bodies of triggers hold semicolons themselves."""
    return [part.strip() for part in script.split("--;") if part.strip()]
