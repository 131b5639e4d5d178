"""A replica in a process of its own, for tests that kill it: `python -m tests.kit.replica URL BUSINESS NAME MODE`.

Modes: ``hang`` (the model never answers), ``die_after_effect`` (the process ends between an effect and its record),
``serve``. Prints a line when it is ready and when the model is asked.
"""

from __future__ import annotations

import asyncio
import os
import sys

from bot.ports import ModelAnswer, ModelRequest
from tests.kit.product import build
from tests.kit.scripted import RecordedChat, ScriptedModel, refund_and_mail
from tools.door import Timings
from tools.gateway import Gateway

QUICK = Timings(action=0.5, grace=0.1)


def announcing(request: ModelRequest) -> ModelAnswer:
    print("ASKED", flush=True)  # noqa: T201 - the parent reads it
    return refund_and_mail(request)


async def main(url: str, business: str, name: str, mode: str) -> None:
    model = ScriptedModel(announcing)
    if mode == "hang":
        model.gate = asyncio.Event()
        model.script = refund_and_mail
    if mode == "die_after_effect":

        async def die(*_args: object) -> None:
            os._exit(9)

        Gateway._record_held = die  # type: ignore[method-assign, assignment]
    product = build(
        url,
        business,
        RecordedChat(),
        model,
        replica_id=name,
        timings=QUICK,
        first_pause_s=0.05,
        sweep_s=0.2,
        beat_s=0.2,
    )
    await product.parts.durable.launch(product.turn.segments)
    print("READY", flush=True)  # noqa: T201
    if mode == "hang":
        while not model.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        print("ASKED", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
