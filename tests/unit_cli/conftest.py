"""The command as somebody types it, in a directory of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli import app


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which under --json is one JSON document and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: empty, and nothing is set but what the test sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def countersign(home: Path) -> Callable[..., Said]:
    def run(*words: str) -> Said:
        done = CliRunner().invoke(app, list(words), prog_name="countersign")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return run
