"""Real counterparts that several e2e tests share, each started once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.rigs import aimock_rig


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
