"""Builds audit events of calls, presses and decisions. Knows which column says what; writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from audit.canonical import clean_text
from audit.event import Event, Kind
from policy.approval import ApprovalStatus, PressResult
from policy.model import Json, Principal, TenantId, ToolName
from tools import approvals
from tools.approvals import HeldCall, Vote, approver_names
from tools.held import BlockReason, PressRequest, TurnContext
from tools.spec import Args, Tool, ToolResult


def auditable(tool: Tool | None, arguments: Args | None) -> Mapping[str, Json] | None:
    """Arguments as the audit may keep them: raw texts replaced by their length and sha256 (invariant 11)."""
    if arguments is None:
        return None
    known = {} if tool is None else tool.input_schema.get("properties")
    names = frozenset(known) if isinstance(known, Mapping) else frozenset()
    plain = names - (frozenset() if tool is None else tool.raw_text)
    return {_ascii(name): _no_floats(value) if name in plain else _traced(value) for name, value in arguments.items()}


def _traced(value: Json) -> Json:
    """What may be anybody's words, an argument the schema does not know included: its length and hash."""
    return text_trace(value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str))


def text_trace(text: str) -> Mapping[str, Json]:
    text = clean_text(text)
    return {"chars": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def of_call(
    kind: Kind,
    status: str,
    turn: TurnContext,
    who: Principal | None,
    tool_name: ToolName,
    call_id: str,
    now: datetime,
    *,
    tool: Tool | None = None,
    arguments: Args | None = None,
    authz: str | None = None,
    result: ToolResult | None = None,
    latency_ms: int | None = None,
    sentence: str | None = None,
) -> Event:
    """A row about a call that needs no approval, or was blocked."""
    detail: dict[str, Json] = {}
    if sentence is not None:
        detail["sentence"] = sentence
    if result is not None and (result.before is not None or result.after is not None):
        detail["before"], detail["after"] = _no_floats(result.before), _no_floats(result.after)
    if result is not None and result.reference is not None:
        detail["reference"] = result.reference
    return Event(
        kind=kind,
        tenant=turn.tenant,
        occurred_at=now,
        status=status,
        actor_user_id=None if who is None else who.subject.sub,
        actor_roles=() if who is None else tuple(sorted(who.roles)),
        session_id=turn.session_id,
        call_id=call_id,
        tool_name=tool_name,
        tool_args=auditable(tool, arguments),
        authz_decision=authz,
        latency_ms=latency_ms,
        model=turn.model,
        detail=detail or None,
    )


def blocked(
    turn: TurnContext,
    who: Principal | None,
    tool: Tool | None,
    tool_name: ToolName,
    call_id: str,
    arguments: Args | None,
    reason: BlockReason,
    sentence: str,
    now: datetime,
) -> Event:
    return of_call(
        Kind.TOOL_BLOCKED,
        "blocked",
        turn,
        who,
        tool_name,
        call_id,
        now,
        tool=tool,
        arguments=arguments,
        authz=f"deny:{reason.value}",
        sentence=sentence,
    )


def of_held(
    kind: Kind,
    status: str,
    row: HeldCall,
    tool: Tool | None,
    now: datetime,
    *,
    votes: Sequence[Vote] = (),
    actor: Principal | None = None,
    by: str | None = None,
    detail: Mapping[str, Json] | None = None,
    latency_ms: int | None = None,
) -> Event:
    """A row about a held call. The actor is the requester unless `actor` (a presser) or `by` (a name) acted."""
    if actor is not None:
        actor_id = actor.subject.sub
        roles: tuple[str, ...] = tuple(sorted(actor.roles))
    elif by is not None:
        actor_id, roles = by, ()
    else:
        actor_id, roles = row.requester_sub, approvals.names(row.requester_roles)
    return Event(
        kind=kind,
        tenant=row.tenant,
        occurred_at=now,
        status=status,
        actor_user_id=actor_id,
        actor_roles=roles,
        session_id=row.session_id,
        call_id=row.call_id,
        tool_name=row.tool,
        tool_args=auditable(tool, approvals.arguments(row)),
        authz_decision="needs_approval",
        hitl_status=row.status,
        hitl_approver=approver_names(votes),
        latency_ms=latency_ms,
        model=row.model,
        detail={"held_id": row.held_id, "revision": row.revision, "digest": row.digest, **(detail or {})},
    )


def of_press(
    press: PressRequest, result: PressResult, row: HeldCall, tool: Tool | None, who: Principal | None, now: datetime
) -> Event:
    """The row of one press, accepted or not (invariant 5)."""
    detail: dict[str, Json] = {"verb": press.verb.value, "account": press.chat_account, "press_id": press.press_id}
    if press.digest != row.digest or press.revision != row.revision:
        detail["displayed_digest"], detail["displayed_revision"] = press.digest[:64], press.revision
    if press.text:
        detail["text"] = text_trace(press.text)
    if who is None:
        return of_held(Kind.APPROVAL_PRESSED, result.value, row, tool, now, by=press.chat_account, detail=detail)
    return of_held(Kind.APPROVAL_PRESSED, result.value, row, tool, now, actor=who, detail=detail)


def of_lost_press(
    tenant: TenantId | None, press: PressRequest, result: PressResult, who: Principal | None, now: datetime
) -> Event:
    """The row of a press on a request that does not exist, or not in this tenant."""
    return Event(
        kind=Kind.APPROVAL_PRESSED,
        tenant=tenant,
        occurred_at=now,
        status=result.value,
        actor_user_id=press.chat_account if who is None else who.subject.sub,
        actor_roles=() if who is None else tuple(sorted(who.roles)),
        detail={"verb": press.verb.value, "held_id": press.held_id[:80], "press_id": press.press_id[:200]},
    )


def settled_kind(status: ApprovalStatus) -> Kind:
    return Kind.APPROVAL_VOIDED if status is ApprovalStatus.VOIDED else Kind.APPROVAL_DECIDED


def _no_floats(value: Json) -> Json:
    """Floats never reach the canonical bytes; a hostile one is kept as text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {_ascii(str(key)): _no_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_no_floats(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return value


def _ascii(key: str) -> str:
    return key.encode("ascii", "backslashreplace").decode()
