"""`countersign check` as a process of its own against a running Slack: what it finds, what it says, how it exits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.service_process import Home, copy_home, make_home, slack_environment
from tests.rigs.local_slack import PRIVATE, LocalSlack, free_port

FINANCE = "G01FIN"
APPROVERS = ("U03ANN", "U04BOB")
MODEL_KEY = {"OPENAI_API_KEY": "sk-not-asked"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("check-home"))


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path / "home")


@asynccontextmanager
async def workspace(
    folder: Path, *, private: Collection[str] = PRIVATE, members: Mapping[str, Collection[str]] | None = None
) -> AsyncIterator[LocalSlack]:
    who = {FINANCE: APPROVERS} if members is None else members
    async with LocalSlack.start("socket", folder, private=private, members=who) as slack:
        yield slack


async def check(home: Home, api_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    done = await home.cli("check", *words, **slack_environment(api_url, "socket"), **MODEL_KEY)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Unclosed" not in done.stderr
    return done


async def findings(home: Home, api_url: str) -> tuple[int, dict[str, Any]]:
    done = await check(home, api_url, "--json")
    return done.returncode, json.loads(done.stdout)


def about(told: dict[str, Any], channel: str = "#finance-approvals") -> list[dict[str, str]]:
    return [one for one in told["findings"] if one["where"] == channel]


async def test_all_well(home: Home, tmp_path: Path) -> None:
    async with workspace(tmp_path) as slack:
        done = await check(home, slack.api_url)
        status, told = await findings(home, slack.api_url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ready to serve." in done.stdout
    assert "finance-approvals" not in done.stdout
    assert (status, told["ready"], about(told)) == (0, True, [])


async def test_a_public_approvals_channel_fails_by_name_with_the_mend(home: Home, tmp_path: Path) -> None:
    async with workspace(tmp_path, private=()) as slack:
        done = await check(home, slack.api_url)
        status, told = await findings(home, slack.api_url)
    assert done.returncode == 1
    assert "error: #finance-approvals is a public channel. Make it private" in done.stdout
    assert "1 to mend." in done.stdout
    assert (status, told["ready"]) == (1, False)
    (found,) = about(told)
    assert (found["level"], found["what"]) == ("error", "is a public channel.")
    assert found["mend"].startswith("Make it private")


async def test_members_who_may_not_approve_are_named_and_the_bot_is_none_of_them(home: Home, tmp_path: Path) -> None:
    async with workspace(tmp_path, members={FINANCE: [*APPROVERS, "U02SAM", "U01DANA"]}) as slack:
        done = await check(home, slack.api_url)
        status, told = await findings(home, slack.api_url)
    assert done.returncode == 0, done.stdout
    assert "warning: #finance-approvals has members who may not approve what is posted there:" in done.stdout
    assert "Ready to serve." in done.stdout
    (found,) = about(told)
    assert (status, told["ready"], found["level"]) == (0, True, "warning")
    assert found["what"].endswith("there: Dana Reyes, Sam Patel.")


async def test_a_channel_that_the_bot_is_not_in_is_a_finding(home: Home, tmp_path: Path) -> None:
    tools = home.policy / "tools.yaml"
    tools.write_text(tools.read_text("utf-8").replace("#finance-approvals", "#nobody-made-it"), "utf-8")
    async with workspace(tmp_path) as slack:
        status, told = await findings(home, slack.api_url)
    (found,) = about(told, "#nobody-made-it")
    assert (status, found["level"]) == (1, "error")
    assert "The bot is in no channel #nobody-made-it" in found["what"]


async def test_a_slack_that_cannot_be_reached_is_a_finding(home: Home) -> None:
    dead = f"http://127.0.0.1:{free_port()}/api/"
    done = await check(home, dead)
    status, told = await findings(home, dead)
    assert done.returncode == 1
    assert "#finance-approvals" in done.stdout
    (found,) = about(told)
    assert (status, told["ready"], found["level"]) == (1, False, "error")
    assert "Slack" in found["what"]
    offline = await check(home, dead, "--offline")
    assert offline.returncode == 0, offline.stdout
