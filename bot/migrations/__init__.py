"""Brings a database up to date: our tables by alembic, the log's guards, the queue's own tables.

Knows where every table is declared; knows no setting. The same on SQLite and PostgreSQL; run as the owner.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData
from sqlalchemy.engine import Connection, Engine
from sqlmodel import SQLModel

from bot.durable import migrate_queue

VERSION_TABLE = "countersign_migration"
_LOCK = 7_104_202_601
"""PostgreSQL: two replicas that start together migrate one after the other."""


def metadata() -> MetaData:
    """Every table of the product: importing a module declares its tables."""
    # ruff: noqa: F401
    import audit.tables
    import bot.agent.transcript
    import bot.identity.tables
    import bot.slack.tables
    import bot.store
    import bot.teams.tables
    import bot.web.tables
    import tools.approvals
    import tools.effects
    import tools.killswitch
    import tools.limits
    import tools.pressing

    return SQLModel.metadata


def migrate(engine: Engine) -> tuple[str, ...]:
    """Bring the database behind `engine` up to date; returns a line for each migration that was run.

    Raises:
        sqlalchemy.exc.DBAPIError: it could not be; what was begun is rolled back.
    """
    with engine.connect() as conn:
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        before = current(conn)
        config = _config()
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
        conn.commit()
    migrate_queue(engine)
    return tuple(reversed(_between(before)))


def _between(before: str | None) -> list[str]:
    """The migrations after `before`, newest first."""
    script = ScriptDirectory.from_config(_config())
    return [f"{one.revision}: {one.doc}" for one in script.iterate_revisions("head", before or "base")]


def pending(conn: Connection) -> bool:
    """Whether `migrate` has something to do, as far as our own tables go."""
    return current(conn) != latest()


def current(conn: Connection) -> str | None:
    """The migration the database stands at; None: it is empty."""
    context = MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def latest() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
