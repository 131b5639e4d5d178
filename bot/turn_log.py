"""The audit's rows of turns: taken, turned away, flagged, finished. Knows which column says what; writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from audit.event import Event, Kind
from bot.agent.loop import SegmentResult
from bot.identity.resolve import Refusal
from bot.messages import AskAgain, ChatUser, Incoming
from bot.store import TurnRow, TurnStatus
from policy.approval import PressResult
from policy.guardrails import Verdict
from policy.model import Json, Principal

START = "start"
"""The first segment of a turn. Every other one is named after the held call whose end it tells."""


def of_message(kind: Kind, message: Incoming, who: Principal, status: str, now: datetime, **detail: str) -> Event:
    return Event(
        kind=kind,
        tenant=who.tenant,
        occurred_at=now,
        status=status,
        actor_user_id=who.subject.sub,
        actor_roles=tuple(sorted(who.roles)),
        session_id=message.thread.session_id,
        detail={"account": str(message.who), "message_id": message.message_id, **detail},
    )


def blocked(message: Incoming, who: Principal, status: str, now: datetime, verdict: Verdict | None = None) -> Event:
    shown = of_message(Kind.TURN_BLOCKED, message, who, status, now)
    return shown if verdict is None else _judged(shown, verdict)


def _judged(event: Event, verdict: Verdict) -> Event:
    detail = {**(event.detail or {}), "rules": list(verdict.rules)}
    return replace(event, guardrail_verdict=verdict.action.value, detail=detail)


def started(message: Incoming, who: Principal, turn_id: str, verdict: Verdict, now: datetime) -> list[Event]:
    events = [of_message(Kind.TURN_STARTED, message, who, "started", now, turn_id=turn_id)]
    if verdict.rules:
        flagged = of_message(Kind.TURN_FLAGGED, message, who, verdict.action.value, now, turn_id=turn_id)
        events.append(_judged(flagged, verdict))
    return events


def refused(refusal: Refusal, who: ChatUser, session_id: str | None, now: datetime) -> Event:
    return Event(
        kind=Kind.IDENTITY_REFUSED,
        tenant=refusal.tenant,
        occurred_at=now,
        status=refusal.reason.value,
        actor_user_id=str(who) if refusal.subject is None else refusal.subject.sub,
        session_id=session_id,
        detail={"account": str(who)},
    )


def asked_again(again: AskAgain, who: Principal, result: PressResult, now: datetime) -> Event:
    """The row of an "Ask again" that was not theirs to press."""
    return Event(
        kind=Kind.APPROVAL_PRESSED,
        tenant=who.tenant,
        occurred_at=now,
        status=result.value,
        actor_user_id=who.subject.sub,
        actor_roles=tuple(sorted(who.roles)),
        detail={"verb": "ask_again", "held_id": again.held_id[:80], "press_id": again.press_id[:200]},
    )


def finished(
    row: TurnRow,
    segment: str,
    who: Principal | None,
    status: TurnStatus,
    ending: str,
    result: SegmentResult | None,
    now: datetime,
) -> list[Event]:
    """The audit's rows of one segment: how it ended, on which model, at what cost."""
    detail: dict[str, Json] = {"turn_id": row.turn_id, "segment": segment, "ending": ending}
    if result is not None:
        usage = {"input": result.usage.input_tokens, "output": result.usage.output_tokens}
        detail |= {"steps": result.steps, "tokens": usage, "held": list(result.held)}
        detail |= {"exposures": list(result.exposures)} if result.exposures else {}
    event = Event(
        kind=Kind.TURN_FAILED if status is TurnStatus.FAILED else Kind.TURN_FINISHED,
        tenant=row.tenant,
        occurred_at=now,
        status=status.value,
        actor_user_id=row.sub,
        actor_roles=() if who is None else tuple(sorted(who.roles)),
        session_id=row.session_id,
        latency_ms=max(0, int((now - row.created_at).total_seconds() * 1000)) if segment == START else None,
        model=None if result is None else ",".join(result.models) or None,
        cost_usd=None if result is None else result.cost_usd,
        detail=detail,
    )
    if result is None or not result.findings:
        return [event]
    redacted = replace(
        event,
        kind=Kind.OUTPUT_REDACTED,
        status="redacted",
        guardrail_verdict="redact",
        latency_ms=None,
        cost_usd=None,
        detail={"turn_id": row.turn_id, "segment": segment, "rules": list(result.findings)},
    )
    return [redacted, event]
