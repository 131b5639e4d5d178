"""The databases that every other test stands on."""

from __future__ import annotations

import socket

import pytest
import sqlalchemy as sa


def test_each_test_has_an_empty_database_of_its_own(engine_url: str) -> None:
    engine = sa.create_engine(engine_url)
    try:
        with engine.begin() as conn:
            conn.execute(sa.text("CREATE TABLE mine (id INTEGER PRIMARY KEY)"))
            assert sa.inspect(conn).get_table_names() == ["mine"]
    finally:
        engine.dispose()


def test_no_test_leaves_this_machine() -> None:
    with socket.socket() as out, pytest.raises(AssertionError, match="127.0.0.1"):
        out.connect(("192.0.2.1", 80))
