"""Who may talk to the demo page at all: this machine, this page, the holder of the printed address. Knows no page.

DNS rebinding is stopped by the Host check, foreign pages by Origin and a SameSite=Strict cookie, other users of the
machine by the token.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{head}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/static/seal.svg"><link rel="stylesheet" href="/static/app.css"></head>
<body class="plain"><main class="slip"><img src="/static/seal.svg" alt="" width="56" height="56"><h1>{title}</h1>
<p>{text}</p></main></body></html>"""


def slip(title: str, text: str, status: int, *, head: str = "") -> HTMLResponse:
    """A page with one sentence on it. All three texts are ours: nothing a visitor sent is in them."""
    return HTMLResponse(_PAGE.format(title=title, text=text, head=head), status_code=status)


class Guard:
    """Wraps the whole application, static files included."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str]) -> None:
        """`hosts`: the exact Host headers served, e.g. ``127.0.0.1:8020``. `token`: at least 128 random bits."""
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset(host.lower() for host in hosts)
        # Not the token itself, so that who reads the cookie jar does not get the address as well.
        self._ticket = hmac.new(self._token, b"countersign demo cookie", hashlib.sha256).hexdigest()
        self._cookie = "countersign_demo_" + hashlib.sha256(",".join(sorted(self._hosts)).encode()).hexdigest()[:8]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websocket is served: the server answers 403
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is None:
            await self._app(scope, receive, _sealed(send))
        else:
            await answer(scope, receive, _sealed(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer that keeps `scope` out, or hands out the cookie; None: come in."""
        host = headers.get("host", "").lower()
        if host not in self._hosts or len(headers.getlist("host")) != 1:
            return slip("Not this address", "The demo answers only at the address it printed on this machine.", 403)
        if scope["method"] in _WRITES and not _from_this_page(headers, host):
            return slip("Refused", "That request did not come from the demo page, so nothing was done.", 403)
        if scope["method"] == "GET" and scope["path"].startswith("/static/"):
            return None  # public code and pictures: the page that asks for the token needs them
        if scope["method"] == "GET" and scope["path"] == "/" and (given := _given_token(scope)) is not None:
            return self._welcome() if hmac.compare_digest(given, self._token) else self._no_key()
        if not hmac.compare_digest(_cookie(headers, self._cookie).encode(), self._ticket.encode()):
            return self._no_key()
        return None

    def _no_key(self) -> Response:
        return slip(
            "This page needs its key",
            "Open the whole address that <code>make demo</code> printed in the terminal, token included. "
            "Nothing was shown or done.",
            403,
        )

    def _welcome(self) -> Response:
        # A page that goes on by itself, not a redirect: after a redirect that another site started, browsers
        # hold a Strict cookie back. Replacing the address also takes the token out of sight.
        answer = slip(
            "Opening the workspace",
            '<a href="/">Go on</a>',
            200,
            head='<meta http-equiv="refresh" content="0;url=/">',
        )
        answer.set_cookie(self._cookie, self._ticket, httponly=True, samesite="strict", path="/")
        return answer


class Sealed:
    """Puts the headers of every page around an application that lets anybody in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, _sealed(send) if scope["type"] == "http" else send)


def _from_this_page(headers: Headers, host: str) -> bool:
    if headers.get("origin", "").lower() != f"http://{host}":
        return False
    return headers.get("sec-fetch-site", "same-origin") == "same-origin"


def _given_token(scope: Scope) -> bytes | None:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
    return given[0].encode() if given else None


def _cookie(headers: Headers, name: str) -> str:
    # Cookies know no ports: other programs on this machine leave theirs here too, in every shape.
    return cookie_parser(headers.get("cookie", "")).get(name, "")


def _sealed(send: Send) -> Send:
    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sealed
