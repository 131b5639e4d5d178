"""Who could take the log's guards away. Reads PostgreSQL's catalog; changes nothing and knows no setting.

The guards bind whoever has not the right to remove them: an owner, a superuser and whoever may become one of these
are not bound. SQLite knows no roles; there the rights of the file decide.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection

_KIND_OF_ROLE = text("""
SELECT CASE WHEN rolsuper THEN 'is a superuser' WHEN rolcreaterole THEN 'may make roles, and give itself others' END
FROM pg_roles WHERE rolname = :role
""")
# What an owner may remove: its own relations and functions, all that is in its schema, its whole database.
_MEMBER = text("""
SELECT owned.what, owner.rolname AS owner
FROM (
    SELECT 1 AS place, 'the table ' || relname AS what, relowner AS owner
    FROM pg_class WHERE oid IN (to_regclass('agent_audit_log'), to_regclass('audit_head'))
    UNION ALL
    SELECT 2, 'the function ' || proname, proowner
    FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident(current_schema()))
    AND proname IN ('audit_log_refuse', 'audit_log_continue', 'audit_head_guard', 'audit_lock_head')
    UNION ALL
    SELECT 3, 'the schema ' || nspname, nspowner FROM pg_namespace WHERE nspname = current_schema()
    UNION ALL
    SELECT 4, 'the database ' || datname, datdba FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 5, 'the whole server', oid FROM pg_roles
    WHERE rolsuper OR rolname IN ('pg_execute_server_program', 'pg_write_server_files')
) owned JOIN pg_roles owner ON owner.oid = owned.owner
WHERE pg_has_role(CAST(:role AS name), owned.owner, 'MEMBER')
ORDER BY owned.place, owned.what LIMIT 1
""")
_RIGHT = text("""
SELECT verb || ' on ' || name FROM (VALUES
    ('agent_audit_log', 'UPDATE'), ('agent_audit_log', 'DELETE'), ('agent_audit_log', 'TRUNCATE'),
    ('agent_audit_log', 'TRIGGER'), ('audit_head', 'INSERT'), ('audit_head', 'UPDATE'), ('audit_head', 'DELETE'),
    ('audit_head', 'TRUNCATE'), ('audit_head', 'TRIGGER')
) needless (name, verb)
WHERE to_regclass(name) IS NOT NULL AND CASE
    WHEN verb IN ('INSERT', 'UPDATE') THEN has_any_column_privilege(CAST(:role AS name), to_regclass(name), verb)
    ELSE has_table_privilege(CAST(:role AS name), to_regclass(name), verb) END
LIMIT 1
""")
_MAY_CREATE = text("""
SELECT current_schema() WHERE has_schema_privilege(CAST(:role AS name), current_schema(), 'CREATE')
""")


def exists(conn: Connection, role: str) -> bool:
    """Whether PostgreSQL knows `role`."""
    return conn.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first() is not None


def connected_role(conn: Connection) -> str:
    """The role that asks here."""
    return str(conn.execute(text("SELECT current_user")).scalar_one())


def could_become_owner(conn: Connection, role: str) -> str | None:
    """What makes `role` an owner of the log or of what holds it, as the rest of "The role X …"; None: nothing does."""
    named = {"role": role}
    kind = conn.execute(_KIND_OF_ROLE, named).scalar()
    if kind is not None:
        return str(kind)
    member = conn.execute(_MEMBER, named).first()
    if member is None:
        return None
    return f"owns {member.what}" + ("" if member.owner == role else f", as a member of {member.owner}")


def over_guards(conn: Connection, role: str) -> str | None:
    """What would let `role` remove the log's guards or pass them by, as the rest of "The role X …".

    None: nothing, as far as the catalog of PostgreSQL tells. Tables that are not there yet are left out.
    """
    owner = could_become_owner(conn, role)
    if owner is not None:
        return owner
    right = conn.execute(_RIGHT, {"role": role}).scalar()
    if right is not None:
        return f"has the right to {right}"
    schema = conn.execute(_MAY_CREATE, {"role": role}).scalar()
    if schema is not None:  # a function or an operator beside the log's own could lead those astray
        return f"may create things in the schema {schema}"
    return None
