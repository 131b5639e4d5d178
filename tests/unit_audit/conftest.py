"""A log of its own for every test, on both databases, and events to put in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from audit import ddl
from audit.event import Event, Kind
from audit.store import AuditStore
from audit.writer import Writer, make_engine

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
DANA = "urn:countersign:directory|dana"


def _event(number: int = 0, tenant: str | None = "demo", **changes: object) -> Event:
    values: dict[str, object] = {
        "kind": Kind.TOOL_REQUESTED,
        "tenant": tenant,
        "occurred_at": START + timedelta(seconds=number),
        "status": "pending",
        "actor_user_id": DANA,
        "actor_roles": ("support_agent",),
        "session_id": "slack:C1:1.1",
        "call_id": f"call-{number}",
        "tool_name": "refund.issue",
        "tool_args": {"order_id": "1042", "amount": "42.00", "currency": "USD"},
        "detail": {"number": number},
    }
    return Event(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def event() -> Callable[..., Event]:
    return _event


@pytest.fixture
def writer(engine_url: str) -> Iterator[Writer]:
    """A writer on an empty database that has the audit's tables and guards."""
    engine = make_engine(engine_url)
    made = Writer(engine)
    made.run_blocking(ddl.create_all)
    yield made
    made.close()
    engine.dispose()


@pytest.fixture
def store() -> AuditStore:
    return AuditStore(lambda text: text.replace("4111111111111111", "[card]"))
