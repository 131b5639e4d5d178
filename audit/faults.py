"""What a database says when it cannot, put into sentences for people. Knows driver codes, nothing of units or rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError


class StoreUnavailable(Exception):
    """The database did not take it. `str(e)` may be shown to people.

    `certain`: nothing was written. False only if the connection broke during a PostgreSQL commit.
    """

    def __init__(self, sentence: str, *, certain: bool = True) -> None:
        super().__init__(sentence)
        self.certain = certain


class StoreConflict(StoreUnavailable):
    """Two transactions got in each other's way and this one gave in: nothing was written, it can be run again."""


_SQLITE = {
    sqlite3.SQLITE_FULL: "is full. Free some space on its disk",
    sqlite3.SQLITE_BUSY: "is locked by another program. Find and end that program",
    sqlite3.SQLITE_LOCKED: "is locked by another program. Find and end that program",
    sqlite3.SQLITE_READONLY: "cannot be written to. Check the owner and the rights of its file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Check that its directory exists and may be written to",
    sqlite3.SQLITE_IOERR: "cannot be read or written. Check its disk",
    sqlite3.SQLITE_NOMEM: "has run out of memory. Give it more",
    sqlite3.SQLITE_CORRUPT: "is damaged. Stop Countersign and restore it from a backup",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database. Check COUNTERSIGN_DATABASE_URL",
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html, by class
_POSTGRES = {
    "08": "cannot be reached. Check that it runs",
    "28": "refused the log-in. Check COUNTERSIGN_DATABASE_URL",
    "3D": "does not exist. Check COUNTERSIGN_DATABASE_URL",
    "53": "has run out of disk, memory or connections. Give it more",
    "55": "is locked by another program. Find and end that program",
    "57": "is shutting down, starting, or cancelled the work. Wait for it",
    "58": "has a system error. Look in its log",
}
_CONFLICTS = frozenset({"40001", "40P01"})
_READ_ONLY = "25006"


def unavailable(what: str, *, certain: bool = True) -> StoreUnavailable:
    """The one sentence, around `what`: says what happened, what was not done, what to do next."""
    outcome = (
        "Nothing was written"
        if certain
        else "It is not known whether the last change was written: look before you repeat it"
    )
    return StoreUnavailable(
        f"The database of Countersign {what}, then try again. {outcome}.",
        certain=certain,
    )


def translate(error: DBAPIError, *, certain: bool = True) -> StoreUnavailable | None:
    """`error` as the domain's error; None if it is a fault of the statement and not of the database."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        words = _SQLITE.get(code & 0xFF)
        return None if words is None else unavailable(words)
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(state, str):
        if state in _CONFLICTS:
            return StoreConflict("Two changes met in the database of Countersign. This one was not made; try it again.")
        words = _POSTGRES.get(state[:2])
        return None if words is None else unavailable(words, certain=certain)
    if error.connection_invalidated or type(error.orig).__name__ == "OperationalError":
        return unavailable(_POSTGRES["08"], certain=certain)
    return None


@contextmanager
def spoken(*, certain: bool = True) -> Iterator[None]:
    """Turns the driver's errors inside into `StoreUnavailable`; faults of the statement pass as they are."""
    try:
        yield
    except DBAPIError as error:
        failure = translate(error, certain=certain)
        if failure is None:
            raise
        raise failure from error
