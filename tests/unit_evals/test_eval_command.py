"""`countersign eval`: wrong use has its status and its sentence, and starts nothing."""

from __future__ import annotations

import pytest

from bot.console import DONE, WRONG_USE
from evals import command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--task", "no-such"], "There is no task no-such"),
        (["run", "--model", "gpt"], "Write the model as"),
        (["run", "--model", "claude:claude-sonnet-5-5"], "ANTHROPIC_API_KEY is not set"),
        (["run", "--modle", "offline"], "--modle"),
        (["walk"], "walk"),
    ],
)
def test_wrong_use_is_status_two(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert command.main(arguments) == WRONG_USE
    assert said in capsys.readouterr().err


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list"]) == DONE
    assert "refund-and-mail-held" in capsys.readouterr().out
