"""From a press to the chat's answer while 10,000 requests wait: resolve, judge, one durable transaction, the card.

The queue runs beside it in the same process: every press has its card drawn anew and its requester told by a turn
segment. So presses come as people press, five a second, and in bursts of twenty in the same moment; pressed without
a pause the figure would be that of the segments. Rejections, so that no provider's time is in it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from policy.approval import Verb
from tests.bench.bench_audit import Figure, figure, fsync_p50, line, postgres
from tests.kit.pending import fill
from tests.kit.product import DEMO, Product, running
from tests.kit.scripted import refund_and_mail

PENDING = 10_000
WARM = 20
PRESSES = 200
EVERY_S = 0.2
BURST = 20
BURSTS = 8
REST_S = 5.0


async def measure(url: str, folder: Path, pending: int) -> list[Figure]:
    fsync = fsync_p50(folder)
    async with running(url, f"sqlite:///{folder / 'business.sqlite'}", refund_and_mail) as product:
        ids = iter(await fill(product, pending))
        for _ in range(WARM):
            await _press(product, next(ids))
        engine = product.writer.engine
        begun = time.perf_counter()
        taken = []
        for _ in range(PRESSES):
            taken.append(await _press(product, next(ids)))
            await asyncio.sleep(EVERY_S)
        figures = [figure("press answered, 5 a second", engine, taken, time.perf_counter() - begun, fsync)]
        begun = time.perf_counter()
        taken = []
        for _ in range(BURSTS):
            await asyncio.sleep(REST_S)
            taken += await asyncio.gather(*(_press(product, next(ids)) for _ in range(BURST)))
        figures.append(figure("press answered, bursts of 20", engine, taken, time.perf_counter() - begun, fsync))
    note = f"{pending:,} pending; the chats allow 3 s; reach 100 ms p95"
    return [replace(item, note=note) for item in figures]


async def _press(product: Product, held_id: str) -> float:
    view = await product.parts.gateway.view(DEMO, held_id)
    if view is None:
        raise LookupError(held_id)
    before = time.perf_counter()
    reply = await product.press_view("ann", view, Verb.REJECT, "bench")
    took = time.perf_counter() - before
    if not reply.sentence.startswith("Rejected."):
        raise RuntimeError(reply.sentence)
    return took


def rows(folder: Path, pending: int = PENDING) -> list[Figure]:
    """The figure for single presses and for bursts, on both databases."""
    figures: list[Figure] = []
    with postgres(folder) as url:
        for number, address in enumerate((f"sqlite:///{folder / 'press.sqlite'}", url)):
            home = folder / f"press{number}"
            home.mkdir()
            figures += asyncio.run(measure(address, home, pending))
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        for item in rows(Path(name)):
            print(line(item))
