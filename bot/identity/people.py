"""People of the directory as principals, with the roles that policy gives them now. Knows no chat.

Implements `tools.ports.People`: asked again at every decision, nothing is remembered (invariants 3, 9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, assert_never

from sqlalchemy.engine import Connection

from bot.ports import Directory, Person, PolicyOf
from bot.settings import PersonKey
from policy.model import Principal, RoleName, Subject, TenantId
from policy.roles import Roles

Aged: TypeAlias = Callable[[Person], str | None]


def ageless(_person: Person) -> str | None:
    """A file of people does not age."""
    return None


def principal_of(person: Person, roles: Roles, key: PersonKey) -> Principal:
    """`person` as the door sees them. Says nothing about `person.active`: the caller has looked."""
    return Principal(
        tenant=person.tenant,
        subject=person.subject,
        display_name=person.display_name,
        roles=roles.roles_of(person.groups),
        person_key=person_key(person, key),
        email=person.email,
    )


def person_key(person: Person, key: PersonKey) -> str | None:
    """What is the same for two accounts of one human. None: the directory does not say (refused later)."""
    match key:
        case PersonKey.SUBJECT:
            return f"subject:{person.subject}"
        case PersonKey.EMPLOYEE_NUMBER:
            number = (person.employee_number or "").strip()
            return f"employee:{number}" if number else None
        case _:
            assert_never(key)


class DirectoryPeople:
    """Who holds which roles, from the directory and roles.yaml as they are at the moment of asking."""

    def __init__(self, directory: Directory, policy: PolicyOf, key: PersonKey, aged: Aged = ageless) -> None:
        """`aged`: why what is known of a person is too old to be acted on; None: it is not."""
        self._directory = directory
        self._policy = policy
        self._key = key
        self._aged = aged

    def stale(self, conn: Connection, tenant: TenantId, subject: Subject) -> str | None:
        person = self._directory.by_subject(conn, tenant, subject)
        return None if person is None else self._aged(person)

    def current(self, conn: Connection, tenant: TenantId, subject: Subject) -> Principal | None:
        """`conn` is the deciding transaction: a directory in the database reads through it, a file does not."""
        person = self._directory.by_subject(conn, tenant, subject)
        if person is None or not person.active:
            return None
        return principal_of(person, self._policy(tenant).roles, self._key)

    def holders(self, conn: Connection, tenant: TenantId, roles: tuple[RoleName, ...]) -> tuple[Principal, ...]:
        known = self._policy(tenant).roles
        wanted = self._directory.members(conn, tenant, known.groups_of(roles))
        return tuple(principal_of(person, known, self._key) for person in wanted)
