"""Calls that need nobody: the transactions before and after a run that starts at once.

The run itself is the gateway's.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.engine import Connection

from audit.event import Kind
from tools import effects, entering, evidence, holding
from tools.admission import Admitted
from tools.door import Door
from tools.effects import Taken
from tools.held import Blocked, EffectState, Executed, Failed, Outcome, TurnContext
from tools.spec import ActionError, Certainty, Redo, ToolResult


def begin(conn: Connection, door: Door, turn: TurnContext, admitted: Admitted) -> Blocked | Taken | None:
    """Stops, limits, claim and the durable ``started`` row of a call that runs at once.

    `Taken`: it had begun before. Whether it happened is looked up then, stopped or not.
    """
    tool, who, now = admitted.tool, admitted.principal, door.clock()
    call_id, arguments = admitted.call_id, admitted.arguments
    if tool.redo is not Redo.READ_ONLY and (found := effects.read(conn, turn.tenant, call_id)) is not None:
        return Taken(found)
    entered = entering.enter(conn, who.tenant, [(who.subject, tool.name)])
    problem = (
        holding.stop_problem(entered, who, tool.name, now)
        or holding.left_problem(conn, door, who, tool.name)
        or holding.rate_problem(conn, door.policy(who.tenant), who, tool.name, now)
    )
    if problem is not None:
        reason, sentence = problem
        event = evidence.blocked(turn, who, tool, tool.name, call_id, arguments, reason, sentence, now)
        door.audit.append(conn, [event])
        return Blocked(call_id, reason, sentence)
    if tool.redo is not Redo.READ_ONLY:
        claimed = effects.claim(conn, turn.tenant, call_id, tool.name, door.executor, now)
        if isinstance(claimed, Taken):  # another process was first, a moment ago
            return claimed
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
        changed = tool.redo is Redo.READ_ONLY or effects.finish(
            conn, turn.tenant, call_id, state, now, reference, sentence
        )
        if not changed:  # it had been recorded before: one call ends once
            return
        door.audit.append(conn, [event])

    return outcome, unit
