"""What a browser brings and is given: cookies, forms, where a request came from, pages. Knows no identity.

Outside loopback every cookie is ``__Host-``: no other host of the same domain can plant or read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from bot.identity.issuers import LOOPBACK
from bot.web.guard import Sealed

HERE: Final = Path(__file__).parent
MAX_BODY: Final = 32_768
FORM: Final = "application/x-www-form-urlencoded"
SEALED: Final = [Middleware(Sealed)]
"""For every route that answers with a page."""

Form = Mapping[str, str]


class NotOurs(Exception):
    """A request that our own page did not send. `str(e)` is for people; nothing was done."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where people reach this service."""

    base_url: str
    """Without a slash at the end."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        loopback = parts.scheme == "http" and parts.hostname in LOOPBACK
        if not (parts.scheme == "https" and parts.hostname) and not loopback:
            raise ValueError(
                f"{self.base_url} cannot be signed in to: over plain http anybody on the way reads the cookie. "
                "Set COUNTERSIGN_BASE_URL to the https:// address people use."
            )
        if parts.path or parts.query or parts.fragment:
            raise ValueError(f"{self.base_url} has more than a host in it. Write https://HOST, nothing after it.")

    @property
    def secure(self) -> bool:
        return self.base_url.startswith("https:")

    def to(self, path: str) -> str:
        return f"{self.base_url}{path}"

    def cookie(self, request: Request, name: str) -> str:
        """The cookie's value; empty if this browser has none."""
        return cookie_parser(request.headers.get("cookie", "")).get(self._name(name), "")

    def give(self, response: Response, name: str, value: str, max_age_s: int) -> None:
        # Lax, not Strict: the IdP sends the browser back here, and the cookie has to come along.
        response.set_cookie(
            self._name(name), value, max_age_s, path="/", secure=self.secure, httponly=True, samesite="lax"
        )

    def take(self, response: Response, name: str) -> None:
        response.delete_cookie(self._name(name), path="/", secure=self.secure, httponly=True, samesite="lax")

    def sent(self, request: Request) -> bool:
        """Whether our own page sent it, as far as the browser says."""
        origins = request.headers.getlist("origin")
        if len(origins) != 1 or origins[0].lower() != self.base_url.lower():
            return False
        return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"

    async def form(self, request: Request) -> Form:
        """The fields of a form that our own page sent, each once.

        Raises:
            NotOurs: another page sent it, it is no form, or too long.
        """
        if not self.sent(request):
            raise NotOurs("That request did not come from a page of Countersign. Nothing was done.")
        return await fields(request)

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name


async def fields(request: Request) -> Form:
    """The fields of a posted form, whoever sent it. A field that is there twice is there not at all.

    Raises:
        NotOurs: it is no form, or too long.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise NotOurs("That is too long for this form. Nothing was done.")
    except ClientDisconnect as error:
        raise NotOurs("The form did not arrive whole. Nothing was done.") from error
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise NotOurs("That is not a form. Nothing was done.")
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=32, errors="strict")
    except ValueError as error:
        raise NotOurs("That form cannot be read. Nothing was done.") from error
    # NUL cannot be stored by PostgreSQL, and nobody types it.
    return {name: values[0].replace("\x00", "") for name, values in found.items() if len(values) == 1}


def own_path(given: str | None) -> str | None:
    """`given` if it leads to a page of this service and nowhere else."""
    if not given or len(given) > 512 or not given.startswith("/") or not given.isascii() or not given.isprintable():
        return None
    # "//host" and "/\host" are other hosts to a browser; "/%2f…" stays here.
    if given.startswith(("//", "/signin", "/signout", "/link")) or "\\" in given:
        return None
    parts = urlsplit(given)
    return None if parts.scheme or parts.netloc else given


def static_mount() -> Mount:
    """The pictures, letters and style of every page."""
    return Mount("/static", StaticFiles(directory=HERE / "static"))


def paper(template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page. Whatever `values` hold comes out as text, never as markup."""
    return HTMLResponse(_environment().get_template(template).render(values), status_code=status)


def leave_for(url: str, whither: str) -> HTMLResponse:
    """Takes the browser to another site: a page, because browsers stop a form whose answer redirects elsewhere."""
    return paper("slip_going.html", url=url, whither=whither)


def sorry(title: str, text: str, status: int, *, next_href: str = "", next_label: str = "") -> HTMLResponse:
    """What happened, what was not done, what to do next."""
    return paper("slip_sorry.html", status, title=title, text=text, next_href=next_href, next_label=next_label)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
