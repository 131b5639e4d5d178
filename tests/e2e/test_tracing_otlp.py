"""What really leaves the machine as a trace, read from the bytes a loopback collector received."""

from __future__ import annotations

import base64
import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.agent.loop import SegmentId, call_id, run_segment
from bot.agent.spans import NoTrace, Tracing, TurnRef
from bot.agent.tracing import QUEUE, LangfuseTarget, OtelTracing, OtlpTarget
from bot.agent.transcript import Key, Transcript
from bot.ports import UserSaid
from policy.guardrails import redact
from policy.model import TenantId, ToolName
from tests.unit_agent.made import DANA, NOW, Clock, Door, Scripted, call, calls, executed_view, hands, says
from tools.ports import Observer

CARD = "4111 1111 1111 1111"
TURN = "t1"


@dataclass
class Sink:
    """A collector that keeps every byte. While `hold` is cleared it accepts connections and answers nobody."""

    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def spans(self) -> list[Span]:
        found: list[Span] = []
        for _, _, body in self.requests:
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            found += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return found

    def tree(self) -> dict[str, Any]:
        """Every span as its name, nested in its parent; siblings in the order they began."""
        spans = sorted(self.spans(), key=lambda s: (s.start_time_unix_nano, s.name))
        ids = {span.span_id for span in spans}

        def below(parent: bytes) -> dict[str, Any]:
            return {s.name: below(s.span_id) for s in spans if s.parent_span_id == parent}

        assert all(s.parent_span_id in ids or not s.parent_span_id for s in spans), "a span without its parent"
        return below(b"")


@pytest.fixture
def sink() -> Iterator[Sink]:
    kept = Sink()
    kept.hold.set()

    class Collect(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  # the base class's name

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            kept.hold.wait(30)
            kept.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            try:
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
            except OSError:  # the sender gave up long ago
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collect)
    server.daemon_threads = True
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    kept.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Transcript]:
    engine = make_engine(f"sqlite:///{tmp_path / 'agent.sqlite'}")
    SQLModel.metadata.tables["transcript"].create(engine)
    writer = Writer(engine)
    yield Transcript(writer, Key(TenantId("demo"), "slack:T1:C1:1.0", DANA))
    writer.close()
    engine.dispose()


def ref(segment: str = "start") -> TurnRef:
    return TurnRef("demo", TURN, segment, "slack:T1:C1:1.0", str(DANA))


async def start(talk: Transcript, tracing: Tracing, words: str = "refund it", tool: str = "crm_read") -> str:
    model = Scripted(calls(call(tool), text=words), calls(call("refund_issue", "r")), says("It waits."))
    wired = hands(model, Door(), trace=tracing.turn(ref()), clock=Clock(timedelta(seconds=1)))
    result = await run_segment(SegmentId(TURN, "start"), talk, wired, [UserSaid(words)])
    return result.text


async def resume(talk: Transcript, tracing: Tracing, observer: Observer) -> None:
    done = call_id(SegmentId(TURN, "start"), 2, 0)
    observer.tool_call(call_id=done, tool=ToolName("refund.issue"), status="executed", latency_ms=40)
    clock = Clock(timedelta(seconds=1))
    clock.now = NOW + timedelta(hours=1)
    wired = hands(Scripted(says("Paid.")), Door(), trace=tracing.turn(ref("h1")), clock=clock)
    await run_segment(SegmentId(TURN, "h1"), talk, wired, settled=[executed_view()])


def otlp(sink: Sink, redactor: Callable[[str], str] = redact) -> OtelTracing:
    return OtelTracing(redactor, otlp=OtlpTarget(sink.url, {"x-key": "k"}))


def attributes(span: Span) -> dict[str, Any]:
    kinds = {a.key: a.value.WhichOneof("value") for a in span.attributes}
    return {a.key: getattr(a.value, str(kinds[a.key])) for a in span.attributes}


async def test_a_turn_is_one_tree_although_another_process_resumed_it(sink: Sink, talk: Transcript) -> None:
    first, second = otlp(sink), otlp(sink)
    await start(talk, first)
    first.close()
    await resume(talk, second, second)
    second.close()
    assert sink.tree() == {
        "invoke_agent countersign": {
            "approval refund.issue": {},
            "chat scripted": {},
            "execute_tool crm_read": {},
            "execute_tool refund_issue": {},
            "invoke_agent countersign": {"chat scripted": {}},
            "execute_tool refund.issue": {},
        }
    }
    assert len(sink.spans()) == 10
    assert len({span.trace_id for span in sink.spans()}) == 1
    assert {path for path, _, _ in sink.requests} == {"/v1/traces"}
    assert all(headers["x-key"] == "k" for _, headers, _ in sink.requests)


async def test_spans_carry_latency_tokens_and_cost_by_the_genai_conventions(sink: Sink, talk: Transcript) -> None:
    tracing = otlp(sink)
    await start(talk, tracing)
    tracing.close()
    chat = next(s for s in sink.spans() if s.name == "chat scripted")
    told = attributes(chat)
    assert chat.end_time_unix_nano - chat.start_time_unix_nano == 1_000_000_000
    assert chat.kind == Span.SPAN_KIND_CLIENT
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "scripted"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (100, 20)
    assert told["countersign.cost_usd"] == pytest.approx(0.00012)
    assert told["gen_ai.conversation.id"] == "slack:T1:C1:1.0"
    held = attributes(next(s for s in sink.spans() if s.name == "execute_tool refund_issue"))
    assert (held["countersign.status"], held["gen_ai.tool.name"]) == ("held", "refund_issue")
    agent = attributes(next(s for s in sink.spans() if s.name.startswith("invoke_agent")))
    assert (agent["countersign.ending"], agent["countersign.steps"]) == ("answered", 3)
    assert agent["countersign.cost_usd"] == pytest.approx(0.00035)


async def test_no_byte_that_is_sent_holds_what_anybody_said(sink: Sink, talk: Transcript) -> None:
    tracing = OtelTracing(
        redact, otlp=OtlpTarget(sink.url, {}), langfuse=LangfuseTarget("pk-lf-1", "sk-lf-secret", sink.url)
    )
    await start(talk, tracing, words=f"my card is {CARD}, ask Ada Lindqvist", tool=f"pay_{CARD}")
    await resume(talk, tracing, tracing)
    tracing.close()
    assert {path for path, _, _ in sink.requests} == {"/v1/traces", "/api/public/otel/v1/traces"}
    everything = b"".join(body for _, _, body in sink.requests)
    for secret in ("4111", "my card", "Ada", "Lindqvist", "sk-lf-secret", "It waits", "Refunded"):
        assert secret.encode() not in everything
    assert any(s.name == "execute_tool unknown_tool" for s in sink.spans())


async def test_langfuse_gets_what_its_endpoint_wants(sink: Sink, talk: Transcript) -> None:
    tracing = OtelTracing(redact, langfuse=LangfuseTarget("pk-lf-1", "sk-lf-1", sink.url + "/"))
    await start(talk, tracing)
    tracing.close()
    path, headers, _ = sink.requests[0]
    assert path == "/api/public/otel/v1/traces"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"pk-lf-1:sk-lf-1").decode()
    assert headers["x-langfuse-ingestion-version"] == "4"
    assert headers["content-type"] == "application/x-protobuf"
    kinds = {s.name.split()[0]: attributes(s)["langfuse.observation.type"] for s in sink.spans()}
    assert kinds == {"invoke_agent": "agent", "chat": "generation", "execute_tool": "tool"}
    chat = attributes(next(s for s in sink.spans() if s.name.startswith("chat")))
    assert chat["langfuse.observation.cost_details"] == '{"total": 0.00012}'
    assert (chat["session.id"], chat["user.id"]) == ("slack:T1:C1:1.0", "urn:test|dana")


async def test_a_segment_that_is_run_again_reports_the_same_spans(sink: Sink, talk: Transcript) -> None:
    for _ in range(2):
        tracing = otlp(sink)
        await resume(talk, tracing, tracing)
        tracing.close()
    names = [span.name for span in sink.spans()]
    assert len({span.span_id for span in sink.spans()}) == len(set(names)) < len(names)


async def test_a_turn_is_over_before_a_stuck_collector_has_answered_anything(sink: Sink, talk: Transcript) -> None:
    sink.hold.clear()
    tracing = otlp(sink)
    for number in range(QUEUE * 2):  # more than the queue takes: full is no reason to wait either
        tracing.tool_call(call_id=f"t{number}.a.1.0", tool=ToolName("crm.read"), status="executed", latency_ms=1)
    assert await start(talk, tracing) == "It waits."
    assert sink.requests == []
    sink.hold.set()
    tracing.close()
    assert 0 < len(sink.spans()) <= QUEUE + 1_024


async def test_a_dead_collector_changes_nothing(talk: Transcript) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    tracing = OtelTracing(redact, otlp=OtlpTarget(closed, {}), langfuse=LangfuseTarget("pk", "sk", closed))
    assert await start(talk, tracing) == "It waits."
    begun = time.monotonic()
    tracing.close()
    assert time.monotonic() - begun < 10  # bounded at all; how long is `CLOSE_SECONDS`


async def test_a_redactor_that_fails_costs_the_span_and_not_the_turn(sink: Sink, talk: Transcript) -> None:
    def broken(text: str) -> str:
        raise ValueError(text)

    tracing = otlp(sink, broken)
    assert await start(talk, tracing) == "It waits."
    tracing.close()
    assert sink.requests == []


async def test_calls_at_the_door_are_reported_once_with_the_latency_the_door_measured(sink: Sink) -> None:
    from bot.agent.spans import ToolUse

    tracing = otlp(sink)
    turn = tracing.turn(ref())
    turn.at_the_door(("t1.a.1.0",))
    tracing.tool_call(call_id="t1.a.1.0", tool=ToolName("crm.read"), status="executed", latency_ms=40)
    turn.tool(ToolUse("t1.a.1.0", "crm_read", "done", NOW, NOW + timedelta(seconds=9)))
    tracing.close()
    (span,) = sink.spans()
    assert span.end_time_unix_nano - span.start_time_unix_nano == 40_000_000


def test_without_keys_nothing_is_traced_and_no_tracing_sdk_is_imported() -> None:
    quiet: Observer = NoTrace()
    quiet.tool_call(call_id="c", tool=ToolName("crm.read"), status="executed", latency_ms=1)
    code = "import sys, bot.agent.loop, bot.agent.spans; sys.exit(any(m in sys.modules for m in (%s)))"
    modules = "'opentelemetry', 'langfuse', 'anthropic', 'openai'"
    assert subprocess.run([sys.executable, "-c", code % modules], check=False).returncode == 0
