"""What the shell shows: tables for people, JSON for programs, one sentence for what went wrong. Knows no command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from audit.checkpoint import CheckpointError
from audit.faults import StoreUnavailable
from bot.identity.directory import DirectoryError
from bot.identity.tenants import TenantsError
from bot.keys import KeysError
from bot.settings import Settings, SettingsError, for_demo, read
from policy.model import Json
from policy.rules import PolicyError

WIDE = 240
DONE, FOUND, WRONG_USE = 0, 1, 2
"""Exit statuses: done; found something, or could not; called wrongly."""


@dataclass(slots=True)
class Shell:
    """Where a command answers. With `as_json` standard output holds one JSON document and nothing else."""

    as_json: bool = False
    out: Console = field(default_factory=lambda: _console(sys.stdout))
    err: Console = field(default_factory=lambda: _console(sys.stderr))

    def say(self, text: str, style: str = "") -> None:
        """A sentence for people. Under --json it goes to standard error. `text` is never markup."""
        (self.err if self.as_json else self.out).print(Text(text, style=style))

    def write(self, text: str) -> None:
        """Text as it is, for another program to read."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def json(self, value: Json) -> None:
        """The answer for programs."""
        self.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """The answer for people. Cells are text, never markup: they may hold what strangers wrote."""
        table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.out.print(table)

    def fail(self, sentence: str, status: int = FOUND) -> NoReturn:
        """Says what went wrong, on standard error and, under --json, as JSON too."""
        if self.as_json:
            self.json({"error": sentence})
        self.err.print(Text(sentence, style="red"))
        raise typer.Exit(status)

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A bar on standard error while something long runs; hand on how much is done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(escape(what), total=total)
            yield lambda done: bar.update(task, completed=done)


def _console(file: TextIO) -> Console:
    """As wide as the terminal; without one, wide enough that `grep` finds a row on one line."""
    width = None if file.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(file=file, width=width, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """`text` without what moves a terminal's cursor or colours: other people wrote some of it."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
Demo = Annotated[bool, typer.Option("--demo", help="Look at the demo workspace's data, in .demo.")]
Tenant = Annotated[str | None, typer.Option(help="The organisation. Not needed where there is only one.")]

DEMO_HOME = Path(".demo")
TOLD = (SettingsError, KeysError, PolicyError, TenantsError, DirectoryError, StoreUnavailable, CheckpointError)
"""Errors whose text was written for people."""


@contextmanager
def answering(as_json: bool) -> Iterator[Shell]:
    """A command's body: errors written for people become their sentence and exit status 1."""
    shell = Shell(as_json)
    try:
        yield shell
    except TOLD as error:
        shell.fail(str(error))


def settings_of(demo: bool) -> Settings:
    """The settings a command works with."""
    return for_demo(os.environ, DEMO_HOME) if demo else read(os.environ)
