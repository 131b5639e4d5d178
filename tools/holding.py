"""Holding a call: limits, sums, reservations, and the row that waits for people.

Runs inside the gateway's transaction. Executes nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import assert_never

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.canonical import clean_text
from audit.event import Event, Kind
from policy.approval import ApprovalStatus
from policy.decide import Sums, decide
from policy.model import Allowed, Denied, NeedsApproval, Principal, TenantId, ToolName
from policy.rules import Policy
from tools import approvals, entering, evidence, killswitch, limits, signing, views
from tools.admission import Admitted, block_reason
from tools.approvals import HELD, HeldCall
from tools.door import Door
from tools.entering import Entered
from tools.held import Blocked, BlockReason, EffectState, Held, TurnContext
from tools.killswitch import Target
from tools.ports import Notice, NoticeKind
from tools.spec import Args, Resolved, Tool
from tools.turnstile import Lock

MINUTE = 60
HOUR = 3_600
DAY = 86_400
LEFT = "You are no longer active in your company's directory, so nothing was done. Ask an admin if this is a mistake."
WINDOWS = {"min": (MINUTE, "minute"), "hour": (HOUR, "hour"), "day": (DAY, "day")}
"""The last word of a limit's name (``per_user_per_day``) -> its window in seconds and in words."""


@dataclass(frozen=True, slots=True)
class ToHold:
    """An admitted call with everything it depends on looked up."""

    admitted: Admitted
    resolved: Resolved


def held_id(tenant: TenantId, call_id: str) -> str:
    """The same for the same call, so that a replayed segment holds nothing twice."""
    return "h_" + hashlib.sha256(f"{tenant}\0{call_id}".encode()).hexdigest()[:24]


def left_problem(conn: Connection, door: Door, who: Principal, tool: ToolName) -> tuple[BlockReason, str] | None:
    """Somebody whose token was minted a moment ago may have left or lost the role since (invariant 9).

    The caller has passed the tenant's turnstile: what this says holds until the transaction ends.
    """
    current = door.people.current(conn, who.tenant, who.subject)
    if current is None:
        return BlockReason.TOKEN, LEFT
    decision = decide(door.policy(who.tenant), current, tool, None)
    return (block_reason(decision.reason), decision.sentence) if isinstance(decision, Denied) else None


def stop_problem(entered: Entered, who: Principal, tool: ToolName, now: datetime) -> tuple[BlockReason, str] | None:
    """Kill-switch, then lockout, as they were when the transaction began; the locks keep them so until it ends."""
    switch = entered.switches[Target(who.tenant, tool, who.subject)]
    if switch is not None:
        return BlockReason.STOPPED, f"{killswitch.stopped_sentence(switch)}. Nothing was done."
    until = entered.locked_until[who.subject]
    if until is not None and until > now:
        return (
            BlockReason.LOCKED_OUT,
            (
                f"You are locked out until {until:%H:%M} UTC after repeated blocked messages. Nothing was done; "
                "ask an admin if this is a mistake."
            ),
        )
    return None


def rate_problem(
    conn: Connection, policy: Policy, who: Principal, tool: ToolName, now: datetime
) -> tuple[BlockReason, str] | None:
    """Uses one of each of the tool's rates; a problem when one is used up."""
    for name, limit in policy.tools[tool].limits.items():
        window, span = WINDOWS[name.rpartition("_")[2]]
        if not limits.take(conn, who.tenant, f"{tool}:{name}", str(who.subject), limit, window, now):
            return (
                BlockReason.RATE_LIMIT,
                (
                    f"You have used {tool} {limit} times within a {span}, which is the limit. Nothing was done; "
                    f"try again later."
                ),
            )
    return None


def hold(
    conn: Connection,
    door: Door,
    policy: Policy,
    turn: TurnContext,
    batch: Sequence[ToHold],
    refused: frozenset[ToolName],
    now: datetime,
) -> tuple[list[Held | Blocked], list[Event]]:
    """Hold every call of one answer. Returns outcomes in the order of `batch` and the events to append last."""
    outcomes: dict[str, Held | Blocked] = {}
    events: list[Event] = []
    announced: set[str] = set()
    blocked_tools = set(refused)
    first = min(item.admitted.call_id for item in batch)
    asked = [(item.admitted.principal.subject, item.admitted.tool.name) for item in batch]
    entered = entering.enter(conn, turn.tenant, asked, between=_sums(turn.tenant, batch))
    for item in sorted(batch, key=lambda item: _presupposes_any(policy, item, batch)):
        outcome = _hold_one(conn, door, policy, turn, entered, item, first, blocked_tools, announced, events, now)
        outcomes[item.admitted.call_id] = outcome
        if isinstance(outcome, Blocked):
            blocked_tools.add(item.admitted.tool.name)
    return [outcomes[item.admitted.call_id] for item in batch], events


def plain_json(value: Args) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _hold_one(
    conn: Connection,
    door: Door,
    policy: Policy,
    turn: TurnContext,
    entered: Entered,
    item: ToHold,
    first: str,
    blocked_tools: set[ToolName],
    announced: set[str],
    events: list[Event],
    now: datetime,
) -> Held | Blocked:
    admitted, tool, who = item.admitted, item.admitted.tool, item.admitted.principal
    identity = held_id(turn.tenant, admitted.call_id)
    existing = approvals.read(conn, turn.tenant, identity)
    if existing is not None and approvals.requester(existing) == who.subject:
        return Held(admitted.call_id, views.of(conn, existing))

    def block(reason: BlockReason, sentence: str) -> Blocked:
        arguments, call_id = item.resolved.arguments, admitted.call_id
        events.append(evidence.blocked(turn, who, tool, tool.name, call_id, arguments, reason, sentence, now))
        return Blocked(admitted.call_id, reason, sentence)

    if existing is not None:
        return block(BlockReason.TOKEN, "This call's id stands for a request of somebody else. Nothing was held.")
    presupposed = policy.tools[tool.name].gate.presupposes
    if blocked_tools.intersection(presupposed):
        return block(
            BlockReason.PRESUPPOSES,
            "This was not held, because what it announces was refused in the same answer. Nothing was sent.",
        )
    problem = (
        stop_problem(entered, who, tool.name, now)
        or left_problem(conn, door, who, tool.name)
        or _available_problem(conn, turn.tenant, item.resolved)
    )
    if problem is not None:
        return block(*problem)
    decision = _decide(conn, policy, who, tool, item.resolved, now)
    match decision:
        case Denied(reason=reason, sentence=sentence):
            return block(block_reason(reason), sentence)
        case Allowed():
            return block(BlockReason.POLICY, "The policy changed while this was being prepared. Ask again.")
        case NeedsApproval():
            pass
        case _:
            assert_never(decision)
    problem = rate_problem(conn, policy, who, tool.name, now)
    if problem is not None:
        return block(*problem)
    row = _row(door, policy, turn, item, decision, identity, first, now)
    needs = _presupposed(conn, row, presupposed)
    row.mac = signing.seal(door.mac, row, needs)
    approvals.insert(conn, row)
    approvals.require(conn, row, needs)
    if row.card_id not in announced:
        announced.add(row.card_id)
        door.outbox.put(conn, Notice(NoticeKind.CARD, turn.tenant, row.held_id, row.revision))
    events.append(
        evidence.of_held(
            Kind.TOOL_REQUESTED,
            "pending",
            row,
            tool,
            now,
            actor=who,
            detail={
                "needed": row.needed,
                "approver_roles": list(approvals.roles(row)),
                "exposures": list(turn.exposures),
            },
        )
    )
    return Held(admitted.call_id, views.of(conn, row))


def _row(
    door: Door,
    policy: Policy,
    turn: TurnContext,
    item: ToHold,
    decision: NeedsApproval,
    identity: str,
    first: str,
    now: datetime,
) -> HeldCall:
    admitted, tool, who, resolved = item.admitted, item.admitted.tool, item.admitted.principal, item.resolved
    group = json.dumps([turn.tenant, turn.turn_id, first, sorted(decision.approver_roles), list(decision.destinations)])
    reservation = resolved.reservation
    row = HeldCall(
        held_id=identity,
        tenant=turn.tenant,
        call_id=admitted.call_id,
        card_id="c_" + hashlib.sha256(group.encode()).hexdigest()[:24],
        turn_id=turn.turn_id,
        session_id=turn.session_id,
        thread_link=turn.thread_link,
        tool=tool.name,
        version=tool.version,
        title=tool.title,
        requester_issuer=who.subject.issuer,
        requester_sub=who.subject.sub,
        requester_name=who.display_name,
        requester_roles=json.dumps(sorted(who.roles)),
        person_key=who.person_key,
        asked=clean_text(turn.asked),
        prose=clean_text(turn.prose),
        exposures=json.dumps([clean_text(source) for source in turn.exposures], ensure_ascii=False),
        model=turn.model,
        arguments=plain_json(resolved.arguments),
        stable=plain_json(resolved.stable),
        headline=resolved.headline,
        facts=views.facts_text(resolved.facts),
        draft=views.draft_text(resolved.draft),
        nonce=secrets.token_hex(16),
        digest="",
        mac="",
        status=ApprovalStatus.PENDING.value,
        effect=EffectState.NONE.value,
        revision=1,
        approver_roles=json.dumps(list(decision.approver_roles)),
        destinations=json.dumps(list(decision.destinations)),
        needed=decision.needed,
        why=decision.why,
        resource=None if reservation is None else reservation.resource,
        amount=None if reservation is None else str(reservation.amount),
        currency=None if reservation is None else reservation.currency,
        created_at=now,
        expires_at=now + timedelta(seconds=decision.expires_s),
        remind_at=now + timedelta(seconds=decision.expires_s / 2),
    )
    row.digest = signing.drawn_up(row).digest()
    return row


def _decide(
    conn: Connection, policy: Policy, who: Principal, tool: Tool, resolved: Resolved, now: datetime
) -> Allowed | NeedsApproval | Denied:
    reservation = resolved.reservation
    if reservation is None:
        return decide(policy, who, tool.name, None)
    threshold = policy.tools[tool.name].gate.threshold
    since = now - timedelta(seconds=DAY if threshold is None else threshold.window_s)
    by_resource = limits.gathered(
        conn, who.tenant, tool.name, reservation.currency, since, resource=reservation.resource
    )
    by_requester = limits.gathered(conn, who.tenant, tool.name, reservation.currency, since, requester=who)
    sums = Sums(
        resource=by_resource + reservation.amount,
        requester=by_requester + reservation.amount,
        currency=reservation.currency,
        elsewhere=limits.gathered_elsewhere(conn, who.tenant, tool.name, reservation.currency, since, who),
    )
    return decide(policy, who, tool.name, sums)


def _available_problem(conn: Connection, tenant: TenantId, resolved: Resolved) -> tuple[BlockReason, str] | None:
    reservation = resolved.reservation
    if reservation is None:
        return None
    taken = limits.reserved(conn, tenant, reservation.resource, reservation.currency, reservation.read_at)
    left = max(reservation.available - taken, Decimal(0))
    if reservation.amount <= left:
        return None
    waiting = f" {taken} {reservation.currency} of it is taken by other requests." if taken else ""
    return (
        BlockReason.OVER_AVAILABLE,
        (
            f"{reservation.amount} {reservation.currency} is more than what is left: {left} {reservation.currency}."
            f"{waiting} Nothing was held; ask for at most what is left."
        ),
    )


def _presupposed(conn: Connection, row: HeldCall, tools: tuple[ToolName, ...]) -> list[str]:
    """The unsettled calls of the same turn that `row` announces."""
    if not tools:
        return []
    query = sa.select(HELD.c.held_id).where(
        HELD.c.tenant == row.tenant,
        HELD.c.turn_id == row.turn_id,
        HELD.c.tool.in_(list(tools)),
        HELD.c.held_id != row.held_id,
        HELD.c.status.in_(limits.LIVE),
        HELD.c.effect.not_in([EffectState.DONE.value, EffectState.FAILED.value]),
    )
    # Shared: a decision on one of them waits until this row is there to be voided or released with it.
    query = query.order_by(HELD.c.held_id).with_for_update(read=True)
    return list(conn.execute(query).scalars())


def _presupposes_any(policy: Policy, item: ToHold, batch: Sequence[ToHold]) -> bool:
    others = {other.admitted.tool.name for other in batch}
    return bool(others.intersection(policy.tools[item.admitted.tool.name].gate.presupposes))


def _sums(tenant: TenantId, batch: Sequence[ToHold]) -> list[Lock]:
    """Two holds that count the same sums run one after the other (SQLite: they do anyway).

    Everything at once, in one order and before any row is locked: otherwise two answers that refund the same two
    orders would wait for each other. Before the kill locks: a kill waits for no hold that waits for another one.
    """
    names: set[str] = set()
    for item in batch:
        who, reservation = item.admitted.principal, item.resolved.reservation
        names.update((f"{tenant}|who|{who.subject}", f"{tenant}|call|{item.admitted.call_id}"))
        if (person := limits.person_of(who)) is not None:
            names.add(f"{tenant}|person|{person}")
        if reservation is not None:
            names.add(f"{tenant}|what|{reservation.resource}")
    return sorted((Lock(name, alone=True) for name in names), key=lambda lock: lock.number)
