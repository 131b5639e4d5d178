"""One migration makes every table, on both databases, and the models agree with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Engine

from audit.writer import make_engine
from bot import migrations


@pytest.fixture
def engine(engine_url: str) -> Iterator[Engine]:
    made = make_engine(engine_url)
    yield made
    made.dispose()


def _is_ours(_item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    """The queue's own tables share the file on SQLite; they are DBOS's to describe."""
    return kind != "table" or name in migrations.metadata().tables


def test_models_and_migrations_agree(engine: Engine) -> None:
    migrations.migrate(engine)
    with engine.connect() as conn:
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": True, "include_object": _is_ours}
        context = MigrationContext.configure(conn, opts=options)
        assert compare_metadata(context, migrations.metadata()) == []


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    with engine.connect() as conn:
        assert migrations.pending(conn)
    assert migrations.migrate(engine) == ("0001: Every table, the log's triggers and the view of calls.",)
    assert migrations.migrate(engine) == ()
    with engine.connect() as conn:
        assert not migrations.pending(conn)
        assert migrations.current(conn) == migrations.latest()


def test_the_log_is_guarded_and_the_view_is_there(engine: Engine) -> None:
    migrations.migrate(engine)
    with engine.connect() as conn:
        assert conn.execute(sa.text("SELECT count(*) FROM agent_calls")).scalar_one() == 0
        with pytest.raises(sa.exc.DBAPIError):
            conn.execute(sa.text("INSERT INTO audit_head (tenant_id, seq, hash) VALUES ('demo', 7, 'x')"))


def test_the_queue_has_its_tables_in_the_same_database(engine: Engine) -> None:
    migrations.migrate(engine)
    schema = "dbos" if engine.dialect.name == "postgresql" else None
    assert "workflow_status" in sa.inspect(engine).get_table_names(schema)
