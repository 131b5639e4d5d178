"""Invariant 14 in the shell: every command that is about one organisation, named one, with what belongs to another.

A command that this file does not name fails the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bot.cli import app
from bot.core import utc_now
from bot.identity import scim_tokens
from tests.kit.provision import ISSUER
from tests.kit.two_tenants import ACME, BOTH, GLOBEX, TEAM, WORD, door_alone

DEPLOYMENT = {
    "audit head", "audit verify", "check", "demo", "eval", "keys list", "keys rewrap", "keys rotate", "migrate",
    "policy check", "serve", "teams package",
}  # fmt: skip
"""About the whole deployment, for its operator: they take no organisation."""
NOBODY = "h_000000000000000000000000"


@dataclass(frozen=True)
class Said:
    status: int
    text: str


@dataclass(frozen=True)
class Shell:
    folder: Path
    held_id: str
    token_id: str

    def run(self, *words: str) -> Said:
        done = CliRunner().invoke(app, list(words), prog_name="countersign")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout + done.stderr)

    def acme(self) -> dict[str, list[str]]:
        with door_alone(self.folder) as two:
            return asyncio.run(two.state(ACME))

    def silent(self, text: str) -> None:
        shown = [word for word in (WORD[ACME], self.held_id, self.token_id, TEAM[ACME]) if word in text]
        assert not shown, f"of acme's: {shown}\n{text}"


@pytest.fixture
def shell(two_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    with door_alone(two_folder) as two:
        views = {tenant: asyncio.run(two.refund(tenant, call_id="the-same-call")) for tenant in BOTH}
        made = two.core.writer.run_blocking(lambda conn: scim_tokens.create(conn, ACME, "okta", "op", utc_now()))
        for name, value in two.environ.items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(two_folder)
    return Shell(two_folder, views[ACME].held_id, made[0])


# The words of each command, where one of acme's things and where nobody's stands for THING; and whether it is one.
THINGS: Mapping[str, tuple[Callable[[Shell], str], str]] = {
    "held": (lambda at: at.held_id, NOBODY),
    "token": (lambda at: at.token_id, "0" * 16),
    "name": (lambda _at: f"Dana {WORD[ACME]}", "Nobody At All"),
    "account": (lambda _at: f"slack:{TEAM[ACME]}:U-dana", "slack:T0NOBODY:U-dana"),
    "subject": (lambda _at: "only-at-acme", "at-neither"),
}
MATRIX: Mapping[str, tuple[tuple[str, str], ...]] = {
    "status": (("", ""),),
    "pending": (("", ""),),
    "kill": (("subject", "user THING because"),),
    "resume": (("subject", "user THING"),),
    "audit query": (("", ""), ("", "--who dana"), ("", "--call the-same-call"), ("", "--format csv")),
    "audit export": (("", ""),),
    "data erase": (("subject", "--person THING"), ("", "--before 2020-01-31")),
    "doubt list": (("", ""),),
    "doubt settle": (("held", "THING seen --done"),),
    "identity list": (("", ""),),
    "identity show": (("name", "THING"), ("account", "THING"), ("", "dana")),
    "identity link": (("account", "--account THING --subject dana --reason x"),),
    "identity unlink": (("account", "--account THING --reason x"), ("subject", "--subject THING --reason x")),
    "policy explain": (("name", "THING refund.issue"), ("", "dana refund.issue")),
    "scim token create": (("", "--name mine"),),
    "scim token list": (("", ""),),
    "scim token revoke": (("token", "THING"),),
}


def commands() -> dict[str, bool]:
    """Every command, and whether it takes an organisation."""
    found: dict[str, bool] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        inside = getattr(command, "commands", None)
        if inside is None:
            found[" ".join(path)] = any("--tenant" in option.opts for option in command.params)
            return
        for name, one in inside.items():
            walk(one, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


def test_every_command_is_tried_or_is_about_the_deployment() -> None:
    known = commands()
    assert {name for name, one in known.items() if one} == set(MATRIX)
    assert {name for name, one in known.items() if not one} == DEPLOYMENT


def test_a_command_about_one_organisation_shows_and_changes_nothing_of_another(shell: Shell) -> None:
    before = shell.acme()
    for command, tries in MATRIX.items():
        for thing, words in tries:
            told = []
            for one in _both(shell, thing):
                typed = [word.replace("THING", one) for word in words.split()]
                said = shell.run(*command.split(), *typed, "--tenant", GLOBEX)
                told.append(Said(said.status, _plain(said.text, one)))
            for answer in told:
                shell.silent(answer.text)
            assert len(set(map(str, told))) <= 1, (command, words, told)
    assert shell.acme() == before
    # Nor is an organisation guessed where there are two.
    for command in MATRIX:
        if command in ("identity list", "identity show", "identity link", "identity unlink", "policy explain", "kill"):
            continue  # these look at all of them, or name one by the account's team
        typed = [word.replace("THING", NOBODY) for word in MATRIX[command][0][1].split()]
        said = shell.run(*command.split(), *typed)
        assert said.status == 2, (command, said)
        assert "Say which organisation with --tenant" in said.text
    assert shell.acme() == before


def _plain(text: str, typed: str) -> str:
    """But for what was typed, and the team in it."""
    for one in (typed, *(part for part in typed.split(":") if part.startswith("T0"))):
        text = text.replace(one, "THING") if one else text
    return text


def _both(shell: Shell, thing: str) -> tuple[str, ...]:
    if not thing:
        return ("",)
    mine, nobody = THINGS[thing]
    return mine(shell), nobody


def test_where_it_belongs_each_of_them_works(shell: Shell) -> None:
    assert shell.held_id in shell.run("pending", "--tenant", ACME, "--json").text
    assert "the-same-call" in shell.run("audit", "export", "--tenant", ACME).text
    assert WORD[ACME] in shell.run("identity", "show", f"Dana {WORD[ACME]}", "--tenant", ACME).text
    assert shell.run("kill", "user", "dana", "because", "--tenant", GLOBEX).status == 0
    assert shell.run("status", "--tenant", ACME).status == 0
    assert shell.run("status", "--tenant", GLOBEX).status == 1
    assert shell.run("resume", "user", "dana", "--tenant", ACME).status == 0
    assert shell.run("status", "--tenant", GLOBEX).status == 1
    linked = shell.run("identity", "unlink", "--subject", f"{ISSUER}|dana", "--reason", "x", "--tenant", GLOBEX)
    assert linked.status == 0
    assert TEAM[ACME] not in linked.text
    assert shell.run("scim", "token", "revoke", shell.token_id, "--tenant", ACME).status == 0
