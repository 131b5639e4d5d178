"""From the IdP's SCIM request to "refused at the door": PATCH active=false at one replica, calls at another one.

PostgreSQL, two replicas in two processes, 10,000 requests of 500 people waiting. Each leaver has 20 of them, which the
same transaction voids, and a vote on two more, which it takes back; both replicas' queues work off what follows from it
(cards, threads) beside the measurement. The other replica's door is asked without a pause, by the leaver, with tokens
that were minted while they were still there: the figure ends with its first refusal.

Run it alone with ``python -m tests.bench.bench_leavers``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import aiohttp
import sqlalchemy as sa
import uvicorn
from sqlalchemy.engine import Connection
from starlette.applications import Starlette

from bot import store
from bot.identity import scim_tokens
from bot.identity.leavers import Leavers
from bot.identity.people import DirectoryPeople
from bot.identity.scim_directory import ScimDirectory
from bot.settings import PersonKey
from bot.turn import Turn
from bot.web.scim import scim_routes
from policy.model import Subject, TenantId, ToolName
from tests.bench.bench_audit import Figure, figure, fsync_p50, line, postgres
from tests.kit import pending
from tests.kit.pending import MAC
from tests.kit.product import DEMO, Product, build, running
from tests.kit.scripted import RecordedChat, ScriptedModel, refund_and_mail
from tools import approvals, signing
from tools.approvals import HELD, VOTE, HeldCall, Vote
from tools.door import Door
from tools.gateway import Gateway
from tools.held import Blocked, Proposal, TurnContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bot.messages import SurfaceName

ISSUER = "https://idp.acme.example"
PENDING = 10_000
PEOPLE = 500
LEAVERS = 100
VOTES = 2
CROWD = 1_000
"""Requests of one person alone, for the second figure."""
CROWDED = 3
EVERY_S = 0.05
BATCH = 500


@dataclass(frozen=True)
class _Issuer:
    issuer: str = ISSUER


@dataclass(frozen=True)
class _Tenant:
    issuer: _Issuer = _Issuer()


class _Tenants:
    def __init__(self) -> None:
        self.tenants = {DEMO: _Tenant()}

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return DEMO

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        return ()

    def own_teams(self, tenant: TenantId) -> tuple[str, ...]:
        return ()


def subject(sub: str) -> Subject:
    return Subject(ISSUER, sub)


def with_scim(product: Product) -> tuple[Gateway, Leavers, ScimDirectory]:
    """The product's door, asking SCIM's rows who people are."""
    directory = ScimDirectory(_Tenants())
    people = DirectoryPeople(directory, product.parts.policy, PersonKey.EMPLOYEE_NUMBER)
    door: Door = product.parts.gateway._door
    gateway = Gateway(replace(door, people=people))
    return gateway, Leavers(gateway, directory, product.parts.policy, product.clock), directory


# -- the replica that the IdP speaks to ----------------------------------------------------------------------------


async def serve(url: str, folder: Path, port: int) -> None:
    """A process of its own: SCIM over HTTP, and a queue."""
    product = build(
        url, _business(folder), RecordedChat(), ScriptedModel(refund_and_mail), replica_id="idp", sweep_s=0.2
    )
    gateway, leavers, directory = with_scim(product)
    parts = replace(product.parts, gateway=gateway, directory=directory)
    await product.parts.durable.launch(Turn(parts).segments)
    routes = scim_routes(parts.writer, parts.audit, _Tenants(), leavers, product.clock)
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error")
    await uvicorn.Server(config).serve()


@asynccontextmanager
async def replica(url: str, folder: Path) -> AsyncIterator[str]:
    """Another replica's SCIM address; its process ends with the block."""
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.bench_leavers", "serve", url, str(folder), str(port)
    )
    try:
        async with aiohttp.ClientSession() as session:
            deadline = time.monotonic() + 60
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/scim/v2/ServiceProviderConfig"):
                        break
                except aiohttp.ClientError:
                    if time.monotonic() > deadline or process.returncode is not None:
                        raise
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/scim/v2"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# -- people and what they have waiting -----------------------------------------------------------------------------


async def provision(http: aiohttp.ClientSession, base: str, count: int) -> dict[str, str]:
    """`count` people in one group that has a role, over SCIM as an IdP does it; subject -> SCIM id."""
    ids: dict[str, str] = {}
    user = "urn:ietf:params:scim:schemas:core:2.0:User"
    group = "urn:ietf:params:scim:schemas:core:2.0:Group"
    for number in range(count):
        sub = f"p{number:04d}"
        body = {"schemas": [user], "userName": f"{sub}@acme.example", "externalId": sub, "active": True}
        made = await _scim(http, "POST", f"{base}/Users", body, 201)
        ids[sub] = str(made["id"])
    members = [{"value": one} for one in ids.values()]
    for name in ("support", "finance-approvers"):
        await _scim(http, "POST", f"{base}/Groups", {"schemas": [group], "displayName": name, "members": members}, 201)
    return ids


async def fill(product: Product, sample: str, subs: Sequence[str], many: int) -> None:
    """`many` requests like `sample`, dealt out to `subs` in turn; each also voted on some of the next one's."""
    found = await product.writer.read(lambda conn: approvals.read(conn, DEMO, sample))
    turn = None if found is None else await product.writer.read(lambda conn: store.turn(conn, DEMO, found.turn_id))
    if found is None or turn is None:
        raise LookupError(sample)
    made = [_copy(found, number, subs[number % len(subs)]) for number in range(many)]
    turns = [
        turn.model_copy(update={"turn_id": row.turn_id, "session_id": row.session_id}).model_dump() for row in made
    ]
    votes = [
        _vote(made[(index + 1) % len(subs) + number * len(subs)], sub).model_dump()
        for index, sub in enumerate(subs)
        for number in range(min(VOTES, many // len(subs) - 1))
    ]
    rows = [row.model_dump() for row in made]

    def insert(conn: Connection) -> None:
        for table, values in ((store.TURN, turns), (HELD, rows), (VOTE, votes)):
            for start in range(0, len(values), BATCH):
                conn.execute(sa.insert(table), values[start : start + BATCH])

    await product.writer.run(insert)
    await product.writer.run(lambda conn: conn.exec_driver_sql("ANALYZE").rowcount)


def _copy(row: HeldCall, number: int, sub: str) -> HeldCall:
    new = row.model_copy(
        update={
            "requester_issuer": ISSUER,
            "requester_sub": sub,
            "requester_name": sub,
            "person_key": f"employee:{sub}",
            "needed": 2,
            "nonce": f"{number:032x}",
            "resource": None,
        }
    )
    for name in ("held_id", "call_id", "card_id", "turn_id", "session_id"):
        setattr(new, name, f"{getattr(row, name)}-{sub}-{number}")
    new.digest = signing.drawn_up(new).digest()
    new.mac = signing.seal(MAC, new, ())
    return new


def _vote(row: HeldCall, sub: str) -> Vote:
    vote = Vote(
        tenant=row.tenant,
        held_id=row.held_id,
        revision=row.revision,
        issuer=ISSUER,
        sub=sub,
        name=sub,
        person_key=f"employee:{sub}",
        digest=row.digest,
        at=datetime.now(UTC),
        mac="",
    )
    vote.mac = signing.seal_vote(MAC, vote)
    return vote


# -- measuring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Idp:
    """The tenant's SCIM client."""

    http: aiohttp.ClientSession
    base: str

    async def deactivate(self, resource_id: str) -> float:
        """How long the answer took."""
        body = {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "path": "active", "value": False}],
        }
        began = time.perf_counter()
        await _scim(self.http, "PATCH", f"{self.base}/Users/{resource_id}", body, 200, 204)
        return time.perf_counter() - began


async def refused(product: Product, gateway: Gateway, sub: str) -> float:
    """When the door refused `sub` first. Asks without a pause, with a token of before for every call."""
    people = gateway._door.people
    who = await product.writer.read(lambda conn: people.current(conn, DEMO, subject(sub)))
    if who is None:
        raise LookupError(sub)
    turn = TurnContext(DEMO, f"bench-{sub}", f"demo:demo:dm-{sub}:bench", None, "look it up")
    tool, number = ToolName("crm.read"), 0
    while True:
        number += 1
        call = f"bench-{sub}-{number}"
        token = product.parts.tokens.mint(who, tool, product.clock(), jti=call)
        (outcome,) = await gateway.propose(turn, [Proposal(call, tool, {"kind": "order", "key": "1042"}, token)])
        if isinstance(outcome, Blocked):
            return time.perf_counter()


async def leave(product: Product, gateway: Gateway, idp: Idp, sub: str, resource_id: str) -> tuple[float, float]:
    """Seconds from the IdP's request to the first refusal, and to the IdP's answer."""
    asking = asyncio.create_task(refused(product, gateway, sub))
    await asyncio.sleep(EVERY_S)
    began = time.perf_counter()
    answered = await idp.deactivate(resource_id)
    return await asking - began, answered


async def left_waiting(product: Product, sub: str) -> int:
    live = (HELD.c.requester_sub == sub, HELD.c.status != "voided")
    query = sa.select(sa.func.count()).select_from(HELD).where(*live)
    votes = sa.select(sa.func.count()).select_from(VOTE).where(VOTE.c.sub == sub, VOTE.c.void.is_(False))
    return await product.writer.read(
        lambda conn: int(conn.execute(query).scalar_one()) + int(conn.execute(votes).scalar_one())
    )


async def measure(url: str, folder: Path, many: int) -> list[Figure]:
    fsync = fsync_p50(folder)
    figures: list[Figure] = []
    async with running(url, _business(folder), refund_and_mail) as product:
        gateway, _, _ = with_scim(product)
        (sample,) = await pending.fill(product, 1)  # held for real, before the other replica could take its turn
        secret = await product.writer.run(_token)
        headers = {"Authorization": f"Bearer {secret}"}
        async with replica(url, folder) as base, aiohttp.ClientSession(headers=headers) as http:
            idp = Idp(http, base)
            ids = await provision(http, base, PEOPLE + CROWDED)
            subs = list(ids)
            await fill(product, sample, subs[:PEOPLE], many)
            for sub in subs[PEOPLE:]:
                await fill_more(product, sub, CROWD if many == PENDING else many)
            parts = ((subs[:LEAVERS], f"{many // PEOPLE} own requests"), (subs[PEOPLE:], f"{CROWD:,} own requests"))
            for leaving, words in parts:
                gone, answered, began = list[float](), list[float](), time.perf_counter()
                for sub in leaving:
                    one, other = await leave(product, gateway, idp, sub, ids[sub])
                    gone.append(one)
                    answered.append(other)
                    if await left_waiting(product, sub):
                        raise RuntimeError(f"{sub} left something behind")
                took = time.perf_counter() - began
                engine = product.writer.engine
                figures.append(figure(f"SCIM request -> refused, {words}", engine, gone, took, fsync))
                figures.append(figure(f"SCIM request -> answered, {words}", engine, answered, took, fsync))
    note = f"{many:,} pending; 2 replicas; reach 1 s p95 to refused"
    return [replace(item, note=note) for item in figures]


async def fill_more(product: Product, sub: str, many: int) -> None:
    """`many` more for one person."""
    first = (await product.writer.read(lambda conn: approvals.select(conn, DEMO, limit=1)))[0]
    rows = [_copy(first, number, f"{sub}").model_dump() for number in range(many)]

    def insert(conn: Connection) -> None:
        for start in range(0, len(rows), BATCH):
            conn.execute(sa.insert(HELD), rows[start : start + BATCH])

    await product.writer.run(insert)


def _token(conn: Connection) -> str:
    return scim_tokens.create(conn, DEMO, "bench", "bench", datetime.now(UTC))[1]


async def _scim(http: aiohttp.ClientSession, method: str, url: str, body: object, *good: int) -> dict[str, object]:
    headers = {"Content-Type": "application/scim+json"}
    async with http.request(method, url, data=json.dumps(body), headers=headers) as told:
        text = await told.text()
        if told.status not in good:
            raise RuntimeError(f"{method} {url}: {told.status} {text[:300]}")
        return cast("dict[str, object]", json.loads(text)) if text else {}


def _business(folder: Path) -> str:
    return f"sqlite:///{folder / 'business.sqlite'}"


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def rows(folder: Path, many: int = PENDING) -> list[Figure]:
    """Both figures on PostgreSQL."""
    with postgres(folder) as url:
        return asyncio.run(measure(url, folder, many))


def main(out: IO[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        for item in rows(Path(name)):
            out.write(line(item) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
    else:
        main(sys.stdout)
