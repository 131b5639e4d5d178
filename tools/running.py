"""From approved to recorded: what is checked in the claim, and how an end is written down.

The transactions around one run. The run itself is the gateway's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias, assert_never

from sqlalchemy.engine import Connection

from audit.event import Kind
from policy.approval import ApprovalStatus
from policy.decide import decide
from policy.model import Denied, Principal, RoleName, TenantId, ToolName
from tools import approvals, effects, evidence, holding, killswitch, limits, settling
from tools.admission import Admitted, schema_problem
from tools.approvals import HeldCall
from tools.door import Door
from tools.effects import Claimed, Effect, Taken
from tools.held import Blocked, EffectState, Executed, Failed, Outcome, TurnContext
from tools.integrity import same
from tools.killswitch import Generation, Target
from tools.ports import TokenRefused
from tools.settling import Ledger
from tools.spec import ActionError, Args, CallContext, Certainty, Redo, Resolved, Tool, ToolResult

Resolver: TypeAlias = Callable[[Tool, CallContext, Args], Awaitable[Resolved]]


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything the claim needs that cannot be looked up inside a transaction."""

    tool: Tool
    ctx: CallContext
    resolved: Resolved


@dataclass(frozen=True, slots=True)
class Drift:
    """The call may not run as it was signed; it is voided with this sentence."""

    sentence: str
    status: str
    """The audit's word: ``drift``, ``requester_gone``, ``tampered``, ``not_entitled``, …"""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The system of record did not answer: nothing was claimed."""

    sentence: str


Prepared: TypeAlias = Ready | Drift | Unreachable


@dataclass(frozen=True, slots=True)
class Go:
    """Claimed: run it. `taken`: it had been claimed before, and how that ended is unknown."""

    tool: Tool
    ctx: CallContext
    arguments: Args
    taken: Effect | None


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing to run: settled, voided, stopped or somebody else's."""


@dataclass(frozen=True, slots=True)
class Again:
    """Another call took from the same resource just now: look up what is left and try once more."""


# -- calls that need nobody ------------------------------------------------------------------------------------


def begin(conn: Connection, door: Door, turn: TurnContext, admitted: Admitted) -> Blocked | Taken | None:
    """Stops, limits, claim and the durable ``started`` row of a call that runs at once."""
    tool, who, now = admitted.tool, admitted.principal, door.clock()
    call_id, arguments = admitted.call_id, admitted.arguments
    problem = holding.stop_problem(conn, who, tool.name, now)
    if problem is None and (found := effects.read(conn, turn.tenant, call_id)) is not None:
        return Taken(found)
    problem = problem or holding.rate_problem(conn, door.policy(), who, tool.name, now)
    if problem is not None:
        reason, sentence = problem
        event = evidence.blocked(turn, who, tool, tool.name, call_id, arguments, reason, sentence, now)
        door.audit.append(conn, [event])
        return Blocked(call_id, reason, sentence)
    if tool.redo is not Redo.READ_ONLY:
        effects.claim(conn, turn.tenant, call_id, tool.name, door.executor, now)
    event = evidence.of_call(
        Kind.TOOL_STARTED, "started", turn, who, tool.name, call_id, now, tool=tool, arguments=arguments, authz="allow"
    )
    door.audit.append(conn, [event])
    return None


def close(
    door: Door, turn: TurnContext, admitted: Admitted, ended: ToolResult | ActionError, latency_ms: int | None
) -> tuple[Outcome, Callable[[Connection], None]]:
    """How a call that ran at once ended, and the transaction that records it."""
    tool, who, now, call_id = admitted.tool, admitted.principal, door.clock(), admitted.call_id
    outcome: Outcome
    if isinstance(ended, ToolResult):
        kind, status, state = Kind.TOOL_EXECUTED, "executed", EffectState.DONE
        sentence, reference, result = ended.sentence, ended.reference, ended
        outcome = Executed(call_id, ended)
    else:
        doubtful = ended.certainty is Certainty.UNKNOWN and tool.redo is not Redo.READ_ONLY
        kind, status = (Kind.TOOL_IN_DOUBT, "in_doubt") if doubtful else (Kind.TOOL_FAILED, "failed")
        state = EffectState.IN_DOUBT if doubtful else EffectState.FAILED
        sentence, reference, result = str(ended), None, None
        outcome = Failed(call_id, sentence, in_doubt=doubtful)
    event = evidence.of_call(
        kind,
        status,
        turn,
        who,
        tool.name,
        call_id,
        now,
        tool=tool,
        arguments=admitted.arguments,
        authz="allow",
        result=result,
        latency_ms=latency_ms,
        sentence=sentence if result is None else None,
    )

    def unit(conn: Connection) -> None:
        if tool.redo is not Redo.READ_ONLY:
            effects.finish(conn, turn.tenant, call_id, state, now, reference, sentence)
        door.audit.append(conn, [event])

    return outcome, unit


# -- held calls ------------------------------------------------------------------------------------------------


def is_due(row: HeldCall, revision: int) -> bool:
    """Whether there is anything to run: approved, of this revision, queued or begun."""
    return (
        row.status == ApprovalStatus.APPROVED.value
        and row.revision == revision
        and row.effect in (EffectState.QUEUED.value, EffectState.STARTED.value)
    )


async def prepare(door: Door, row: HeldCall, token: str | None, resolve: Resolver) -> Prepared:
    """Check the fresh token and look the call's facts up again. Reads only."""
    tool = door.catalog.get(ToolName(row.tool))
    if tool is None:
        return Drift("The tool was removed after this was approved. Nothing was done.", "unknown_tool")
    if token is None:
        return Drift(f"{row.requester_name} is no longer with us, so nothing was done.", "requester_gone")
    try:
        claims = door.tokens.verify(token, tool=tool.name, now=door.clock())
    except TokenRefused:
        return Drift("The call could not prove on whose behalf it runs. Nothing was done.", "token")
    who = claims.principal
    once = claims.approval_id == row.held_id and claims.jti == f"{row.held_id}:{row.revision}"
    if not once or who.subject != approvals.requester(row) or who.tenant != row.tenant:
        return Drift("The call's token was for something else. Nothing was done.", "token")
    call = holding.drawn_up(row)
    ctx = CallContext(who, row.call_id, row.held_id, token, door.clock())
    if row.effect == EffectState.STARTED.value:
        # It may have happened already: what is left in the world says nothing about what was signed.
        return Ready(tool, ctx, Resolved(arguments=call.arguments, headline=row.headline, stable=call.stable))
    problem = schema_problem(tool, call.arguments)
    if problem is not None or tool.version != row.version:
        return Drift("The tool changed after this was approved, so nothing was done. Ask again.", "drift")
    try:
        resolved = await resolve(tool, ctx, call.arguments)
    except ActionError as error:
        return Unreachable(str(error)) if error.retryable else Drift(str(error), "drift")
    return Ready(tool, ctx, resolved)


def claim(conn: Connection, door: Door, seen: HeldCall, prepared: Prepared, *, last: bool) -> Go | Stay | Again:
    """Everything that must hold at the last moment, then the claim and the durable ``started`` row.

    `last`: what would be `Again` voids the call.
    """
    tenant, now = TenantId(seen.tenant), door.clock()
    killswitch.lock(conn, tenant)
    row = approvals.read(conn, tenant, seen.held_id, lock=True)
    if row is None or not is_due(row, seen.revision):
        return Stay()
    work = Ledger(conn, door, now)
    if row.effect == EffectState.STARTED.value:
        effect = effects.read(conn, tenant, row.held_id)
        if not isinstance(prepared, Ready) or effect is None:
            return Stay()
        return Go(prepared.tool, prepared.ctx, holding.drawn_up(row).arguments, effect)
    decision = _last_moment(work, row, prepared, last)
    match decision:
        case Again():
            return decision
        case Go():
            _start(work, row)
        case Stay():
            pass
        case Drift(sentence=sentence, status=status):
            settling.end(work, row, ApprovalStatus.VOIDED, sentence, detail={"cause": status})
        case Unreachable(sentence=sentence):
            settling.finished(work, row, EffectState.FAILED, f"{sentence} Nothing was done; ask again.")
        case _:
            assert_never(decision)
    work.commit_events()
    return decision if isinstance(decision, Go) else Stay()


def _start(work: Ledger, row: HeldCall) -> None:
    effects.claim(work.conn, TenantId(row.tenant), row.held_id, ToolName(row.tool), work.door.executor, work.now)
    work.change(row, effect=EffectState.STARTED.value)
    work.log(Kind.TOOL_STARTED, "started", row)


def _last_moment(
    work: Ledger, row: HeldCall, prepared: Prepared, last: bool
) -> Go | Stay | Again | Drift | Unreachable:
    """The checks of the claim, in the order in which they win."""
    tenant, subject, tool_name = TenantId(row.tenant), approvals.requester(row), ToolName(row.tool)
    switch = killswitch.covering(work.conn, Target(tenant, tool_name, subject)) or killswitch.thrown_since(
        work.conn, Target(tenant, tool_name, subject), Generation(row.kills_everywhere, row.kills_tenant)
    )
    if switch is not None:
        settling.reopen(work, row, killswitch.stopped_sentence(switch))
        return Stay()
    if not isinstance(prepared, Ready):
        return prepared
    return (
        _tampered(work, row)
        or _not_entitled(work, row, tool_name)
        or _drifted(work.conn, row, prepared.resolved, last)
        or Go(prepared.tool, prepared.ctx, holding.drawn_up(row).arguments, None)
    )


def _tampered(work: Ledger, row: HeldCall) -> Drift | None:
    """Digest and MACs, over what is in the row now (invariant 3)."""
    bad = Drift("The stored request no longer matches what was signed. Nothing was done; tell an admin.", "tampered")
    if not same(holding.drawn_up(row).digest(), row.digest):
        return bad
    if not same(approvals.seal(work.door.mac, row), row.mac):
        return bad
    for vote in approvals.votes(work.conn, row):
        if vote.digest != row.digest or not same(approvals.seal_vote(work.door.mac, vote), vote.mac):
            return bad
    return None


def _not_entitled(work: Ledger, row: HeldCall, tool: ToolName) -> Drift | None:
    """Requester and approvers as the directory knows them now, told apart as people (invariants 4, 9)."""
    conn, door, tenant = work.conn, work.door, TenantId(row.tenant)
    asker = door.people.current(conn, tenant, approvals.requester(row))
    if asker is None:
        return Drift(f"{row.requester_name} is no longer with us, so nothing was done.", "requester_gone")
    if isinstance(decide(door.policy(), asker, tool, None), Denied):
        return Drift(f"{row.requester_name} may no longer ask for this, so nothing was done.", "not_entitled")
    keys: set[str] = set()
    wanted = frozenset(RoleName(role) for role in approvals.roles(row))
    for vote in approvals.votes(conn, row):
        approver = door.people.current(conn, tenant, approvals.subject_of(vote))
        if approver is None or not approver.roles & wanted:
            return Drift(f"{vote.name}, who approved this, may no longer approve it. Nothing was done.", "not_entitled")
        if _same_person(approver, asker, row):
            return Drift("The request was approved by the person who asked. Nothing was done.", "own_request")
        if approver.person_key is not None:
            keys.add(approver.person_key)
    if len(keys) < row.needed:
        return Drift("Fewer different people approved this than are needed. Nothing was done.", "too_few")
    return None


def _same_person(approver: Principal, asker: Principal, row: HeldCall) -> bool:
    if approver.subject == asker.subject:
        return True
    return approver.person_key is not None and approver.person_key in (asker.person_key, row.person_key)


def _drifted(conn: Connection, row: HeldCall, resolved: Resolved, last: bool) -> Drift | Again | None:
    """What was looked up before the digest must still be so."""
    if holding.plain_json(resolved.arguments) != row.arguments or holding.plain_json(resolved.stable) != row.stable:
        return Drift("What this request was based on has changed since it was approved. Nothing was done.", "drift")
    reservation = resolved.reservation
    if reservation is None:
        return None
    tenant = TenantId(row.tenant)
    taken = limits.reserved(
        conn, tenant, reservation.resource, reservation.currency, reservation.read_at, but=row.held_id, claimed=True
    )
    if reservation.amount > reservation.available - taken:
        if reservation.amount <= reservation.available and not last:
            return Again()
        return Drift(
            f"Only {max(reservation.available - taken, Decimal(0))} {reservation.currency} is left by now, less than "
            "this would take. Nothing was done.",
            "drift",
        )
    return None


def record(
    conn: Connection, door: Door, seen: HeldCall, ended: ToolResult | ActionError, latency_ms: int | None
) -> None:
    """Write down how a held call's effect ended. A second finisher changes nothing."""
    tenant, now = TenantId(seen.tenant), door.clock()
    row = approvals.read(conn, tenant, seen.held_id, lock=True)
    if row is None:
        return
    state, sentence, reference = _ending(ended)
    if not effects.finish(conn, tenant, row.held_id, state, now, reference, sentence):
        return
    work = Ledger(conn, door, now)
    settling.finished(work, row, state, sentence, reference=reference, latency_ms=latency_ms)
    work.commit_events()


def _ending(ended: ToolResult | ActionError) -> tuple[EffectState, str, str | None]:
    if isinstance(ended, ToolResult):
        return EffectState.DONE, ended.sentence, ended.reference
    if ended.certainty is Certainty.NOT_DONE:
        return EffectState.FAILED, str(ended), None
    return EffectState.IN_DOUBT, str(ended), None


def take_over(conn: Connection, door: Door, seen: HeldCall, effect: Effect) -> Claimed | Stay | None:
    """Claim the effect of a silent process anew. `Stay`: the kill-switch is on, so it is not fired again."""
    tenant = TenantId(seen.tenant)
    killswitch.lock(conn, tenant)
    if killswitch.covering(conn, Target(tenant, ToolName(seen.tool), approvals.requester(seen))) is not None:
        return Stay()
    return effects.reclaim(conn, effect, door.executor, door.clock())


def silence_left(door: Door, effect: Effect) -> float:
    """Seconds until the process that claimed `effect` cannot be at it any more. 0 for our own claims."""
    if effect.executor == door.executor:
        return 0.0
    age = (door.clock() - effect.claimed_at).total_seconds()
    return max(0.0, door.timings.action + door.timings.grace - age)


def settle_doubt(conn: Connection, door: Door, tenant: TenantId, held_id: str, by: str, done: bool, note: str) -> None:
    """Record what a person found out. Nothing is run.

    Raises:
        LookupError: no such call, or it is not in doubt.
    """
    row = approvals.read(conn, tenant, held_id, lock=True)
    if row is None or row.effect != EffectState.IN_DOUBT.value:
        raise LookupError(f"{held_id} is not in doubt. `countersign pending` lists what is.")
    state = EffectState.DONE if done else EffectState.FAILED
    sentence = f"{by} looked: it {'happened' if done else 'did not happen'}. {note}".strip()
    effects.finish(conn, tenant, held_id, state, door.clock(), None, sentence)
    work = Ledger(conn, door, door.clock())
    work.log(Kind.TOOL_RESOLVED, state.value, row, by=by, detail={"note": evidence.text_trace(note)})
    settling.finished(work, row, state, sentence, by=by)
    work.commit_events()
