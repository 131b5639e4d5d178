"""What the door adds to one tool call, beside the same two audit rows written bare, in the same run.

Counted: who the person is, their token, schema, policy, kill-switch, limits, the guardrail on a message of 200
characters, and two durable rows. The tool itself does nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from policy.guardrails import check_message
from policy.model import TenantId, ToolName
from tests.bench.bench_audit import Figure, event, figure, fsync_p50, line, postgres
from tests.kit.door import DEMO, House, open_house
from tools.held import Executed
from tools.spec import Args, CallContext, Resolved, ToolResult

CALLS = 1_500
WARM = 100
MESSAGE = "Could you look up order 1042 for me and tell me what the customer paid, and whether it was shipped? " * 2
READ = ToolName("crm.read")


class Nothing:
    """An action that takes no time."""

    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        return Resolved(arguments=args, headline="nothing")

    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        return ToolResult(content={}, sentence="Nothing.")

    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        return None


async def one(house: House, turn_id: str) -> None:
    check_message(house.door.policy(TenantId("demo")).guardrails, MESSAGE)
    proposal = house.proposal("dana", READ, {"kind": "order", "key": "1042"})
    (outcome,) = await house.gateway.propose(house.turn("dana", turn_id=turn_id), [proposal])
    if not isinstance(outcome, Executed):
        raise TypeError(f"the call did not run: {outcome}")


async def bare(house: House, number: int) -> None:
    """The same two rows, each durable before the next, with nothing around them."""
    for at in (2 * number, 2 * number + 1):
        item = replace(event(at), tenant=DEMO)
        await house.writer.run(partial(house.door.audit.append, events=[item]))


async def measure(house: House, folder: Path, callers: int) -> list[Figure]:
    house.tools[READ] = replace(house.tools[READ], action=Nothing())
    engine, fsync = house.writer.engine, fsync_p50(folder)
    figures = []
    for name, work in (("added per tool call", one), ("the same two rows, bare", bare)):
        taken: list[float] = []

        async def caller(first: int, count: int, work=work, taken=taken) -> None:  # type: ignore[no-untyped-def]
            for number in range(first, first + count):
                before = time.perf_counter()
                await (work(house, f"t{number}") if work is one else work(house, number))
                taken.append(time.perf_counter() - before)

        await caller(0, WARM)
        taken.clear()
        begun = time.perf_counter()
        share = CALLS // callers
        await asyncio.gather(*(caller(WARM + n * share, share) for n in range(callers)))
        figures.append(figure(f"{name}, {callers} at a time", engine, taken, time.perf_counter() - begun, fsync))
    ours, theirs = figures
    ratio = f"{ours.p95 / theirs.p95:.1f} x bare at p95"
    return [replace(ours, note=f"{ratio}; reference 220 ms p95; reach 5 ms and 3 x"), theirs]


def rows(folder: Path) -> list[Figure]:
    """The figure for one caller and for eight, on both databases."""
    figures: list[Figure] = []
    with postgres(folder) as url:
        for number, address in enumerate((f"sqlite:///{folder / 'call.sqlite'}", url)):
            home = folder / f"call{number}"
            home.mkdir()
            with open_house(address, home) as house:
                for callers in (1, 8):
                    figures += asyncio.run(measure(house, folder, callers))
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        for item in rows(Path(name)):
            print(line(item))
