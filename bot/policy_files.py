"""The policy directory, read into `policy.rules` and read again on SIGHUP. Knows files, not what they mean.

A reload that fails keeps the policy before it and says so (invariant 13).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from policy.model import TenantId
from policy.rules import Policy, PolicyError, Problem, load

MODELS: Final = "models.yaml"
NO_OWN_MODELS: Final = "has no effect: the models are the deployment's, the same for every organisation."

OnReload: TypeAlias = Callable[[Policy | PolicyError], None]
"""Told of every reload: the policy that holds from now on, or why the one before it still does."""


def read_policy(folder: Path, over: Path | None = None) -> Policy:
    """The policy that the YAML files in `folder` state; a file in `over` stands in for the one of its name.

    Raises:
        PolicyError: with every problem of every file.
    """
    files: dict[str, str] = {}
    problems: list[Problem] = []
    paths = _files(folder, "Check COUNTERSIGN_POLICY_DIR and its rights.")
    if over is not None:
        paths |= _files(over, "Check the organisation's `policy` in tenants.yaml and its rights.")
    for path in paths.values():
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

    def __init__(
        self, folder: Path, on_reload: OnReload | None = None, over: Mapping[TenantId, Path] | None = None
    ) -> None:
        """Reads `folder`, and for each tenant in `over` what its own folder puts in place of it.

        Raises:
            PolicyError: the files are no policy; there is nothing to fall back to.
        """
        self._folder = folder
        self._over = dict(over or {})
        self._on_reload = on_reload
        self._now, self._own = self._read()
        self.changed: dict[TenantId, str] = {}
        """Of tenants with files of their own: the versions that the last reload changed."""

    def current(self) -> Policy:
        """The deployment's policy."""
        return self._now

    def of(self, tenant: TenantId) -> Policy:
        """Implements `bot.ports.PolicyOf`: the tenant's own policy, or the deployment's."""
        return self._own.get(tenant, self._now)

    def own(self) -> tuple[Policy, ...]:
        """The policies of tenants that have files of their own."""
        return tuple(self._own.values())

    def reload(self) -> Policy | PolicyError:
        """Reads the files again, all or none. An error leaves the policy before it in force."""
        told: Policy | PolicyError
        before = {tenant: policy.version for tenant, policy in self._own.items()}
        try:
            self._now, self._own = self._read()
            told = self._now
            now = {tenant: policy.version for tenant, policy in self._own.items()}
            self.changed = {tenant: version for tenant, version in now.items() if before.get(tenant) != version}
        except PolicyError as error:
            told = error
        if self._on_reload is not None:
            self._on_reload(told)
        return told

    def _read(self) -> tuple[Policy, dict[TenantId, Policy]]:
        own: dict[TenantId, Policy] = {}
        problems: list[Problem] = []
        for tenant, folder in self._over.items():
            if (folder / MODELS).exists():
                # A file that nobody reads must not look as if it held.
                problems.append(
                    Problem(
                        f"{tenant}: {MODELS}", 0, "", NO_OWN_MODELS, "Remove it; change the deployment's file instead."
                    )
                )
            try:
                own[tenant] = read_policy(self._folder, folder)
            except PolicyError as error:
                problems += [replace(one, file=f"{tenant}: {one.file}") for one in error.problems]
        now = read_policy(self._folder)
        if problems:
            raise PolicyError(problems)
        return now, own

    def reload_on_sighup(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, ``kill -HUP`` reads the files again."""
        loop.add_signal_handler(signal.SIGHUP, self.reload)


def _files(folder: Path, mend: str) -> dict[str, Path]:
    try:
        return {path.name: path for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".yml")}
    except OSError as error:
        raise PolicyError([_unread(str(folder), (error.strerror or "unreadable").lower(), mend)]) from error


def _unread(file: str, why: str, mend: str) -> Problem:
    return Problem(file, 0, "", f"cannot be read ({why}).", mend)
