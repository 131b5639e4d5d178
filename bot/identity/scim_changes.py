"""What a SCIM request changed, told apart by columns before and after. Knows no protocol and no database.

Says whose standing may have changed (`subjects`): whoever left, changed their name to the IdP or their person key,
and everybody whose groups, or whose groups' names, are others now: roles hang on these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NAMED = 50
"""Members whose ids one audit row names; the counts are always whole."""


class Op(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Facts:
    """The columns that decide anything."""

    external_id: str | None
    unique_name: str | None
    display_name: str | None
    active: bool
    employee_number: str | None
    email: str | None
    name_key: str | None = None


@dataclass(frozen=True, slots=True)
class MemberEdit:
    """How a group's members are to change. `exact` None: as they are, then without `remove`, then with `add`."""

    exact: frozenset[str] | None = None
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()

    def adding(self, ids: frozenset[str]) -> MemberEdit:
        if self.exact is not None:
            return MemberEdit(self.exact | ids)
        return MemberEdit(None, self.add | ids, self.remove - ids)

    def removing(self, ids: frozenset[str]) -> MemberEdit:
        if self.exact is not None:
            return MemberEdit(self.exact - ids)
        return MemberEdit(None, self.add - ids, self.remove | ids)


KEEP = MemberEdit()


@dataclass(frozen=True, slots=True)
class MemberChange:
    """What an edit came to. Ids are the subjects' where a member is a user with one, else SCIM ids."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    subjects: frozenset[str] = frozenset()
    unknown: int = 0
    """Members named that are no resource of this tenant: left out, and counted."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


@dataclass(frozen=True, slots=True)
class Change:
    """One resource that is not as it was."""

    op: Op
    resource_type: str
    resource_id: str
    external_id: str | None
    fields: tuple[str, ...]
    """Which of the columns that decide anything are others now; names, never values."""
    subjects: frozenset[str]
    members: MemberChange = MemberChange()


def user_fields(before: Facts, after: Facts) -> tuple[str, ...]:
    """Which columns of a user differ, by SCIM's names."""
    pairs = (
        ("active", before.active, after.active),
        ("externalId", before.external_id, after.external_id),
        ("employeeNumber", before.employee_number, after.employee_number),
        ("userName", before.unique_name, after.unique_name),
        ("emails", before.email, after.email),
        ("displayName", before.display_name, after.display_name),
    )
    return tuple(name for name, old, new in pairs if old != new)


def group_fields(before: Facts, after: Facts) -> tuple[str, ...]:
    pairs = (
        ("displayName", before.display_name, after.display_name),
        ("externalId", before.external_id, after.external_id),
    )
    return tuple(name for name, old, new in pairs if old != new)


def user_subjects(before: Facts, after: Facts) -> frozenset[str]:
    """The old subject where it went, both where the person behind it may be another."""
    changed = set(user_fields(before, after)) & {"active", "externalId", "employeeNumber"}
    return subject_of(before) | subject_of(after) if changed else frozenset()


def subject_of(facts: Facts) -> frozenset[str]:
    return frozenset({facts.external_id}) if facts.external_id else frozenset()
