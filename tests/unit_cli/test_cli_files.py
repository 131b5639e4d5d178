"""`policy`, `identity` and `check`: what the files say, and what is wrong with them, before anything runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from bot.checkup import Channel, Known, Level, examine, judge_channels, judge_people
from bot.keys import make_keys
from bot.messages import ChatUser, SurfaceName
from bot.ports import Person
from bot.settings import default_policy_dir, read
from policy.model import Subject, TenantId
from policy.rules import FILE_NAMES
from tests.kit.provision import ISSUER, Hire, idp, write_tenants

ROOT = Path(__file__).parents[2]
SLACK = SurfaceName("slack")
ACME = TenantId("acme")
READY = {
    "SLACK_BOT_TOKEN": "xoxb-1",
    "SLACK_APP_TOKEN": "xapp-1",
    "ANTHROPIC_API_KEY": "k",
    "COUNTERSIGN_BASE_URL": "https://countersign.example",
}


def member(user: str) -> ChatUser:
    return ChatUser(SLACK, "T1", user)


def person(sub: str, name: str, *groups: str) -> Person:
    return Person(ACME, Subject(ISSUER, sub), name, None, True, groups, None, (member(f"U{sub.upper()}"),))


KNOWN = (
    Known(
        ACME,
        (person("dana", "Dana Reyes", "support"), person("ann", "Ann Okafor", "finance-approvers", "choir")),
        unmapped=("choir",),
        unsubjected=("u7",),
    ),
)


class Countersign(Protocol):
    def __call__(self, *words: str) -> Any: ...


@pytest.fixture
def ready(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory from which `serve` could start."""
    for name, value in READY.items():
        monkeypatch.setenv(name, value)
    write_tenants(home / "tenants.yaml", {ACME: [{"surface": "slack", "team": "T1"}]})
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


def test_what_a_stranger_wrote_moves_no_cursor(ready: Path, countersign: Countersign) -> None:
    assert countersign("migrate").status == 0
    with idp(dict(os.environ), ACME) as theirs:
        theirs.hire([Hire("dana", "[bold]Dana\x1b[2J", ("support",))])
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
    assert where == ["SLACK_BOT_TOKEN", "COUNTERSIGN_BASE_URL", "ANTHROPIC_API_KEY", "tenants.yaml", "keys"]


def test_bad_settings_do_not_hide_bad_files(
    home: Path, policy_dir: Path, countersign: Countersign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_PORT", "x")
    (home / "tenants.yaml").write_text("tenants: [")
    (policy_dir / "roles.yaml").write_text("")
    where = [finding["where"] for finding in countersign("check", "--json").json()["findings"]]
    assert "COUNTERSIGN_PORT" in where
    assert "roles.yaml" in where
    assert "tenants.yaml:1" in where


def test_ready_means_status_0_with_its_warnings(ready: Path, countersign: Countersign) -> None:
    said = countersign("check", "--offline", "--json")
    assert said.status == 0
    assert "Ready to serve." in countersign("check", "--offline").out


def test_a_file_of_people_counts_for_nothing_and_check_says_so(ready: Path, countersign: Countersign) -> None:
    (ready / "directory.yaml").write_text("people: [{sub: eve, name: Eve, groups: [countersign-admins]}]")
    said = countersign("check", "--offline", "--json")
    assert said.status == 0
    (found,) = [one for one in said.json()["findings"] if one["where"] == "directory.yaml"]
    assert "the demo's alone" in found["mend"]
    assert countersign("migrate").status == 0
    assert countersign("identity", "list", "--json").json() == []


def test_a_group_that_no_role_names_and_a_role_that_nobody_holds_are_told(ready: Path) -> None:
    found = judge_people(examine(READY), KNOWN)
    assert "choir" in next(finding for finding in found if finding.where == "roles.yaml").what
    assert "support_lead" in " ".join(finding.what for finding in found)
    (nameless,) = [finding for finding in found if "externalId" in finding.what]
    assert "u7" in nameless.what


def test_an_organisation_that_nobody_provisioned_is_told(ready: Path) -> None:
    (found,) = judge_people(examine(READY), [Known(ACME, ())])
    assert found.where == "tenant acme"
    assert "no IdP has provisioned" in found.what


def test_check_asks_the_database_for_people(ready: Path, countersign: Countersign) -> None:
    assert countersign("migrate").status == 0
    with idp(dict(os.environ), ACME) as theirs:
        theirs.hire([Hire("dana", "Dana Reyes", ("support", "choir"))])
        theirs.core.writer.run_blocking(lambda conn: None)
    from bot.app import known_people

    (known,) = asyncio.run(known_people(read(os.environ)))
    assert (known.tenant, known.unmapped) == (ACME, ("choir",))
    assert [person.display_name for person in known.people] == ["Dana Reyes"]


def test_an_approver_without_the_person_key_is_named(ready: Path) -> None:
    seen = examine({**READY, "COUNTERSIGN_PERSON_KEY": "employee_number"})
    told = [finding.what for finding in judge_people(seen, KNOWN) if finding.where == "Ann Okafor"]
    assert told == ["lacks employee_number, which tells two people apart here."]


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
    [finding] = judge_channels(examine(READY), [channel], KNOWN)
    assert (finding.level, finding.where) == (level, "#finance-approvals")
    assert says in finding.what


def test_a_private_channel_of_approvers_is_fine(ready: Path) -> None:
    seen = examine(READY)
    assert seen.destinations == ("#finance-approvals",)
    assert judge_channels(seen, [Channel("#finance-approvals", members=(member("UANN"),))], KNOWN) == ()


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
