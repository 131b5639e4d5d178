"""Shops on both databases, and on SQLite alone where the database does not matter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit_actions.shop import Shop, open_shop


@pytest.fixture
def shop(engine_url: str) -> Iterator[Shop]:
    with open_shop(engine_url) as opened:
        yield opened


@pytest.fixture
def local_shop(sqlite_url: str) -> Iterator[Shop]:
    with open_shop(sqlite_url) as opened:
        yield opened
