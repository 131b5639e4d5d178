"""`countersign check`: everything that stands between these settings and a service that works, asked at once.

Knows what to ask of files, database and chat; `bot.checkup` judges.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from audit.faults import spoken
from bot.console import DONE, FOUND, TOLD, WRONG_USE, AsJson, Shell, answering
from policy.model import Json

if TYPE_CHECKING:
    from bot.checkup import Finding, Read


def check(
    offline: Annotated[bool, typer.Option("--offline", help="Files only: do not ask the chat.")] = False,
    as_json: AsJson = False,
) -> None:
    """Report every missing setting, bad file and unsafe channel at once."""
    with answering(as_json) as shell, starting(shell):
        from bot import checkup

        seen = checkup.examine(os.environ)
        found = list(seen.findings)
        from bot import app as service

        if not offline:
            login = tuple(checkup.judge_role(service.database_role(seen.settings)))
            found += login
            # A database that cannot be used would only say so a second time.
            found += _asked(shell, seen) if all(at.level is not checkup.Level.ERROR for at in login) else ()
        errors = [finding for finding in found if finding.level is checkup.Level.ERROR]
        if shell.as_json:
            shell.json({"ready": not errors, "findings": [_finding(at) for at in found]})
        else:
            for at in sorted(found, key=lambda one: one.level is not checkup.Level.ERROR):
                shell.say(f"{at.level.value}: {at.where} {at.what} {at.mend}", "red" if at in errors else "yellow")
            shell.say(
                f"{len(errors)} to mend." if errors else "Ready to serve.", "bold red" if errors else "bold green"
            )
        raise typer.Exit(FOUND if errors else DONE)


def _asked(shell: Shell, seen: Read) -> list[Finding]:
    """What the database and the chat say, where what the files say lets them be asked."""
    from bot import app as service
    from bot.checkup import Finding, Level, judge_channels, judge_people

    if seen.policy is None or seen.tenants is None:
        return []
    try:
        known = asyncio.run(service.known_people(seen.settings))
    except (service.AppError, *TOLD) as error:
        what, _, mend = str(error).partition(". ")
        return [Finding(Level.ERROR, "database:", f"{what.rstrip('.')}.", mend)]
    found = list(judge_people(seen, known))
    chats = seen.settings.slack is not None or seen.settings.teams is not None
    if chats and seen.destinations:
        with shell.progress("Asking the chats"):
            channels = asyncio.run(service.channel_facts(seen.settings, seen.destinations))
        found += judge_channels(seen, channels, known)
    return found


def _finding(at: Finding) -> Json:
    return {"level": at.level.value, "where": at.where, "what": at.what, "mend": at.mend}


@contextmanager
def starting(shell: Shell) -> Iterator[None]:
    """What did not start says so in its sentence. Imported late: see the top of this file."""
    from bot import app as service

    try:
        with spoken():
            yield
    except service.AppError as error:
        shell.fail(str(error), WRONG_USE if isinstance(error, service.WrongUse) else FOUND)
