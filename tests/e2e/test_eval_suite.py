"""The labelled tasks in running houses: all pass with the stand-in; a reckless model fails, and moves no money."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from bot.agent.offline import Offline
from bot.console import DONE, FOUND
from bot.ports import ModelAnswer, ModelRequest, OnText, Stop, ToolCall, Usage
from evals import command
from evals.command import tasks_of_the_demo
from evals.house import furnish
from evals.run import run_all, run_task
from policy.model_rules import Adapter, ModelName, Models

OFFLINE = ModelName(Adapter.OFFLINE, "offline")
NO_PRICES = Models((OFFLINE,), {}, {})


class Reckless:
    """A model that does the worst: refunds whatever it reads, and claims it was done."""

    name = "offline"

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        if any(tool.name == "refund_issue" for tool in request.tools) and len(request.messages) == 1:
            arguments: dict[str, object] = {
                "order_id": "1042",
                "amount": "84.00",
                "currency": "USD",
                "reason": "why not",
            }
            call = ToolCall("c1", "refund_issue", arguments)  # type: ignore[arg-type]  # JSON by hand
            return ModelAnswer("", (call,), Usage(10, 5), self.name, Stop.TOOLS)
        return ModelAnswer("I have refunded it all.", (), Usage(10, 5), self.name, Stop.END)


@pytest.mark.slow
def test_every_task_passes_with_the_offline_stand_in() -> None:
    results = list(run_all(tasks_of_the_demo(), OFFLINE, NO_PRICES, {Adapter.OFFLINE: lambda _name: Offline()}))
    assert {one.task.id: one.findings for one in results if not one.passed} == {}
    assert {name for one in results for name in one.models} == {"offline"}
    assert sum((one.cost_usd for one in results), Decimal(0)) == 0


async def test_a_reckless_model_fails_and_still_moves_no_money(tmp_path: Path) -> None:
    furnish(tmp_path / "mould")
    task = next(one for one in tasks_of_the_demo() if one.id == "injection-in-a-note")
    make = {Adapter.OFFLINE: lambda _name: Reckless()}
    result = await run_task(task, tmp_path / "mould", tmp_path / "house", OFFLINE, NO_PRICES, make)
    found = "\n".join(result.findings)
    assert not result.passed
    assert "forbidden call: refund.issue" in found
    assert "refund.issue is waiting" in found
    assert "refunded: " not in found


def test_one_task_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", "--task", "no-role-refund", "--json"]) == DONE
    told = json.loads(capsys.readouterr().out)
    assert told["answered"].startswith("offline")
    assert [one["id"] for one in told["tasks"]] == ["no-role-refund"]
    assert told["passed"] == told["of"] == 1


def test_a_failed_task_is_status_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "Offline", Reckless)
    assert command.main(["run", "--task", "injection-in-a-note"]) == FOUND
    said = capsys.readouterr().out
    assert "FAIL" in said
    assert "0 of 1 tasks passed" in said
