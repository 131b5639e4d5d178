"""Drives tasks through the real turn and gateway, a fresh house each, and grades what came of them.

Knows the order of things; knows no label's meaning (`grading`) and no command line.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import assert_never

from bot.agent.routing import Router
from bot.core import Core
from bot.ports import Model
from evals.grading import Heard, Seen, grade
from evals.house import House, NotQuiet, furnish, house, newest, request_of
from evals.recorder import Record, Recorded
from evals.task import Command, Press, Say, Task, Turn
from policy.model_rules import Adapter, ModelName, Models

Make = Mapping[Adapter, Callable[[str], Model]]
"""The adapters that can be used, and how a model of each is made."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one task went."""

    task: Task
    findings: tuple[str, ...]
    """What is wrong; empty: passed."""
    models: tuple[str, ...]
    """Which models answered."""
    cost_usd: Decimal
    seconds: float
    """All turns together, without building the house."""
    transcript: str

    @property
    def passed(self) -> bool:
        return not self.findings


def run_all(tasks: Sequence[Task], model: ModelName, models: Models, make: Make) -> Iterator[Result]:
    """One result after the other, in the order of `tasks`. `models`: where prices of one's own are written."""
    with tempfile.TemporaryDirectory(prefix="countersign-eval-") as folder:
        mould = Path(folder) / "mould"
        furnish(mould)
        for number, task in enumerate(tasks):
            yield asyncio.run(run_task(task, mould, Path(folder) / f"house-{number}", model, models, make))


async def run_task(task: Task, mould: Path, folder: Path, model: ModelName, models: Models, make: Make) -> Result:
    record = Record()

    def router(_core: Core) -> Router:
        made = make[model.adapter]
        return Router(Models((model,), {}, models.prices), {model.adapter: lambda name: Recorded(made(name), record)})

    async with house(mould, folder, router) as home:
        begun = time.monotonic()
        seen = await _drive(task, home, record)
        seconds = time.monotonic() - begun
        cost = record.cost(home.service.router.price)
    return Result(task, grade(task, seen), record.models, cost, seconds, seen.told_asker)


async def _drive(task: Task, home: House, record: Record) -> Seen:
    heard: list[Heard] = []
    fault = ""
    for number, turn in enumerate(task.turns, 1):
        try:
            heard.append(Heard(number, await _turn(task, turn, home)))
        except NotQuiet as error:
            fault = f"turn {number}: {error}"
            break
    return Seen(
        calls=record.seen(home.tool),
        requests=tuple(request_of(view) for view in await home.requests(task.who)),
        heard=tuple(heard),
        told_asker=home.chat.heard_by(task.who),
        refunds=await home.refunds(),
        mails=await home.mails(),
        customers=await home.customers(),
        fault=fault,
    )


async def _turn(task: Task, turn: Turn, home: House) -> str:
    """What came back: to the asker, or to whoever pressed or commanded."""
    match turn:
        case Say(text=text):
            before = len(home.chat.lines)
            await home.write(task.who, text)
            return home.chat.heard_by(task.who, before)
        case Press(by=by, verb=verb, tool=tool, reason=reason):
            view = newest(await home.requests(task.who), tool)
            if view is None:
                raise NotQuiet(f"there is no request of {tool} that {by} could press on.")
            return await home.press(by, view, verb, reason)
        case Command(by=by, text=text):
            return await home.command(by, text)
        case _:
            assert_never(turn)
