"""The first questions at the door: known tool, honest token, right tenant, valid arguments, entitled role.

Pure but for the token verifier; touches no row. What needs the database (kill-switch, limits, sums) comes after.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import assert_never

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from audit.canonical import clean_text
from policy.decide import decide
from policy.model import Allowed, Denied, DenyReason, Json, NeedsApproval, Principal
from policy.rules import Policy
from tools.door import Door
from tools.held import Blocked, BlockReason, Proposal, TurnContext
from tools.ports import TokenRefused
from tools.spec import Args, Tool

MAX_ARGUMENT_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class Admitted:
    """A proposal that may be looked at further."""

    proposal: Proposal
    tool: Tool
    arguments: Args
    principal: Principal
    decision: Allowed | NeedsApproval
    """Without sums; the hold decides again with them."""

    @property
    def call_id(self) -> str:
        return self.proposal.call_id


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A proposal that went no further, and who it was by, as far as that is known."""

    proposal: Proposal
    tool: Tool | None
    principal: Principal | None
    outcome: Blocked
    note: str = ""
    """For the audit alone: what was wrong with its token."""


def admit(door: Door, policy: Policy, turn: TurnContext, proposal: Proposal, now: datetime) -> Admitted | TurnedAway:
    """`proposal` with its principal and tool, or why not."""

    def away(reason: BlockReason, sentence: str) -> TurnedAway:
        return TurnedAway(proposal, tool, principal, Blocked(proposal.call_id, reason, sentence))

    principal: Principal | None = None
    tool = door.catalog.get(proposal.tool)
    if tool is None:
        return away(BlockReason.UNKNOWN_TOOL, f"There is no tool called {printable(proposal.tool)}. Nothing was done.")
    try:
        token = door.tokens.verify(proposal.token, tool=tool.name, now=now)
    except TokenRefused as error:
        refused = away(BlockReason.TOKEN, "The call could not prove on whose behalf it comes. Nothing was done.")
        return replace(refused, note=str(error))
    if token.principal.tenant != turn.tenant:
        return away(BlockReason.TENANT, "The call belongs to another organisation. Nothing was done.")
    if token.jti != proposal.call_id or token.approval_id is not None:
        return away(BlockReason.TOKEN, "The call's token was minted for another call. Nothing was done.")
    principal = token.principal
    if proposal.out_of_scope is not None:
        return away(BlockReason.SCOPE, proposal.out_of_scope)
    if proposal.arguments is None:
        return away(BlockReason.SCHEMA, "The arguments are not valid JSON. Nothing was done; write them again.")
    problem = schema_problem(tool, proposal.arguments)
    if problem is not None:
        return away(BlockReason.SCHEMA, problem)
    decision = decide(policy, principal, tool.name, None)
    match decision:
        case Denied(reason=reason, sentence=sentence):
            return away(block_reason(reason), sentence)
        case Allowed() | NeedsApproval():
            return Admitted(proposal, tool, proposal.arguments, principal, decision)
        case _:
            assert_never(decision)


def schema_problem(tool: Tool, arguments: Args) -> str | None:
    """A sentence on the first thing that is wrong with `arguments`; None: they fit the tool's schema."""
    if _has_float(arguments):
        return 'An argument is a floating-point number. Write amounts as text, e.g. "42.00". Nothing was done.'
    if _has_no_text(arguments):
        return (
            "An argument holds characters that are no text (NUL, half a character). Nothing was done; leave them out."
        )
    error = next(iter(_validator(tool).iter_errors(arguments)), None)
    if error is not None:
        return _sentence(tool, error)
    if _size(arguments) > MAX_ARGUMENT_CHARS:
        return f"The arguments are longer than {MAX_ARGUMENT_CHARS:,} characters. Nothing was done; make them shorter."
    return None


def block_reason(reason: DenyReason) -> BlockReason:
    """The door's word for a policy's refusal."""
    match reason:
        case DenyReason.UNKNOWN_TOOL:
            return BlockReason.UNKNOWN_TOOL
        case DenyReason.ROLE_LACKS_TOOL | DenyReason.NO_ROLE:
            return BlockReason.ROLE
        case DenyReason.NO_APPROVERS:
            return BlockReason.NO_APPROVERS
        case DenyReason.OTHER_TENANT:
            return BlockReason.TENANT
        case DenyReason.POLICY_MISSING | DenyReason.PHASE:
            return BlockReason.POLICY
        case _:
            assert_never(reason)


def printable(text: str, most: int = 60) -> str:
    """Untrusted text for an error: one line, no control characters, short."""
    clean = re.sub(r"[^\x20-\x7e\u00a0-\uffff]+", " ", text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _validator(tool: Tool) -> Draft202012Validator:
    return _validator_of(_Key(tool))


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """Hashes a tool by name and version: its schema is a mapping, which has no hash."""

    tool: Tool

    def __hash__(self) -> int:
        return hash((self.tool.name, self.tool.version, id(self.tool.input_schema)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.tool.input_schema is self.tool.input_schema


@lru_cache(maxsize=512)
def _validator_of(key: _Key) -> Draft202012Validator:
    return Draft202012Validator(dict(key.tool.input_schema))


def _sentence(tool: Tool, error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "the arguments"
    if error.validator == "required":
        what = f"something is missing: {printable(error.message, 120)}"
    elif error.validator == "additionalProperties":
        what = f"there is something the tool does not take: {printable(error.message, 160)}"
    elif error.validator == "pattern":
        what = f"{printable(repr(error.instance))} has the wrong form"
    elif error.validator in ("maxLength", "minLength", "maxItems", "minItems"):
        what = f"it is too {'long' if str(error.validator).startswith('max') else 'short'} ({error.validator_value})"
    elif error.validator == "type":
        what = f"it must be of type {printable(str(error.validator_value))}"
    elif error.validator == "enum":
        what = f"it must be one of {printable(str(error.validator_value), 160)}"
    else:  # never the value itself: it may be a draft (invariant 11)
        what = f"it does not fit the rule {printable(str(error.validator))}"
    return f"{tool.name} was not called: {where}: {what}. Nothing was done."


def _has_float(value: Json) -> bool:
    if isinstance(value, float):
        return True
    if isinstance(value, Mapping):
        return any(_has_float(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_float(item) for item in value)
    return False


def _has_no_text(value: Json) -> bool:
    """NUL and lone surrogates: no database keeps them, no digest can be taken of them."""
    if isinstance(value, str):
        return clean_text(value) != value
    if isinstance(value, Mapping):
        return any(_has_no_text(key) or _has_no_text(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_has_no_text(item) for item in value)
    return False


def _size(value: Json) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(key) + _size(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum(_size(item) for item in value)
    return 8
