"""Real counterparts that several e2e tests share, each started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot import local_idp
from tests.kit.service_process import Home, copy_home, make_home
from tests.rigs import aimock_rig
from tests.rigs.canaille_rig import Canaille, canaille

IDP_CALLBACKS = ("http://127.0.0.1:9/signin/callback", "http://127.0.0.1:9/link/callback")
"""Addresses the shared provider sends a browser back to. Nobody listens there: a test looks at the address."""


@pytest.fixture(scope="session")
def aimock_server() -> Iterator[aimock_rig.Aimock]:
    """aimock with every fixture of tests/rigs/aimock, once for the whole run."""
    if (aimock_rig.node() is None or not aimock_rig.CLI.exists()) and os.environ.get("CI") != "true":
        pytest.skip("aimock: run `make test`, or `cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts`")
    with aimock_rig.aimock() as rig:
        yield rig


@pytest.fixture
def aimock(aimock_server: aimock_rig.Aimock) -> aimock_rig.Aimock:
    """The running aimock, its journal empty."""
    aimock_server.forget()
    return aimock_server


@pytest.fixture(scope="session")
def idp_server() -> Iterator[Canaille]:
    """Acme's identity provider, once for the whole run. A test that provisions starts its own, with `canaille`."""
    if not local_idp.PYTHON.exists() and os.environ.get("CI") != "true":
        pytest.skip("Canaille: run `make test`, or `make rigs`")
    with canaille(IDP_CALLBACKS) as rig:
        yield rig


@pytest.fixture
def idp(idp_server: Canaille) -> Canaille:
    """The running Canaille. Leave its people as you found them."""
    return idp_server


@pytest.fixture(scope="session")
def home_template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A deployment on SQLite, migrated and its shop filled: tests work on copies."""
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def home(home_template: Home, tmp_path: Path) -> Home:
    """A deployment of this test's own."""
    return copy_home(home_template, tmp_path / "home")
