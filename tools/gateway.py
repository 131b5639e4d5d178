"""The one door: propose, hold, countersign, execute, record, in that order and nowhere else.

Every effect of the product passes here. Knows no chat, no model and no queue; those are ports. Decides by
asking `policy`; writes what happened through `audit` in the transaction of the decision.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy.engine import Connection

from audit.event import Event
from audit.faults import StoreUnavailable
from policy.approval import ApprovalStatus
from policy.model import NeedsApproval, Principal, TenantId, ToolName
from policy.pii import redact
from tools import approvals, asking, evidence, holding, immediate, pressing, running, signing
from tools.admission import Admitted, TurnedAway, admit
from tools.asking import BROKEN
from tools.bearers import context_of
from tools.desk import Desk
from tools.door import Door
from tools.effects import Claimed, Effect, Taken
from tools.held import (
    Blocked,
    BlockReason,
    EffectState,
    Executed,
    Failed,
    Held,
    HeldView,
    Outcome,
    PressOutcome,
    PressRequest,
    Proposal,
    TurnContext,
)
from tools.holding import ToHold
from tools.running import Again, Go
from tools.spec import ActionError, Args, CallContext, Certainty, Redo, Resolved, Tool, ToolResult

T = TypeVar("T")
log = logging.getLogger("countersign.gateway")

UNRECORDED = "The audit log cannot be written, so nothing was done. Try again in a moment."


class Gateway(Desk):
    """The door. One per process; every method may be called from any task of one event loop."""

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self._under_way: set[str] = set()

    # -- propose ---------------------------------------------------------------------------------------------

    async def propose(self, turn: TurnContext, proposals: Sequence[Proposal]) -> tuple[Outcome, ...]:
        """All calls of one answer: run what may run, hold what people must countersign, refuse the rest.

        Outcomes come in the order of `proposals`. Proposing the same call again (same `call_id`) changes nothing.
        Never raises for what a model or a provider did.
        """
        policy, now = self._door.policy(turn.tenant), self._door.clock()
        outcomes: dict[str, Outcome] = {}
        to_hold: list[ToHold] = []
        for proposal in proposals:
            admitted = admit(self._door, policy, turn, proposal, now)
            if isinstance(admitted, TurnedAway):
                outcomes[proposal.call_id] = await self._turn_away(turn, admitted)
            elif isinstance(admitted.decision, NeedsApproval):
                resolved = await self._resolve_first(turn, admitted)
                if isinstance(resolved, Resolved):
                    to_hold.append(ToHold(admitted, resolved))
                else:
                    outcomes[proposal.call_id] = resolved
            else:
                outcomes[proposal.call_id] = await self._run_now(turn, admitted)
        if to_hold:
            refused = frozenset(
                proposal.tool for proposal in proposals if isinstance(outcomes.get(proposal.call_id), Blocked)
            )
            for outcome in await self._hold(turn, to_hold, refused):
                outcomes[outcome.call_id] = outcome
        return tuple(outcomes[proposal.call_id] for proposal in proposals)

    async def ask_again(self, turn: TurnContext, who: Principal, held_id: str, token: str) -> Outcome:
        """Hold an ended call anew, with the arguments its row kept. Only its requester may.

        The new call is resolved, judged and digested from scratch; nothing of the old approvals counts.
        """
        call_id = self.again_id(held_id, turn.turn_id)
        row = await self._door.writer.read(lambda conn: approvals.read(conn, who.tenant, held_id))
        if row is None or approvals.requester(row) != who.subject:
            return Blocked(call_id, BlockReason.TENANT, "Only the person who asked for it can ask again.")
        live = row.status in (ApprovalStatus.PENDING.value, ApprovalStatus.APPROVED.value)
        if live and row.effect != EffectState.FAILED.value:
            return Blocked(call_id, BlockReason.POLICY, "This request has not ended, so it was not asked again.")
        if row.erased_at is not None:
            return Blocked(call_id, BlockReason.POLICY, "What you asked was erased. Ask in your own words again.")
        arguments: Args = signing.drawn_up(row).arguments
        again = replace(turn, asked=row.asked, prose=row.prose, thread_link=row.thread_link)
        outcomes = await self.propose(again, [Proposal(call_id, ToolName(row.tool), arguments, token)])
        return outcomes[0]

    @staticmethod
    def again_id(held_id: str, turn_id: str) -> str:
        """The call id of an "Ask again", for which its token is minted."""
        return f"{held_id}~{hashlib.sha256(turn_id.encode()).hexdigest()[:12]}"

    async def _turn_away(self, turn: TurnContext, away: TurnedAway) -> Blocked:
        """Record a refusal. It stands whether or not the row could be written: nothing runs either way."""
        refused, proposal = away.outcome, away.proposal
        event = evidence.blocked(
            turn,
            away.principal,
            away.tool,
            proposal.tool,
            proposal.call_id,
            proposal.arguments if away.tool is not None else None,
            refused.reason,
            f"{refused.sentence} {away.note}".rstrip(),
            self._door.clock(),
        )
        return await self._recorded(turn.tenant, [event], refused)

    async def _resolve_first(self, turn: TurnContext, admitted: Admitted) -> Resolved | Blocked:
        """Look up what the call depends on, before its digest is taken."""
        who, call_id, token = admitted.principal, admitted.call_id, admitted.proposal.token
        ctx = context_of(self._door, who, admitted.tool.name, call_id, call_id, token)
        try:
            return await asking.resolve(self._door, admitted.tool, ctx, admitted.arguments)
        except ActionError as error:
            away = TurnedAway(
                admitted.proposal,
                admitted.tool,
                admitted.principal,
                Blocked(admitted.call_id, BlockReason.UNRESOLVED, str(error)),
            )
            return await self._turn_away(turn, away)

    # -- hold ------------------------------------------------------------------------------------------------

    async def _hold(
        self, turn: TurnContext, batch: Sequence[ToHold], refused: frozenset[ToolName]
    ) -> Sequence[Outcome]:
        """`refused`: tools of the same answer whose calls were turned away; what announces them is not held."""
        door, policy, now = self._door, self._door.policy(turn.tenant), self._door.clock()

        def unit(conn: Connection) -> list[Held | Blocked]:
            outcomes, events = holding.hold(conn, door, policy, turn, batch, refused, now)
            door.audit.append(conn, events)
            return outcomes

        try:
            return await door.writer.run(unit)
        except StoreUnavailable as error:
            log.error("holding failed: %s", error)
            return [Blocked(item.admitted.call_id, BlockReason.AUDIT, UNRECORDED) for item in batch]

    # -- calls that need nobody ------------------------------------------------------------------------------

    async def _run_now(self, turn: TurnContext, admitted: Admitted) -> Outcome:
        """Two durable rows around one run: `started` before, how it ended after (invariant 6)."""
        who, call_id = admitted.principal, admitted.call_id
        key, token = f"{turn.tenant}:{call_id}", admitted.proposal.token
        ctx = context_of(self._door, who, admitted.tool.name, call_id, key, token)
        try:
            begun = await self._door.writer.run(lambda conn: immediate.begin(conn, self._door, turn, admitted))
        except StoreUnavailable as error:
            log.error("starting failed: %s", error)
            return Blocked(call_id, BlockReason.AUDIT, UNRECORDED)
        match begun:
            case Blocked():
                return begun
            case _ if ctx.idempotency_key in self._under_way:
                return Failed(call_id, "This is being done at this moment. Look again soon.", in_doubt=True)
            case _:
                pass
        self._under_way.add(ctx.idempotency_key)
        try:
            if isinstance(begun, Taken):
                return await self._after_crash(turn, admitted, ctx, begun.effect)
            return await self._run_and_record(turn, admitted, ctx)
        finally:
            self._under_way.discard(ctx.idempotency_key)

    async def _after_crash(self, turn: TurnContext, admitted: Admitted, ctx: CallContext, effect: Effect) -> Outcome:
        """The segment runs again. What happened is looked up; it is fired again only with the same key."""
        tool, call_id, tenant = admitted.tool, admitted.call_id, turn.tenant
        if effect.state == EffectState.STARTED.value:
            await asyncio.sleep(running.silence_left(self._door, effect))
        known = await asking.look_up(self._door, tool, ctx, admitted.arguments)
        if known is not None:
            return await self._record_now(turn, admitted, known, None)
        if effect.state == EffectState.FAILED.value:
            return Failed(call_id, effect.sentence or BROKEN, in_doubt=False)
        if effect.state == EffectState.DONE.value:
            said = effect.sentence or "It was done."
            return Executed(call_id, ToolResult(content=said, sentence=said, reference=effect.reference))
        if effect.state == EffectState.STARTED.value and self._may_redo(tool, effect):
            subject = admitted.principal.subject
            taken = await self._door.writer.run(
                lambda conn: running.take_over(conn, self._door, tenant, subject, effect)
            )
            if isinstance(taken, Claimed):
                began = time.monotonic()
                ended = running.unproved(await self._perform(tool, ctx, admitted.arguments))
                return await self._record_now(turn, admitted, ended, int((time.monotonic() - began) * 1000))
            if taken is None:
                return Failed(call_id, "Another process is at it. Look again in a moment.", in_doubt=True)
        doubt = ActionError("It was interrupted, and nobody can tell whether it happened.", Certainty.UNKNOWN)
        return await self._record_now(turn, admitted, doubt, None)

    async def _run_and_record(self, turn: TurnContext, admitted: Admitted, ctx: CallContext) -> Outcome:
        began = time.monotonic()
        ended = await self._perform(admitted.tool, ctx, admitted.arguments)
        return await self._record_now(turn, admitted, ended, int((time.monotonic() - began) * 1000))

    async def _record_now(
        self, turn: TurnContext, admitted: Admitted, ended: ToolResult | ActionError, latency_ms: int | None
    ) -> Outcome:
        outcome, unit = immediate.close(self._door, turn, admitted, ended, latency_ms)
        self._door.observer.tool_call(
            call_id=admitted.call_id,
            tool=admitted.tool.name,
            status="failed" if isinstance(ended, ActionError) else "executed",
            latency_ms=latency_ms or 0,
        )
        try:
            await self._door.writer.run(unit)
        except StoreUnavailable as error:
            # A read whose end cannot be recorded gives nothing away; a write is settled from the ledger later.
            log.error("recording failed: %s", error)
            return Failed(admitted.call_id, "It ran, but how it ended could not be recorded. Ask again.", in_doubt=True)
        return outcome

    # -- countersign -----------------------------------------------------------------------------------------

    async def countersign(self, tenant: TenantId | None, who: Principal | None, press: PressRequest) -> PressOutcome:
        """One press: judged, recorded, and what follows from it queued, in one transaction (invariants 4, 5).

        `who` None: nobody the directory knows. Always answers with a sentence for the presser.

        Raises:
            StoreUnavailable: it could not be recorded, so it did not count.
        """
        return await self._door.writer.run(lambda conn: pressing.press(conn, self._door, tenant, who, press))

    # -- execute ---------------------------------------------------------------------------------------------

    async def execute(self, tenant: TenantId, held_id: str, revision: int, token: str | None) -> HeldView:
        """Run an approved call, once. Safe to call again after a crash, from any process.

        `token` was minted from the directory as it is now; None: the requester is gone, the call is voided.
        Arguments come from the approval row, never from the caller (invariant 3).

        Raises:
            StoreUnavailable: nothing was claimed, or the end could not be recorded yet; call again.
            LookupError: no such call.
        """
        row = await self._door.writer.read(lambda conn: approvals.read(conn, tenant, held_id))
        if row is None:
            raise LookupError(f"There is no held call {held_id} in {tenant}.")
        if not running.is_due(row, revision) or held_id in self._under_way:
            return await self._view(tenant, held_id)
        self._under_way.add(held_id)
        try:
            return await self._execute(row, token)
        finally:
            self._under_way.discard(held_id)

    async def _execute(self, row: approvals.HeldCall, token: str | None) -> HeldView:
        for last in (False, False, False, True):
            prepared = await running.prepare(self._door, row, token)
            claimed = await self._door.writer.run(
                partial(running.claim, door=self._door, seen=row, prepared=prepared, last=last)
            )
            if not isinstance(claimed, Again):
                break
            await asyncio.sleep(self._door.timings.contention)
        if not isinstance(claimed, Go):
            return await self._view(TenantId(row.tenant), row.held_id)
        if claimed.taken is not None:
            return await self._recover_held(row, claimed, claimed.taken)
        return await self._run_held(row, claimed)

    async def _run_held(self, row: approvals.HeldCall, go: Go) -> HeldView:
        began = time.monotonic()
        ended = await self._perform(go.tool, go.ctx, go.arguments)
        if go.attempt > 1:
            ended = running.unproved(ended)
        return await self._record_held(row, ended, int((time.monotonic() - began) * 1000), go.attempt)

    async def _recover_held(self, row: approvals.HeldCall, go: Go, effect: Effect) -> HeldView:
        """The process that had claimed it is gone, or was us before a crash (invariant 7)."""
        wait = running.silence_left(self._door, effect)
        if wait > 0:
            await asyncio.sleep(wait)
        known = await asking.look_up(self._door, go.tool, go.ctx, go.arguments)
        if known is not None:
            return await self._record_held(row, known, None, effect.attempt)
        if self._may_redo(go.tool, effect):
            tenant, subject = TenantId(row.tenant), approvals.requester(row)
            taken = await self._door.writer.run(
                lambda conn: running.take_over(conn, self._door, tenant, subject, effect)
            )
            if isinstance(taken, Claimed):
                return await self._run_held(row, replace(go, attempt=taken.attempt))
            if taken is None:
                return await self._view(TenantId(row.tenant), row.held_id)
        doubt = ActionError(
            "The service stopped while this was being done, and nobody can tell whether it happened. It will not be "
            "tried again by itself: somebody has to look at the provider and settle it.",
            Certainty.UNKNOWN,
        )
        return await self._record_held(row, doubt, None, effect.attempt)

    def _may_redo(self, tool: Tool, effect: Effect) -> bool:
        age = (self._door.clock() - effect.first_claimed_at).total_seconds()
        return tool.redo is Redo.READ_ONLY or (tool.redo is Redo.KEYED and age < tool.key_lifetime_s)

    # -- record ----------------------------------------------------------------------------------------------

    async def _record_held(
        self, row: approvals.HeldCall, ended: ToolResult | ActionError, latency_ms: int | None, attempt: int
    ) -> HeldView:
        tenant = TenantId(row.tenant)
        self._door.observer.tool_call(
            call_id=row.call_id,
            tool=ToolName(row.tool),
            status="failed" if isinstance(ended, ActionError) else "executed",
            latency_ms=latency_ms or 0,
        )
        await self._door.writer.run(lambda conn: running.record(conn, self._door, row, ended, latency_ms, attempt))
        return await self._view(tenant, row.held_id)

    async def settle_doubt(self, tenant: TenantId, held_id: str, by: str, done: bool, note: str) -> HeldView:
        """A person looked at the provider and says what became of a call in doubt. Audited with their name."""
        await self._door.writer.run(
            lambda conn: running.settle_doubt(conn, self._door, tenant, held_id, by, done, note)
        )
        return await self._view(tenant, held_id)

    # -- actions: the only place where one is run --------------------------------------------------------------

    async def _perform(self, tool: Tool, ctx: CallContext, arguments: Args) -> ToolResult | ActionError:
        """Run the action; what certainly did not happen is tried again a few times. Raises nothing.

        All tries together take at most `Timings.action`: whoever takes over counts on silence after that.
        """
        end = time.monotonic() + self._door.timings.action
        for pause in (*self._door.timings.retry_pauses, None):
            ended = await self._once(tool.action.run, ctx, arguments, end - time.monotonic())
            if not isinstance(ended, ActionError):
                return ended
            if pause is None or ended.certainty is Certainty.UNKNOWN or not ended.retryable:
                return ended
            if time.monotonic() + pause >= end:
                return ended
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last round returns")

    async def _once(
        self,
        run: Callable[[CallContext, Args], Awaitable[ToolResult]],
        ctx: CallContext,
        arguments: Args,
        seconds: float,
    ) -> ToolResult | ActionError:
        try:
            return await asyncio.wait_for(run(ctx, arguments), seconds)
        except ActionError as error:  # a provider's words may quote a card number
            return ActionError(redact(str(error)), error.certainty, retryable=error.retryable)
        except TimeoutError:
            return ActionError("The provider did not answer in time.", Certainty.UNKNOWN)
        except Exception:  # noqa: BLE001 - whatever it was, the effect may have happened
            log.error("an action raised what it must not raise\n%s", redact(traceback.format_exc()))
            return ActionError(BROKEN, Certainty.UNKNOWN)

    async def _view(self, tenant: TenantId, held_id: str) -> HeldView:
        found = await self.view(tenant, held_id)
        if found is None:
            raise LookupError(f"There is no held call {held_id} in {tenant}.")
        return found

    async def _recorded(self, tenant: TenantId, events: Sequence[Event], outcome: Blocked) -> Blocked:
        try:
            await self._door.writer.run(lambda conn: self._append(conn, events))
        except StoreUnavailable as error:
            log.error("a refusal in %s could not be recorded: %s", tenant, error)
        return outcome
