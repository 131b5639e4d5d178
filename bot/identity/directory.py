"""Who is who, from directory.yaml. Knows people, groups and chat accounts; knows no role and no policy.

The file is read again when it changes. A file that cannot be used leaves the people before it in place and
is reported once (invariant 13). SCIM replaces this file outside the demo, behind the same port.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from sqlalchemy.engine import Connection

from bot.messages import ChatUser, SurfaceName
from bot.ports import Person
from policy.document import Field, Findings, Problem, meant, parse
from policy.model import Subject, TenantId

SURFACES = ("demo", "slack", "teams")


class DirectoryError(Exception):
    """The file is no directory. Carries everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


OnReload: TypeAlias = Callable[["DirectoryError | None"], None]
"""Told of every change of the file: None, or why the people before it still hold."""


@dataclass(frozen=True, slots=True)
class People:
    """One reading of the file. Replaced as a whole, never changed."""

    issuer: str
    teams: Mapping[tuple[str, str], TenantId]
    people: tuple[Person, ...]
    by_account: Mapping[ChatUser, Person]
    by_subject: Mapping[Subject, Person]


class DirectoryFile:
    """`bot.ports.Directory` over one file. Safe to ask from any thread."""

    def __init__(self, path: Path, on_reload: OnReload | None = None) -> None:
        """Reads `path`.

        Raises:
            DirectoryError: the file is absent or wrong; there is nothing to fall back to.
        """
        self._path = path
        self._on_reload = on_reload
        self._lock = threading.Lock()
        self._seen = _fingerprint(path)
        self._now = _read(path)

    def by_account(self, conn: Connection | None, who: ChatUser) -> Person | None:
        return self._current().by_account.get(who)

    def by_subject(self, conn: Connection | None, tenant: TenantId, subject: Subject) -> Person | None:
        person = self._current().by_subject.get(subject)
        return person if person is not None and person.tenant == tenant else None

    def people(self, conn: Connection | None, tenant: TenantId) -> tuple[Person, ...]:
        return tuple(person for person in self._current().people if person.tenant == tenant)

    def members(self, conn: Connection | None, tenant: TenantId, groups: frozenset[str]) -> tuple[Person, ...]:
        everybody = self.people(conn, tenant)
        return tuple(person for person in everybody if person.active and not groups.isdisjoint(person.groups))

    def tenants(self) -> tuple[TenantId, ...]:
        """Every tenant that has a chat team or a person, in alphabetical order."""
        now = self._current()
        return tuple(sorted({*now.teams.values(), *(person.tenant for person in now.people)}))

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return self._current().teams.get((surface, team))

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        return tuple((SurfaceName(at[0]), at[1]) for at, owner in self._current().teams.items() if owner == tenant)

    def implied(self, who: ChatUser) -> Subject | None:
        """Nobody: every account stands in the file."""
        return None

    def groups_unmapped(self, conn: Connection | None, tenant: TenantId, known: frozenset[str]) -> tuple[str, ...]:
        groups = {group for person in self.people(conn, tenant) for group in person.groups}
        return tuple(sorted(groups - known))

    def _current(self) -> People:
        """The people of the file as it is now, or of its last good reading."""
        if _fingerprint(self._path) != self._seen:
            with self._lock:
                # Taken before reading: a change that lands meanwhile is seen the next time.
                seen = _fingerprint(self._path)
                if seen != self._seen:
                    self._seen = seen
                    self._reload()
        return self._now

    def _reload(self) -> None:
        failure: DirectoryError | None = None
        try:
            self._now = _read(self._path)
        except DirectoryError as error:
            failure = error
        if self._on_reload is not None:
            self._on_reload(failure)


def read_directory(file: str, text: str) -> People:
    """The people that `text` states.

    Raises:
        DirectoryError: with every problem of the file.
    """
    findings = Findings()
    root = parse(file, text, findings)
    people = _Reader(findings).people(root) if root is not None else None
    if findings.errors or people is None:
        raise DirectoryError(tuple(sorted(findings.errors, key=lambda problem: problem.line)))
    return people


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> People:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        mend = f"Write the people into {path}."
        raise DirectoryError((Problem(path.name, 0, "", f"cannot be read ({why}).", mend),)) from error
    except UnicodeDecodeError as error:
        raise DirectoryError((Problem(path.name, 0, "", "is not UTF-8 text.", "Save it as UTF-8."),)) from error
    return read_directory(path.name, text)


class _Reader:
    """Reads the tree and notes every fault; the result counts only if there was none."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._teams: dict[tuple[str, str], TenantId] = {}
        self._tenants: list[TenantId] = []
        self._people: list[Person] = []
        self._accounts: dict[ChatUser, Person] = {}
        self._subjects: dict[Subject, Person] = {}

    def people(self, root: Field) -> People:
        keys = root.section(("issuer", "tenants", "people"))
        issuer = (keys["issuer"].text() if "issuer" in keys else None) or ""
        if "tenants" in keys:
            for name, entry in keys["tenants"].entries().items():
                self._tenant(TenantId(name), entry)
        for entry in keys["people"].items() if "people" in keys else ():
            self._person(issuer, entry)
        return People(
            issuer,
            MappingProxyType(self._teams),
            tuple(self._people),
            MappingProxyType(self._accounts),
            MappingProxyType(self._subjects),
        )

    def _tenant(self, tenant: TenantId, entry: Field) -> None:
        self._tenants.append(tenant)
        keys = entry.section(("teams",))
        for item in keys["teams"].items() if "teams" in keys else ():
            parts = item.section(("surface", "team"))
            surface, team = self._surface(parts), _text(parts, "team")
            if surface is None or team is None:
                continue
            if (surface, team) in self._teams:
                item.wrong(f"{surface} team {team} is already listed.", "A chat team belongs to one tenant: keep one.")
                continue
            self._teams[surface, team] = tenant

    def _person(self, issuer: str, entry: Field) -> None:
        keys = entry.section(("sub", "tenant", "name"), ("email", "groups", "employee_number", "active", "accounts"))
        sub, name, tenant = _text(keys, "sub"), _text(keys, "name"), _text(keys, "tenant")
        email, number = _text(keys, "email"), _text(keys, "employee_number")
        groups = keys["groups"].texts() if "groups" in keys else ()
        active = keys["active"].boolean() if "active" in keys else True
        if tenant is not None and tenant not in self._tenants:
            keys["tenant"].wrong(f"'{tenant}' is not a tenant.", meant(tenant, self._tenants, "The tenants are"))
            return
        if sub is None or name is None or tenant is None:
            return
        accounts = self._claims(keys["accounts"], TenantId(tenant)) if "accounts" in keys else ()
        subject = Subject(issuer, sub)
        person = Person(TenantId(tenant), subject, name, email, active, groups, number, accounts)
        if subject in self._subjects:
            keys["sub"].wrong(
                f"'{sub}' is there twice.", "A subject is one person: keep one, or give the other its own."
            )
            return
        self._subjects[subject] = person
        self._people.append(person)
        for account in accounts:
            self._accounts[account] = person

    def _claims(self, field: Field, tenant: TenantId) -> tuple[ChatUser, ...]:
        found: list[ChatUser] = []
        for item in field.items():
            parts = item.section(("surface", "team", "user"))
            surface, team, user = self._surface(parts), _text(parts, "team"), _text(parts, "user")
            if surface is None or team is None or user is None:
                continue
            account = ChatUser(SurfaceName(surface), team, user)
            if account in self._accounts or account in found:
                item.wrong(f"{account} is there twice.", "An account is one person's: remove it from the other.")
            elif self._teams.get((surface, team)) != tenant:
                mend = f"Add {{surface: {surface}, team: {team}}} to the teams of {tenant}, or mend the account."
                item.wrong(f"{surface} team {team} does not belong to tenant {tenant}.", mend)
            else:
                found.append(account)
        return tuple(found)

    @staticmethod
    def _surface(parts: Mapping[str, Field]) -> str | None:
        surface = _text(parts, "surface")
        if surface is not None and surface not in SURFACES:
            parts["surface"].wrong(f"'{surface}' is not a chat.", meant(surface, SURFACES, "Write one of"))
            return None
        return surface


def _text(parts: Mapping[str, Field], key: str) -> str | None:
    return parts[key].text() if key in parts else None
