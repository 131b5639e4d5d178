"""A door in a process of its own, told on its command line what to do with it, and where to die.

    second_door.py URL FOLDER EXECUTOR COMMAND [ARGUMENT ...]

`claims HELD...` executes the calls one after the other; `dies WHEN HELD` dies while it executes one; `kill` throws
the tenant's switch; `press SUB HELD...` approves. Prints `ready`, waits for a line, works, prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from audit.faults import StoreUnavailable
from tests.kit.door import DEMO, House, open_house
from tools.door import Timings
from tools.held import Scope, ScopeKind
from tools.spec import Args, CallContext
from tools.stops import By

QUICK = Timings(action=1.0, grace=0.1, resolve=10.0, contention=0.01, retry_pauses=())


async def _die(ctx: CallContext, args: Args) -> None:
    os._exit(9)


async def _claims(house: House, held_ids: list[str]) -> list[str]:
    ended: list[str] = []
    for held_id in held_ids:
        try:
            ended.append((await house.execute(await house.now(held_id))).effect.value)
        except StoreUnavailable as error:
            ended.append(type(error).__name__)
    return ended


async def _dies(house: House, when: str, held_id: str) -> list[str]:
    view = await house.now(held_id)
    if when == "before_claim":
        os._exit(9)
    if when == "recording":
        _at_record(lambda: os._exit(9))
    else:
        house.watch(view.tool, before=_die if when == "claimed" else None, after=_die if when == "done" else None)
    await house.execute(view)
    return ["still alive"]


def _at_record(die: Callable[[], None]) -> None:
    from tools import settling

    whole = settling.finished

    def half(*args: object, **more: object) -> None:
        """In the middle of the transaction that records the end: written, not committed."""
        whole(*args, **more)  # type: ignore[arg-type]
        die()

    settling.finished = half


async def _press(house: House, sub: str, held_ids: list[str]) -> list[str]:
    results: list[str] = []
    for held_id in held_ids:
        try:
            results.append((await house.press(sub, await house.now(held_id))).result.value)
        except StoreUnavailable as error:
            results.append(type(error).__name__)
    return results


async def _kill(house: House) -> list[str]:
    report = await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim", ("admin",)), "look")
    return [str(report.reopened), *(view.held_id for view in report.in_flight)]


async def _work(house: House, command: str, rest: list[str]) -> list[str]:
    match command:
        case "claims":
            return await _claims(house, rest)
        case "dies":
            return await _dies(house, *rest)
        case "press":
            return await _press(house, rest[0], rest[1:])
        case "kill":
            return await _kill(house)
        case _:
            raise SystemExit(f"{command} is not a command of this script")


def main() -> None:
    url, folder, executor, command, *rest = sys.argv[1:]
    with open_house(url, Path(folder), executor=executor, timings=QUICK, fresh=False) as house:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        result = asyncio.run(_work(house, command, rest))
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
