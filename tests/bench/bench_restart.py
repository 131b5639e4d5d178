"""Starting with 10,000 requests waiting, over starting with none: time to ready, and memory. Each in a new process."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench_audit import Figure, fsync_p50, line, postgres
from tests.kit.pending import fill
from tests.kit.product import ROOT, running
from tests.kit.scripted import refund_and_mail

PENDING = 10_000
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Start:
    seconds: float
    megabytes: float


def start(url: str, business: str) -> Start:
    """A replica from its first instruction to where it takes work; killed then."""
    before = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.replica", url, business, "restarted", "serve"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if process.stdout is None or process.stdout.readline().strip() != "READY":
            raise RuntimeError("the replica did not start")
        seconds = time.perf_counter() - before
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return Start(seconds, int(kilobytes) / 1024)
    finally:
        process.kill()
        process.communicate()


async def prepare(url: str, business: str, pending: int) -> None:
    async with running(url, business, refund_and_mail) as product:
        await fill(product, pending)


def measure(empty: str, full: str, folder: Path, pending: int) -> list[Figure]:
    """Both starts in turn, so that whatever else the machine does weighs on both."""
    business = f"sqlite:///{folder / 'business.sqlite'}"
    asyncio.run(prepare(empty, business, 0))
    asyncio.run(prepare(full, business, pending))
    pairs = [(start(empty, business), start(full, business)) for _ in range(ROUNDS)]
    fsync = fsync_p50(folder)
    database = "sqlite" if full.startswith("sqlite") else "postgresql"
    figures = []
    for name, starts in (
        ("start, none pending", [one for one, _ in pairs]),
        (f"start, {pending:,} pending", [two for _, two in pairs]),
    ):
        times = sorted(one.seconds * 1000 for one in starts)
        megabytes = statistics.median(one.megabytes for one in starts)
        p50 = statistics.median(times)
        figures.append(
            Figure(name, database, p50, times[-1], times[-1], times[-1], 1000 / p50, fsync, f"{megabytes:.0f} MB")
        )
    more = figures[1].p50 - figures[0].p50
    mega = statistics.median(two.megabytes for _, two in pairs) - statistics.median(one.megabytes for one, _ in pairs)
    note = f"{figures[1].note}: {more / 1000:+.2f} s, {mega:+.1f} MB; reference 184 s; reach +1 s, +20 MB"
    return [figures[0], Figure(*_but_note(figures[1]), note)]


def _but_note(item: Figure) -> tuple[str, str, float, float, float, float, float, float]:
    return (item.name, item.database, item.p50, item.p95, item.p999, item.worst, item.per_second, item.fsync_p50)


def rows(folder: Path, pending: int = PENDING) -> list[Figure]:
    """The figure on both databases. `folder` is empty."""
    home = folder / "restart"
    home.mkdir()
    figures = measure(f"sqlite:///{home / 'empty.sqlite'}", f"sqlite:///{home / 'full.sqlite'}", home, pending)
    with postgres(home) as empty:
        other = home / "pg"
        other.mkdir()
        with postgres(other) as full:
            figures += measure(empty, full, other, pending)
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        for item in rows(Path(name)):
            print(line(item))
