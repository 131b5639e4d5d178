"""Several statements in one round trip to PostgreSQL, through the driver's pipeline. Knows nothing of what they ask.

The server runs them one after the other, and each sees what had been committed when it began (READ COMMITTED, which
`audit.writer` asks for): a statement behind one that waited for a lock reads what the lock's last holder wrote. Within
one statement that would not be so: it takes its picture of the rows before it waits.

On SQLite they are run one by one: there is no trip to save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError

Row: TypeAlias = Mapping[str, Any]
_DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Prepared:
    """A statement compiled once, because compiling costs more than running it. Its values go by its binds' names."""

    __slots__ = ("_compiled", "_readers", "sql", "statement")

    def __init__(self, statement: sa.Select[*tuple[Any, ...]] | sa.TextClause) -> None:
        self.statement = statement
        self._compiled = statement.compile(dialect=_DIALECT)
        self.sql = str(self._compiled)
        columns = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self._readers = tuple((str(column.key), _reader(column.type)) for column in columns)

    @property
    def reads(self) -> bool:
        """Whether anybody looks at its rows. A text's are nobody's: the row of a lock says nothing."""
        return bool(self._readers)

    def execute(self, conn: Connection, values: Mapping[str, object]) -> list[Row]:
        """By itself, as SQLAlchemy does it."""
        found = conn.execute(self.statement, values)
        return [dict(row) for row in found.mappings()] if self.reads else []

    def values(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """`given` and the constants of the statement."""
        return self._compiled.construct_params(dict(given))

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[Row]:
        """What the driver gave, by column, as the columns' types have it."""
        return [
            {key: value if read is None else read(value) for (key, read), value in zip(self._readers, row, strict=True)}
            for row in found
        ]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a trip, with its values."""

    what: Prepared
    values: Mapping[str, object]


def take(conn: Connection, steps: Sequence[Step]) -> list[list[Row]]:
    """Run `steps` in this order in the transaction of `conn`; the rows of each.

    Raises:
        DBAPIError: the first that failed. The transaction has to be rolled back, as after any statement that fails.
    """
    if conn.dialect.name != "postgresql" or len(steps) == 1:
        return [step.what.execute(conn, step.values) for step in steps]
    if not conn.in_transaction():
        conn.begin()  # the driver sends it along with the first step; SQLAlchemy has to know, or it never commits
    driver = cast("psycopg.Connection[tuple[Any, ...]]", conn.connection.driver_connection)
    with _as_sqlalchemy(conn, steps):
        with driver.pipeline():
            cursors = [driver.execute(step.what.sql, step.what.values(step.values)) for step in steps]
        # Behind the block: asked for within it, the first answer would make a trip of its own.
        answers = zip(steps, cursors, strict=True)
        return [step.what.rows(cursor.fetchall()) if step.what.reads else [] for step, cursor in answers]


@contextmanager
def _as_sqlalchemy(conn: Connection, steps: Sequence[Step]) -> Iterator[None]:
    """The driver's errors as every other statement's, so that `audit.faults` can put them into words."""
    try:
        yield
    except psycopg.Error as error:
        lost = conn.dialect.is_disconnect(cast("Any", error), conn.connection.dbapi_connection, None)
        if lost:
            conn.invalidate(error)
        said = "; ".join(step.what.sql for step in steps)
        raise DBAPIError.instance(
            said, None, error, psycopg.Error, connection_invalidated=lost, dialect=conn.dialect
        ) from error


def _reader(kind: sa.types.TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
