"""Invariant 14 where organisations share a process: one sends many SCIM requests, the others get their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from bot.identity.scim_service import ScimDesk
from bot.web.scim import AT_ONCE
from tests.kit.scim_house import GLOBEX, USERS, ScimHouse, scim_house

MANY = 30


@pytest.fixture
def house(engine_url: str) -> Iterator[ScimHouse]:
    with scim_house(engine_url) as opened:
        yield opened


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_flood_of_one_organisation_leaves_room_for_the_others(
    house: ScimHouse, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Every request of Globex takes its time in the database; Acme's is answered meanwhile."""
    on, lock, inside, most = threading.Event(), threading.Lock(), [0], [0]
    name = "read" if method == "GET" else "write"
    served = getattr(ScimDesk, name)

    def slow(self: ScimDesk, conn: Any, authorization: str | None, request: Any) -> Any:
        if authorization is not None and authorization.endswith(house.tokens[GLOBEX]):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            on.wait(20)
            with lock:
                inside[0] -= 1
        return served(self, conn, authorization, request)

    monkeypatch.setattr(ScimDesk, name, slow)
    sqlite_writes = house.writer.engine.dialect.name == "sqlite" and method == "POST"
    clients = [house.client(GLOBEX) for _ in range(MANY)]
    with ThreadPoolExecutor(MANY) as pool:
        asked: list[Future[Any]] = [
            pool.submit(one.send, "GET", USERS) if method == "GET" else pool.submit(one.user, f"u{n}")
            for n, one in enumerate(clients)
        ]
        try:
            if not sqlite_writes:  # there everybody's writes are one after the other, by design
                acme = house.client()
                acme.http.timeout = 10
                assert acme.send("GET", USERS).status_code == 200
                assert acme.send("POST", USERS, {"userName": "ann", "schemas": []}).status_code in (201, 400)
        finally:
            on.set()
        for one in asked:
            one.result(60)
    assert 1 <= most[0] <= AT_ONCE
