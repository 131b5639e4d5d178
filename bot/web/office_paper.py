"""Draws the pages of somebody signed in. Knows templates and how a moment is written; asks nobody anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from audit.types import iso
from bot import card_text
from bot.web.browser import sorry
from bot.web.office_visitor import Visitor
from bot.web.panes import environment

HTMX: Final = "hx-request"


@dataclass(frozen=True, slots=True)
class Tab:
    href: str
    label: str


def tabs(visitor: Visitor) -> tuple[Tab, ...]:
    """What `visitor` may open."""
    found = [Tab("/requests", "Requests")]
    found += [Tab("/audit", "Audit log")] if visitor.audits else []
    found += [Tab("/stops", "Stops")] if visitor.rules else []
    return (*found, Tab("/you", "You"))


def page(template: str, visitor: Visitor, here: str, status: int = 200, **values: object) -> HTMLResponse:
    """A whole page. Whatever `values` hold comes out as text, never as markup."""
    html = part(template, visitor=visitor, here=here, tabs=tabs(visitor), **values)
    return HTMLResponse(html, status_code=status)


def part(template: str, **values: object) -> str:
    return _environment().get_template(f"office/{template}").render(values)


def asks_in_part(request: Request) -> bool:
    """Whether htmx asks, and puts the answer into a page that stands already."""
    return request.headers.get(HTMX) == "true"


def nobody_here(request: Request, to_signin: Response) -> Response:
    """The sign-in is over. A page that stands is emptied, so that nobody who passes reads on, and says why."""
    if not asks_in_part(request):
        return to_signin
    headers = {"hx-retarget": "#main", "hx-reswap": "innerHTML"}
    return HTMLResponse(part("over.html"), status_code=401, headers=headers)


def nothing_here() -> Response:
    """The same whether it never was, is over, or is somebody else's (invariant 14)."""
    return sorry(
        "Nothing here",
        "There is no such page, or it is not yours to see. Nothing was done.",
        404,
        next_href="/requests",
        next_label="Your requests",
    )


@cache
def _environment() -> Environment:
    env = environment()
    # People in several places read the same page: times are UTC, as on the cards.
    env.filters.update(moment=card_text.moment, exact=_exact, iso=iso)
    return env


def _exact(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
