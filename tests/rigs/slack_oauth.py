"""``oauth.v2.access`` of Slack, which local-slack lacks: codes and single-use refresh tokens. A stand-in, said so.

Also answers the few methods an installation needs (auth.test, auth.revoke, api.test); what else comes goes on to the
workspace whose token it carries, so that a token used for another workspace shows. By docs.slack.dev/authentication.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.rigs.local_slack import BOT, BOT_TOKEN

CLIENT_ID, CLIENT_SECRET = "111.222", "the-app's-secret"


@dataclass
class Team:
    """A workspace that could install the app. `api_url`: the local-slack that plays it, where one does."""

    team: str
    enterprise: str = ""
    api_url: str | None = None
    expires_in: int | None = None
    """Seconds a token lives; None: token rotation is off."""
    org_wide: bool = False
    tokens: set[str] = field(default_factory=set)
    """What is valid now."""
    refresh: str = ""


class SlackOAuth:
    """`calls`: every method with the team whose token it carried."""

    def __init__(self) -> None:
        self.teams: dict[str, Team] = {}
        self.codes: dict[str, str] = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.spent: list[str] = []
        """Refresh tokens that came a second time."""
        self.down = False
        self.slow_s = 0.0
        self.api_url = ""
        self._count = itertools.count(1)

    def add(self, team: Team) -> Team:
        self.teams[team.team] = team
        return team

    def code(self, team: str) -> str:
        """Somebody consented in `team`."""
        code = f"code-{team}-{next(self._count)}"
        self.codes[code] = team
        return code

    def asked(self, method: str) -> list[tuple[str, dict[str, Any]]]:
        return [(team, args) for name, team, args in self.calls if name == method]

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[SlackOAuth]:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post("/api/{method}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.api_url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        args = await request.json() if request.content_type == "application/json" else dict(await request.post())
        if self.down:
            return web.Response(status=500, text="upstream is away")
        if method == "oauth.v2.access":
            self.calls.append((method, "", args))
            told = self._access(args, _credentials(request, args))
            await asyncio.sleep(self.slow_s)  # done at once, told late: what is spent is spent
            return web.json_response(told)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        team = next((team for team in self.teams.values() if bearer in team.tokens), None)
        self.calls.append((method, team.team if team else "", args))
        if method == "api.test":
            return web.json_response({"ok": True})
        if team is None:
            known = any(bearer.startswith(f"xoxb-{one}-") for one in self.teams)
            return web.json_response({"ok": False, "error": "account_inactive" if known else "invalid_auth"})
        return web.json_response(await self._answer(team, bearer, method, args))

    def _access(self, args: dict[str, Any], given: tuple[Any, Any]) -> dict[str, Any]:
        if given != (CLIENT_ID, CLIENT_SECRET):
            return {"ok": False, "error": "bad_client_secret"}
        if args.get("grant_type") == "refresh_token":
            team = next((one for one in self.teams.values() if one.refresh == args.get("refresh_token")), None)
            if team is None:
                self.spent.append(str(args.get("refresh_token")))
                return {"ok": False, "error": "invalid_refresh_token"}
        else:
            name = self.codes.pop(str(args.get("code")), None)
            if name is None:
                return {"ok": False, "error": "invalid_code"}
            team = self.teams[name]
        return self._token(team)

    def _token(self, team: Team) -> dict[str, Any]:
        number = next(self._count)
        token = f"xoxb-{team.team}-{number}"
        team.tokens.add(token)
        told: dict[str, Any] = {
            "ok": True,
            "app_id": "A01APP",
            "access_token": token,
            "token_type": "bot",
            "scope": "chat:write,commands",
            "bot_user_id": BOT,
            "team": None if team.org_wide else {"id": team.team, "name": f"Workspace <{team.team}>"},
            "enterprise": {"id": team.enterprise, "name": "Grid"} if team.enterprise else None,
            "is_enterprise_install": team.org_wide,
            "authed_user": {"id": "U07ADA"},
        }
        if team.expires_in is not None:
            team.refresh = f"xoxe-1-{team.team}-{number}"
            told |= {"expires_in": team.expires_in, "refresh_token": team.refresh}
        return told

    async def _answer(self, team: Team, bearer: str, method: str, args: dict[str, Any]) -> dict[str, Any]:
        if method == "auth.revoke":
            team.tokens.discard(bearer)
            return {"ok": True, "revoked": True}
        if method == "auth.test":
            who = {"team_id": team.team, "user_id": BOT, "bot_id": "B01"}
            return {"ok": True, **who, "enterprise_id": team.enterprise or None}
        if team.api_url is None:
            return {"ok": False, "error": "unknown_method"}
        headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(team.api_url + method, json=args, headers=headers) as told,
        ):
            return dict(await told.json())


def _credentials(request: web.Request, args: dict[str, Any]) -> tuple[Any, Any]:
    """The app's id and secret, however they were sent."""
    kind, _, sent = request.headers.get("Authorization", "").partition(" ")
    if kind != "Basic":
        return args.get("client_id"), args.get("client_secret")
    login, _, password = base64.b64decode(sent).decode().partition(":")
    return login, password
