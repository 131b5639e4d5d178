"""A door of the test's own, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.door import House, open_house


@pytest.fixture
def house(engine_url: str, tmp_path: Path) -> Iterator[House]:
    with open_house(engine_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def local_house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """For what does not depend on the database."""
    with open_house(sqlite_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def pair(engine_url: str, tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two replicas on one database."""
    with open_house(engine_url, tmp_path) as one, open_house(engine_url, tmp_path, executor="two") as two:
        yield one, two
