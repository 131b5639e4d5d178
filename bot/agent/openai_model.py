"""OpenAI behind the Model port, over the `openai` SDK: the one file that imports it.

Two models by the API they speak: Responses (OpenAI) and Chat Completions (vLLM and other servers of one's own).
Knows no tool, no person and no environment variable.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never, cast

import httpx2
import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolUnionParam
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
    ResponseInputParam,
    ResponseOutputMessage,
    ResponseReasoningItem,
    ResponseTextDeltaEvent,
    ToolParam,
)

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

_Item: TypeAlias = dict[str, object]


class _OpenAI:
    """What both share: the client, its time-outs, and faults in words for people."""

    provider = "OpenAI"

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
        self._client = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url or "https://api.openai.com/v1",
            max_retries=retries,
            http_client=http_client,
        )

    @property
    def name(self) -> str:
        return self._model

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _faults(self, seconds: float) -> AsyncIterator[httpx2.Timeout]:
        """Everything within takes `seconds` at most, retries included, and fails with `ModelError` alone."""
        try:
            async with asyncio.timeout(seconds):
                yield httpx2.Timeout(seconds, connect=min(10.0, seconds))
        except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException) as error:
            raise timed_out(self.provider) from error
        except openai.APIStatusError as error:
            after = error.response.headers.get("retry-after")
            raise status_fault(
                self.provider, error.status_code, error.code or error.type, error.request_id, after
            ) from error
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            raise unreachable(self.provider) from error
        except openai.APIError as error:  # an error event within a stream
            raise status_fault(self.provider, 500, error.code or error.type, None, None) from error
        except (openai.OpenAIError, ValueError) as error:
            raise garbled(self.provider) from error


# --- Responses --------------------------------------------------------------------------------------


class OpenAIResponses(_OpenAI):
    """A model behind the Responses API. Nothing is stored there: reasoning comes back encrypted and is sent again."""

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        async with self._faults(request.timeout_s) as timeout:
            stream = await self._client.responses.create(
                model=self._model,
                instructions=request.system,
                input=cast("ResponseInputParam", _items(request.messages, self._model)),
                tools=cast("list[ToolParam]", [_flat(offer) for offer in request.tools]),
                include=["reasoning.encrypted_content"],
                max_output_tokens=request.max_tokens,
                store=False,
                stream=True,
                timeout=timeout,
            )
            final: Response | None = None
            async with stream:
                async for event in stream:
                    match event:
                        case ResponseTextDeltaEvent(delta=delta):
                            if on_text is not None:
                                await on_text(delta)
                        case (
                            ResponseCompletedEvent(response=response)
                            | ResponseIncompleteEvent(response=response)
                            | ResponseFailedEvent(response=response)
                        ):
                            final = response
                        case ResponseErrorEvent(code=code):
                            raise status_fault(self.provider, 500, code, None, None)
                        case _:
                            continue
            if final is None:
                raise garbled(self.provider)
            if final.error is not None or final.status in ("failed", "cancelled"):
                raise status_fault(self.provider, 500, final.error.code if final.error else None, None, None)
            return _answer(final, self._model)


def _answer(response: Response, model: str) -> ModelAnswer:
    texts: list[str] = []
    calls: list[ToolCall] = []
    opaque: list[Json] = []
    keep = refused = False
    for item in response.output:
        match item:
            case ResponseOutputMessage():
                refused = refused or any(part.type == "refusal" for part in item.content)
                texts.append("".join(part.text for part in item.content if part.type == "output_text"))
                keep = keep or item.phase is not None
                opaque.append({"message": texts[-1], "phase": item.phase})
            case ResponseFunctionToolCall():
                opaque.append({"call": len(calls)})
                raw = item.arguments
                calls.append(ToolCall(item.call_id, item.name, arguments(raw), raw[:MOST_RAW]))
            case ResponseReasoningItem():
                keep = True
                opaque.append(item.model_dump(mode="json", exclude_none=True))
            case _:
                continue  # items of hosted tools: none is ever offered
    return ModelAnswer(
        "\n".join(filter(None, texts)).strip(),
        tuple(calls),
        _usage(response),
        model,
        _stop(response, refused, bool(calls)),
        opaque if keep else None,
    )


def _stop(response: Response, refused: bool, calls: bool) -> Stop:
    why = response.incomplete_details.reason if response.incomplete_details else None
    if refused or why == "content_filter":
        return Stop.REFUSED
    if response.status == "incomplete":
        return Stop.MAX_TOKENS
    return Stop.TOOLS if calls else Stop.END


def _usage(response: Response) -> Usage:
    used = response.usage
    if used is None:
        raise garbled("OpenAI")
    details = used.input_tokens_details
    cached = getattr(details, "cached_tokens", None) or 0
    stored = getattr(details, "cache_write_tokens", None) or 0
    return Usage(used.input_tokens, used.output_tokens, cached, stored)


def _flat(offer: ToolOffer) -> _Item:
    # Not strict: strict schemas allow no optional argument, and the door validates anyway.
    return {
        "type": "function",
        "name": offer.name,
        "description": offer.description,
        "parameters": offer.input_schema,
        "strict": False,
    }


def _items(messages: Iterable[Message], model: str) -> list[_Item]:
    items: list[_Item] = []
    for message in messages:
        match message:
            case UserSaid() | OthersSaid() | EventHappened():
                items.append({"role": "user", "content": words(message)})
            case ToolReturned(call_id, content, _):
                items.append({"type": "function_call_output", "call_id": call_id, "output": content})
            case AssistantSaid():
                items.extend(_said(message, model))
            case _:
                assert_never(message)
    return items


def _said(message: AssistantSaid, model: str) -> list[_Item]:
    calls: list[_Item] = [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": _written(call)}
        for call in message.calls
    ]
    if message.model != model or not isinstance(message.opaque, list):
        text: list[_Item] = [{"role": "assistant", "content": message.text}] if message.text else []
        return [*text, *calls]
    items: list[_Item] = []
    for part in message.opaque:
        match part:
            case {"call": int(index)}:
                items.append(calls[index])
            case {"message": str(said), "phase": phase}:
                if said:
                    items.append({"role": "assistant", "content": said} | ({"phase": phase} if phase else {}))
            case {"type": "reasoning"}:
                items.append(dict(part))
            case _:
                continue
    return items


def _written(call: ToolCall) -> str:
    """Arguments as they go back. What did not parse goes back as JSON that says so: servers parse it again."""
    return json.dumps({"unparsed": call.raw} if call.arguments is None else call.arguments, ensure_ascii=False)


# --- Chat Completions -------------------------------------------------------------------------------


class OpenAIChat(_OpenAI):
    """A model behind Chat Completions, the API that vLLM and most servers of one's own speak."""

    provider = "The model server"

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        async with self._faults(request.timeout_s) as timeout:
            messages: list[_Item] = [{"role": "system", "content": request.system}, *_turns(request.messages)]
            stream = await self._client.chat.completions.create(
                model=self._model,
                messages=cast("list[ChatCompletionMessageParam]", messages),
                tools=cast("list[ChatCompletionToolUnionParam]", [_nested(offer) for offer in request.tools])
                or openai.omit,
                max_completion_tokens=request.max_tokens,
                stream=True,
                stream_options={"include_usage": True},
                timeout=timeout,
            )
            draft = _Draft()
            async with stream:
                async for chunk in stream:
                    delta = draft.take(chunk)
                    if delta and on_text is not None:
                        await on_text(delta)
            return draft.answer(self._model, lambda: len(json.dumps(messages)))


@dataclass(slots=True)
class _Growing:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Draft:
    """An answer while it streams."""

    text: str = ""
    calls: dict[int, _Growing] = field(default_factory=dict)
    reason: str | None = None
    refused: bool = False
    usage: CompletionUsage | None = None

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Takes in `chunk`; returns the text it added."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self.reason = choice.finish_reason or self.reason
        self._calls(choice.delta)
        self.refused = self.refused or bool(choice.delta.refusal)
        self.text += choice.delta.content or ""
        return choice.delta.content or ""

    def _calls(self, delta: ChoiceDelta) -> None:
        for part in delta.tool_calls or ():
            growing = self.calls.setdefault(part.index, _Growing())
            growing.id = part.id or growing.id
            if part.function is not None:
                growing.name = part.function.name or growing.name
                growing.arguments += part.function.arguments or ""

    def answer(self, model: str, sent: Callable[[], int]) -> ModelAnswer:
        if self.reason is None:
            raise garbled(OpenAIChat.provider)
        calls = tuple(
            ToolCall(call.id or f"call_{index}", call.name, arguments(call.arguments), call.arguments[:MOST_RAW])
            for index, call in sorted(self.calls.items())
        )
        return ModelAnswer(self.text.strip(), calls, self._usage(sent), model, self._stop(bool(calls)))

    def _stop(self, calls: bool) -> Stop:
        if self.refused or self.reason == "content_filter":
            return Stop.REFUSED
        if self.reason == "length":
            return Stop.MAX_TOKENS
        return Stop.TOOLS if calls else Stop.END

    def _usage(self, sent: Callable[[], int]) -> Usage:
        if self.usage is None:  # some servers count nothing: an estimate, rather too high, never nothing
            wrote = len(self.text) + sum(len(call.arguments) for call in self.calls.values())
            return Usage(sent() // 3 + 1, wrote // 3 + 1)
        details = self.usage.prompt_tokens_details
        cached = (details.cached_tokens or 0) if details else 0
        stored = (details.cache_write_tokens or 0) if details else 0
        return Usage(self.usage.prompt_tokens, self.usage.completion_tokens, cached, stored)


def _nested(offer: ToolOffer) -> _Item:
    function: Mapping[str, object] = {
        "name": offer.name,
        "description": offer.description,
        "parameters": offer.input_schema,
    }
    return {"type": "function", "function": function}


def _turns(messages: Iterable[Message]) -> list[_Item]:
    """Turns as chat templates want them: what people and events say in a row is one turn."""
    turns: list[_Item] = []
    for message in messages:
        match message:
            case UserSaid() | OthersSaid() | EventHappened():
                if turns and turns[-1]["role"] == "user":
                    turns[-1]["content"] = f"{turns[-1]['content']}\n\n{words(message)}"
                else:
                    turns.append({"role": "user", "content": words(message)})
            case ToolReturned(call_id, content, _):
                turns.append({"role": "tool", "tool_call_id": call_id, "content": content})
            case AssistantSaid(text, calls):
                turn: _Item = {"role": "assistant", "content": text or None}
                if calls:
                    turn["tool_calls"] = [
                        {
                            "id": call.id,
                            "type": "function",
                            "function": {"name": call.name, "arguments": _written(call)},
                        }
                        for call in calls
                    ]
                if text or calls:
                    turns.append(turn)
            case _:
                assert_never(message)
    return turns
