"""The house rules fire on what they forbid and stay silent on what they do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from lints.__main__ import check
from lints.rules import Rule, no_init_below_tests, no_registry_address, one_door, pure_policy, short_file

ROOT = Path(__file__).parents[2]

BROKEN: list[tuple[Rule, str, str]] = [
    (one_door, "tools/pressing.py", "await tool.action.run(ctx, args)"),
    (one_door, "tools/running.py", "once = partial(tool.action.run, ctx)"),
    (one_door, "bot/turn.py", "await catalog['refund.issue'].action.run(ctx, args)"),
    (one_door, "bot/app.py", "await IssueRefund(stripe).run(ctx, args)"),
    (one_door, "bot/app.py", "await getattr(action, 'run')(ctx, args)"),
    (one_door, "tools/actions/refund_issue.py", "await self.run(ctx, args)"),
    (pure_policy, "policy/decide.py", "import time"),
    (pure_policy, "policy/decide.py", "from os import environ"),
    (pure_policy, "policy/decide.py", "import random as dice"),
    (pure_policy, "policy/decide.py", "from pathlib import Path"),
    (pure_policy, "policy/decide.py", "def late():\n    import socket"),
    (pure_policy, "policy/decide.py", "from sqlalchemy.engine import Connection"),
    (pure_policy, "policy/decide.py", "text = open('tools.yaml').read()"),
    (pure_policy, "policy/decide.py", "at = datetime.now(UTC)"),
    (pure_policy, "policy/decide.py", "clock = datetime.utcnow"),
    (pure_policy, "policy/decide.py", "day = date.today()"),
    (short_file, "bot/turn.py", "x = 1\n" * 401),
    (no_init_below_tests, "tests/audit/__init__.py", ""),
    (no_registry_address, "requirements/all.txt", "--index-url simple\na==1"),
    (no_registry_address, "requirements/all.txt", "a @ https://example.org/a.whl"),
    (no_registry_address, "tests/rigs/package-lock.json", '{"resolved": "x"}'),
]

KEPT: list[tuple[Rule, str, str]] = [
    (one_door, "tools/gateway.py", "await tool.action.run(ctx, args)"),
    (one_door, "bot/store.py", "await self._writer.run(unit)"),
    (one_door, "bot/cli.py", "asyncio.run(main())"),
    (one_door, "tools/actions/refund_issue.py", "class A:\n    async def run(self): ..."),
    (one_door, "tests/unit_tools/test_x.py", "await action.run(ctx, args)"),
    (pure_policy, "policy/decide.py", "from datetime import datetime, timedelta\nfrom policy.model import Gate"),
    (pure_policy, "policy/decide.py", "late = now >= row.expires_at"),
    (pure_policy, "tools/limits.py", "import time"),
    (short_file, "bot/turn.py", "x = 1\n" * 400),
    (no_init_below_tests, "audit/__init__.py", ""),
    (no_registry_address, "requirements/all.txt", "a==1 \\\n    --hash=sha256:00"),
    (no_registry_address, "tests/rigs/package-lock.json", '{"integrity": "sha512-x", "license": "https://x"}'),
]


@pytest.mark.parametrize(("rule", "path", "source"), BROKEN)
def test_fires_on_what_it_forbids(rule: Rule, path: str, source: str) -> None:
    [finding] = rule(PurePosixPath(path), source)
    assert str(finding).startswith(f"{path}:")


@pytest.mark.parametrize(("rule", "path", "source"), KEPT)
def test_stays_silent_on_the_rest(rule: Rule, path: str, source: str) -> None:
    assert list(rule(PurePosixPath(path), source)) == []


def test_the_walk_finds_a_planted_fault(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/x.py").write_text("import time\n")
    assert [str(finding.path) for finding in check(tmp_path)] == ["policy/x.py"]


@pytest.mark.parametrize(
    ("path", "source", "code"),
    [
        ("bot/x.py", "x = 1\n", "D100"),
        ("bot/x/__init__.py", "x = 1\n", "D104"),
        ("bot/x.py", '"""X."""\nfrom datetime import datetime\nx = datetime.now()\n', "DTZ005"),
        ("bot/x.py", '"""X."""\nfrom datetime import datetime\nx = datetime.utcnow()\n', "DTZ003"),
        ("bot/x.py", '"""X."""\ntry:\n    x = 1\nexcept Exception:\n    x = 2\n', "BLE001"),
        ("bot/x.py", '"""X."""\nprint(1)\n', "T201"),
    ],
)
def test_ruff_holds_the_rules_that_are_left_to_it(path: str, source: str, code: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--no-cache", "--stdin-filename", path]
    done = subprocess.run([*ruff, "-"], input=source, cwd=ROOT, capture_output=True, text=True, check=False)
    assert code in done.stdout
