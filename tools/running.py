"""From approved to recorded: what is checked in the claim, and how an end is written down.

The transactions around one run. The run itself is the gateway's.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias, assert_never

from sqlalchemy.engine import Connection

from audit.event import Kind
from policy.approval import ApprovalStatus
from policy.decide import decide
from policy.model import Denied, Principal, RoleName, Subject, TenantId, ToolName
from tools import approvals, asking, effects, entering, evidence, holding, killswitch, limits, settling, signing
from tools.admission import schema_problem
from tools.approvals import HeldCall
from tools.bearers import context_of
from tools.door import Door
from tools.effects import Claimed, Effect, Taken
from tools.held import EffectState
from tools.killswitch import Generation, Target
from tools.ports import TokenRefused
from tools.settling import Ledger
from tools.spec import ActionError, Args, CallContext, Certainty, Resolved, Tool, ToolResult


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
    note: str | None = None
    """For the audit alone: what was wrong with its token."""


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
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing to run: settled, voided, stopped or somebody else's."""


@dataclass(frozen=True, slots=True)
class Again:
    """Another call took from the same resource just now: look up what is left and try once more."""


def is_due(row: HeldCall, revision: int) -> bool:
    """Whether there is anything to run: approved, of this revision, queued or begun."""
    return (
        row.status == ApprovalStatus.APPROVED.value
        and row.revision == revision
        and row.effect in (EffectState.QUEUED.value, EffectState.STARTED.value)
    )


async def prepare(door: Door, row: HeldCall, token: str | None) -> Prepared:
    """Check the fresh token and look the call's facts up again. Reads only."""
    tool = door.catalog.get(ToolName(row.tool))
    if tool is None:
        return Drift("The tool was removed after this was approved. Nothing was done.", "unknown_tool")
    if token is None:
        return Drift(f"{row.requester_name} is no longer with us, so nothing was done.", "requester_gone")
    try:
        claims = door.tokens.verify(token, tool=tool.name, now=door.clock())
    except TokenRefused as error:
        return Drift("The call could not prove on whose behalf it runs. Nothing was done.", "token", str(error))
    who = claims.principal
    once = claims.approval_id == row.held_id and claims.jti == f"{row.held_id}:{row.revision}"
    if not once or who.subject != approvals.requester(row) or who.tenant != row.tenant:
        return Drift("The call's token was for something else. Nothing was done.", "token")
    try:
        call = signing.drawn_up(row)
    except ValueError:
        return Drift(settling.TAMPERED, "tampered")
    ctx = context_of(door, who, tool.name, row.call_id, row.held_id, token)
    if row.effect == EffectState.STARTED.value:
        # It may have happened already: what is left in the world says nothing about what was signed.
        return Ready(tool, ctx, Resolved(arguments=call.arguments, headline=row.headline, stable=call.stable))
    problem = schema_problem(tool, call.arguments)
    if problem is not None or tool.version != row.version:
        return Drift("The tool changed after this was approved, so nothing was done. Ask again.", "drift")
    try:
        resolved = await asking.resolve(door, tool, ctx, call.arguments)
    except ActionError as error:
        return Unreachable(str(error)) if error.retryable else Drift(str(error), "drift")
    return Ready(tool, ctx, resolved)


def claim(conn: Connection, door: Door, seen: HeldCall, prepared: Prepared, *, last: bool) -> Go | Stay | Again:
    """Everything that must hold at the last moment, then the claim and the durable ``started`` row.

    `last`: what would be `Again` voids the call.
    """
    tenant, now = TenantId(seen.tenant), door.clock()
    entering.decide(conn, tenant)
    row = approvals.read(conn, tenant, seen.held_id, lock=True)
    if row is None or not is_due(row, seen.revision):
        return Stay()
    work = Ledger(conn, door, now)
    if row.effect == EffectState.STARTED.value:
        begun = _begun(work, row, prepared)
        work.commit_events()
        return begun
    decision = _last_moment(work, row, prepared, last)
    match decision:
        case Again():
            return decision
        case Go():
            _start(work, row)
        case Stay():
            pass
        case Drift(sentence=sentence, status=status, note=note):
            detail = {"cause": status} if note is None else {"cause": status, "token": note}
            settling.end(work, row, ApprovalStatus.VOIDED, sentence, detail=detail)
        case Unreachable(sentence=sentence):
            settling.finished(work, row, EffectState.FAILED, f"{sentence} Nothing was done; ask again.")
        case _:
            assert_never(decision)
    work.commit_events()
    return decision if isinstance(decision, Go) else Stay()


def _start(work: Ledger, row: HeldCall) -> None:
    tenant, tool = TenantId(row.tenant), ToolName(row.tool)
    if isinstance(effects.claim(work.conn, tenant, row.held_id, tool, work.door.executor, work.now), Taken):
        raise settling.LostRace(row.held_id)
    work.change(row, effect=EffectState.STARTED.value)
    work.log(Kind.TOOL_STARTED, "started", row)


def _begun(work: Ledger, row: HeldCall, prepared: Prepared) -> Go | Stay:
    """It was claimed before. It is looked at again only if it is what was signed; else a person has to look."""
    effect = effects.read(work.conn, TenantId(row.tenant), row.held_id)
    if _tampered(work, row) is not None or effect is None or effect.state != EffectState.STARTED.value:
        return _doubt(work, row, settling.TAMPERED, "tampered")
    if isinstance(prepared, Ready):
        return Go(prepared.tool, prepared.ctx, signing.drawn_up(row).arguments, effect, effect.attempt)
    return _doubt(work, row, prepared.sentence, prepared.status if isinstance(prepared, Drift) else "unreachable")


def _doubt(work: Ledger, row: HeldCall, why: str, cause: str) -> Stay:
    sentence = (
        "This had been begun when the service stopped, and nobody can tell whether it happened. It was not tried "
        f"again: {why.replace('Nothing was done; ', '').replace(', so nothing was done', '')}"
    )
    effects.finish(work.conn, TenantId(row.tenant), row.held_id, EffectState.IN_DOUBT, work.now, None, None)
    settling.finished(work, row, EffectState.IN_DOUBT, sentence, detail={"cause": cause})
    return Stay()


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
    tampered = _tampered(work, row) or _out_of_turn(work, row)
    if tampered is not None:
        return tampered
    if not isinstance(prepared, Ready):
        return prepared
    return (
        _not_entitled(work, row, tool_name)
        or _drifted(work.conn, row, prepared.resolved, last)
        or Go(prepared.tool, prepared.ctx, signing.drawn_up(row).arguments, None)
    )


def _tampered(work: Ledger, row: HeldCall) -> Drift | None:
    """Digest, MACs and the number of votes, over what is in the rows now (invariant 3)."""
    if signing.intact(work.conn, work.door.mac, row) and signing.agreed(work.conn, row):
        return None
    return Drift(settling.TAMPERED, "tampered")


def _out_of_turn(work: Ledger, row: HeldCall) -> Drift | None:
    """Queued although the ledger says it was begun before, or although what it presupposes has not happened."""
    if effects.read(work.conn, TenantId(row.tenant), row.held_id) is not None:
        return Drift("The ledger says that this was begun before. It was not done again; tell an admin.", "tampered")
    if approvals.unmet(work.conn, row):
        return Drift(settling.TAMPERED, "tampered")
    return None


def _not_entitled(work: Ledger, row: HeldCall, tool: ToolName) -> Drift | None:
    """Requester and approvers as the directory knows them now, told apart as people (invariants 4, 9)."""
    conn, door, tenant = work.conn, work.door, TenantId(row.tenant)
    asker = door.people.current(conn, tenant, approvals.requester(row))
    if asker is None:
        return Drift(f"{row.requester_name} is no longer with us, so nothing was done.", "requester_gone")
    too_old = door.people.stale(conn, tenant, asker.subject)
    if too_old is not None:
        return Drift(too_old, "stale")
    if isinstance(decide(door.policy(asker.tenant), asker, tool, None), Denied):
        return Drift(f"{row.requester_name} may no longer ask for this, so nothing was done.", "not_entitled")
    keys: set[str] = set()
    wanted = frozenset(RoleName(role) for role in approvals.roles(row))
    for vote in approvals.votes(conn, row):
        approver = door.people.current(conn, tenant, approvals.subject_of(vote))
        if approver is None or not approver.roles & wanted:
            return Drift(f"{vote.name}, who approved this, may no longer approve it. Nothing was done.", "not_entitled")
        if _same_person(approver, asker, row):
            return Drift("The request was approved by the person who asked. Nothing was done.", "own_request")
        if (key := _person(approver.person_key)) is not None:
            keys.add(key)
    if len(keys) < row.needed:
        return Drift("Fewer different people approved this than are needed. Nothing was done.", "too_few")
    return None


def _same_person(approver: Principal, asker: Principal, row: HeldCall) -> bool:
    if approver.subject == asker.subject:
        return True
    key = _person(approver.person_key)
    return key is not None and key in (_person(asker.person_key), _person(row.person_key))


def _person(key: str | None) -> str | None:
    """A person key as `policy.approval` compares it."""
    return (key or "").strip().casefold() or None


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
    conn: Connection,
    door: Door,
    seen: HeldCall,
    ended: ToolResult | ActionError,
    latency_ms: int | None,
    attempt: int,
) -> None:
    """Write down how attempt `attempt` of a held call's effect ended. A second finisher changes nothing."""
    tenant, now = TenantId(seen.tenant), door.clock()
    row = approvals.read(conn, tenant, seen.held_id, lock=True)
    if row is None:
        return
    state, sentence, reference = _ending(ended)
    if not effects.finish(conn, tenant, row.held_id, state, now, reference, None, attempt=attempt):
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


def take_over(
    conn: Connection, door: Door, tenant: TenantId, requester: Subject, effect: Effect
) -> Claimed | Stay | None:
    """Claim the effect of a silent process anew. `Stay`: the kill-switch is on, so it is not fired again."""
    killswitch.lock(conn, tenant)
    if killswitch.covering(conn, Target(tenant, ToolName(effect.tool), requester)) is not None:
        return Stay()
    return effects.reclaim(conn, effect, door.executor, door.clock())


def unproved(ended: ToolResult | ActionError) -> ToolResult | ActionError:
    """How a second attempt ended. That it did nothing says nothing of the first one (invariant 7)."""
    if isinstance(ended, ActionError) and ended.certainty is Certainty.NOT_DONE:
        return ActionError(
            f"It was interrupted once, and trying again did not settle it: {ended} Nobody can tell whether the first "
            "try happened; somebody has to look.",
            Certainty.UNKNOWN,
        )
    return ended


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
    found = f"{by} looked: it {'happened' if done else 'did not happen'}."
    effects.finish(conn, tenant, held_id, state, door.clock(), None, None)
    work = Ledger(conn, door, door.clock())
    work.log(Kind.TOOL_RESOLVED, state.value, row, by=by, detail={"note": evidence.text_trace(note)})
    settling.finished(work, row, state, f"{found} {note}".strip(), by=by, logged=found)
    work.commit_events()
