"""scim2-server's handler with three habits of ours. Knows the protocol's steps, no SQL and no HTTP.

A PUT that does not mention `active`, `externalId` or `members` leaves them as they are: RFC 7644 section 3.5.1 lets a
provider keep what was omitted, and clearing it would activate, rename or empty by accident. A PATCH of a group's
members touches those members alone, and never loads the others. What a bulk operation meets that is no fault of the
client's ends the whole request, so that it is rolled back and can be sent again.
"""

from __future__ import annotations

from typing import Any, TypeAlias, Union, cast

from scim2_models import (
    BulkRequest,
    BulkResponse,
    ListResponse,
    PatchOp,
    PatchOperation,
    Resource,
    ResourceType,
    ResponseParameters,
    SCIMException,
    ScimProvider,
    SearchRequest,
)
from scim2_models import Path as ScimPath
from scim2_models.path import AttrPath, CompareOperator, Comparison
from scim2_server.conditions import Conditions
from scim2_server.handler import ScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.service import ScimService

from bot.identity.scim_changes import KEEP, MemberEdit
from bot.identity.scim_provider import GROUP, GROUP_SCHEMA
from bot.identity.scim_storage import SqlStorage

AnyResource: TypeAlias = Resource[Any]
Operation: TypeAlias = PatchOperation[Any]

_KEPT = ("active", "external_id", "members")


class Service(ScimService):
    """The protocol's steps, except that nothing unforeseen is written off as one bulk operation's 500."""

    def __init__(self, described: ScimProvider) -> None:
        super().__init__(described)
        # pydantic keeps the classes of its generics weakly: without somebody who holds them, each is built anew for
        # every request, which takes longer than the request.
        users_and_groups = [self.get_model(one) for one in described.resource_types]
        # As the service spells it: `X | Y` would be another class.
        both = cast(Any, Union)[tuple(users_and_groups)]
        shapes: tuple[Any, ...] = (ListResponse, SearchRequest, BulkRequest, BulkResponse)
        each: tuple[Any, ...] = (PatchOp, SearchRequest, ResponseParameters, ScimPath)
        self._held = [*(one[both] for one in shapes), *(one[model] for one in each for model in users_and_groups)]

    def bulk_failure(self, outcome: dict[str, Any], exception: Exception) -> dict[str, Any]:
        if not isinstance(exception, SCIMException):
            raise exception
        return super().bulk_failure(outcome, exception)


class Handler(ScimHandler):
    """Serves one request over one storage."""

    def __init__(self, service: ScimService, storage: SqlStorage) -> None:
        super().__init__(service, storage)
        self._rows = storage
        self._shown = False

    def patch(self, request: ScimRequest) -> ScimResponse:
        # Only then is the patched resource in the answer, and has to be whole.
        self._shown = bool({"attributes", "excludedAttributes"} & set(request.query))
        return super().patch(request)

    def replace_resource(
        self, resource_type: ResourceType, current: AnyResource, replacement: AnyResource, conditions: Conditions
    ) -> AnyResource:
        for name in _KEPT:
            if name in type(replacement).model_fields and name not in replacement.model_fields_set:
                setattr(replacement, name, getattr(current, name))
        incoming = self._rows.incoming
        if resource_type.name == GROUP and (incoming is not None or self._rows.sparse):
            version = None if current.meta is None else current.meta.version
            replaced = self.service.apply_replacement(current, replacement, conditions)
            edit = KEEP if incoming is None else MemberEdit(incoming)
            if replaced is not None or edit != KEEP:
                new, rewrite = replaced or current, replaced is not None
                self._rows.change(resource_type, new, edit, expected_version=version, rewrite=rewrite)
            return self._rows.get(resource_type, cast(str, current.id))
        return super().replace_resource(resource_type, current, replacement, conditions)

    def patch_resource(
        self, resource_type: ResourceType, resource_id: str, patch_op: PatchOp[Any], conditions: Conditions
    ) -> AnyResource:
        split = _split(patch_op) if resource_type.name == GROUP else None
        if split is None:
            return super().patch_resource(resource_type, resource_id, patch_op, conditions)
        others, edit = split
        current = self._rows.without_members(resource_type, resource_id)
        meta = current.meta
        version = None if meta is None else meta.version
        rewrite = False
        if others:
            rest = patch_op.model_copy(update={"operations": others})
            rewrite = self.service.apply_patch(current, rest, conditions) is not None
        else:
            self.service.check_preconditions(current, "PATCH", conditions)
        if rewrite or edit != KEEP:
            self._rows.change(resource_type, current, edit, expected_version=version, rewrite=rewrite)
        if self._shown:
            return self._rows.get(resource_type, resource_id)
        return self._rows.without_members(resource_type, resource_id)


def _split(patch_op: PatchOp[Any]) -> tuple[list[Operation], MemberEdit] | None:
    """The operations on other attributes, and what the rest makes of the members; None: it takes the whole group."""
    others: list[Operation] = []
    edit = KEEP
    for operation in patch_op.operations or []:
        if operation.path is None:
            return None
        selected = _selected(operation)
        if selected is None:
            if "members" in str(operation.path).lower():
                return None
            others.append(operation)
        elif operation.op == PatchOperation.Op.add:
            edit = edit.adding(selected)
        elif operation.op == PatchOperation.Op.remove:
            edit = edit.removing(selected)
        else:
            edit = MemberEdit(selected)
    return others, edit


def _selected(operation: Operation) -> frozenset[str] | None:
    """The member ids an operation names by value or by ``members[value eq "id"]``."""
    path = str(operation.path).lower().removeprefix(f"{GROUP_SCHEMA}:".lower())
    if path == "members":
        return _ids(operation.value)
    wanted = operation.path.value_filter if operation.path is not None else None
    by_id = (
        path.startswith("members[")
        and path.endswith("]")
        and operation.op == PatchOperation.Op.remove
        and operation.value is None
        and isinstance(wanted, Comparison)
        and wanted.attr_path == AttrPath("value")
        and wanted.op == CompareOperator.eq
        and isinstance(wanted.value, str)
    )
    return frozenset({cast(str, cast(Comparison, wanted).value)}) if by_id else None


def _ids(value: object) -> frozenset[str] | None:
    if not isinstance(value, list):
        return None
    ids = [
        one.get("value") if isinstance(one, dict) and set(one) <= {"value", "$ref", "type"} else None for one in value
    ]
    return frozenset(cast("list[str]", ids)) if all(isinstance(one, str) and one for one in ids) else None
