"""Turns as OpenTelemetry traces, to Langfuse and to any OTLP endpoint: the one file that imports either SDK.

Knows the GenAI semantic conventions and that every attribute is redacted first. Knows no text of a turn: spans
carry ids, numbers and closed words; whoever may read the words finds them by the ids (invariant 11).
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import set_span_in_context

from bot.agent.spans import Chat, Finished, ToolUse, TurnRef, TurnTrace
from policy.model import ToolName
from tools.held import HeldView

log = logging.getLogger(__name__)

Redact: TypeAlias = Callable[[str], str]
Value: TypeAlias = str | int | float | bool | tuple[str, ...]

QUEUE = 2_048
"""Spans that wait to be sent; beyond that the oldest are dropped."""
EXPORT_SECONDS = 5
EVERY_MS = 2_000
CLOSE_SECONDS = 4.0
FIRST = "start"
"""The segment whose span is the root of a turn's trace."""
AGENT = "countersign"


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """An OTLP/HTTP endpoint, with or without ``/v1/traces``."""

    endpoint: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LangfuseTarget:
    public_key: str
    secret_key: str
    base_url: str = "https://cloud.langfuse.com"


class OtelTracing:
    """Reports turns in the background. A dead or slow server costs the turn nothing: spans wait in a bounded queue
    that another thread empties, and are dropped when it is full."""

    def __init__(
        self,
        redact: Redact,
        *,
        otlp: OtlpTarget | None = None,
        langfuse: LangfuseTarget | None = None,
        service_name: str = AGENT,
    ) -> None:
        self._redact = redact
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": service_name}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._tracer = self._provider.get_tracer(AGENT)
        self._lock = threading.Lock()
        self._door: dict[str, int | None] = {}
        if otlp is not None:
            self._provider.add_span_processor(_otlp(otlp))
        if langfuse is not None:
            self._provider.add_span_processor(_langfuse(langfuse))

    def turn(self, ref: TurnRef) -> TurnTrace:
        return _Turn(self, ref)

    def tool_call(self, *, call_id: str, tool: ToolName, status: str, latency_ms: int) -> None:
        """`tools.ports.Observer`. A call that the loop is about to report itself only leaves its latency here."""
        with self._lock:
            if call_id in self._door:
                self._door[call_id] = latency_ms
                return
        ended = datetime.now(UTC)
        turn_id = call_id.rsplit(".", 3)[0]
        self.emit(
            turn_id,
            f"effect {call_id}",
            f"execute_tool {tool}",
            ended - timedelta(milliseconds=latency_ms),
            ended,
            _tool(call_id, tool, status),
            error=status if status in ("failed", "in_doubt") else None,
        )

    def close(self) -> None:
        """Sends what is left, for `CLOSE_SECONDS` at most."""
        closer = threading.Thread(target=self._provider.shutdown, name="countersign-tracing-close", daemon=True)
        closer.start()
        closer.join(CLOSE_SECONDS)

    def enter_door(self, call_ids: tuple[str, ...]) -> None:
        with self._lock:
            if len(self._door) > QUEUE:  # left behind by turns that broke off
                self._door.clear()
            self._door.update(dict.fromkeys(call_ids))

    def leave_door(self, call_id: str) -> int | None:
        with self._lock:
            return self._door.pop(call_id, None)

    def emit(
        self,
        turn_id: str,
        key: str,
        name: str,
        started: datetime,
        ended: datetime,
        attributes: Mapping[str, Value | None],
        *,
        error: str | None = None,
        parent: str | None = FIRST,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        """One span, after the fact. `parent`: the segment it belongs to; None: it is the root."""
        try:
            clean = {name: self._clean(value) for name, value in attributes.items() if value is not None}
            trace, span_id = _trace_id(turn_id), _span_id(turn_id, key)
            context = None
            if parent is not None:
                flags = TraceFlags(TraceFlags.SAMPLED)
                above = SpanContext(trace, _span_id(turn_id, _segment(parent)), is_remote=True, trace_flags=flags)
                context = set_span_in_context(NonRecordingSpan(above))
            self._ids.next(trace, span_id)
            span = self._tracer.start_span(
                self._redact(name), context=context, kind=kind, attributes=clean, start_time=_ns(started)
            )
            if error is not None:
                span.set_attribute("error.type", self._redact(error))
                span.set_status(Status(StatusCode.ERROR))
            span.end(_ns(max(started, ended)))
        except Exception as fault:  # noqa: BLE001  # a turn never fails because nobody could watch it
            log.warning("A span was lost: %s", type(fault).__name__)

    def _clean(self, value: Value) -> Value:
        if isinstance(value, str):
            return self._redact(value)
        return tuple(self._redact(item) for item in value) if isinstance(value, tuple) else value


class _Turn:
    """One segment's part of its turn's trace."""

    def __init__(self, tracing: OtelTracing, ref: TurnRef) -> None:
        self._tracing = tracing
        self._ref = ref

    def chat(self, chat: Chat) -> None:
        usage = chat.usage
        attributes: dict[str, Value | None] = {
            **self._whose(),
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _provider(chat.model),
            "gen_ai.request.model": chat.model,
            "gen_ai.response.model": None if chat.error else chat.model,
            "gen_ai.response.finish_reasons": None if chat.error else (chat.stop,),
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "langfuse.observation.type": "generation",
            **_cost(chat.cost_usd),
        }
        self._emit(chat.step, f"chat {chat.model}", chat.started, chat.ended, attributes, chat.error, SpanKind.CLIENT)

    def at_the_door(self, call_ids: tuple[str, ...]) -> None:
        self._tracing.enter_door(call_ids)

    def tool(self, use: ToolUse) -> None:
        latency = self._tracing.leave_door(use.call_id)
        ended = use.ended if latency is None else use.started + timedelta(milliseconds=latency)
        attributes = {**self._whose(), **_tool(use.call_id, use.tool, use.status)}
        error = use.status if use.status in ("failed", "in_doubt", "blocked") else None
        self._emit(f"tool {use.call_id}", f"execute_tool {use.tool}", use.started, ended, attributes, error)

    def approval(self, view: HeldView) -> None:
        attributes: dict[str, Value | None] = {
            **self._whose(),
            "gen_ai.tool.name": view.tool,
            "countersign.request.id": view.held_id,
            "countersign.approval.status": view.status.value,
            "countersign.effect.status": view.effect.value,
            "countersign.approval.needed": view.needed,
            "countersign.approval.votes": len(view.votes),
            "langfuse.observation.type": "span",
        }
        ended = view.settled_at or view.created_at
        self._tracing.emit(
            self._ref.turn_id, f"approval {view.held_id}", f"approval {view.tool}", view.created_at, ended, attributes
        )

    def finished(self, segment: Finished) -> None:
        ref = self._ref
        attributes: dict[str, Value | None] = {
            **self._whose(),
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": AGENT,
            "countersign.ending": segment.ending,
            "countersign.steps": segment.steps,
            "countersign.usage.input_tokens": segment.usage.input_tokens,
            "countersign.usage.output_tokens": segment.usage.output_tokens,
            "countersign.cost_usd": float(segment.cost_usd),
            "langfuse.observation.type": "agent",
            "langfuse.trace.name": f"invoke_agent {AGENT}",
        }
        self._tracing.emit(
            ref.turn_id,
            _segment(ref.segment),
            f"invoke_agent {AGENT}",
            segment.started,
            segment.ended,
            attributes,
            error=segment.ending if segment.ending == "model_down" else None,
            parent=None if ref.segment == FIRST else FIRST,
        )

    def _emit(
        self,
        key: str,
        name: str,
        started: datetime,
        ended: datetime,
        attributes: Mapping[str, Value | None],
        error: str | None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        ref = self._ref
        self._tracing.emit(
            ref.turn_id,
            f"{ref.segment} {key}",
            name,
            started,
            ended,
            attributes,
            error=error,
            parent=ref.segment,
            kind=kind,
        )

    def _whose(self) -> dict[str, Value | None]:
        ref = self._ref
        return {
            "gen_ai.conversation.id": ref.session_id,
            "session.id": ref.session_id,
            "user.id": ref.subject,
            "countersign.tenant": ref.tenant,
            "countersign.turn.id": ref.turn_id,
            "countersign.segment": ref.segment,
        }


class _Ids(IdGenerator):
    """Hands out the ids that were derived, so that a segment run again reports the same span and not a second one."""

    def __init__(self) -> None:
        self._local = threading.local()

    def next(self, trace_id: int, span_id: int) -> None:
        self._local.ids = (trace_id, span_id)

    def generate_trace_id(self) -> int:
        trace_id: int = self._local.ids[0]
        return trace_id

    def generate_span_id(self) -> int:
        span_id: int = self._local.ids[1]
        return span_id


def _trace_id(turn_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"trace {turn_id}".encode()).digest()[:16]) or 1


def _span_id(turn_id: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"span {turn_id} {key}".encode()).digest()[:8]) or 1


def _segment(name: str) -> str:
    return f"segment {name}"


def _ns(moment: datetime) -> int:
    """Exact: a float of seconds has too few digits for microseconds."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _tool(call_id: str, tool: str, status: str) -> dict[str, Value | None]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call_id,
        "countersign.status": status,
        "langfuse.observation.type": "tool",
    }


def _cost(cost: Decimal) -> dict[str, Value | None]:
    return {
        "countersign.cost_usd": float(cost),
        "langfuse.observation.cost_details": json.dumps({"total": float(cost)}),
    }


def _provider(model: str) -> str:
    """Well-known values of ``gen_ai.provider.name``; the house's own servers are named after the house."""
    if model.startswith("claude"):
        return "anthropic"
    return "openai" if model.startswith(("gpt", "o1", "o3", "o4")) else AGENT


def _otlp(target: OtlpTarget) -> SpanProcessor:
    base = target.endpoint.rstrip("/")
    exporter = OTLPSpanExporter(
        endpoint=base if base.endswith("/v1/traces") else f"{base}/v1/traces",
        headers=dict(target.headers),
        timeout=EXPORT_SECONDS,
        compression=Compression.Gzip,
    )
    return BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=EVERY_MS)


def _langfuse(target: LangfuseTarget) -> SpanProcessor:
    # The span processor alone: the whole client keeps process-wide singletons and threads of which we need none.
    from langfuse._client.span_processor import LangfuseSpanProcessor

    return LangfuseSpanProcessor(
        public_key=target.public_key,
        secret_key=target.secret_key,
        base_url=target.base_url.rstrip("/"),
        timeout=EXPORT_SECONDS,
        flush_interval=EVERY_MS / 1_000,
        should_export_span=lambda _: True,
    )
