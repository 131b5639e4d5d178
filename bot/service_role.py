"""The login of the service on PostgreSQL: owns nothing, has what the service needs, no more (invariant 10).

Knows which tables there are and which rights on them the service uses. Makes no role and no login. The log's own
rights are `audit.ddl`'s; who could take its guards away, `audit.rights` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from audit import ddl, rights
from bot import migrations
from tools import business

_QUEUE = "dbos"
"""The schema of the queue's own tables."""
_LOG = {"agent_audit_log": ("SELECT", "INSERT"), "audit_head": ("SELECT",)}
_READ_ONLY = frozenset({migrations.VERSION_TABLE, f"{_QUEUE}.dbos_migrations"})
_ROWS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_LOCK = 7_104_202_602
"""Two who grant at once would meet in the catalog."""
_NO_RIGHT = "42501"


class RoleRefused(Exception):
    """The role cannot be the service's, or was not given its rights. `str(e)` is for people, with the mend."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the connected role may do. `excess`: what lets it take the log's guards away. `lacking`: tables it needs."""

    role: str
    excess: str | None
    lacking: tuple[str, ...]


def shared(database_url: str, business_url: str) -> bool:
    """Whether the business tables are kept in Countersign's own database. Both addresses must name it alike."""
    ours, theirs = make_url(database_url), make_url(business_url)
    return (ours.get_backend_name(), ours.host, ours.port, ours.database, ours.query) == (
        theirs.get_backend_name(),
        theirs.host,
        theirs.port,
        theirs.database,
        theirs.query,
    )


def vet(engine: Engine, role: str) -> None:
    """Whether `role` can be the service's; asked before anything is migrated.

    Raises:
        RoleRefused: SQLite, an unknown role, or one that owns or may become an owner.
    """
    if engine.dialect.name != "postgresql":
        raise RoleRefused(
            "SQLite knows no roles, so nothing was migrated: leave --service-role away, and let only the service's "
            "account read and write the database file."
        )
    with engine.connect() as conn:
        if not rights.exists(conn, role):
            raise RoleRefused(
                f"PostgreSQL knows no role {role}, so nothing was migrated: make it with "
                f"CREATE ROLE {_quoted(conn, role)} LOGIN PASSWORD '…', then run this again."
            )
        if role == rights.connected_role(conn):
            raise RoleRefused(
                f"The role {role} is the one that migrates and would own the log, so nothing was migrated: make "
                "another login for the service and name that one."
            )
        why = rights.could_become_owner(conn, role) or _owned(conn, role)
        if why is not None:
            raise RoleRefused(
                f"The role {role} {why}, so nothing was migrated: name a login of its own for the service, one that "
                "owns nothing and has no right but LOGIN."
            )


def grant(engine: Engine, role: str, *, business_here: bool) -> None:
    """Give `role` what the service needs, after the migration and as the owner of the tables. Safe to run again.

    Args:
        business_here: the business tables are in this database too (`shared`); those that are missing are made.

    Raises:
        RoleRefused: the rights are not the connected role's to give, or `role` has more from elsewhere.
    """
    try:
        with engine.begin() as conn:
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if business_here:
                business.METADATA.create_all(conn)
            tables = _tables(conn, business_here)
            for statement in _grants(conn, role, tables):
                conn.exec_driver_sql(statement)
            ddl.grant_service_role(conn, role)
            excess = rights.over_guards(conn, role)
            if excess is not None:
                raise RoleRefused(
                    f"The database was migrated, but the role {role} still {excess}, so it was given no rights: take "
                    "that from PUBLIC or from the group it has it of, then run this again."
                )
            if _lacking(conn, role, tables):
                raise _not_the_owner(role)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _NO_RIGHT:
            raise _not_the_owner(role) from error
        raise


def standing(conn: Connection, *, business_here: bool) -> Standing | None:
    """What the connected role may do; None on SQLite, which knows no roles."""
    if conn.dialect.name != "postgresql":
        return None
    role = rights.connected_role(conn)
    return Standing(role, rights.over_guards(conn, role), _lacking(conn, role, _tables(conn, business_here)))


def _grants(conn: Connection, role: str, tables: Sequence[str]) -> Iterator[str]:
    """What was given by hand (CREATE, TRUNCATE, TRIGGER) is taken first and does not stay."""
    name = _quoted(conn, role)
    schema = _quoted(conn, str(conn.exec_driver_sql("SELECT current_schema()").scalar_one()))
    for place in (schema, _QUEUE):
        yield f"REVOKE ALL ON SCHEMA {place} FROM {name}"
        yield f"GRANT USAGE ON SCHEMA {place} TO {name}"
    for table in tables:
        if table not in _LOG:
            yield f"REVOKE ALL ON {table} FROM {name}"
            yield f"GRANT {', '.join(_needed(table))} ON {table} TO {name}"
    for sequence in _sequences(conn, tables):
        yield f"REVOKE ALL ON SEQUENCE {sequence} FROM {name}"
        yield f"GRANT USAGE ON SEQUENCE {sequence} TO {name}"
    yield f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {_QUEUE} TO {name}"


def _tables(conn: Connection, business_here: bool) -> Sequence[str]:
    """Every table of ours and of the queue that is there, as SQL names it."""
    ours = [*migrations.metadata().tables, migrations.VERSION_TABLE]
    if business_here:
        ours += business.METADATA.tables
    found = sa.text(
        "SELECT quote_ident(name) FROM unnest(CAST(:names AS text[])) name"
        " WHERE to_regclass(quote_ident(name)) IS NOT NULL"
    )
    queue = sa.text("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = :schema")
    return (
        *conn.execute(found, {"names": ours}).scalars(),
        *conn.execute(queue, {"schema": _QUEUE}).scalars(),
    )


def _sequences(conn: Connection, tables: Sequence[str]) -> Sequence[str]:
    owned = sa.text(
        "SELECT CAST(CAST(objid AS regclass) AS text) FROM pg_depend JOIN pg_class ON pg_class.oid = objid"
        " WHERE relkind = 'S' AND pg_depend.deptype IN ('a', 'i')"
        " AND refobjid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) name)"
    )
    return conn.execute(owned, {"tables": list(tables)}).scalars().all()


def _owned(conn: Connection, role: str) -> str | None:
    """A table of ours that belongs to `role`, as the rest of "The role X …"."""
    query = sa.text(
        "SELECT name FROM unnest(CAST(:tables AS text[])) name JOIN pg_class ON pg_class.oid = to_regclass(name)"
        " WHERE pg_has_role(CAST(:role AS name), relowner, 'MEMBER') LIMIT 1"
    )
    table = conn.execute(query, {"tables": list(_tables(conn, business_here=False)), "role": role}).scalar()
    return None if table is None else f"owns the table {table}"


def _lacking(conn: Connection, role: str, tables: Sequence[str]) -> tuple[str, ...]:
    """Those of `tables` on which `role` has not every right that the service uses."""
    pairs = [(table, verb) for table in tables for verb in _needed(table)]
    query = sa.text(
        "SELECT DISTINCT name FROM unnest(CAST(:tables AS text[]), CAST(:verbs AS text[])) needed (name, verb)"
        " WHERE NOT has_table_privilege(CAST(:role AS name), to_regclass(name), verb) ORDER BY name"
    )
    names, verbs = [table for table, _ in pairs], [verb for _, verb in pairs]
    return tuple(conn.execute(query, {"role": role, "tables": names, "verbs": verbs}).scalars())


def _needed(table: str) -> tuple[str, ...]:
    return _LOG.get(table) or (("SELECT",) if table in _READ_ONLY else _ROWS)


def _quoted(conn: Connection, name: str) -> str:
    return conn.dialect.identifier_preparer.quote_identifier(name)


def _not_the_owner(role: str) -> RoleRefused:
    return RoleRefused(
        f"The database was migrated, but the login that did it may not give {role} its rights, so none was given: "
        "run this again as the owner of the tables."
    )
