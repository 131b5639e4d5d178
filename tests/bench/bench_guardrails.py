"""Scanning a 1 kB message with every guard pattern, normalisation included, beside plain `re`."""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from policy.guardrails import check_message, redact
from policy.normalise import disguises, fold
from policy.patterns import PATTERNS
from policy.rules import FILE_NAMES, load

REFERENCE = "930 us in plain Python; reach 200 us"
TEXT = """
    please refund the order because parcel never arrived and customer asked for an update about invoice payment card
    was charged twice on Monday morning can you check the account balance send mail to them with tracking number our
    team reviewed ticket yesterday shipping address changed phone support said it would take three days thanks Ann
    discount applied wrong currency statement shows fee transfer pending bank holiday delivery warehouse item missing
"""
WORDS = TEXT.split()


def messages(count: int, seed: int) -> list[str]:
    """Different 1 kB messages of ordinary words and numbers."""
    draw = random.Random(seed)
    return [" ".join([*draw.choices(WORDS, k=200), str(draw.randrange(10**5))])[:1024] for _ in range(count)]


def measure(call: Callable[[str], object], texts: list[str]) -> list[float]:
    times = []
    for text in texts:
        start = time.perf_counter()
        call(text)
        times.append((time.perf_counter() - start) * 1e6)
    return sorted(times)


def row(name: str, times: list[float]) -> str:
    def at(share: float) -> float:
        return times[min(len(times) - 1, int(len(times) * share))]

    p50 = statistics.median(times)
    return f"  {name:44} p50 {p50:8.0f} us   p95 {at(0.95):8.0f}   p99.9 {at(0.999):8.0f}   worst {times[-1]:8.0f}"


def main() -> None:
    folder = Path(__file__).parents[2] / "policy"
    rules = load({name: (folder / name).read_text(encoding="utf-8") for name in FILE_NAMES}).guardrails
    plain = [re.compile(pattern.regex) for pattern in PATTERNS]

    def with_re(text: str) -> bool:
        folded = fold(text)
        views = [folded, *disguises(text, folded)]
        return any(pattern.search(view) for pattern in plain for view in views)

    start = time.perf_counter()
    check_message(rules, "warm")
    built = (time.perf_counter() - start) * 1e3
    for text in messages(200, 1):
        check_message(rules, text)
    fresh = messages(1000, 2)
    print(f"guardrails: 1 kB message, {len(PATTERNS)} patterns, normalisation and PII included ({REFERENCE})")
    print(f"  building the automata once                   {built:12.1f} ms")
    ours = measure(lambda text: check_message(rules, text), fresh)
    theirs = measure(with_re, fresh[:200])
    print(row("check_message, message not seen before", ours))
    print(row("check_message, the same message", measure(lambda text: check_message(rules, text), fresh[:1] * 1000)))
    print(row("redact, as the audit calls it", measure(redact, fresh)))
    print(row("the same patterns with plain re", theirs))
    print(
        f"  plain re / ours                              {statistics.median(theirs) / statistics.median(ours):12.1f} x"
    )


if __name__ == "__main__":
    main()
