"""The bot's own token towards the Bot Connector, by client credentials. Knows Microsoft's login; never logs a token.

See https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from bot.identity.idp_http import IdpHttp, IdpSilent, safe_address, split
from bot.ports import SurfaceError
from bot.settings import Teams

LOGIN: Final = "https://login.microsoftonline.com"
EARLY_S: Final = 300.0
"""A token is renewed so long before it ends."""
_SCOPES: Final = {
    "login.microsoftonline.us": "https://api.botframework.us/.default",
    "login.partner.microsoftonline.cn": "https://api.botframework.azure.cn/.default",
}
"""Clouds whose connector is another audience."""
_SCOPE: Final = "https://api.botframework.com/.default"


class AppToken:
    """One app's token, renewed in time. `clock`: monotonic seconds."""

    def __init__(self, http: IdpHttp, settings: Teams, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._settings = settings
        self._clock = clock
        self._token = ""
        self._renew_at = self._ends_at = float("-inf")
        self._asking = asyncio.Lock()
        self._refused: list[SurfaceError] = []
        """How the last asking ended, if it did not end well. Another list for each asking."""

    async def get(self) -> str:
        """The token.

        Raises:
            SurfaceError: there is none, and Microsoft gives none.
        """
        if self._clock() < self._renew_at:
            return self._token
        before = self._refused
        async with self._asking:  # whoever waited finds the other's answer, a refusal too
            if self._clock() < self._renew_at:
                return self._token
            if self._refused is before:
                await self._try()
            if self._refused and self._clock() >= self._ends_at:
                raise SurfaceError(str(self._refused[0]))
            return self._token

    async def _try(self) -> None:
        try:
            await self._ask()
        except SurfaceError as error:
            self._refused = [error]
        else:
            self._refused = []

    def spoiled(self, token: str) -> None:
        """The connector did not take `token`: the next one is asked for anew."""
        if token == self._token:
            self._renew_at = self._ends_at = float("-inf")

    async def _ask(self) -> None:
        login = safe_address(self._settings.login_url or LOGIN, loopback=True)
        if login is None:
            raise SurfaceError("TEAMS_LOGIN_URL is no address that secrets may be sent to. Write https://HOST.")
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.app_id,
            "client_secret": self._settings.app_password.reveal(),
            "scope": _scope(login),
        }
        url = f"{login.rstrip('/')}/{quote(self._settings.tenant_id, safe='')}/oauth2/v2.0/token"
        asked_at = self._clock()
        try:
            answer = await self._http.post(url, form)
        except IdpSilent as error:
            raise SurfaceError(f"Microsoft's login gave the bot no token: {error}. Nothing was sent.") from None
        token, seconds = answer.body.get("access_token"), answer.body.get("expires_in")
        if answer.status != 200 or not isinstance(token, str) or not token:
            raise SurfaceError(_refused(answer.status))
        lives_s = float(str(seconds)) if str(seconds).isdecimal() else 0.0
        self._token = token
        self._ends_at = asked_at + lives_s
        self._renew_at = asked_at + max(lives_s - EARLY_S, lives_s / 2)


def _scope(login: str) -> str:
    parts = split(login)
    return _SCOPES.get((parts.hostname or "") if parts is not None else "", _SCOPE)


def _refused(status: int) -> str:
    """Its own words are not passed on: they name the app and the tenant, and whoever wrote them may have put more."""
    if status in (400, 401, 403):
        return (
            "Microsoft's login refuses the bot. Nothing was sent. Look at TEAMS_APP_ID, TEAMS_TENANT_ID and whether "
            "TEAMS_APP_PASSWORD has expired."
        )
    return f"Microsoft's login gave the bot no token (HTTP {status}). Nothing was sent."
