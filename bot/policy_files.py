"""The policy directory, read into `policy.rules` and read again on SIGHUP. Knows files, not what they mean.

A reload that fails keeps the policy before it and says so (invariant 13).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from policy.model import RoleName
from policy.rules import Policy, PolicyError, Problem, load

OnReload: TypeAlias = Callable[[Policy | PolicyError], None]
"""Told of every reload: the policy that holds from now on, or why the one before it still does."""


def read_policy(folder: Path) -> Policy:
    """The policy that the YAML files in `folder` state.

    Raises:
        PolicyError: with every problem of every file.
    """
    files: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise PolicyError([_unread(str(folder), why, "Check COUNTERSIGN_POLICY_DIR and its rights.")]) from error
    for path in paths:
        try:
            files[path.name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            problems.append(_unread(path.name, "not UTF-8 text", "Save it as UTF-8."))
        except OSError as error:
            problems.append(_unread(path.name, (error.strerror or "unreadable").lower(), "Check the file's rights."))
    if not problems:
        return load(files)
    try:
        load({**dict.fromkeys((problem.file for problem in problems), ""), **files})
    except PolicyError as error:
        unread = {problem.file for problem in problems}
        problems += [problem for problem in error.problems if problem.file not in unread]
    raise PolicyError(problems)


class PolicyFiles:
    """The policy as it holds now. Safe to ask from any thread."""

    def __init__(self, folder: Path, on_reload: OnReload | None = None) -> None:
        """Reads `folder`.

        Raises:
            PolicyError: the files are no policy; there is nothing to fall back to.
        """
        self._folder = folder
        self._on_reload = on_reload
        self._now = read_policy(folder)

    def current(self) -> Policy:
        return self._now

    def roles_of(self, groups: tuple[str, ...]) -> frozenset[RoleName]:
        """Implements `bot.ports.RolesOf`."""
        return self._now.roles.roles_of(groups)

    def reload(self) -> Policy | PolicyError:
        """Reads the files again. An error leaves the policy before it in force."""
        told: Policy | PolicyError
        try:
            told = self._now = read_policy(self._folder)
        except PolicyError as error:
            told = error
        if self._on_reload is not None:
            self._on_reload(told)
        return told

    def reload_on_sighup(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, ``kill -HUP`` reads the files again."""
        loop.add_signal_handler(signal.SIGHUP, self.reload)


def _unread(file: str, why: str, mend: str) -> Problem:
    return Problem(file, 0, "", f"cannot be read ({why}).", mend)
