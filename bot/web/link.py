"""The pages on which somebody links a chat account: `/link/…`. Knows requests and answers; decides nothing.

Opening a link does nothing, because chats and scanners open links too: whatever changes something is a form.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from audit.faults import StoreUnavailable
from bot.identity import flows, opaque
from bot.identity.flows import Flow, Purpose, Step
from bot.identity.issuers import Issuer
from bot.identity.link_words import account
from bot.identity.linking import Linking
from bot.identity.refusals import Refused, Why, refused
from bot.identity.tenants import Tenant, Tenants
from bot.web.browser import SEALED, Form, NotOurs, Site, leave_for, paper, sorry
from bot.web.oidc_leg import Leg

FLOW_COOKIE: Final = "cs-flow"
SLACK_BACK: Final = "/link/slack"
COMPANY_BACK: Final = "/signin/callback"
CONFIRM, CODE = "/link/confirm", "/link/code"

Hand: TypeAlias = Callable[[Request], Awaitable[Response]]


class LinkPages:
    def __init__(self, linking: Linking, leg: Leg, site: Site) -> None:
        self._linking = linking
        self._leg = leg
        self._site = site

    def routes(self) -> list[Route]:
        return [
            self._route(SLACK_BACK, self._slack_back, "GET"),
            self._route(CONFIRM, self._confirm, "GET"),
            self._route(CONFIRM, self._confirmed, "POST"),
            self._route(CODE, self._code, "GET"),
            self._route(CODE, self._typed, "POST"),
            self._route("/link/{secret}", self._open, "GET"),
            self._route("/link/{secret}", self._begin, "POST"),
        ]

    async def company_back(self, request: Request, cookie: str) -> Response:
        """The company's IdP has sent a browser back that is about to link an account."""
        flow = await self._flow(cookie, Step.COMPANY)
        issuer = self._linking.tenant(flow.tenant).issuer
        try:
            path = company_back(self._linking.tenants, issuer)
            returned = await self._leg.back(request, issuer, cookie, Step.COMPANY, path)
        except Refused as no:
            raise await self._recorded(no, flow) from no
        await self._linking.company_answered(flow, returned.claims)
        return RedirectResponse(CONFIRM, status_code=303)

    # -- the link ------------------------------------------------------------------------------------

    async def _open(self, request: Request) -> Response:
        ticket = await self._linking.look(request.path_params["secret"])
        return paper(
            "slip_link.html",
            account=account(ticket.who),
            organisation=self._linking.tenant(ticket.tenant).name,
            by_slack=self._linking.by_slack(ticket.who),
        )

    async def _begin(self, request: Request) -> Response:
        await self._form(request)
        cookie, ticket = await self._linking.begin(request.path_params["secret"])
        if self._linking.by_slack(ticket.who) and self._linking.slack is not None:
            more = {"team": ticket.who.team}
            url = await self._leg.out(self._linking.slack, cookie, Step.SLACK, SLACK_BACK, more=more)
            answer = leave_for(url, "Slack")
        else:
            tenant = self._linking.tenant(ticket.tenant)
            answer = leave_for(await self._to_company(tenant, cookie), tenant.name)
        self._site.give(answer, FLOW_COOKIE, cookie, int(flows.LIFETIME.total_seconds()))
        return answer

    async def _slack_back(self, request: Request) -> Response:
        cookie = self._site.cookie(request, FLOW_COOKIE)
        flow = await self._flow(cookie, Step.SLACK)
        if self._linking.slack is None:
            raise refused(Why.NO_FLOW, flow.tenant)
        try:
            returned = await self._leg.back(request, self._linking.slack, cookie, Step.SLACK, SLACK_BACK)
        except Refused as no:
            raise await self._recorded(no, flow) from no
        await self._linking.slack_answered(flow, returned.claims)
        return RedirectResponse(await self._to_company(self._linking.tenant(flow.tenant), cookie), status_code=303)

    # -- the page that names both --------------------------------------------------------------------

    async def _confirm(self, request: Request) -> Response:
        cookie = self._site.cookie(request, FLOW_COOKIE)
        flow = await self._linking.flow(cookie, Purpose.LINK, Step.CONFIRM, Step.CODE)
        if flow.step is Step.CODE:
            return RedirectResponse(CODE, status_code=303)
        both = await self._linking.both(flow)
        return paper("slip_confirm.html", both=both, csrf=flows.form_token(cookie), chat_proved=flow.chat_proved)

    async def _confirmed(self, request: Request) -> Response:
        cookie = self._site.cookie(request, FLOW_COOKIE)
        flow = await self._flow(cookie, Step.CONFIRM)
        form = await self._form(request, flow, cookie)
        if form.get("answer") != "yes":
            no = await self._linking.declined(flow)
            return self._over(sorry(no.title, str(no), no.status))
        linked = await self._linking.agreed(flow)
        if linked is None:
            return RedirectResponse(CODE, status_code=303)
        return self._over(paper("slip_linked.html", both=linked.both, account=account(linked.both.who)))

    async def _code(self, request: Request) -> Response:
        cookie = self._site.cookie(request, FLOW_COOKIE)
        flow = await self._linking.flow(cookie, Purpose.LINK, Step.CODE)
        return await self._ask_code(cookie, flow)

    async def _typed(self, request: Request) -> Response:
        cookie = self._site.cookie(request, FLOW_COOKIE)
        flow = await self._flow(cookie, Step.CODE)
        form = await self._form(request, flow, cookie)
        try:
            linked = await self._linking.typed(flow, form.get("code", ""))
        except Refused as no:
            if no.why is not Why.WRONG_CODE:
                raise
            return await self._ask_code(cookie, flow, f"{no.title}. {no}", no.status)
        return self._over(paper("slip_linked.html", both=linked.both, account=account(linked.both.who)))

    async def _ask_code(self, cookie: str, flow: Flow, wrong: str = "", status: int = 200) -> Response:
        both = await self._linking.both(flow)
        values = {"account": account(both.who), "csrf": flows.form_token(cookie), "wrong": wrong}
        return paper("slip_code.html", status, **values)

    # -- within --------------------------------------------------------------------------------------

    async def _to_company(self, tenant: Tenant, cookie: str) -> str:
        path = company_back(self._linking.tenants, tenant.issuer)
        return await self._leg.out(tenant.issuer, cookie, Step.COMPANY, path, anew=True)

    async def _flow(self, cookie: str, *steps: Step) -> Flow:
        """The flow of a browser that wants to go on; that it has none is a row."""
        try:
            return await self._linking.flow(cookie, Purpose.LINK, *steps)
        except Refused as no:
            raise await self._linking.record(no) from no

    async def _recorded(self, no: Refused, flow: Flow) -> Refused:
        """Somebody else's answer ends nobody's flow; the provider's own no does."""
        about = no.about(flow.tenant, {})
        return await self._linking.record(about, flow.subject, None if no.why is Why.STATE else flow)

    async def _form(self, request: Request, flow: Flow | None = None, cookie: str = "") -> Form:
        """What our own page sent; with `flow`, a page of that very flow."""
        tenant = None if flow is None else flow.tenant
        try:
            form = await self._site.form(request)
        except NotOurs as error:
            raise await self._linking.record(refused(Why.FORGED, tenant)) from error
        if flow is not None and not opaque.same(form.get("csrf", ""), flows.form_token(cookie)):
            raise await self._linking.record(refused(Why.FORGED, tenant))
        return form

    def _over(self, answer: Response) -> Response:
        self._site.take(answer, FLOW_COOKIE)
        return answer

    def _route(self, path: str, hand: Hand, method: str) -> Route:
        return Route(path, answered(hand), methods=[method], middleware=SEALED)


def company_back(tenants: Tenants, issuer: Issuer) -> str:
    """Where `issuer` sends browsers back to: with several providers in one deployment, each to an address of its own.

    With one address for all, a hostile provider could pass a browser on to another one with an address made elsewhere,
    be handed that one's code at its own token endpoint, and use it in a sign-in of its own (RFC 9700, 4.4: mix-up).
    """
    several = len({one.issuer.issuer for one in tenants.tenants.values()}) > 1
    return f"{COMPANY_BACK}/{issuer.name}" if several else COMPANY_BACK


def answered(hand: Hand) -> Hand:
    """`hand`, whose refusals are pages."""

    async def answer(request: Request) -> Response:
        try:
            return await hand(request)
        except Refused as no:
            return sorry(no.title, str(no), no.status)
        except NotOurs as no:
            return sorry("Refused", str(no), 403)
        except StoreUnavailable as error:
            return sorry("Countersign cannot answer just now", str(error), 503)

    return answer
