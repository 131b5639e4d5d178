"""Installing the app in a workspace through the browser: /slack/install and /slack/oauth_redirect, over Bolt's flow.

Knows who may be installed for and what a visitor is told; the pages' look is handed in. A state is one-time, lives ten
minutes and belongs to one browser. Nothing is kept of a workspace that no tenant names, and its token is given back.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from slack_bolt import BoltResponse
from slack_bolt.async_app import AsyncBoltRequest
from slack_bolt.error import BoltError
from slack_bolt.oauth.async_callback_options import AsyncCallbackOptions, AsyncFailureArgs, AsyncSuccessArgs
from slack_bolt.oauth.async_oauth_flow import AsyncOAuthFlow
from slack_bolt.oauth.async_oauth_settings import AsyncOAuthSettings
from slack_sdk.oauth import OAuthStateUtils
from slack_sdk.oauth.authorize_url_generator import AuthorizeUrlGenerator
from slack_sdk.oauth.installation_store import Installation
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
from slack_sdk.oauth.state_store.async_state_store import AsyncOAuthStateStore
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.ports import SurfaceError
from bot.slack.calls import SDK_LOG, Calls, web_client
from bot.slack.deliveries import SLACK
from bot.slack.installs import Installs
from bot.slack.ledger import STATE_S, Ledger

log = logging.getLogger(__name__)
_FLOW_LOG = SDK_LOG.getChild("install")
_FLOW_LOG.setLevel(logging.ERROR)
"""Below that Bolt logs the codes that browsers bring."""

INSTALL, REDIRECT = "/slack/install", "/slack/oauth_redirect"
AUTHORIZE_URL = "https://slack.com/oauth/v2/authorize"
SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "im:write",
    "mpim:history",
    "mpim:read",
    "users:read",
)
"""Those of manifest.yml, which says why; a test compares them."""

Page: TypeAlias = Callable[[str, str, int], Response]
"""Title, HTML of one paragraph (ours, what came from outside is escaped), status: `bot.web.guard.slip`."""

Headers: TypeAlias = dict[str, str | Sequence[str]]

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    # The address Slack sends browsers back to has a code in it.
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_AGAIN = f'<a href="{INSTALL}">Begin again</a>'


class InstallRefused(BoltError):
    """It was not installed. `title` and `text` are for the page."""

    def __init__(self, title: str, text: str, status: int) -> None:
        super().__init__(title)
        self.title, self.text, self.status = title, text, status


class _States(AsyncOAuthStateStore):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def logger(self) -> logging.Logger:
        return SDK_LOG

    async def async_issue(self, *_args: Any, **_kwargs: Any) -> str:
        return await self._ledger.issue()

    async def async_consume(self, state: str) -> bool:
        return await self._ledger.consume(state)


class _Store(AsyncInstallationStore):
    """What Bolt's flow hands over, judged before it is kept."""

    def __init__(self, installs: Installs) -> None:
        self._installs = installs

    @property
    def logger(self) -> logging.Logger:
        return SDK_LOG

    async def async_save(self, installation: Installation) -> None:
        team = installation.team_id or ""
        if installation.is_enterprise_install or not team:
            await self._give_back(installation)
            raise InstallRefused(
                "Not for a whole organisation",
                "Countersign is installed in each workspace by itself, because who reads along is decided per "
                f"workspace. Nothing was stored. {_AGAIN} and choose one workspace.",
                403,
            )
        tenant = self._installs.book.tenant_of(SLACK, team)
        if tenant is None:
            await self._give_back(installation)
            await self._installs.ledger.turned_away(team, "unlisted")
            raise InstallRefused("This workspace is not listed", _unlisted(installation, team), 403)
        if not installation.bot_token or not installation.bot_user_id:
            raise InstallRefused(
                "Slack gave no bot", f"Slack installed the app without its bot. Nothing was stored. {_AGAIN}.", 502
            )
        await self._installs.ledger.save(installation, team, tenant)
        self._installs.drop(team)
        log.info("The app was installed in the Slack workspace %s, for %s", team, tenant)

    async def _give_back(self, installation: Installation) -> None:
        """A token for a workspace that is not served is not left lying about."""
        client = web_client(installation.bot_token, self._installs.app.api_url)
        try:
            await Calls(client).call("auth.revoke", {})
        except SurfaceError as error:
            log.warning("The token of a workspace that is not served was not given back: %s", error)


class _Cookie(OAuthStateUtils):
    """Bolt's state cookie, for this host alone and not sent along by other sites' requests."""

    def __init__(self, base_url: str) -> None:
        # Only loopback is served without TLS, by tests; there a Secure cookie would not come back.
        self._secure = urlsplit(base_url).scheme == "https"
        name = "__Host-cs-slack-install" if self._secure else "cs-slack-install"
        super().__init__(cookie_name=name, expiration_seconds=STATE_S)

    def build_set_cookie_for_new_state(self, state: str) -> str:
        return self._cookie(state, self.expiration_seconds)

    def build_set_cookie_for_deletion(self) -> str:
        return self._cookie("", 0)

    def _cookie(self, value: str, age: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{self.cookie_name}={value}; HttpOnly; Path=/; SameSite=Lax; Max-Age={age}{secure}"


class _Flow(AsyncOAuthFlow):
    """Bolt's flow, with our pages and with a sentence where Slack does not answer."""

    def __init__(self, installs: Installs, page: Page, authorize_url: str) -> None:
        app = installs.app
        self._page = page
        settings = AsyncOAuthSettings(
            client_id=app.client_id,
            client_secret=app.client_secret,
            scopes=SCOPES,
            user_scopes=(),
            redirect_uri=app.base_url + REDIRECT,
            install_path=INSTALL,
            redirect_uri_path=REDIRECT,
            callback_options=AsyncCallbackOptions(success=self._done, failure=self._failed),
            authorization_url=authorize_url,
            installation_store=_Store(installs),
            state_store=_States(installs.ledger),
            state_expiration_seconds=STATE_S,
            logger=_FLOW_LOG,
        )
        settings.state_utils = _Cookie(app.base_url)
        settings.authorize_url_generator = AuthorizeUrlGenerator(
            client_id=app.client_id,
            redirect_uri=app.base_url + REDIRECT,
            scopes=SCOPES,
            authorization_url=authorize_url,
        )
        super().__init__(client=web_client(None, app.api_url), logger=_FLOW_LOG, settings=settings)

    async def build_install_page_html(self, url: str, request: AsyncBoltRequest) -> str:
        text = (
            "Somebody who may install apps in your Slack workspace adds Countersign to it here. Slack shows what it "
            f'asks for. <a href="{html.escape(url)}">Add to Slack</a>'
        )
        return bytes(self._page("Countersign for Slack", text, 200).body).decode()

    async def run_installation(self, code: str) -> Installation | None:
        try:
            return await super().run_installation(code)
        except (TimeoutError, aiohttp.ClientError, OSError):
            raise SurfaceError("Slack did not answer.") from None

    async def _done(self, args: AsyncSuccessArgs) -> BoltResponse:
        name = html.escape(args.installation.team_name or args.installation.team_id or "")
        text = (
            f"Countersign is in {name}. People write to it there, and it asks each of them once who they are. "
            "Invite it with /invite to the channels that approvals go to."
        )
        return self._answer("Installed", text, 200)

    async def _failed(self, args: AsyncFailureArgs) -> BoltResponse:
        if isinstance(args.error, InstallRefused):
            return self._answer(args.error.title, args.error.text, args.error.status)
        reason = args.reason if args.reason in _FAILURES else "other"
        log.warning("The app was not installed: %s", reason)
        title, text, status = _FAILURES[reason]
        return self._answer(title, f"{text} {_AGAIN}.", status)

    def _answer(self, title: str, text: str, status: int) -> BoltResponse:
        headers: Headers = {"set-cookie": [self.settings.state_utils.build_set_cookie_for_deletion()]}
        return BoltResponse(status=status, body=bytes(self._page(title, text, status).body).decode(), headers=headers)


_FAILURES = {
    "access_denied": ("Not installed", "It was declined at Slack. Nothing was stored.", 200),
    "invalid_browser": (
        "Not this browser",
        "This installation was begun in another browser, or too long ago. Nothing was stored.",
        400,
    ),
    "invalid_state": (
        "Used already",
        "This installation was finished before, or took too long. Nothing was stored.",
        400,
    ),
    "missing_code": ("Not installed", "Slack sent nothing that could be used. Nothing was stored.", 400),
    "invalid_code": (
        "Slack did not confirm it",
        "Slack did not accept what it had sent itself: it was used before, or SLACK_CLIENT_ID and SLACK_CLIENT_SECRET "
        "are not this app's. Nothing was stored.",
        502,
    ),
    "other": ("Not installed", "Slack reports that it was not installed. Nothing was stored.", 400),
}


def install_routes(installs: Installs, page: Page, authorize_url: str = AUTHORIZE_URL) -> list[Route]:
    """For the service's web application. `page`: how a page of one paragraph looks."""
    flow = _Flow(installs, page, authorize_url)

    def answering(
        step: Callable[[AsyncBoltRequest], Awaitable[BoltResponse]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            headers: Headers = {"cookie": request.headers.get("cookie", "")}
            try:
                answer = await step(AsyncBoltRequest(body="", query=request.url.query, headers=headers))
            except SurfaceError as error:
                log.error("An installation was not finished: %s", error)
                text = f"{html.escape(str(error))} The app was not installed here. {_AGAIN} in a minute."
                refused = page("Not installed", text, 503)
                refused.headers.update(_HEADERS)
                return refused
            response = Response(answer.body, answer.status, headers=_HEADERS, media_type="text/html")
            for cookie in answer.headers.get("set-cookie", ()):
                response.headers.append("set-cookie", cookie)
            return response

        return handle

    return [
        Route(INSTALL, answering(flow.handle_installation), methods=["GET"]),
        Route(REDIRECT, answering(flow.handle_callback), methods=["GET"]),
    ]


def _unlisted(installation: Installation, team: str) -> str:
    """What to write where, so that the next try succeeds."""
    grid = f", enterprise: {installation.enterprise_id}" if installation.enterprise_id else ""
    line = html.escape(f"- {{surface: slack, team: {team}{grid}}}")
    return (
        "Countersign serves the workspaces that its operator lists, and this is none of them. Nothing was stored. "
        f"If it should be one, the operator adds <code>{line}</code> to the organisation's <code>teams</code> in "
        f"tenants.yaml and starts the service again. Then: {_AGAIN}."
    )
