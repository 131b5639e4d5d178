"""A token that runs out, exchanged for the next one by the SDK's rotator. Knows no store.

A refresh token is good for one use: whoever asks has made sure that nobody else does, and stores what comes back.
"""

from __future__ import annotations

import aiohttp
from slack_sdk.errors import SlackTokenRotationError
from slack_sdk.oauth.installation_store import Bot
from slack_sdk.oauth.token_rotation.async_rotator import AsyncTokenRotator

from bot.ports import SurfaceError
from bot.slack.calls import refusal, web_client

_ALWAYS_MIN = 10 * 365 * 24 * 60
"""When to renew is the caller's decision, not the rotator's."""


class Renewal:
    def __init__(self, client_id: str, client_secret: str, api_url: str | None, timeout_s: int) -> None:
        client = web_client(None, api_url, timeout_s=timeout_s)
        self._rotator = AsyncTokenRotator(client_id=client_id, client_secret=client_secret, client=client)

    async def of(self, bot: Bot) -> Bot:
        """`bot` with its next tokens.

        Raises:
            SurfaceError: Slack gave none, or did not answer. The token there is works until its time is over.
        """
        try:
            renewed = await self._rotator.perform_bot_token_rotation(bot=bot, minutes_before_expiration=_ALWAYS_MIN)
        except SlackTokenRotationError as error:
            raise refusal("oauth.v2.access", error.api_error) from None
        except (TimeoutError, aiohttp.ClientError, OSError):
            raise SurfaceError("Slack did not answer. It is not known whether it has renewed the token.") from None
        except (KeyError, TypeError, ValueError):
            raise SurfaceError("Slack answered the renewal with something that is no token.") from None
        if renewed is None or not renewed.bot_token or not renewed.bot_refresh_token:
            raise SurfaceError("Slack answered the renewal with something that is no token.")
        return renewed
