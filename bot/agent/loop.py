"""One segment of a turn: model <-> door until there is something to say. Bounded in steps, tokens and time.

Knows the order of things and what has to be memoised; knows no SDK, no chat, no queue and no policy. Every call
meets the door through `propose`; nothing here runs a tool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from bot.agent.guarded import Guard, Guarded, GuardedStream, unguarded
from bot.agent.history import without_tools
from bot.agent.readings import Reading, noted, readings
from bot.agent.results import Told, event_for, not_run, record_of, sentence_for, tell
from bot.agent.spans import Chat, Finished, ToolUse, TurnTrace
from bot.agent.spotlight import Spotlight
from bot.agent.steps import Step as Step
from bot.agent.steps import StepResult as StepResult
from bot.agent.steps import listed, number, word
from bot.agent.transcript import Entry, Heard, Transcript, heard
from bot.ports import (
    AssistantSaid,
    Model,
    ModelAnswer,
    ModelError,
    ModelRequest,
    OnText,
    Stop,
    ToolCall,
    ToolOffer,
    ToolReturned,
    Usage,
)
from policy.model import Json
from tools.held import HeldView, Outcome


@dataclass(frozen=True, slots=True)
class Wish:
    """One call the model asks for. `call_id` is the same however often the segment is run again."""

    call_id: str
    tool: str
    """As the model spells it, e.g. ``crm_read``; whether there is such a tool is the door's to say."""
    arguments: Mapping[str, Json] | None
    """None: the model's JSON did not parse. The door refuses and records it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """All calls of one answer, and what the approval rows keep beside them."""

    calls: tuple[Wish, ...]
    prose: str
    exposures: tuple[str, ...]
    model: str
    cost_usd: Decimal
    """Of the turn so far."""


Propose: TypeAlias = Callable[[Wishes], Awaitable[Sequence[Outcome]]]
"""Mints a token for each call and takes all of them to the door; one outcome for each, in their order."""

Price: TypeAlias = Callable[[str, Usage], Decimal]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one segment may cost."""

    steps: int = 8
    """Answers of the model."""
    calls: int = 12
    """Calls in one answer; more are not handed to the door."""
    tokens: int = 200_000
    """Read and written by the model, all steps together."""
    seconds: float = 120.0
    answer_tokens: int = 4_096
    answer_seconds: float = 60.0
    window: int = 60_000
    """Tokens of transcript that a request carries."""


class Ending(StrEnum):
    """How a segment ended. Closed: the audit stores these words."""

    ANSWERED = "answered"
    CUT = "cut"
    REFUSED = "refused"
    MODEL_DOWN = "model_down"
    OUT_OF_STEPS = "out_of_steps"
    OUT_OF_TOKENS = "out_of_tokens"
    OUT_OF_TIME = "out_of_time"


@dataclass(frozen=True, slots=True)
class SegmentId:
    turn_id: str
    segment: str
    """Unique within the turn: ``start``, or the id of the held call that was settled."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What a segment works with, wired by `bot.turn`."""

    model: Model
    system: str
    tools: tuple[ToolOffer, ...]
    propose: Propose
    guard: Guard
    price: Price
    step: Step
    clock: Callable[[], datetime]
    trace: TurnTrace
    read: Guard = unguarded
    """`policy.guardrails` on what a tool returned, before the model or the transcript sees it."""
    bounds: Bounds = field(default_factory=Bounds)
    on_text: OnText | None = None


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """What came of a segment. Holds text: a durable workflow must not return it as it is (invariant 11)."""

    ending: Ending
    text: str
    """For the person, guarded. Never empty."""
    seq: int
    """Where the text stands in the transcript."""
    held: tuple[str, ...]
    """Held calls this segment made."""
    usage: Usage
    cost_usd: Decimal
    models: tuple[str, ...]
    steps: int
    exposures: tuple[str, ...]
    findings: tuple[str, ...]
    """What the output guard found; the text above has been mended."""
    read: tuple[Reading, ...] = ()
    """What its calls were answered from, each once, in the order it was read."""

    @property
    def by_model(self) -> bool:
        """Whether `text` is a model's; else it is our own word on why there is none."""
        return self.ending in (Ending.ANSWERED, Ending.CUT)


def call_id(at: SegmentId, step: int, index: int) -> str:
    """The door's id of a call: stable across replays, unlike across turns whatever ids a model uses."""
    segment = hashlib.sha256(at.segment.encode()).hexdigest()[:8]
    return f"{at.turn_id}.{segment}.{step}.{index}"


def turn_of(call: str) -> str:
    """The turn that made `call`."""
    return call.rsplit(".", 3)[0]


async def run_segment(
    at: SegmentId,
    transcript: Transcript,
    hands: Hands,
    opening: Sequence[Heard] = (),
    settled: Sequence[HeldView] = (),
) -> SegmentResult:
    """Runs one segment to its end and returns what to say.

    First takes in what was `transcript.receive`d for this segment, then `opening`, then an event for each of
    `settled`. Model faults end in a plain sentence; the transcript stays whole, so that any later message goes on
    from there.

    Raises:
        audit.writer.StoreUnavailable: the database; nothing was proposed that is not noted at the door.
        Exception: whatever `propose` or `step` raise.
    """
    return await _Run(at, transcript, hands, tuple(settled)).run(tuple(opening))


_SORRY = {
    Ending.OUT_OF_STEPS: "I stopped here: this took more steps than one request may take.",
    Ending.OUT_OF_TOKENS: "I stopped here: this took more text than one request may take.",
    Ending.OUT_OF_TIME: "I stopped here: this took longer than one request may take.",
}
_AFTER = (
    "Nothing more was done. What already waits for approval keeps waiting. Write to me again and I go on from here."
)
_CUT = "(My answer was cut off here because it grew too long. Write “go on” for the rest.)"
_DECLINED = "The model declined to answer this. Nothing was done. Put it another way, or do this step yourself."
_SILENT = "The model gave no answer. Nothing was done. Try again, or put it another way."


class _Run:
    """The state of one segment. Rebuilt from step results alone when it is run again."""

    def __init__(self, at: SegmentId, transcript: Transcript, hands: Hands, settled: tuple[HeldView, ...]) -> None:
        self.at, self.transcript, self.hands, self.settled = at, transcript, hands, settled
        self.spot = Spotlight()
        self.usage = Usage(0, 0)
        self.cost = Decimal(0)
        self.models: dict[str, None] = {}
        self.held: list[str] = []
        self.read: dict[Reading, None] = {}
        self.started = hands.clock()

    async def run(self, opening: tuple[Heard, ...]) -> SegmentResult:
        opened = await self.hands.step("open", lambda: self._open(opening))
        self.started = datetime.fromisoformat(word(opened, "at"))
        for n in range(1, self.hands.bounds.steps + 1):
            asked = await self.hands.step(f"model.{n}", lambda n=n: self._ask(n))  # type: ignore[misc]  # bound now
            self._count(asked)
            ending = word(asked, "ending")
            if ending:
                return await self._finish(Ending(ending), asked, n)
            did = await self.hands.step(f"tools.{n}", lambda n=n, a=asked: self._use(n, a))  # type: ignore[misc]
            self.held.extend(map(str, listed(did, "held")))
            self.read.update(dict.fromkeys(readings(did)))
        asked = await self.hands.step("stop", lambda: self._stop(Ending.OUT_OF_STEPS, "stop"))
        return await self._finish(Ending.OUT_OF_STEPS, asked, self.hands.bounds.steps)

    # --- steps: each may be run again, and then finds what it wrote -------------------------------------

    async def _open(self, opening: tuple[Heard, ...]) -> StepResult:
        events = tuple(event_for(view, self.spot) for view in self.settled)
        now = self.hands.clock()
        seqs = await self.transcript.open(
            self.at.turn_id, self.at.segment, "open", heard((*opening, *events), self.spot), now
        )
        for view in self.settled:
            self.hands.trace.approval(view)
        return {"seqs": list(seqs), "at": now.isoformat()}

    async def _ask(self, n: int) -> StepResult:
        step = f"model.{n}"
        before = await self.transcript.written(self.at.turn_id, self.at.segment, step)
        if before is not None:
            return {**before.note, "seq": before.seqs[0]}
        bounds = self.hands.bounds
        if self.usage.input_tokens + self.usage.output_tokens >= bounds.tokens:
            return await self._stop(Ending.OUT_OF_TOKENS, step)
        left = timedelta(seconds=bounds.seconds) - (self.hands.clock() - self.started)
        if left <= timedelta(0):
            return await self._stop(Ending.OUT_OF_TIME, step)
        try:
            answer, cost = await self._answer(step, min(bounds.answer_seconds, left.total_seconds()))
        except ModelError as error:
            return await self._stop(Ending.MODEL_DOWN, step, str(error))
        return await self._keep(step, answer, cost)

    async def _answer(self, step: str, seconds: float) -> tuple[ModelAnswer, Decimal]:
        loaded = await self.transcript.load(self.hands.bounds.window)
        messages = loaded.messages if self.hands.tools else without_tools(loaded.messages)
        request = ModelRequest(self.hands.system, messages, self.hands.tools, self.hands.bounds.answer_tokens, seconds)
        on_text = None
        if self.hands.on_text is not None:
            on_text = GuardedStream(self.hands.guard, self.hands.on_text).add
        begun = self.hands.clock()
        try:
            answer = await self.hands.model.answer(request, on_text)
            cost = self.hands.price(answer.model, answer.usage)
        except ModelError as error:
            word = "transient" if error.transient else "permanent"
            chat = Chat(step, self.hands.model.name, begun, self.hands.clock(), Usage(0, 0), Decimal(0), "error", word)
            self.hands.trace.chat(chat)
            raise
        ended = self.hands.clock()
        self.hands.trace.chat(Chat(step, answer.model, begun, ended, answer.usage, cost, answer.stop.value))
        return answer, cost

    async def _keep(self, step: str, answer: ModelAnswer, cost: Decimal) -> StepResult:
        said, ending, findings = self._said(answer)
        note: dict[str, Json] = {
            "ending": str(ending),
            "calls": len(said.calls),
            "cut": answer.stop is Stop.MAX_TOKENS,
            "model": answer.model,
            "usage": [
                answer.usage.input_tokens,
                answer.usage.output_tokens,
                answer.usage.cache_read_tokens,
                answer.usage.cache_write_tokens,
            ],
            "cost": format(cost, "f"),
            "findings": list(findings),
        }
        return await self._write(step, said, note)

    def _said(self, answer: ModelAnswer) -> tuple[AssistantSaid, str, tuple[str, ...]]:
        """What is kept of an answer, how the segment ends with it ("" when it goes on), and the guard's findings."""
        if answer.stop is Stop.REFUSED:
            return AssistantSaid(_DECLINED, model=answer.model), Ending.REFUSED, ()
        if answer.calls:
            return AssistantSaid(answer.text, answer.calls, answer.opaque, answer.model), "", ()
        guarded = self.hands.guard(answer.text) if answer.text.strip() else Guarded(_SILENT)
        text, ending = guarded.text, Ending.ANSWERED
        if answer.stop is Stop.MAX_TOKENS:
            text, ending = f"{text}\n\n{_CUT}", Ending.CUT
        # What the provider wants back verbatim would bring back what the guard took out.
        opaque = answer.opaque if text == answer.text else None
        return AssistantSaid(text, (), opaque, answer.model), ending, guarded.findings

    async def _use(self, n: int, asked: StepResult) -> StepResult:
        step = f"tools.{n}"
        before = await self.transcript.written(self.at.turn_id, self.at.segment, step)
        if before is not None:
            return before.note
        answer = await self.transcript.at(number(asked, "seq"))
        calls = answer.calls if isinstance(answer, AssistantSaid) else ()
        if not calls:
            return {"held": []}  # erased meanwhile: there is nothing left to do
        told = await self._told(n, calls, answer.text if isinstance(answer, AssistantSaid) else "", asked)
        read = (Reading(call.name, one) for call, t in zip(calls, told, strict=True) for one in t.records)
        note: dict[str, Json] = {"held": [t.held_id for t in told if t.held_id is not None], "read": noted(read)}
        entries = [
            Entry(ToolReturned(call.id, t.content, t.is_error), t.exposure, note)
            for call, t in zip(calls, told, strict=True)
        ]
        await self.transcript.append(self.at.turn_id, self.at.segment, step, entries, self.hands.clock())
        return note

    async def _told(self, n: int, calls: tuple[ToolCall, ...], prose: str, asked: StepResult) -> list[Told]:
        if asked.get("cut") is True:
            why = "Your answer was cut off, so its calls may be incomplete. None was run. Make fewer calls at a time."
            return [not_run(why) for _ in calls]
        most = self.hands.bounds.calls
        wishes = tuple(
            Wish(call_id(self.at, n, index), call.name, call.arguments) for index, call in enumerate(calls[:most])
        )
        loaded = await self.transcript.load(self.hands.bounds.window)
        begun = self.hands.clock()
        self.hands.trace.at_the_door(tuple(wish.call_id for wish in wishes))
        outcomes = await self.hands.propose(Wishes(wishes, prose, loaded.exposures, word(asked, "model"), self.cost))
        ended = self.hands.clock()
        offered = {offer.name for offer in self.hands.tools}
        told: list[Told] = []
        for wish, outcome in zip(wishes, outcomes, strict=True):
            one = tell(outcome, wish.tool, self.spot, self.hands.read, record=record_of(wish.arguments or {}))
            # A name that nobody offered is free text by the model.
            name = wish.tool if wish.tool in offered else "unknown_tool"
            self.hands.trace.tool(ToolUse(wish.call_id, name, one.status, begun, ended))
            told.append(one)
        told.extend(not_run(f"Not run: at most {most} calls in one answer.") for _ in calls[most:])
        return told

    async def _stop(self, ending: Ending, step: str, sentence: str = "") -> StepResult:
        """Ends without asking the model: what people need to know is said in our own words."""
        before = await self.transcript.written(self.at.turn_id, self.at.segment, step)
        if before is not None:
            return {**before.note, "seq": before.seqs[0]}
        parts = [sentence_for(view) for view in self.settled]
        parts.append(f"{sentence or _SORRY[ending]} {_AFTER}")
        said = AssistantSaid(self.hands.guard("\n".join(parts)).text)
        return await self._write(step, said, {"ending": str(ending), "calls": 0, "usage": [0, 0, 0, 0], "cost": "0"})

    async def _write(self, step: str, said: AssistantSaid, note: Mapping[str, Json]) -> StepResult:
        seqs = await self.transcript.append(
            self.at.turn_id, self.at.segment, step, [Entry(said, note=note)], self.hands.clock()
        )
        return {**note, "seq": seqs[0]}

    # --- outside steps: from step results alone ---------------------------------------------------------

    def _count(self, asked: StepResult) -> None:
        counted = [n if isinstance(n, int) else 0 for n in listed(asked, "usage")]
        if counted:
            self.usage = Usage(*map(sum, zip(astuple(self.usage), counted, strict=True)))
        self.cost += Decimal(word(asked, "cost") or "0")
        if model := word(asked, "model"):
            self.models[model] = None

    async def _finish(self, ending: Ending, asked: StepResult, steps: int) -> SegmentResult:
        seq = number(asked, "seq")
        text = await self.transcript.text(seq)
        loaded = await self.transcript.load(self.hands.bounds.window)
        done = Finished(self.started, self.hands.clock(), ending.value, self.usage, self.cost, steps)
        self.hands.trace.finished(done)
        return SegmentResult(
            ending=ending,
            text=text or "What I had to say has been erased meanwhile.",
            seq=seq,
            held=tuple(self.held),
            usage=self.usage,
            cost_usd=self.cost,
            models=tuple(self.models),
            steps=steps,
            exposures=loaded.exposures,
            findings=tuple(map(str, listed(asked, "findings"))),
            read=tuple(self.read),
        )
