"""Claude behind the Model port, over the `anthropic` SDK: the one file that imports it.

Knows the Messages API; knows no tool, no person and no environment variable.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

import anthropic
import httpx2
from anthropic.types import (
    MessageDeltaUsage,
    MessageParam,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawMessageStreamEvent,
    TextBlockParam,
    ToolParam,
)
from anthropic.types import Usage as WireUsage

from bot.agent.spotlight import words
from bot.agent.wire import MOST_RAW, arguments, garbled, status_fault, timed_out, unreachable
from bot.ports import (
    AssistantSaid,
    EventHappened,
    Message,
    ModelAnswer,
    ModelRequest,
    OnText,
    OthersSaid,
    Stop,
    ToolCall,
    ToolOffer,
    ToolReturned,
    Usage,
    UserSaid,
)
from policy.model import Json

PROVIDER = "Claude"
_Block: TypeAlias = dict[str, object]
_CACHE: Mapping[str, str] = {"type": "ephemeral"}


class Claude:
    """One Claude model.

    Retries what is worth it within the request's time, never longer. The SDK's own spans are off: ours exist.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str | None = None,
        retries: int = 2,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._model = model
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url or "https://api.anthropic.com",
            max_retries=retries,
            open_telemetry=False,
            http_client=http_client,
        )

    @property
    def name(self) -> str:
        return self._model

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._stream(request, on_text)
        except (TimeoutError, anthropic.APITimeoutError, httpx2.TimeoutException) as error:
            raise timed_out(PROVIDER) from error
        except anthropic.APIStatusError as error:
            after = error.response.headers.get("retry-after")
            raise status_fault(PROVIDER, error.status_code, error.type, error.request_id, after) from error
        except (anthropic.APIConnectionError, httpx2.TransportError) as error:
            raise unreachable(PROVIDER) from error
        except (anthropic.AnthropicError, ValueError) as error:
            raise garbled(PROVIDER) from error

    async def close(self) -> None:
        await self._client.close()

    async def _stream(self, request: ModelRequest, on_text: OnText | None) -> ModelAnswer:
        # The raw stream: the SDK's helper mends broken tool JSON in silence, and a call must be exactly what was said.
        stream = await self._client.messages.create(
            model=self._model,
            max_tokens=request.max_tokens,
            system=[TextBlockParam(type="text", text=request.system, cache_control={"type": "ephemeral"})],
            tools=_tools(request.tools),
            messages=_messages(request.messages, self._model),
            timeout=httpx2.Timeout(request.timeout_s, connect=min(10.0, request.timeout_s)),
            stream=True,
        )
        draft = _Draft()
        async with stream:
            async for event in stream:
                delta = draft.take(event)
                if delta and on_text is not None:
                    await on_text(delta)
        return draft.answer(self._model)


@dataclass(slots=True)
class _Growing:
    """One content block while it streams."""

    block: dict[str, Json]
    json: str = ""


@dataclass(slots=True)
class _Draft:
    """An answer while it streams."""

    blocks: dict[int, _Growing] = field(default_factory=dict)
    stop: str | None = None
    read: int = 0
    wrote: int = 0
    cache_read: int = 0
    cache_write: int = 0
    complete: bool = False

    def take(self, event: RawMessageStreamEvent) -> str:
        """Takes in `event`; returns the text it added."""
        match event.type:
            case "message_start":
                self._count(event.message.usage)
            case "content_block_start":
                return self._begin(event)
            case "content_block_delta":
                return self._grow(event)
            case "message_delta":
                self.stop = event.delta.stop_reason or self.stop
                self._count(event.usage)
            case "message_stop":
                self.complete = True
            case "content_block_stop":
                pass
            case _:
                assert_never(event)
        return ""

    def _begin(self, event: RawContentBlockStartEvent) -> str:
        block = event.content_block
        self.blocks[event.index] = _Growing(block.model_dump(mode="json", exclude_none=True))
        return block.text if block.type == "text" else ""

    def _grow(self, event: RawContentBlockDeltaEvent) -> str:
        growing = self.blocks[event.index]
        delta = event.delta
        match delta.type:
            case "text_delta":
                growing.block["text"] = f"{growing.block.get('text', '')}{delta.text}"
                return delta.text
            case "input_json_delta":
                growing.json += delta.partial_json
            case "thinking_delta":
                growing.block["thinking"] = f"{growing.block.get('thinking', '')}{delta.thinking}"
            case "signature_delta":
                growing.block["signature"] = delta.signature
            case "citations_delta":
                pass
            case _:
                assert_never(delta)
        return ""

    def _count(self, usage: WireUsage | MessageDeltaUsage) -> None:
        """Counts in a delta are totals so far: they replace, they do not add."""
        self.read = self.read if usage.input_tokens is None else usage.input_tokens
        self.wrote = usage.output_tokens or self.wrote
        self.cache_read = usage.cache_read_input_tokens or self.cache_read
        self.cache_write = usage.cache_creation_input_tokens or self.cache_write

    def answer(self, model: str) -> ModelAnswer:
        if not self.complete or self.stop is None:
            raise garbled(PROVIDER)
        texts: list[str] = []
        calls: list[ToolCall] = []
        opaque: list[Json] = []
        for _, growing in sorted(self.blocks.items()):
            block = growing.block
            match block.get("type"):
                case "text":
                    texts.append(str(block.get("text", "")))
                    opaque.append({"type": "text", "text": texts[-1]})
                case "tool_use":
                    opaque.append({"call": len(calls)})
                    calls.append(_call(growing))
                case "thinking" | "redacted_thinking":
                    opaque.append(block)
                case _:
                    continue  # blocks of server tools: none is ever offered
        # Anthropic counts cached tokens beside `input_tokens`; in our Usage they are a part of it.
        usage = Usage(self.read + self.cache_read + self.cache_write, self.wrote, self.cache_read, self.cache_write)
        thought = any(isinstance(b, Mapping) and "thinking" in str(b.get("type")) for b in opaque)
        return ModelAnswer(
            "".join(texts).strip(), tuple(calls), usage, model, _stop(self.stop), opaque if thought else None
        )


def _call(growing: _Growing) -> ToolCall:
    block = growing.block
    name, call_id = str(block.get("name", "")), str(block.get("id", ""))
    if growing.json:
        return ToolCall(call_id, name, arguments(growing.json), growing.json[:MOST_RAW])
    given = block.get("input")
    return ToolCall(call_id, name, dict(given) if isinstance(given, Mapping) else None)


def _stop(reason: str) -> Stop:
    match reason:
        case "tool_use":
            return Stop.TOOLS
        case "max_tokens" | "model_context_window_exceeded":
            return Stop.MAX_TOKENS
        case "refusal":
            return Stop.REFUSED
        case _:
            return Stop.END


def _tools(offers: tuple[ToolOffer, ...]) -> list[ToolParam]:
    """The last one carries the cache mark: everything up to it is cached together."""
    tools: list[dict[str, object]] = [
        {"name": offer.name, "description": offer.description, "input_schema": offer.input_schema} for offer in offers
    ]
    if tools:
        tools[-1]["cache_control"] = _CACHE
    return tools  # type: ignore[return-value]  # the SDK's TypedDict; input_schema is checked where tools are made


def _messages(messages: Iterable[Message], model: str) -> list[MessageParam]:
    """Alternating turns. Results come first in the turn that follows their calls; the last block is a cache mark."""
    turns: list[tuple[str, list[_Block]]] = []
    for message in messages:
        role, blocks = _turn(message, model)
        if not blocks:
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if turns and turns[-1][0] == "user":
        turns[-1][1][-1]["cache_control"] = _CACHE
    return [{"role": role, "content": blocks} for role, blocks in turns]  # type: ignore[misc]  # as above


def _turn(message: Message, model: str) -> tuple[str, list[_Block]]:
    match message:
        case UserSaid() | OthersSaid() | EventHappened():
            return "user", _text(words(message))
        case ToolReturned(call_id, content, is_error):
            result: _Block = {"type": "tool_result", "tool_use_id": _id(call_id), "content": content or "(nothing)"}
            if is_error:
                result["is_error"] = True
            return "user", [result]
        case AssistantSaid():
            return "assistant", _said(message, model)
        case _:
            assert_never(message)


def _said(message: AssistantSaid, model: str) -> list[_Block]:
    calls: list[_Block] = [
        {
            "type": "tool_use",
            "id": _id(call.id),
            "name": call.name,
            "input": {"unparsed": call.raw} if call.arguments is None else call.arguments,
        }
        for call in message.calls
    ]
    if message.model != model or not isinstance(message.opaque, list):
        return [*_text(message.text), *calls]
    blocks: list[_Block] = []
    for part in message.opaque:
        match part:
            case {"call": int(index)}:
                blocks.append(calls[index])
            case {"type": "text", "text": str(text)}:
                blocks.extend(_text(text))
            case {"type": "thinking" | "redacted_thinking"}:
                blocks.append(dict(part))
            case _:
                continue
    return blocks


def _text(text: str) -> list[_Block]:
    """The API refuses empty text."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _id(call_id: str) -> str:
    """Another provider's id in a form this API takes."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", call_id)
