"""The pages of somebody signed in, as routes: requests, the audit log, stops, oneself. Knows paths and what goes wrong.

Who may see what is asked by each page, anew for every request. Nothing here decides.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from audit.faults import StoreUnavailable
from bot.identity.tenants import Tenants
from bot.parts import Parts
from bot.ports import Service
from bot.web.browser import SEALED, NotOurs, sorry
from bot.web.link import Hand
from bot.web.office_audit import AuditPages
from bot.web.office_paper import asks_in_part, nothing_here, part
from bot.web.office_proof import ProofPages, Prover
from bot.web.office_requests import RequestPages
from bot.web.office_stops import StopPages
from bot.web.office_visitor import Reception
from bot.web.office_you import YouPages
from bot.web.signed_in import SignedInBrowsers
from policy.pii import redact

log = logging.getLogger("countersign.office")

PATHS: Final = ("/requests", "/audit", "/stops", "/you")
"""Where these pages are; what begins so is theirs."""


@dataclass(frozen=True, slots=True)
class Office:
    """What the pages need of the running service."""

    parts: Parts
    service: Service
    browsers: SignedInBrowsers
    tenants: Tenants
    prover: Prover


def office_routes(office: Office, *, home: bool = True) -> list[Route]:
    """`home`: ``/`` leads here too."""
    reception = Reception(office.parts, office.browsers, office.tenants)
    requests = RequestPages(reception, office.service)
    audit, proof = AuditPages(reception), ProofPages(reception, office.prover)
    stops, you = StopPages(reception), YouPages(reception)

    def route(path: str, hand: Hand, method: str = "GET") -> Route:
        return Route(path, answered(hand), methods=[method], middleware=SEALED)

    found = [
        route("/requests", requests.board),
        route("/requests/live", requests.live),
        route("/requests/{held_id}", requests.one),
        route("/requests/{held_id}/live", requests.live),
        route("/requests/{held_id}/press", requests.press, "POST"),
        route("/requests/{held_id}/again", requests.again, "POST"),
        route("/audit", audit.table),
        route("/audit/{seq:int}", audit.row),
        route("/audit/verify", proof.verify, "POST"),
        route("/audit/log.{form}", proof.download),
        route("/stops", stops.stops),
        route("/you", you.you),
        route("/requests/{rest:path}", _nothing),
        route("/audit/{rest:path}", _nothing),
    ]
    return [route("/", _home), *found] if home else found


def answered(hand: Hand) -> Hand:
    """`hand`, whose refusals are pages, or words for the page that stands already."""

    async def answer(request: Request) -> Response:
        try:
            return await hand(request)
        except NotOurs as no:
            return _sorry(request, "Refused", str(no), 403)
        except StoreUnavailable as error:
            return _sorry(request, "Countersign cannot answer just now", str(error), 503)
        except Exception:  # noqa: BLE001 - whatever it was, the page that stands must not be lost over it
            log.error("a page could not be drawn\n%s", redact(traceback.format_exc()))
            return _sorry(request, "Something broke", "The log of the service says why. Reload the page.", 500)

    return answer


def _sorry(request: Request, title: str, text: str, status: int) -> Response:
    if not asks_in_part(request):
        return sorry(title, text, status, next_href="/requests", next_label="Your requests")
    headers = {"hx-retarget": "#notice", "hx-reswap": "innerHTML"}
    html = part("said.html", notice=text, refused=True, drawn=None)
    return HTMLResponse(html, status_code=status, headers=headers)


async def _home(_request: Request) -> Response:
    return RedirectResponse("/requests", status_code=303)


async def _nothing(_request: Request) -> Response:
    return nothing_here()
