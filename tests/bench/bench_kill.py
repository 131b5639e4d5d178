"""From a kill to "nothing more is claimed": three replicas in three processes on one PostgreSQL, all of them at it.

Each replica has callers that propose without a pause, calls that need nobody: every one of them is a claim. A kill of
the tenant is thrown through the first; the figure ends with the last claim that any of the three committed, by the
server's clock and in the order of the log. A claim behind the kill's own row would end the bench. Beside it, how long
the kill took to be committed: what it waits for are the claims under way.

Run it alone with ``python -m tests.bench.bench_kill``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.bench.bench_audit import Figure, figure, fsync_p50, line, postgres
from tests.bench.bench_call import READ, Nothing
from tests.kit.door import DEMO, House, open_house
from tools.held import Blocked, BlockReason, Executed, Scope, ScopeKind
from tools.stops import By

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPLICAS = 3
CALLERS = 4
KILLS = 60
ADMIN = By("ada", "Ada Kim", ("admin",))
TENANT = Scope(ScopeKind.TENANT)
RUN_S = 0.3
"""How long they are at it before each kill."""


# -- one replica ---------------------------------------------------------------------------------------------------


async def call(house: House, number: int) -> bool:
    """Whether it ran; False: stopped."""
    arguments = {"kind": "order", "key": "1042"}
    (outcome,) = await house.gateway.propose(
        house.turn("dana", turn_id=f"{house.door.executor}-{number}"), [house.proposal("dana", READ, dict(arguments))]
    )
    if isinstance(outcome, Executed):
        return True
    if isinstance(outcome, Blocked) and outcome.reason is BlockReason.STOPPED:
        return False
    raise RuntimeError(str(outcome))


async def caller(house: House) -> float:
    """Calls until it is stopped; when that was."""
    number = 0
    while await call(house, number):
        number += 1
    return time.time()


async def serve(url: str, folder: Path, name: str) -> None:
    """A replica: on every line it is given, its callers run until they are stopped; it answers with when they were."""
    with open_house(url, folder, executor=name, fresh=False) as house:
        house.tools[READ] = replace(house.tools[READ], action=Nothing())
        _tell("ready")
        while (await asyncio.to_thread(sys.stdin.readline)).strip():
            refused = await asyncio.gather(*(caller(house) for _ in range(CALLERS)))
            _tell(json.dumps(max(refused)))


def _tell(said: str) -> None:
    sys.stdout.write(said + "\n")
    sys.stdout.flush()


class Replica:
    """A process that calls without a pause."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the replica has no pipes")
        self._in, self._out = process.stdin, process.stdout

    async def said(self) -> str:
        return (await self._out.readline()).decode().strip()

    def go(self) -> None:
        self._in.write(b"go\n")


@asynccontextmanager
async def replica(url: str, folder: Path, name: str) -> AsyncIterator[Replica]:
    """Its process ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bench_kill", "serve", url, str(folder), name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        found = Replica(process)
        if await found.said() != "ready":
            raise RuntimeError(f"replica {name} did not start")
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# -- measuring -----------------------------------------------------------------------------------------------------


async def measure(url: str, folder: Path, kills: int) -> list[Figure]:
    fsync = fsync_p50(folder)
    committed, quiet = list[float](), list[float]()
    with open_house(url, folder) as house:
        async with AsyncExitStack() as stack:
            names = [f"r{number}" for number in range(REPLICAS)]
            crowd = [await stack.enter_async_context(replica(url, folder, name)) for name in names]
            began = time.perf_counter()
            for _ in range(kills):
                for one in crowd:
                    one.go()
                await asyncio.sleep(RUN_S)
                asked = time.time()
                await house.gateway.kill(DEMO, TENANT, ADMIN, "bench")
                done = time.time()
                refused = [float(await one.said()) for one in crowd]
                committed.append(done - asked)
                quiet.append(max(*refused, done) - asked)
                _nothing_after(house)
                await house.gateway.resume(DEMO, TENANT, ADMIN)
            took = time.perf_counter() - began
        engine = house.writer.engine
        figures = [
            figure("kill asked -> committed, cards told", engine, committed, took, fsync),
            figure("kill asked -> every caller refused", engine, quiet, took, fsync),
        ]
    p99 = sorted(quiet)[min(len(quiet) - 1, int(len(quiet) * 0.99))] * 1000
    note = f"{REPLICAS} replicas, {CALLERS} callers each without a pause; 0 claims after the kill's row"
    return [replace(figures[0], note=note), replace(figures[1], note=f"{note}; p99 {p99:.0f} ms, reach 1 s")]


def _nothing_after(house: House) -> None:
    """The chain's own order: no claim behind the last kill."""
    query = "SELECT max(seq) FROM agent_audit_log WHERE tenant_id='demo' AND kind=:kind"
    ((killed,),) = house.rows(query, kind="kill.switched")
    ((claimed,),) = house.rows(query, kind="tool.started")
    if int(str(claimed)) > int(str(killed)):
        raise RuntimeError("something was claimed after the kill had committed")


def rows(folder: Path, kills: int = KILLS) -> list[Figure]:
    with postgres(folder) as url:
        home = folder / "kill"
        home.mkdir()
        return asyncio.run(measure(url, home, kills))


def main(out: IO[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        for item in rows(Path(name)):
            out.write(line(item) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
    else:
        main(sys.stdout)
