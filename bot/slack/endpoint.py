"""Slack's requests over HTTP, at ``/slack/events``: who may be heard at all. Knows signatures, knows no event.

Stands in front of Bolt, which answers 500 to a timestamp that is no number, lets unsigned ``ssl_check`` requests
through and reads control headers that are not signed.
See https://docs.slack.dev/authentication/verifying-requests-from-slack.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qs

from slack_sdk.signature import SignatureVerifier
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

PATH = "/slack/events"
MAX_BODY = 1_000_000
WINDOW_S = 300

Dispatch: TypeAlias = Callable[[str, Mapping[str, str]], Awaitable[Response]]


class SlackEndpoint:
    """Lets a request through to `dispatch` once it is signed, fresh, new and well formed."""

    def __init__(self, signing_secret: str, dispatch: Dispatch, clock: Callable[[], float] = time.time) -> None:
        self._verifier = SignatureVerifier(signing_secret)
        self._dispatch = dispatch
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        """Signatures of requests that were taken, for as long as their timestamps are fresh."""

    async def handle(self, request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _no(413, "The request is too long.")
        text = _text(body)
        if text is None:
            return _no(400, "The body is not text.")
        refusal = self._verify(request, text)
        if refusal is not None:
            return refusal
        signature = request.headers["x-slack-signature"]
        if not self._first_time(signature):
            return _no(403, "This request was delivered before.")
        taken = False
        try:
            if not _well_formed(text, request.headers.get("content-type", "")):
                return _no(400, "The body is not what Slack sends.")
            headers = {"content-type": request.headers.get("content-type", "")}
            response = await self._dispatch(text, headers)
            taken = response.status_code < 500
            return response
        finally:
            if not taken:
                # Slack may deliver it again, within the same second even.
                self._seen.pop(signature, None)

    def _verify(self, request: Request, body: str) -> Response | None:
        stamp = request.headers.get("x-slack-request-timestamp", "")
        signature = request.headers.get("x-slack-signature", "")
        if not re.fullmatch(r"[0-9]{1,12}", stamp, re.ASCII) or not signature.isascii():
            return _no(401, "The request is not signed by Slack.")
        if abs(self._clock() - int(stamp)) > WINDOW_S:
            return _no(401, "The request is too old, or a clock is wrong.")
        expected = self._verifier.generate_signature(timestamp=stamp, body=body)
        if expected is None or not hmac.compare_digest(expected, signature):
            return _no(401, "The request is not signed by Slack.")
        return None

    def _first_time(self, signature: str) -> bool:
        now = self._clock()
        while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW_S:
            self._seen.popitem(last=False)
        if signature in self._seen:
            return False
        self._seen[signature] = now
        return True


async def _body(request: Request) -> bytes | None:
    """The whole body, None when it is longer than anything Slack sends. Stops reading there."""
    taken = bytearray()
    try:
        async for piece in request.stream():
            taken += piece
            if len(taken) > MAX_BODY:
                return None
    except ClientDisconnect:
        return b""
    return bytes(taken)


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _well_formed(text: str, content_type: str) -> bool:
    """Whether it holds one JSON object, or a form whose payload does, read as Bolt will read it."""
    try:
        if content_type.split(";")[0].strip() == "application/json" or text.startswith("{"):
            return isinstance(json.loads(text), dict)
        payload = parse_qs(text, keep_blank_values=True, max_num_fields=100).get("payload")
        return bool(text) and (payload is None or isinstance(json.loads(payload[-1]), dict))
    except (ValueError, RecursionError):
        return False


def _no(status: int, sentence: str) -> Response:
    return PlainTextResponse(sentence, status_code=status)
