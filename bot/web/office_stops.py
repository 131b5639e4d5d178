"""`/stops`: what an admin looks at before and after a stop. Read only: a kill is a command, and takes a reason.

Says what is stopped, what a stop would reach, what is too late to stop, and of what nobody knows whether it happened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response

from bot.parts import ADMIN
from bot.web.office_audit import refuse
from bot.web.office_paper import nobody_here, page
from bot.web.office_visitor import Reception
from policy.approval import ApprovalStatus
from policy.model import TenantId
from tools.approvals import HELD
from tools.held import EffectState, HeldView, KillReport

HERE: Final = "/stops"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a stop of one tool would keep from happening."""

    tool: str
    pending: int
    approved: int
    """Approved but not begun: these go back to waiting."""


@dataclass(frozen=True, slots=True)
class Stops:
    report: KillReport
    reaches: tuple[Reach, ...]
    in_doubt: tuple[HeldView, ...]

    @property
    def approved(self) -> int:
        return sum(reach.approved for reach in self.reaches)


@dataclass(frozen=True, slots=True)
class StopPages:
    reception: Reception

    async def stops(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return nobody_here(request, self.reception.browsers.to_signin(request))
        if not visitor.rules:
            return await refuse(self.reception, visitor, HERE, ADMIN)
        parts = self.reception.parts
        report = await parts.gateway.kills(visitor.tenant)
        reaches = await parts.writer.read(lambda conn: _reaches(conn, visitor.tenant))
        found = Stops(report, reaches, await parts.gateway.in_doubt(visitor.tenant))
        return page("stops.html", visitor, HERE, stops=found)


def _reaches(conn: Connection, tenant: TenantId) -> tuple[Reach, ...]:
    """Every tool of which something is open, the most first."""
    queued = HELD.c.effect.in_([EffectState.QUEUED.value, EffectState.WAITING.value])
    approved = sa.and_(HELD.c.status == ApprovalStatus.APPROVED.value, queued)
    rows = conn.execute(
        sa.select(HELD.c.tool, HELD.c.status, sa.func.count().label("how_many"))
        .where(HELD.c.tenant == tenant, sa.or_(HELD.c.status == ApprovalStatus.PENDING.value, approved))
        .group_by(HELD.c.tool, HELD.c.status)
    ).all()
    counts = Counter({(row.tool, row.status): row.how_many for row in rows})
    found = [
        Reach(tool, counts[tool, ApprovalStatus.PENDING.value], counts[tool, ApprovalStatus.APPROVED.value])
        for tool in {row.tool for row in rows}
    ]
    return tuple(sorted(found, key=lambda reach: (-reach.pending - reach.approved, reach.tool)))
