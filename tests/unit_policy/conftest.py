"""The shipped policy files, and people to ask with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from policy.model import Principal, RoleName, Subject, TenantId
from policy.rules import FILE_NAMES, Policy, load

HERE = Path(__file__).parents[2] / "policy"


@pytest.fixture(scope="session")
def shipped() -> dict[str, str]:
    return {name: (HERE / name).read_text(encoding="utf-8") for name in FILE_NAMES}


@pytest.fixture(scope="session")
def policy(shipped: dict[str, str]) -> Policy:
    return load(shipped)


@pytest.fixture(scope="session")
def person() -> Callable[..., Principal]:
    def make(*roles: str, name: str = "dana", key: str | None = "E1") -> Principal:
        subject = Subject("urn:test", name)
        return Principal(TenantId("demo"), subject, name.title(), frozenset(map(RoleName, roles)), key)

    return make
