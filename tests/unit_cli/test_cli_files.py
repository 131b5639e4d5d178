"""`policy`, `identity` and `check`: what the files say, and what is wrong with them, before anything runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from bot.checkup import Channel, Level, examine, judge_channels
from bot.keys import make_keys
from bot.messages import ChatUser, SurfaceName
from bot.settings import default_policy_dir
from policy.rules import FILE_NAMES

ROOT = Path(__file__).parents[2]
SLACK = SurfaceName("slack")
DIRECTORY = """\
issuer: urn:d
tenants:
  acme: {teams: [{surface: slack, team: T1}]}
people:
  - {sub: dana, tenant: acme, name: Dana Reyes, groups: [support], accounts: [{surface: slack, team: T1, user: UDANA}]}
  - {sub: ann, tenant: acme, name: Ann Okafor, groups: [finance-approvers, choir], employee_number: "7",
     accounts: [{surface: slack, team: T1, user: UANN}]}
"""
READY = {
    "SLACK_BOT_TOKEN": "xoxb-1",
    "SLACK_APP_TOKEN": "xapp-1",
    "ANTHROPIC_API_KEY": "k",
}


class Countersign(Protocol):
    def __call__(self, *words: str) -> Any: ...


@pytest.fixture
def ready(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory from which `serve` could start."""
    for name, value in READY.items():
        monkeypatch.setenv(name, value)
    (home / "directory.yaml").write_text(DIRECTORY)
    make_keys(home / ".countersign/keys")
    return home


@pytest.fixture
def policy_dir(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "policy"
    folder.mkdir()
    for name in FILE_NAMES:
        shutil.copy(default_policy_dir() / name, folder / name)
    monkeypatch.setenv("COUNTERSIGN_POLICY_DIR", str(folder))
    return folder


# --- policy -----------------------------------------------------------------------------------------------


def test_the_policy_that_comes_along_holds(countersign: Countersign) -> None:
    assert countersign("policy", "check").status == 0
    assert countersign("policy", "check", "--json").json()["holds"] is True


def test_a_bad_policy_names_file_line_key_and_mend(policy_dir: Path, countersign: Countersign) -> None:
    (policy_dir / "rollout.yaml").unlink()
    text = (policy_dir / "tools.yaml").read_text()
    (policy_dir / "tools.yaml").write_text(text.replace("reversibility: none", "reversibility: nune", 1))
    said = countersign("policy", "check", "--json")
    assert said.status == 1
    errors = {error["file"]: error for error in said.json()["errors"]}
    assert errors["tools.yaml"]["line"] > 1
    assert errors["tools.yaml"]["key"].endswith("reversibility")
    assert all(error["mend"] for error in errors.values())
    assert "rollout.yaml" in errors


def test_a_folder_can_be_checked_before_it_counts(home: Path, countersign: Countersign) -> None:
    said = countersign("policy", "check", "--dir", str(home / "draft"))
    assert said.status == 1
    assert "cannot be read" in said.out


def test_explains_what_a_person_may_do(countersign: Countersign) -> None:
    said = countersign("policy", "explain", "dana", "refund.issue", "--amount", "42.00", "--demo", "--json")
    assert said.status == 0
    answer = said.json()
    assert (answer["decision"], answer["needed"], answer["approvers"]) == ("needs approval", 1, ["finance_approver"])
    above = countersign("policy", "explain", "Dana Reyes", "refund.issue", "--amount", "100.01", "--demo", "--json")
    assert above.json()["needed"] == 2
    assert countersign("policy", "explain", "dana", "crm.read", "--demo", "--json").json()["decision"] == "allowed"


def test_a_denial_has_a_status_of_its_own(countersign: Countersign) -> None:
    said = countersign("policy", "explain", "rita", "refund.issue", "--demo")
    assert said.status == 1
    assert "denied" in said.out


def test_an_amount_that_is_none_is_wrong_use(countersign: Countersign) -> None:
    assert countersign("policy", "explain", "dana", "refund.issue", "--amount", "much", "--demo").status == 2


# --- identity ---------------------------------------------------------------------------------------------


def test_lists_everybody(countersign: Countersign) -> None:
    said = countersign("identity", "list", "--demo", "--json")
    assert {one["subject"] for one in said.json()} >= {"dana", "sam", "ann", "bob", "lee", "ada", "aud"}
    assert "Dana Reyes" in countersign("identity", "list", "--demo").out


@pytest.mark.parametrize("who", ["dana", "DANA", "Dana Reyes", "demo:demo:dana"])
def test_shows_one_person_by_any_of_their_names(countersign: Countersign, who: str) -> None:
    told = countersign("identity", "show", who, "--demo", "--json").json()
    assert told["subject"] == "dana"
    assert "refund.issue" in told["may_ask_for"]
    assert told["may_approve"] == []


def test_somebody_unknown_is_not_guessed(countersign: Countersign) -> None:
    said = countersign("identity", "show", "dan", "--demo", "--json")
    assert said.status == 1
    assert "knows nobody called dan" in said.json()["error"]


def test_what_a_stranger_wrote_moves_no_cursor(home: Path, countersign: Countersign) -> None:
    (home / "directory.yaml").write_text(DIRECTORY.replace("Dana Reyes", '"[bold]Dana\\e[2J"'))
    out = countersign("identity", "list").out
    assert "[bold]Dana" in out
    assert "\x1b" not in out


# --- check ------------------------------------------------------------------------------------------------


def test_everything_missing_is_told_at_once(home: Path, countersign: Countersign) -> None:
    said = countersign("check", "--json")
    assert said.status == 1
    told = said.json()
    assert told["ready"] is False
    where = [finding["where"] for finding in told["findings"]]
    assert where == ["SLACK_BOT_TOKEN", "ANTHROPIC_API_KEY", "directory.yaml", "keys"]


def test_bad_settings_do_not_hide_bad_files(
    home: Path, policy_dir: Path, countersign: Countersign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_PORT", "x")
    (home / "directory.yaml").write_text("people: [")
    (policy_dir / "roles.yaml").write_text("")
    where = [finding["where"] for finding in countersign("check", "--json").json()["findings"]]
    assert "COUNTERSIGN_PORT" in where
    assert "roles.yaml" in where
    assert "directory.yaml:1" in where


def test_ready_means_status_0_with_its_warnings(ready: Path, countersign: Countersign) -> None:
    said = countersign("check", "--offline", "--json")
    assert said.status == 0
    findings = {(finding["level"], finding["where"]): finding for finding in said.json()["findings"]}
    assert "choir" in findings["warning", "roles.yaml"]["what"]
    assert "support_lead" in " ".join(finding["what"] for finding in findings.values())
    assert "Ready to serve." in countersign("check", "--offline").out


def test_an_approver_without_the_person_key_is_named(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DIRECTORY.replace(', employee_number: "7"', "")
    (ready / "directory.yaml").write_text(text)
    found = examine({**READY, "COUNTERSIGN_PERSON_KEY": "employee_number"}).findings
    assert [finding.what for finding in found if finding.where == "Ann Okafor"] == [
        "lacks employee_number, which tells two people apart here."
    ]


def member(user: str) -> ChatUser:
    return ChatUser(SLACK, "T1", user)


@pytest.mark.parametrize(
    ("channel", "level", "says"),
    [
        (Channel("#finance-approvals", public=True), Level.ERROR, "is a public channel."),
        (Channel("#finance-approvals", shared=True), Level.ERROR, "is shared with another organisation."),
        (Channel("#finance-approvals", problem="does not exist."), Level.ERROR, "does not exist."),
        (Channel("#finance-approvals", members=(member("UDANA"),)), Level.WARNING, "Dana Reyes"),
        (Channel("#finance-approvals", members=(member("UX"), member("UANN"))), Level.WARNING, "slack:T1:UX."),
    ],
)
def test_a_channel_that_shows_cards_to_the_wrong_people(ready: Path, channel: Channel, level: Level, says: str) -> None:
    [finding] = judge_channels(examine(READY), [channel])
    assert (finding.level, finding.where) == (level, "#finance-approvals")
    assert says in finding.what


def test_a_private_channel_of_approvers_is_fine(ready: Path) -> None:
    seen = examine(READY)
    assert seen.destinations == ("#finance-approvals",)
    assert judge_channels(seen, [Channel("#finance-approvals", members=(member("UANN"),))]) == ()


# --- the command itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("audit", "query", "--kind", "nothing.such"),
        ("audit", "query", "--limit", "0"),
        ("policy", "explain", "dana"),
        ("demo", "--port", "70000"),
    ],
)
def test_wrong_use_has_status_2(countersign: Countersign, words: tuple[str, ...]) -> None:
    assert countersign(*words).status == 2


def test_it_runs_as_a_program_and_says_where_it_is_missing_something(home: Path) -> None:
    words = [sys.executable, "-m", "bot", "check", "--json", "--offline"]
    done = subprocess.run(words, cwd=ROOT, env={"HOME": str(home)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert '"ready": false' in done.stdout
