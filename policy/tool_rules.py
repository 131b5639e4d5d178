"""tools.yaml: two axes per tool, and what the security team adds to the gate that follows from them.

Knows the file's schema and that a gate may be tightened, never loosened. Knows no person and no call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from policy.axes import Floor, floor, looser
from policy.document import Field, meant
from policy.model import BlastRadius, Gate, GateKind, Reversibility, RoleName, Threshold, ToolName, ToolPolicy
from policy.places import DM, HOW, is_place
from policy.roles import Roles

EVERYBODY = RoleName("*")
"""As a key of `approvers`: every requester who has no line of their own."""

LIMIT_WINDOWS: Mapping[str, int] = MappingProxyType(
    {"per_user_per_min": 60, "per_user_per_hour": 3600, "per_user_per_day": 86400}
)
"""The limits a tool can have -> seconds of their sliding window."""

_APPROVAL_KEYS = ("approvers", "post_to", "second_approver", "expires", "presupposes")
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DEFAULT_EXPIRY_S = 24 * 3600
_MINUTE, _WEEK = 60, 7 * 86400


def read_tools(root: Field, roles: Roles) -> tuple[Mapping[ToolName, ToolPolicy], Mapping[str, Field]]:
    """tools.yaml as tool policies, in file order, and where each is written."""
    entries = root.entries()
    found = {ToolName(name): _tool(ToolName(name), entry, roles, entries) for name, entry in entries.items()}
    if root.is_mapping() and not found:
        root.wrong("names no tool.", "Add at least one.")
    _refuse_circles(found, entries)
    return MappingProxyType(found), entries


def _tool(name: ToolName, entry: Field, roles: Roles, tools: Mapping[str, Field]) -> ToolPolicy:
    keys = entry.section(("reversibility", "blast_radius"), ("external_send", "gate", "limits", *_APPROVAL_KEYS))
    reversibility, blast = Reversibility.NONE, BlastRadius.CRITICAL
    if "reversibility" in keys:
        reversibility = keys["reversibility"].word(Reversibility, "a reversibility", reversibility)
    if "blast_radius" in keys:
        blast = keys["blast_radius"].word(BlastRadius, "a blast radius", blast)
    external = keys["external_send"].boolean() if "external_send" in keys else False
    least = floor(reversibility, blast, external)
    kind = _kind(keys.get("gate"), least)
    limits = _limits(keys["limits"]) if "limits" in keys else {}
    gate = _gate(entry, keys, kind, roles, tools)
    complete = "reversibility" in keys and "blast_radius" in keys
    if complete and least.needs_threshold and gate.threshold is None and "second_approver" not in keys:
        mend = "Add `second_approver: {above: {USD: 100.00}, window: 24h}`, or `second_approver: always`."
        entry.wrong("cannot be taken back, but does not say when a second person must approve.", mend)
    return ToolPolicy(name, reversibility, blast, gate, external, MappingProxyType(limits))


def _kind(written: Field | None, least: Floor) -> GateKind:
    if written is None:
        return least.kind
    kind = written.word(GateKind, "a gate", least.kind)
    if looser(kind, least.kind):
        mend = f"Write {least.kind.value}, or leave the key out. A file can tighten a gate, never loosen it."
        written.wrong(f"'{kind.value}' is looser than the gate of this tool: {least.because}.", mend)
        return least.kind
    return kind


def _gate(entry: Field, keys: Mapping[str, Field], kind: GateKind, roles: Roles, tools: Mapping[str, Field]) -> Gate:
    if kind is GateKind.AUTONOMOUS:
        what = "has no meaning: this tool runs without approval."
        for key in keys.keys() & set(_APPROVAL_KEYS):
            keys[key].wrong(what, "Remove it, or add `gate: approval`.")
        return Gate(kind, MappingProxyType({}), MappingProxyType({}), None, _DEFAULT_EXPIRY_S)
    approvers = _approvers(keys["approvers"], roles) if "approvers" in keys else {}
    if kind is GateKind.APPROVAL and "approvers" not in keys:
        entry.wrong("'approvers' is missing: nobody could approve this tool.", "Add `approvers: [some_role]`.")
    post_to = _post_to(keys["post_to"], approvers) if "post_to" in keys else {}
    for role in sorted({role for names in approvers.values() for role in names} - set(post_to)):
        post_to[role] = (DM,)
    threshold = _threshold(keys["second_approver"]) if "second_approver" in keys else None
    expires = keys["expires"].seconds(_MINUTE, _WEEK) if "expires" in keys else _DEFAULT_EXPIRY_S
    presupposes = _presupposes(keys["presupposes"], tools) if "presupposes" in keys else ()
    return Gate(kind, MappingProxyType(approvers), MappingProxyType(post_to), threshold, expires, presupposes)


def _approvers(written: Field, roles: Roles) -> dict[RoleName, tuple[RoleName, ...]]:
    """A list serves every requester; keys serve the requesters who hold that role."""
    lines = written.entries() if written.is_mapping() else {str(EVERYBODY): written}
    found: dict[RoleName, tuple[RoleName, ...]] = {}
    for requester, line in lines.items():
        if requester != EVERYBODY and requester not in roles.by_name:
            line.wrong(f"'{requester}' is not a role.", meant(requester, list(roles.by_name), "Write one of"))
        names = tuple(RoleName(name) for name in line.texts())
        for name in names:
            if name not in roles.by_name:
                line.wrong(f"'{name}' is not a role.", meant(name, list(roles.by_name), "Write one of"))
            if name == requester:
                mend = "Nobody approves their own; consider another role."
                line.doubtful(f"'{name}' approves what '{name}' asks for.", mend)
        if not names:
            line.wrong("names no role, so nobody could approve.", "Name at least one approver role.")
        found[RoleName(requester)] = names
    return found


def _post_to(written: Field, approvers: Mapping[RoleName, tuple[RoleName, ...]]) -> dict[RoleName, tuple[str, ...]]:
    known = sorted({role for names in approvers.values() for role in names})
    found: dict[RoleName, tuple[str, ...]] = {}
    for role, line in written.entries().items():
        if role not in known:
            line.wrong(f"'{role}' approves nothing here.", meant(role, known, "Write one of"))
        places = line.texts()
        for place in places:
            if not is_place(place):
                line.wrong(f"'{place}' is not a destination.", HOW)
        if not places:
            line.wrong("names no destination.", HOW)
        found[RoleName(role)] = places
    return found


def _threshold(written: Field) -> Threshold:
    """``always`` is a threshold that lists no currency: everything is above it."""
    if not written.is_mapping():
        if written.text() != "always":
            written.wrong("is not a threshold.", "Write `always`, or {above: {USD: 100.00}, window: 24h}.")
        return Threshold(MappingProxyType({}), 86400)
    keys = written.section(("above", "window"))
    above: dict[str, Decimal] = {}
    for currency, line in keys["above"].entries().items() if "above" in keys else ():
        if not _CURRENCY.fullmatch(currency):
            line.wrong(f"'{currency}' is not a currency.", "Write its ISO 4217 code, for instance USD.")
        above[currency] = line.money()
    window = keys["window"].seconds(3600, 31 * 86400) if "window" in keys else 86400
    return Threshold(MappingProxyType(above), window)


def _presupposes(written: Field, tools: Mapping[str, Field]) -> tuple[ToolName, ...]:
    names = written.texts()
    for name in names:
        if name not in tools:
            written.wrong(f"'{name}' is not a tool in this file.", meant(name, list(tools), "Write one of"))
    return tuple(ToolName(name) for name in names)


def _limits(written: Field) -> dict[str, int]:
    return {name: line.integer(1, 1_000_000) for name, line in written.section((), tuple(LIMIT_WINDOWS)).items()}


def _refuse_circles(found: Mapping[ToolName, ToolPolicy], entries: Mapping[str, Field]) -> None:
    """Two tools that wait for each other would both wait until they expire."""
    for start in found:
        seen: set[ToolName] = set()
        ahead = list(found[start].gate.presupposes)
        while ahead:
            name = ahead.pop()
            if name == start:
                what = "presupposes itself, directly or through others: it could never run."
                entries[start].wrong(what, "Remove one of the `presupposes` lines.")
                break
            if name in found and name not in seen:
                seen.add(name)
                ahead.extend(found[name].gate.presupposes)
