"""Invariant 8 for people whose subject has a bar in it, as ``auth0|5f7c`` has: a stop of theirs is a whole stop."""

from __future__ import annotations

from datetime import timedelta

from policy.approval import ApprovalStatus
from tests.kit.door import DEMO, House
from tools import limits
from tools.held import Scope, ScopeKind
from tools.stops import By

ADMIN = By("ada", "Ada Kim", ("admin",))


async def test_what_was_approved_for_them_goes_back_to_pending_and_a_lockout_is_lifted(house: House) -> None:
    house.change_people("sub: dana", "sub: auth0|dana")
    view = await house.ask_refund(sub="auth0|dana")
    await house.press("ann", view)
    scope = Scope(ScopeKind.USER, str(view.requester))
    report = await house.gateway.kill(DEMO, scope, ADMIN, "left the company")
    assert report.reopened == 1
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING
    until = house.clock() + timedelta(hours=1)
    await house.writer.run(lambda conn: limits.lock_out(conn, DEMO, view.requester, until))
    await house.gateway.resume(DEMO, scope, ADMIN)
    locked = await house.writer.read(lambda conn: limits.locked_until(conn, DEMO, view.requester, house.clock()))
    assert locked is None
