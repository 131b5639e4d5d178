"""What Okta and Entra ID really send, turned into what the core takes. Pure: knows requests, nothing stored.

Two rules stand above leniency. Nobody is activated by anything but a true that was said, and nothing said about
`active` that is neither true nor false is guessed at. A group loses exactly the members a request names; it is
emptied by an explicit empty list alone. Attributes and schemas nobody declared are left out, they are no errors.

Documented at https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-config-problem-scim-compatibility
and https://developer.okta.com/docs/api/openapi/okta-scim/guides/scim-20; each form has a test that names its source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias, cast

from scim2_models import InvalidFilterException, InvalidPathException, InvalidValueException, NoTargetException, Path
from scim2_models.path import AttributeBinding

from bot.identity.scim_provider import ENTERPRISE, GROUP, GROUP_SCHEMA, USER, USER_SCHEMA, provider
from policy.model import Json

JsonObject: TypeAlias = dict[str, Json]

NOTHING: Final = "nothing"
"""A path no schema declares: what stays of a PATCH that names only such. The core changes nothing for it."""
_OURS = ("schemas", "id", "meta", "groups", "password")
"""Not the client's to say, or not ours to know."""
_CORE = {USER: USER_SCHEMA, GROUP: GROUP_SCHEMA}
_WORDS = {"true": True, "false": False}
_PRIMARY = re.compile(r'\b(primary\s+eq\s+)"(true|false)"', re.IGNORECASE)
_MANAGER = re.compile(rf"(?<![\w:.])(?:{re.escape(ENTERPRISE)}:)?manager(?=\s+eq\s)", re.IGNORECASE)
# Spaces are matched by one part alone, here and below: where several can, two thousand of them take seconds.
_MEMBERS_PATH = re.compile(
    r"members\s*\[(?P<inside>.*)\]|members\.(?P<plain>value\s+eq\s+.*)", re.IGNORECASE | re.DOTALL
)
_ONE_ID = re.compile(r'\(?\s*value\s+eq\s+(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[^\s"\])]+))\s*\)?', re.IGNORECASE)
_OR = re.compile(r"(?<!\s)\s+or\s+", re.IGNORECASE)
MAX_PATH = 2_000
_SAY_ACTIVE = 'Write true or false for "active". Nobody was activated or deactivated.'
_SAY_MEMBERS = "Nobody was removed."


def mend_resource(resource_type: str, body: JsonObject, *, replacing: bool) -> JsonObject:
    """The body of a POST, or of a PUT if `replacing`.

    Raises:
        SCIMException: it says something about `active` or `members` that must not be guessed at.
    """
    mended: JsonObject = {"schemas": _schemas(resource_type, body)}
    for key, value in body.items():
        name = key.lower()
        if name in _OURS:
            continue
        if resource_type == USER and name == ENTERPRISE.lower():
            mended[ENTERPRISE] = _extension(value)
        elif resource_type == USER and name == "active":
            mended["active"] = truth(value)
        elif resource_type == GROUP and name == "members":
            if value is not None:
                mended["members"] = _members(value)
            elif replacing:
                raise InvalidValueException(detail=f'Write [] for "members" to empty the group. {_SAY_MEMBERS}')
        elif name == "externalid":
            mended["externalId"] = value or None
        elif not name.startswith("urn:"):
            mended[key] = _fit(resource_type, key, value)
    return mended


def mend_patch(resource_type: str, body: JsonObject) -> JsonObject:
    """The body of a PATCH: every operation with a path, every value in the form its attribute has.

    Raises:
        SCIMException: as above.
    """
    named = {key.lower(): key for key in body}
    operations = body.get(named.get("operations", ""))
    mended: JsonObject = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]}
    if not isinstance(operations, list):
        return {**mended, "Operations": operations}
    found: list[Json] = []
    for operation in operations:
        # What is no operation is the core's to refuse.
        found += _operations(resource_type, operation) if isinstance(operation, dict) else [operation]
    if operations and not found:
        found = [{"op": "remove", "path": NOTHING}]
    return {**mended, "Operations": found}


def mend_bulk(body: JsonObject) -> JsonObject:
    """The body of a bulk request, each operation's data by its method and path. One refused refuses all."""
    named = {key.lower(): key for key in body}
    operations = body.get(named.get("operations", ""))
    if not isinstance(operations, list):
        return body
    return {
        **{key: value for key, value in body.items() if key.lower() != "operations"},
        "Operations": [_bulk_operation(one) if isinstance(one, dict) else one for one in operations],
    }


def bulk_data(body: Json) -> list[Json]:
    """What a bulk request's operations carry."""
    named = {key.lower(): item for key, item in body.items()} if isinstance(body, dict) else {}
    operations = named.get("operations")
    found = [one for one in operations if isinstance(one, dict)] if isinstance(operations, list) else []
    return [item for one in found for key, item in one.items() if key.lower() == "data"]


def mend_filter(text: str) -> str:
    """A search filter; Entra asks for ``manager eq "…"``, which means the manager's id."""
    return _MANAGER.sub(f"{ENTERPRISE}:manager.value", _PRIMARY.sub(lambda m: m[1] + m[2].lower(), text))


def truth(value: Json) -> bool:
    """What was said about `active`: a boolean, ``"True"``, ``"False"``, or one of these in a list or as a value.

    Raises:
        InvalidValueException: anything else, null and "" included.
    """
    plain = _unwrapped(value)
    if isinstance(plain, bool):
        return plain
    said = _WORDS.get(plain.strip().lower()) if isinstance(plain, str) else None
    if said is None:
        raise InvalidValueException(detail=_SAY_ACTIVE)
    return said


# -- patches -------------------------------------------------------------------------------------------------------


def _operations(kind: str, operation: JsonObject) -> list[Json]:
    said = {key.lower(): value for key, value in operation.items()}
    op, path, value = said.get("op"), said.get("path"), said.get("value")
    name = op.lower() if isinstance(op, str) else ""
    if name not in ("add", "replace", "remove"):
        return [operation]
    if isinstance(path, str) and len(path) > MAX_PATH:
        raise InvalidPathException(path=path[:40], detail=f"A path has at most {MAX_PATH} characters.")
    if isinstance(path, str) and path.strip():
        return list(_at(kind, name, path.strip(), value, "value" in said))
    if not isinstance(value, dict):
        return [operation]
    if name == "remove" and [key.lower() for key in value] != ["members"]:
        raise NoTargetException(detail="A remove needs a path. Nothing was removed.")
    return [one for key, item in value.items() for one in _at(kind, name, key, item, given=True)]


def _at(kind: str, name: str, path: str, value: Json, given: bool) -> Iterator[Json]:
    path = _relative(path, _CORE[kind])
    low = path.lower()
    if low.split(".")[0].split("[")[0] in _OURS:
        return
    if low == ENTERPRISE.lower() and isinstance(value, dict):
        for key, item in value.items():
            yield from _at(kind, name, f"{ENTERPRISE}:{key}", item, given)
        return
    if low.startswith("urn:") and not f"{low}:".startswith(f"{ENTERPRISE}:".lower()):
        return
    if kind == GROUP and re.match(r"members\b", low):
        yield from _member_operation(name, path, value)
    elif kind == USER and re.match(r"active\b", low):
        if name == "remove" or low != "active":
            raise InvalidValueException(detail=_SAY_ACTIVE)
        yield {"op": name, "path": "active", "value": truth(value)}
    elif name == "remove":
        # A value selects entries of a list; of anything else the path has said it all.
        selects = given and isinstance(value, list) and bool(value) and _is_list(kind, path)
        yield {"op": name, "path": path, **({"value": value} if selects else {})}
    elif low in ("externalid", f"{ENTERPRISE}:manager".lower()) and _unwrapped(value) in (None, ""):
        yield {"op": "remove", "path": path}
    else:
        path = _PRIMARY.sub(lambda m: m[1] + m[2].lower(), path)
        yield {"op": name, "path": path, **({"value": _fit(kind, path, value)} if given else {})}


def _member_operation(name: str, path: str, value: Json) -> Iterator[Json]:
    selected = _MEMBERS_PATH.fullmatch(path)
    if selected is not None and name == "remove":
        yield {"op": name, "path": "members", "value": _selected(selected["inside"] or selected["plain"])}
        return
    if path.lower() != "members":
        raise InvalidPathException(path=path, detail=f'Members are named by id: members[value eq "…"]. {_SAY_MEMBERS}')
    if value is None:
        raise InvalidValueException(
            detail=f'Name the members to {name}; to empty a group, replace "members" with []. {_SAY_MEMBERS}'
        )
    members = _members(value)
    if members or name == "replace":
        yield {"op": name, "path": "members", "value": members}


def _selected(inside: str) -> list[Json]:
    """The ids of ``value eq "a" or value eq "b"``; a filter that could select anybody is refused."""
    found: list[Json] = []
    for part in _OR.split(inside):
        one = _ONE_ID.fullmatch(part.strip())
        if one is None:
            raise InvalidFilterException(detail=f'Select members by id: members[value eq "…"]. {_SAY_MEMBERS}')
        try:
            found.append({"value": cast(str, json.loads(one["quoted"])) if one["quoted"] else one["bare"]})
        except ValueError as error:
            raise InvalidFilterException(detail=f"That is no id. {_SAY_MEMBERS}") from error
    return found


# -- values --------------------------------------------------------------------------------------------------------


def _schemas(kind: str, body: JsonObject) -> list[Json]:
    keys = {key.lower() for key in body}
    extended = kind == USER and ENTERPRISE.lower() in keys
    return [_CORE[kind], ENTERPRISE] if extended else [_CORE[kind]]


def _extension(value: Json) -> Json:
    if not isinstance(value, dict):
        return None
    return {key: _fit(USER, f"{ENTERPRISE}:{key}", item) for key, item in value.items()}


def _members(value: Json) -> list[Json]:
    """Members by id alone; under which name and address they are shown is ours to say."""
    ids: dict[str, None] = {}
    for entry in value if isinstance(value, list) else [value]:
        said = {key.lower(): item for key, item in entry.items()}.get("value") if isinstance(entry, dict) else entry
        if not isinstance(said, str) or not said.strip():
            raise InvalidValueException(detail="Each member needs an id as its value. The group is as it was.")
        ids[said.strip()] = None
    return [{"value": key} for key in ids]


def _fit(kind: str, path: str, value: Json) -> Json:
    """`value` in the form the attribute at `path` has, as far as one can tell what was meant."""
    binding = _binding(kind, path)
    if binding is None or value is None:
        return value
    plain = binding.sub_field_name is not None or not hasattr(binding.field_type, "model_fields")
    if plain and not binding.target_is_multivalued:
        single = _unwrapped(value)
        if binding.target_type is bool and isinstance(single, str):
            return _WORDS.get(single.strip().lower(), single)
        # A role of Entra's is JSON inside a string, a number may be meant as text.
        return str(single) if isinstance(single, int) and not isinstance(single, bool) else single
    if plain:
        return value
    if binding.is_multivalued and "[" not in path:
        entries = value if isinstance(value, list) else [value]
        return [_entry(one) for one in entries if one not in (None, "")]
    single = value[0] if isinstance(value, list) and len(value) == 1 else value
    if path.lower() == f"{ENTERPRISE}:manager".lower():
        return _manager(single)
    return _entry(single) if isinstance(single, dict) else single


def _entry(value: Json) -> Json:
    """One entry of a list such as emails; ``primary`` that is neither true nor false says nothing."""
    if not isinstance(value, dict):
        return {"value": value if isinstance(value, str) else json.dumps(value)}
    found: JsonObject = {}
    for key, item in value.items():
        if key.lower() != "primary" or isinstance(item, bool):
            found[key] = item
        elif isinstance(item, str) and item.strip().lower() in _WORDS:
            found[key] = _WORDS[item.strip().lower()]
    return found


def _manager(value: Json) -> Json:
    said = _unwrapped(value)
    if isinstance(said, int) and not isinstance(said, bool):
        said = str(said)
    if not isinstance(said, str) or not said.strip():
        return None
    address = value.get("$ref") if isinstance(value, dict) else None
    return {"value": said, "$ref": address} if isinstance(address, str) and address else {"value": said}


def _unwrapped(value: Json) -> Json:
    """Entra's ``[{"$ref": null, "value": x}]`` and ``{"value": x}`` for what has one value."""
    for _ in range(3):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif isinstance(value, dict) and (inner := {key.lower(): key for key in value}.get("value")) is not None:
            value = value[inner]
        else:
            break
    return value


def _binding(kind: str, path: str) -> AttributeBinding | None:
    model = provider().model_for(kind)
    try:
        with provider():
            bound: Any = cast(Any, Path)[model]
            return cast("AttributeBinding | None", bound(path).resolve())
    except (InvalidPathException, InvalidFilterException, ValueError):
        return None


def _is_list(kind: str, path: str) -> bool:
    binding = _binding(kind, path)
    return binding is not None and bool(binding.target_is_multivalued) and "[" not in path


def _relative(path: str, schema: str) -> str:
    return path[len(schema) + 1 :] if path.lower().startswith(f"{schema}:".lower()) else path


def _bulk_operation(operation: JsonObject) -> JsonObject:
    said = {key.lower(): key for key in operation}
    method, path, data = (operation.get(said.get(name, "")) for name in ("method", "path", "data"))
    kind = {"users": USER, "groups": GROUP}.get(path.strip("/").split("/")[0].lower()) if isinstance(path, str) else ""
    if not kind or not isinstance(data, dict) or not isinstance(method, str):
        return operation
    match method.upper():
        case "POST" | "PUT" as verb:
            return {**operation, said["data"]: mend_resource(kind, data, replacing=verb == "PUT")}
        case "PATCH":
            return {**operation, said["data"]: mend_patch(kind, data)}
        case _:
            return operation
