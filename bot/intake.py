"""Whether a message is taken: once, from nobody who is held off, unless a guardrail stops it. One transaction.

Knows the rows that follow from each answer; knows no chat and asks nobody who anybody is.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from bot import card_text, store, turn_log
from bot.agent.transcript import Key, receive
from bot.messages import Incoming
from bot.parts import Parts, stop_of
from bot.ports import UserSaid
from bot.turn_log import START
from policy.guardrails import Verdict, locked_until
from policy.model import Principal
from policy.rules import Policy
from tools import limits

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Taken:
    """The message is ours now. `notice`: something its writer should know (a card number was masked)."""

    turn_id: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    sentence: str


@dataclass(frozen=True, slots=True)
class SeenBefore:
    """Another delivery of the same message was taken: nothing is said twice."""


Intake: TypeAlias = Taken | TurnedAway | SeenBefore


def take(
    conn: Connection, parts: Parts, who: Principal, message: Incoming, verdict: Verdict, link: str | None
) -> Intake:
    """Take `message` once: judged, noted, enqueued, audited. `verdict`: of the guardrails on its text."""
    policy, now = parts.policy(who.tenant), parts.clock()
    if not store.mark_seen(conn, store.delivery_keys(message), who.tenant, now):
        return SeenBefore()
    away = _held_off(conn, policy, who, now)
    if away is not None:
        status, sentence = away
        parts.audit.append(conn, [turn_log.blocked(message, who, status, now)])
        return TurnedAway(sentence)
    if verdict.stops:
        events = [turn_log.blocked(message, who, "guardrail", now, verdict)]
        sentence = verdict.sentence
        if verdict.counts:
            more, event = _count_hit(conn, policy, who, message, now)
            sentence, events = sentence + more, [*events, *event]
        parts.audit.append(conn, events)
        return TurnedAway(sentence)
    turn_id = f"t_{uuid.uuid4().hex}"
    store.add_turn(conn, turn_id, who, message, link, now)
    key = Key(who.tenant, message.thread.session_id, who.subject)
    receive(conn, key, turn_id, START, [UserSaid(verdict.text)], now)
    parts.durable.start_turn(conn, who.tenant, turn_id, message.thread.session_id)
    parts.audit.append(conn, turn_log.started(message, who, turn_id, verdict, now))
    return Taken(turn_id, verdict.sentence)


def _held_off(conn: Connection, policy: Policy, who: Principal, now: datetime) -> tuple[str, str] | None:
    """Why nothing by this person is taken just now: stopped, locked out, or too much in a minute."""
    stop = stop_of(conn, who)
    if stop is not None:
        return "stopped", stop
    until = limits.locked_until(conn, who.tenant, who.subject, now)
    if until is not None:
        return "locked_out", (
            f"You are locked out until {card_text.moment(until)} after repeated blocked messages. "
            "Nothing was done; ask an admin if this is a mistake."
        )
    most = policy.guardrails.rate_limits.per_user_per_min
    if not limits.take(conn, who.tenant, "messages", str(who.subject), most, MINUTE_S, now):
        return "rate_limit", (
            f"That is more than {most} messages in a minute, so I did not read this one. "
            "Nothing was done; send it again in a minute."
        )
    return None


def _count_hit(
    conn: Connection, policy: Policy, who: Principal, message: Incoming, now: datetime
) -> tuple[str, list[Event]]:
    """Count a kill verdict; enough of them lock the person out."""
    rules = policy.guardrails.kill_switch
    hits = limits.hit(conn, who.tenant, who.subject, now, timedelta(minutes=rules.lockout_minutes))
    until = locked_until(hits, rules, now)
    if until is None:
        return "", []
    limits.lock_out(conn, who.tenant, who.subject, until)
    event = turn_log.of_message(Kind.LOCKOUT_STARTED, message, who, "locked_out", now, until=card_text.moment(until))
    return f" You are locked out until {card_text.moment(until)}; an admin can tell you more.", [event]
