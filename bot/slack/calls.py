"""Calls of Slack's Web API: one result, one error. Knows no card and no thread.

Every failure comes out as `SurfaceError` with a sentence for people; nothing of a request is logged.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncConnectionErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.payload import Body
from bot.ports import SurfaceError
from policy.model import Json

DEFAULT_API_URL = "https://slack.com/api/"

SDK_LOG = logging.getLogger("bot.slack.sdk")
SDK_LOG.setLevel(logging.INFO)
"""Never DEBUG: there the SDK logs whole messages (invariant 11)."""

_GONE = frozenset(
    {
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
        "channel_not_found",
        "is_archived",
        # Nobody reads there any more: whoever has an account in another chat is written to in that one.
        "user_disabled",
        "user_not_found",
        "users_not_found",
    }
)
_MENDS = {
    "not_in_channel": "The bot is not a member of the channel: invite it there with /invite.",
    "channel_not_found": "The channel does not exist, or the bot was never invited to it.",
    "is_archived": "The channel is archived.",
    "message_not_found": "The message does not exist any more.",
    "user_disabled": "The account is deactivated.",
    "user_not_found": "There is no such account in the workspace.",
    "invalid_auth": "The bot's token is not valid: check SLACK_BOT_TOKEN, or install the app anew.",
    "invalid_refresh_token": "It was used before: if it stays so, install the app anew.",
    "token_expired": "The bot's token has run out: switch token rotation off, or install the app at /slack/install.",
    "bad_client_secret": "Check SLACK_CLIENT_SECRET.",
    "invalid_client_id": "Check SLACK_CLIENT_ID.",
    "not_authed": "The bot's token is missing: check SLACK_BOT_TOKEN.",
    "account_inactive": "The app was removed from the workspace, or the workspace is gone.",
    "token_revoked": "The bot's token was revoked: install the app anew.",
    "missing_scope": "The app lacks a permission: install it anew with the manifest of this version.",
    "restricted_action": "A workspace setting forbids it.",
}
RATE_LIMITED = "ratelimited"
SPOILED = frozenset({"account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"})
"""The token is good for nothing any more, whatever is asked with it."""

JSON_METHODS = frozenset(
    {
        "agents.sessions.setStatus",
        "assistant.threads.setStatus",
        "chat.appendStream",
        "chat.delete",
        "chat.postEphemeral",
        "chat.postMessage",
        "chat.startStream",
        "chat.stopStream",
        "chat.update",
        "conversations.open",
        "views.open",
        "views.publish",
    }
)
FORM_METHODS = frozenset(
    {
        "api.test",
        "auth.revoke",
        "auth.test",
        "chat.getPermalink",
        "conversations.info",
        "conversations.members",
        "users.conversations",
        "users.info",
    }
)
"""Methods that take no JSON body. With `JSON_METHODS` and `SDK_METHODS` these are all that this package calls (see
manifest.yml)."""
SDK_METHODS = frozenset({"apps.connections.open", "oauth.v2.access"})
"""Called by the SDK for us: Socket Mode; installing, and renewing tokens."""


class Refused(SurfaceError):
    """Slack answered, with an error `code` of its documentation."""

    def __init__(self, method: str, code: str, *, retry_after_s: float | None = None) -> None:
        mend = _MENDS.get(code, "")
        sentence = f"Slack refused {method} ({code}). {mend}".rstrip()
        super().__init__(sentence, retry_after_s=retry_after_s, gone=code in _GONE)
        self.code = code


def web_client(token: str | None, api_url: str | None, *, timeout_s: int = 10) -> AsyncWebClient:
    """A client that sends a request again only where the connection was refused, so never one that may have arrived."""
    return _Client(
        token=token,
        base_url=(api_url or DEFAULT_API_URL).rstrip("/") + "/",
        timeout=timeout_s,
        retry_handlers=[AsyncConnectionErrorRetryHandler(1, error_types=[aiohttp.ClientConnectorError])],
        logger=SDK_LOG,
    )


class _Client(AsyncWebClient):
    """The SDK's client, which names itself to ``oauth.v2.access`` in a way that the next aiohttp drops."""

    async def api_call(self, api_method: str, **more: Any) -> AsyncSlackResponse:
        auth = more.get("auth")
        if isinstance(auth, dict):
            named = f"{auth['client_id']}:{auth['client_secret']}".encode()
            headers = {**(more.get("headers") or {}), "Authorization": "Basic " + base64.b64encode(named).decode()}
            more = {**more, "auth": None, "headers": headers}
        return await super().api_call(api_method, **more)


class Calls:
    """The Web API with one token."""

    def __init__(self, client: AsyncWebClient, spoiled: Callable[[], None] | None = None) -> None:
        """`spoiled`: told when Slack does not take the token any more."""
        self.client = client
        self._spoiled = spoiled

    async def call(self, method: str, args: Mapping[str, Json], *, patience_s: float = 0) -> Body:
        """The answer's body.

        Args:
            patience_s: how long it may wait, in all, where Slack asks to come back later.

        Raises:
            Refused: Slack said no; `retry_after_s` is set when it was too often.
            SurfaceError: Slack could not be reached or answered something that is not its protocol.
        """
        if method not in JSON_METHODS | FORM_METHODS:
            raise ValueError(f"{method} is not in the list that manifest.yml's permissions are checked against")
        while True:
            try:
                return await self._once(method, args)
            except Refused as refused:
                if refused.code in SPOILED and self._spoiled is not None:
                    self._spoiled()
                wait = refused.retry_after_s
                if wait is None or wait > patience_s:
                    raise
                patience_s -= wait
                await asyncio.sleep(wait)

    async def _once(self, method: str, args: Mapping[str, Json]) -> Body:
        try:
            if method in JSON_METHODS:
                sent = {name: value for name, value in args.items() if value is not None}
                response = await self.client.api_call(method, json=sent)
            else:
                response = await self.client.api_call(method, data=_form(args))
        except SlackApiError as error:
            raise refusal(method, error) from None
        except (TimeoutError, aiohttp.ClientError, OSError):
            raise SurfaceError("Slack did not answer. It is not known whether the message arrived.") from None
        if not isinstance(response.data, Mapping):
            raise SurfaceError("Slack answered something that is not JSON.")
        return response.data


def _form(args: Mapping[str, Json]) -> dict[str, str]:
    form: dict[str, str] = {}
    for name, value in args.items():
        match value:
            case None:
                continue
            case str():
                form[name] = value
            case bool():
                form[name] = "true" if value else "false"
            case _:
                form[name] = json.dumps(value, ensure_ascii=False)
    return form


def refusal(method: str, error: SlackApiError) -> SurfaceError:
    """What the SDK's error says."""
    response: object = error.response
    status = getattr(response, "status_code", getattr(response, "status", None))
    data: object = getattr(response, "data", None)
    code = str(data.get("error") or "") if isinstance(data, Mapping) else ""
    if status == 429 or code == RATE_LIMITED:
        return Refused(method, RATE_LIMITED, retry_after_s=_seconds(getattr(response, "headers", None)))
    if not code:
        return SurfaceError(f"Slack answered {method} with HTTP {status} and no reason.")
    return Refused(method, code)


def _seconds(headers: object) -> float:
    """``Retry-After`` in seconds, one where it says nothing that can be read."""
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            if str(name).lower() == "retry-after":
                text = str(value[0] if isinstance(value, list) and value else value)
                return float(text) if text.isdecimal() else 1.0
    return 1.0
