"""The policy directory: everything wrong at once, and a reload that cannot take the policy away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from bot.policy_files import PolicyFiles, read_policy
from bot.settings import default_policy_dir
from policy.model import TenantId
from policy.rules import FILE_NAMES, Policy, PolicyError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILE_NAMES:
        shutil.copy(default_policy_dir() / name, tmp_path / name)
    return tmp_path


def test_the_policy_that_comes_with_countersign_holds() -> None:
    assert "refund.issue" in read_policy(default_policy_dir()).tools


def test_every_bad_file_is_named_at_once(folder: Path) -> None:
    (folder / "roles.yaml").write_bytes(b"\xff\xfe\xff")
    (folder / "guardrails.yaml").write_text("input_guards: [")
    (folder / "models.yaml").unlink()
    with pytest.raises(PolicyError) as refused:
        read_policy(folder)
    assert {"roles.yaml", "guardrails.yaml", "models.yaml"} <= {problem.file for problem in refused.value.problems}
    assert "roles.yaml: cannot be read (not UTF-8 text). Save it as UTF-8." in str(refused.value)


def test_a_missing_directory_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="COUNTERSIGN_POLICY_DIR"):
        read_policy(tmp_path / "nowhere")


def test_a_reload_takes_effect_as_a_whole(folder: Path) -> None:
    told: list[Policy | PolicyError] = []
    files = PolicyFiles(folder, told.append)
    before = files.current()
    text = (folder / "tools.yaml").read_text()
    (folder / "tools.yaml").write_text(text + "\n# reviewed\n")
    assert files.current() is before
    after = files.reload()
    assert after is files.current()
    assert files.current().version != before.version
    assert told == [after]


def test_a_bad_reload_keeps_the_policy_before_it(folder: Path) -> None:
    told: list[Policy | PolicyError] = []
    files = PolicyFiles(folder, told.append)
    before = files.current()
    (folder / "tools.yaml").write_text("refund.issue: {")
    assert isinstance(files.reload(), PolicyError)
    assert files.current() is before
    assert files.of(TenantId("acme")) is before
    assert [type(what) for what in told] == [PolicyError]


async def test_sighup_reads_the_files_again(folder: Path) -> None:
    told: asyncio.Queue[Policy | PolicyError] = asyncio.Queue()
    files = PolicyFiles(folder, told.put_nowait)
    loop = asyncio.get_running_loop()
    files.reload_on_sighup(loop)
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(10):
            assert await told.get() is files.current()
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
