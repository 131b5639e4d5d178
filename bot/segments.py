"""The durable segments of a turn: start, resume, execute, tell; and what is said when one is given up.

Knows the order: look who it is for now, ask the model, say it once, note it. Each may run again from its
beginning after a crash; the transcript, the ledger and the rows of what was told make that harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.faults import StoreUnavailable
from bot import card_text, store, turn_log
from bot.agent.guarded import Guarded
from bot.agent.loop import Ending, Hands, SegmentId, SegmentResult, Wishes, run_segment
from bot.agent.prompt import offers, system_prompt
from bot.agent.results import event_for, sentence_for
from bot.agent.spans import TurnRef
from bot.agent.spotlight import Spotlight
from bot.agent.transcript import RECEIVED, Key, Transcript, heard
from bot.messages import Room, SurfaceName
from bot.parts import Parts
from bot.ports import Answer, Ask, Source, Stream, UserSaid
from bot.store import TurnRow, TurnStatus
from bot.tell import Teller
from bot.turn_log import START
from bot.voice import Scene, Voice
from bot.work import Later, Segment
from policy.approval import ApprovalStatus
from policy.guardrails import check_answer, check_call, check_tool_output
from policy.model import Principal, TenantId, ToolName
from policy.rollout import action_class
from tools import approvals, views
from tools.approvals import HELD
from tools.held import Blocked, BlockReason, EffectState, Executed, HeldView, Outcome, Proposal, TurnContext
from tools.ports import Notice
from tools.spec import OutputClass, Tool

log = logging.getLogger("countersign.turn")

TIDY_EVERY = timedelta(hours=1)
KEEP_SEEN = timedelta(days=7)
"""Longer than any chat repeats a delivery."""
MOST_SOURCES = 10
"""Of one answer: who reads it wants to check it, not to read a list."""
GONE = "You are no longer in the directory, so nothing more was done."


class TurnSegments:
    """Implements `bot.durable.Segments`."""

    def __init__(self, parts: Parts, teller: Teller) -> None:
        self._parts = parts
        self._teller = teller
        self._voice = Voice(parts)
        self._tidied = parts.clock()

    async def turn_start(self, tenant: TenantId, turn_id: str) -> None:
        row = await self._parts.writer.read(lambda conn: store.turn(conn, tenant, turn_id))
        if row is not None:
            await self._run(row, START, ())

    async def turn_resume(self, tenant: TenantId, held_id: str) -> None:
        """Tell what became of a held call, and of the others of its turn that ended with it."""
        view = await self._parts.gateway.view(tenant, held_id)
        row = (
            None if view is None else await self._parts.writer.read(lambda conn: store.turn(conn, tenant, view.turn_id))
        )
        if view is None or row is None:
            return
        segment = f"{held_id}:{_end_of(view)}"
        settled = await self._parts.writer.run(lambda conn: self._claim_settled(conn, row, segment))
        if settled:
            await self._run(row, segment, settled)

    async def execute(self, tenant: TenantId, held_id: str, revision: int) -> None:
        """Run an approved call as its requester is by the directory now; gone: the door voids it."""
        view = await self._parts.gateway.view(tenant, held_id)
        if view is None:
            return
        who = await self._parts.person(tenant, view.requester)
        token = None
        if who is not None:
            token = self._parts.tokens.mint(
                who, view.tool, self._parts.clock(), approval_id=held_id, jti=f"{held_id}:{revision}"
            )
        await self._parts.gateway.execute(tenant, held_id, revision, token)

    async def tell(self, notice: Notice) -> None:
        await self._teller.tell(notice)

    async def sweep(self) -> None:
        """What is due by the clock: expiries, reminders, and once an hour what nobody needs any more."""
        await self._parts.gateway.expire_due()
        await self._parts.gateway.remind_due()
        now = self._parts.clock()
        if now - self._tidied > TIDY_EVERY:
            self._tidied = now
            await self._parts.writer.run(lambda conn: store.forget_seen(conn, now - KEEP_SEEN))

    async def gave_up(self, segment: Segment, tenant: TenantId, subject_id: str, why: str) -> None:
        """Say it where the request came from, and keep it in the audit."""
        match segment:
            case Segment.TURN_START:
                row = await self._parts.writer.read(lambda conn: store.turn(conn, tenant, subject_id))
                if row is not None:
                    await self._voice.sorry(row)
                event = Event(Kind.TURN_FAILED, tenant, self._parts.clock(), "given_up", detail={"turn_id": subject_id})
            case Segment.TURN_RESUME | Segment.EXECUTE | Segment.TELL:
                event = Event(
                    Kind.NOTICE_GIVEN_UP,
                    tenant,
                    self._parts.clock(),
                    "given_up",
                    detail={"held_id": subject_id, "segment": segment.value, "why": why[:200]},
                )
            case _:
                assert_never(segment)
        await self._parts.gateway.record([event])
        if segment is not Segment.TURN_START:
            view = await self._parts.gateway.view(tenant, subject_id)
            if view is not None:
                await self._teller.could_not(view, _given_up(segment, view))

    # --- one segment --------------------------------------------------------------------------------

    async def _run(self, row: TurnRow, segment: str, settled: tuple[HeldView, ...]) -> None:
        tenant = TenantId(row.tenant)
        surface = self._parts.surfaces.get(SurfaceName(row.surface))
        if surface is None:
            raise Later(f"the chat {row.surface} is not connected")
        if await self._parts.writer.read(lambda conn: store.told(conn, tenant, row.turn_id, segment)):
            return
        who = await self._parts.person(tenant, store.subject_of(row))
        if who is None:
            await self._close(row, segment, None, TurnStatus.FAILED, "gone", None)
            return
        if not await self._parts.holds(who, store.account_of(row)):
            # The account has been given to somebody else since: what is meant for the author is not for them.
            await self._close(row, segment, who, TurnStatus.FAILED, "unlinked", None)
            return
        scene = Scene(row, who, store.thread_of(row), surface, segment)
        stop = await self._parts.stopped(who)
        if stop is not None:
            text = "\n".join([*(sentence_for(view) for view in settled), stop])
            await self._keep_for_later(scene, settled)
            await self._voice.say(scene, None, text)
            await self._close(row, segment, who, TurnStatus.FAILED, "stopped", None)
            return
        await self._converse(scene, settled)

    async def _keep_for_later(self, scene: Scene, settled: tuple[HeldView, ...]) -> None:
        """No model hears of it now. It stands in the transcript, so that the next one does not think it waits."""
        spot = Spotlight()
        events = heard([event_for(view, spot) for view in settled], spot)
        key = Key(scene.tenant, scene.row.session_id, scene.who.subject)
        transcript = Transcript(self._parts.writer, key)
        await transcript.append(scene.row.turn_id, scene.segment, "open", events, self._parts.clock())

    async def _converse(self, scene: Scene, settled: tuple[HeldView, ...]) -> None:
        asks = tuple(
            Ask(card_text.ASK_AGAIN_LABEL, "ask_again", view.held_id)
            for view in settled
            if view.status is ApprovalStatus.EXPIRED
        )
        stream = None if asks else await self._voice.begin(scene)
        try:
            result = await self._ask_model(scene, stream, settled)
        except StoreUnavailable as error:
            await self._voice.apologise(scene, stream, error)
            raise
        answer = Answer(self._sources(result)) if result.by_model else None
        await self._voice.say(scene, stream, result.text, asks, answer)
        failed = result.ending is Ending.MODEL_DOWN
        waiting = bool(result.held)
        status = TurnStatus.FAILED if failed else TurnStatus.WAITING if waiting else TurnStatus.DONE
        await self._close(scene.row, scene.segment, scene.who, status, result.ending.value, result)

    async def _ask_model(self, scene: Scene, stream: Stream | None, settled: tuple[HeldView, ...]) -> SegmentResult:
        parts, policy, who = self._parts, self._parts.policy(scene.who.tenant), scene.who
        tools = [tool for name, tool in parts.catalog.items() if name in policy.roles.tools_of(who.roles)]
        offered = offers(tools)
        key = Key(scene.tenant, scene.row.session_id, who.subject)
        transcript = Transcript(parts.writer, key)
        hands = Hands(
            model=parts.models(action_class(policy.tools[tool.name]) for tool in tools if tool.name in policy.tools),
            system=system_prompt(who, offered, parts.clock().date(), organisation=parts.organisation),
            tools=offered,
            propose=lambda wishes: self._propose(scene, transcript, tools, wishes),
            guard=lambda text: self._guard(who.tenant, text),
            read=lambda text: self._read(who.tenant, text),
            price=parts.price,
            step=parts.durable.step,
            clock=parts.clock,
            trace=parts.tracing.turn(
                TurnRef(scene.tenant, scene.row.turn_id, scene.segment, scene.row.session_id, str(who.subject))
            ),
            bounds=parts.bounds,
            # Where others read along nothing is shown before it is known whether it is for them.
            on_text=stream.add if stream is not None and scene.thread.room is Room.DM else None,
        )
        return await run_segment(SegmentId(scene.row.turn_id, scene.segment), transcript, hands, settled=settled)

    async def _propose(
        self, scene: Scene, transcript: Transcript, tools: Sequence[Tool], wishes: Wishes
    ) -> Sequence[Outcome]:
        """Take the calls of one answer to the door, each with a token of the person as they are now."""
        parts, row = self._parts, scene.row
        who = await parts.person(scene.tenant, scene.who.subject)
        if who is None:
            return [Blocked(wish.call_id, BlockReason.TOKEN, GONE) for wish in wishes.calls]
        now = parts.clock()
        names = {tool.wire_name: tool.name for tool in parts.catalog.values()}
        turn = TurnContext(
            tenant=scene.tenant,
            turn_id=row.turn_id,
            session_id=row.session_id,
            thread_link=row.thread_link,
            asked=await _asked(transcript, row.turn_id),
            # It stands on the card, where others read it: it passes the guard that the answer passes.
            prose=self._guard(who.tenant, wishes.prose).text if wishes.prose.strip() else "",
            exposures=wishes.exposures,
            model=wishes.model or None,
            cost_usd=wishes.cost_usd,
        )
        offered = frozenset(tool.name for tool in tools)
        proposals = []
        for wish in wishes.calls:
            tool = names.get(wish.tool, ToolName(wish.tool))
            token = parts.tokens.mint(who, tool, now, jti=wish.call_id)
            scope = check_call(parts.policy(who.tenant).guardrails, tool, offered)
            away = scope.sentence if scope.stops else None
            proposals.append(Proposal(wish.call_id, tool, wish.arguments, token, away))
        outcomes = await parts.gateway.propose(turn, proposals)
        if any(_is_private(outcome, scene.thread.room) for outcome in outcomes):
            await parts.writer.run(lambda conn: store.set_private(conn, scene.tenant, row.turn_id))
        return outcomes

    def _sources(self, result: SegmentResult) -> tuple[Source, ...]:
        """The records that were really read on the way to this answer, with their reader's own rights."""
        names = {tool.wire_name: tool.name for tool in self._parts.catalog.values()}
        known = [(one.record, names[one.tool]) for one in result.read if one.tool in names]
        return tuple(Source(record.title, f"Read by {tool}.") for record, tool in known)[:MOST_SOURCES]

    def _read(self, tenant: TenantId, text: str) -> Guarded:
        """What a tool returned, before the model reads it: masked, and known if it tries to steer an agent."""
        verdict = check_tool_output(self._parts.policy(tenant).guardrails, text)
        return Guarded(verdict.sentence if verdict.stops else verdict.text, verdict.rules)

    def _guard(self, tenant: TenantId, text: str) -> Guarded:
        verdict = check_answer(self._parts.policy(tenant).guardrails, text)
        return Guarded(verdict.sentence if verdict.stops else verdict.text, verdict.rules)

    # --- noting -------------------------------------------------------------------------------------

    async def _close(
        self,
        row: TurnRow,
        segment: str,
        who: Principal | None,
        status: TurnStatus,
        ending: str,
        result: SegmentResult | None,
    ) -> None:
        """The segment has said what it had to say: it is not run again."""
        parts, tenant, now = self._parts, TenantId(row.tenant), self._parts.clock()
        events = turn_log.finished(row, segment, who, status, ending, result, now)

        def unit(conn: Connection) -> None:
            if store.mark_told(conn, tenant, row.turn_id, segment, now):
                store.set_turn(conn, tenant, row.turn_id, status, now)
                parts.audit.append(conn, events)

        await parts.writer.run(unit)
        self._voice.settled(row.turn_id, segment)

    def _claim_settled(self, conn: Connection, row: TurnRow, segment: str) -> tuple[HeldView, ...]:
        """Calls of this turn that have ended and that no other segment tells; the same ones when run again.

        Run again it claims nothing more: its words may be written already, and a call that ended meanwhile has a
        segment of its own, which would keep silent.
        """
        tenant, now = TenantId(row.tenant), self._parts.clock()
        calls = [views.of(conn, held) for held in store.in_order(approvals.select(conn, tenant, _of_turn(row)))]
        ended = [(view, f"end:{end}") for view in calls if (end := _end_of(view)) is not None]
        tellers = [store.told_by(conn, tenant, view.held_id, what) for view, what in ended]
        if segment in tellers:
            return tuple(view for (view, _), by in zip(ended, tellers, strict=True) if by == segment)
        return tuple(view for view, what in ended if store.mark_told(conn, tenant, view.held_id, what, now, by=segment))


async def _asked(transcript: Transcript, turn_id: str) -> str:
    """The requester's own words, from the transcript."""
    written = await transcript.written(turn_id, START, RECEIVED)
    for seq in () if written is None else written.seqs:
        message = await transcript.at(seq)
        if isinstance(message, UserSaid):
            return message.text
    return ""


def _of_turn(row: TurnRow) -> sa.ColumnElement[bool]:
    return HELD.c.turn_id == row.turn_id


def _end_of(view: HeldView) -> str | None:
    """How a held call ended; None: it has not."""
    match view.status:
        case ApprovalStatus.PENDING:
            return None
        case ApprovalStatus.APPROVED:
            over = view.effect in (EffectState.DONE, EffectState.FAILED, EffectState.IN_DOUBT)
            return f"{view.effect.value}.{view.revision}" if over else None
        case ApprovalStatus.REJECTED | ApprovalStatus.EXPIRED | ApprovalStatus.VOIDED | ApprovalStatus.WITHDRAWN:
            return f"{view.status.value}.{view.revision}"
        case _:
            assert_never(view.status)


def _is_private(outcome: Outcome, room: Room) -> bool:
    """Whether an answer that draws on `outcome` is for the asker alone: among outsiders whatever a tool said."""
    public = isinstance(outcome, Executed) and outcome.result.output_class is OutputClass.PUBLIC
    return room is Room.SHARED or not public


def _given_up(segment: Segment, view: HeldView) -> str:
    match segment:
        case Segment.TELL:
            return card_text.could_not_post(view)
        case Segment.EXECUTE:
            return (
                f"**{view.headline}** was approved, but it could not be carried out for a whole day. Nothing was done."
            )
        case Segment.TURN_RESUME | Segment.TURN_START:
            return card_text.outcome(view)
        case _:
            assert_never(segment)
