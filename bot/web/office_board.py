"""What one person sees of requests: those they may decide, those they decided, their own. Reads only, in one tenant.

Draws nothing. Who may see a card is who may decide it, or who asked for it: the rule of the chat's own cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import SYSTEM_CHAIN
from audit.tables import AuditHead
from bot import card_text
from bot.cards import Card, Item
from bot.parts import Parts
from policy.approval import ApprovalStatus
from policy.model import Principal, TenantId
from tools import approvals, killswitch, views
from tools.approvals import HELD, VOTE, table
from tools.held import EffectState, HeldView

HEAD = table(AuditHead)
LOOKED_AT: Final = 100
"""Settled calls among which the newest that concern somebody are looked for."""
DECIDED: Final = 12
ENDED: Final = 20


@dataclass(frozen=True, slots=True)
class Own:
    """A request of the reader's, and what they can still do about it."""

    view: HeldView
    item: Item
    withdrawable: bool
    askable: bool
    """It has ended without an effect: it can be asked again, in full, from scratch."""


@dataclass(frozen=True, slots=True)
class Board:
    decides: bool
    """Somebody waits for this person's word, or could."""
    waiting: tuple[Card, ...]
    """The longest waiting first, so that what arrives moves nothing under a finger."""
    signed: tuple[Card, ...]
    """Pending, countersigned by the reader; somebody else has to as well."""
    decided: tuple[Card, ...]
    own: tuple[Own, ...]
    ended: tuple[Own, ...]
    more_ended: int
    stopped: tuple[str, ...]
    mark: str


def mark(conn: Connection, tenant: TenantId) -> str:
    """Changes whenever anything on a board of `tenant` may have: whatever happens is a row of the log."""
    chains = (tenant, SYSTEM_CHAIN)
    rows = conn.execute(sa.select(HEAD.c.tenant_id, HEAD.c.seq).where(HEAD.c.tenant_id.in_(chains)))
    found = {row.tenant_id: row.seq for row in rows}
    return ".".join(str(found.get(chain, 0)) for chain in chains)


def board(conn: Connection, parts: Parts, who: Principal) -> Board:
    """Everything of `who`."""
    here = mark(conn, who.tenant)
    waiting = views.waiting_for(conn, who)
    signed = [view for view in _of(conn, who, _voted(conn, who)) if any(v.subject == who.subject for v in view.votes)]
    settled = approvals.select(conn, who.tenant, HELD.c.status != ApprovalStatus.PENDING.value, limit=LOOKED_AT)
    decided = sorted(
        _of(conn, who, settled)[: 3 * DECIDED], key=lambda view: view.settled_at or view.created_at, reverse=True
    )
    own = [_own(view) for view in views.asked_by(conn, who.tenant, who.subject)]
    ended = [one for one in own if not _open(one.view)]
    on_waiting = {view.card_id for view in waiting}
    return Board(
        decides=bool(waiting) or _may_decide(parts, who),
        waiting=_cards(conn, who.tenant, sorted(waiting, key=lambda view: (view.created_at, view.held_id))),
        signed=_cards(conn, who.tenant, signed, without=on_waiting),
        decided=_cards(conn, who.tenant, decided, without=on_waiting)[:DECIDED],
        own=tuple(one for one in own if _open(one.view)),
        ended=tuple(ended[:ENDED]),
        more_ended=max(0, len(ended) - ENDED),
        stopped=tuple(card_text.stopped(killswitch.view(row)) for row in killswitch.active(conn, who.tenant)),
        mark=here,
    )


@dataclass(frozen=True, slots=True)
class One:
    """A single request, with all that its card says."""

    held_id: str
    card: Card
    own: Own | None
    stopped: tuple[str, ...]
    mark: str


def one(conn: Connection, who: Principal, held_id: str) -> One | None:
    """None: there is no such request, or `who` neither asked for it nor may decide it."""
    here = mark(conn, who.tenant)
    view = views.one(conn, who.tenant, held_id)
    if view is None:
        return None
    mine = view.requester == who.subject
    if not mine and not who.roles.intersection(view.approver_roles):
        return None
    (card,) = _cards(conn, who.tenant, [view])
    stopped = tuple(card_text.stopped(killswitch.view(row)) for row in killswitch.active(conn, who.tenant))
    return One(held_id, card, _own(view) if mine else None, stopped, here)


def _voted(conn: Connection, who: Principal) -> list[approvals.HeldCall]:
    """Pending calls on which `who` has ever voted."""
    mine = sa.select(VOTE.c.held_id).where(
        VOTE.c.tenant == who.tenant, VOTE.c.issuer == who.subject.issuer, VOTE.c.sub == who.subject.sub
    )
    pending = HELD.c.status == ApprovalStatus.PENDING.value
    return approvals.select(conn, who.tenant, pending, HELD.c.held_id.in_(mine), limit=views.MOST)


def _of(conn: Connection, who: Principal, rows: Iterable[approvals.HeldCall]) -> list[HeldView]:
    """Those of `rows` that somebody else asked for and `who` may, or might, decide."""
    found: list[HeldView] = []
    for row in rows:
        same_person = bool(row.person_key) and row.person_key == who.person_key
        if same_person or approvals.requester(row) == who.subject or not who.roles.intersection(approvals.roles(row)):
            continue
        found.append(views.of(conn, row))
    return found


def _cards(
    conn: Connection, tenant: TenantId, found: Sequence[HeldView], *, without: Iterable[str] = ()
) -> tuple[Card, ...]:
    """The cards of `found`, whole: every call of one answer that has the same approvers stands on one."""
    ids = [card_id for card_id in dict.fromkeys(view.card_id for view in found) if card_id not in set(without)]
    return tuple(card_text.card(views.card(conn, tenant, card_id)) for card_id in ids)


def _own(view: HeldView) -> Own:
    # The requester decides nothing about it: the card's buttons are the approvers'.
    pending = view.status is ApprovalStatus.PENDING
    failed = view.status is ApprovalStatus.APPROVED and view.effect is EffectState.FAILED
    return Own(
        view=view,
        item=card_text.item(view),
        withdrawable=pending,
        askable=failed or not (pending or view.status is ApprovalStatus.APPROVED),
    )


def _open(view: HeldView) -> bool:
    if view.status is ApprovalStatus.APPROVED:
        return view.effect not in (EffectState.DONE, EffectState.FAILED)
    return view.status is ApprovalStatus.PENDING


def _may_decide(parts: Parts, who: Principal) -> bool:
    tools = parts.policy(who.tenant).tools.values()
    return any(who.roles & set(roles) for rule in tools for roles in rule.gate.approver_roles.values())
