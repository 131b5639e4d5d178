"""IdP groups -> roles -> tools, as roles.yaml states it. Knows neither people nor who approves what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from policy.document import Field
from policy.model import RoleName, ToolName


@dataclass(frozen=True, slots=True)
class Role:
    """What a role may ask for. Holding a tool is the right to ask, never the right to approve."""

    name: RoleName
    groups: frozenset[str]
    """IdP groups whose members hold the role; compared exactly."""
    tools: frozenset[ToolName]


@dataclass(frozen=True, slots=True)
class Roles:
    by_name: Mapping[RoleName, Role]

    def roles_of(self, groups: Iterable[str]) -> frozenset[RoleName]:
        """Roles that members of `groups` hold. A group that no role names grants nothing."""
        held = frozenset(groups)
        return frozenset(role.name for role in self.by_name.values() if role.groups & held)

    def groups_of(self, roles: Iterable[RoleName]) -> frozenset[str]:
        """Groups whose members hold any of `roles`."""
        known = (self.by_name.get(role) for role in roles)
        return frozenset(group for role in known if role is not None for group in role.groups)

    def tools_of(self, roles: Iterable[RoleName]) -> frozenset[ToolName]:
        """Tools that any of `roles` may ask for. Roles the file does not know grant nothing."""
        known = (self.by_name.get(role) for role in roles)
        return frozenset(tool for role in known if role is not None for tool in role.tools)

    def asking(self, roles: Iterable[RoleName], tool: ToolName) -> tuple[RoleName, ...]:
        """Those of `roles` that may ask for `tool`, in alphabetical order."""
        return tuple(sorted(role for role in roles if role in self.by_name and tool in self.by_name[role].tools))

    def known_groups(self) -> frozenset[str]:
        return frozenset(group for role in self.by_name.values() for group in role.groups)

    def unmapped(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Those of `groups` that no role names, in alphabetical order."""
        return tuple(sorted(set(groups) - self.known_groups()))


def read_roles(root: Field) -> tuple[Roles, dict[ToolName, Field]]:
    """roles.yaml, and where each tool it mentions is written, so that unknown ones can be pointed at."""
    found: dict[RoleName, Role] = {}
    mentioned: dict[ToolName, Field] = {}
    for name, entry in root.entries().items():
        keys = entry.section(("groups", "tools"))
        groups = keys["groups"].texts() if "groups" in keys else ()
        tools: list[ToolName] = []
        for item in keys["tools"].items() if "tools" in keys else ():
            tool = item.text()
            if tool is None:
                continue
            if tool in tools:
                item.wrong(f"'{tool}' is listed twice.", "Keep one of them.")
            tools.append(ToolName(tool))
            mentioned.setdefault(ToolName(tool), item)
        if name == "*":
            entry.wrong("'*' is not a role name.", "Name the role; nothing may be granted to everybody.")
        if "groups" in keys and not groups:
            entry.doubtful("no group holds this role.", "Name the IdP groups whose members hold it.")
        found[RoleName(name)] = Role(RoleName(name), frozenset(groups), frozenset(tools))
    if root.is_mapping() and not found:
        root.wrong("names no role.", "Add at least one: without roles nobody may do anything.")
    return Roles(MappingProxyType(found)), mentioned
