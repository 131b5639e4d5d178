"""A door of the test's own, on both databases; a deployment of two organisations."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kit.door import House, open_house
from tests.kit.two_tenants import Two, found_deployment, serving


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


@pytest.fixture(scope="session")
def two_founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two organisations in one deployment, provisioned once for all tests of the border between them (SQLite)."""
    folder = tmp_path_factory.mktemp("two") / "founded"
    folder.mkdir()
    found_deployment(folder)
    return folder


@pytest.fixture
def two_folder(two_founded: Path, tmp_path: Path) -> Path:
    """That deployment, for one test."""
    return shutil.copytree(two_founded, tmp_path / "two")


@pytest.fixture
async def two(two_folder: Path) -> AsyncIterator[Two]:
    """It is served."""
    async with serving(two_folder) as running:
        yield running


@pytest.fixture
def two_folder_anywhere(engine_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str | None]:
    """That deployment for one test, on both databases; the second part: its address where it is not in the folder."""
    if engine_url.startswith("sqlite"):
        return request.getfixturevalue("two_folder"), None
    folder = tmp_path / "two"
    folder.mkdir()
    found_deployment(folder, engine_url)
    return folder, engine_url


@pytest.fixture
async def two_anywhere(two_folder_anywhere: tuple[Path, str | None]) -> AsyncIterator[Two]:
    """It is served, on both databases."""
    async with serving(*two_folder_anywhere) as running:
        yield running
