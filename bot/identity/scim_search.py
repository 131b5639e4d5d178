"""How much of a SCIM search an index can answer, and whether it looks at members. Knows filters, no SQL.

A prefilter never decides: whatever it lets through is still matched by scim2_models' own evaluation.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any, cast

from scim2_models import Resource, ResponseParameters, ScimFilter, SearchRequest
from scim2_models.path import AttrPath, CompareOperator, Comparison, FilterNode, LogicalExpr, LogicalOperator, ValuePath

from bot.identity.scim_document import key_of
from bot.identity.scim_provider import GROUP_SCHEMA, USER_SCHEMA

_CORE = {None, USER_SCHEMA.lower(), GROUP_SCHEMA.lower()}
_INDEXED = {
    "id": "resource_id",
    "externalid": "external_id",
    "username": "unique_name",
    "displayname": "name_key",
    "members": "member",
    "members.value": "member",
}
_CASELESS = ("unique_name", "name_key")


@dataclass(frozen=True, slots=True)
class Prefilter:
    """`column` (or ``member``: is directly in the group) must equal `value`."""

    column: str
    value: str


def prefilter(wanted: ScimFilter[Any] | None) -> Prefilter | None:
    """What every match has in common, if an index knows it."""
    return None if wanted is None else _of(wanted.ast)


def _of(node: FilterNode) -> Prefilter | None:
    if isinstance(node, LogicalExpr) and node.op == LogicalOperator.and_:
        found = [hint for term in node.terms if (hint := _of(term)) is not None]
        # Of Entra's `id eq … and members eq …` the id is the narrower one.
        return min(found, key=lambda hint: hint.column != "resource_id", default=None)
    if isinstance(node, ValuePath) and node.sub_attr is None and _name(node.attr_path) == "members":
        inner = node.val_filter
        inside = isinstance(inner, Comparison) and _name(inner.attr_path) == "value"
        return _equal("members", inner) if inside else None
    return _equal(_name(node.attr_path), node) if isinstance(node, Comparison) else None


def _equal(name: str | None, node: FilterNode) -> Prefilter | None:
    column = _INDEXED.get(name or "")
    if column is None or not isinstance(node, Comparison) or node.op != CompareOperator.eq:
        return None
    value = node.value
    # What is blank has no column: those few are left to the evaluation.
    if not isinstance(value, str) or not value.strip():
        return None
    return Prefilter(column, key_of(value) if column in _CASELESS else value)


def _name(path: AttrPath) -> str | None:
    if (path.uri.lower() if path.uri else None) not in _CORE:
        return None
    return f"{path.attr}.{path.sub_attr}".lower() if path.sub_attr else path.attr.lower()


def shows_members(parameters: ResponseParameters[Any]) -> bool:
    """Whether a response keeps anything of a group's members. In doubt it does."""
    if parameters.attributes:
        return any(_of_members(str(path)) for path in parameters.attributes)
    return not any(_of_members(str(path), whole=True) for path in parameters.excluded_attributes or [])


def mentions_members(request: SearchRequest[Any]) -> bool:
    """Whether finding or sorting has to look at members."""
    return any("members" in str(part).lower() for part in (request.filter, request.sort_by) if part is not None)


def _of_members(path: str, *, whole: bool = False) -> bool:
    name = path.strip().lower().removeprefix(f"{GROUP_SCHEMA}:".lower())
    return name == "members" if whole else name.split(".")[0] == "members" or ":" in name


def whole_filter(wanted: ScimFilter[Any] | None, found: list[Resource[Any]]) -> ScimFilter[Any] | None:
    """`wanted`, bound to what was found where the request was bound to nothing."""
    if wanted is None or wanted.models or not found:
        return wanted
    models = functools.reduce(operator.or_, dict.fromkeys(type(one) for one in found))
    return cast("ScimFilter[Any]", cast(Any, ScimFilter)[models](str(wanted)))
