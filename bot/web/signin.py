"""Signing in to the page with the company's IdP, and out: `/signin`, `/signout`. Knows requests; no page behind them.

One address takes both kinds of answers of a company's IdP, so that an admin registers one: a browser that links a
chat account is handed on to `bot.web.link`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from audit.event import Event
from bot.identity import flows, sessions
from bot.identity.flows import Flow, Purpose, Step
from bot.identity.grants import Grants
from bot.identity.linking import Linking
from bot.identity.oidc import OidcError
from bot.identity.refusals import Refused, Why, refused
from bot.identity.sealing import KeyAway, Vessel
from bot.identity.sessions import SessionEnd
from bot.identity.tenants import Tenant
from bot.web.browser import SEALED, NotOurs, leave_for, own_path, paper, sorry
from bot.web.link import COMPANY_BACK, FLOW_COOKIE, Hand, LinkPages, answered, company_back
from bot.web.oidc_leg import Leg, Returned
from bot.web.signed_in import COOKIE, SignedInBrowsers
from policy.model import Subject, TenantId
from tools import turnstile

log = logging.getLogger("countersign.signin")

HINT_COOKIE: Final = "cs-hint"
MAX_HINT: Final = 3500
"""What fits into a cookie beside its name."""
HOME: Final = "/"


@dataclass(frozen=True, slots=True)
class SignIn:
    browsers: SignedInBrowsers
    linking: Linking
    link_pages: LinkPages
    leg: Leg
    grants: Grants | None = None
    """Keeps what lets us act for people elsewhere, of tenants that have such an API."""

    def routes(self) -> list[Route]:
        def route(path: str, hand: Hand, method: str) -> Route:
            return Route(path, answered(hand), methods=[method], middleware=SEALED)

        return [
            route("/signin", self._page, "GET"),
            route("/signin", self._begin, "POST"),
            route(COMPANY_BACK, self._back, "GET"),
            route(COMPANY_BACK + "/{issuer}", self._back, "GET"),
            route("/signout", self._sign_out, "POST"),
        ]

    async def _page(self, request: Request) -> Response:
        """Asks; starts nothing, because a page of somebody else could open it too."""
        back_to = own_path(request.query_params.get("back_to"))
        who = await self.browsers.signed_in(request)
        if who is not None:
            if back_to is not None:
                return RedirectResponse(back_to, status_code=303)
            return paper("slip_here.html", who=who, organisation=self.linking.tenant(who.tenant).name)
        return self._ask(self._meant(request.query_params.get("tenant", "")), back_to)

    async def _begin(self, request: Request) -> Response:
        form = await self.browsers.site.form(request)
        back_to, word = own_path(form.get("back_to")), form.get("organisation", "")
        tenant = self._meant(word)
        if tenant is None:
            wrong = f"No organisation called {word[:80]} signs in here. Ask an admin how yours is called."
            return self._ask(None, back_to, wrong, 404)
        now = self.leg.clock()
        cookie = await self.linking.writer.run(
            lambda conn: flows.start(conn, tenant.tenant, Purpose.PAGE, Step.COMPANY, now, back_to=back_to)
        )
        path = company_back(self.linking.tenants, tenant.issuer)
        there = await self.leg.out(
            tenant.issuer, cookie, Step.COMPANY, path, lasting=tenant.acts_elsewhere and self.grants is not None
        )
        answer = leave_for(there, tenant.name)
        self.browsers.site.give(answer, FLOW_COOKIE, cookie, int(flows.LIFETIME.total_seconds()))
        return answer

    async def _back(self, request: Request) -> Response:
        """The company's IdP has sent a browser back, whatever it came for."""
        site, now = self.browsers.site, self.leg.clock()
        cookie = site.cookie(request, FLOW_COOKIE)
        flow = await self.linking.writer.read(lambda conn: flows.of_cookie(conn, cookie, now)) if cookie else None
        if flow is None:
            raise await self.linking.record(refused(Why.NO_FLOW))
        if flow.purpose is Purpose.LINK:
            return await self.link_pages.company_back(request, cookie)
        tenant = self.linking.tenant(flow.tenant)
        path = company_back(self.linking.tenants, tenant.issuer)
        try:
            returned = await self.leg.back(request, tenant.issuer, cookie, Step.COMPANY, path)
        except Refused as no:
            over = None if no.why is Why.STATE else flow
            raise await self.linking.record(no.about(flow.tenant, {"at": "signin"}), None, over) from no
        secret = await self._start(flow, returned, site.cookie(request, COOKIE))
        # A fresh secret every time: whatever this browser carried before opens nothing.
        answer = RedirectResponse(flow.back_to or HOME, status_code=303)
        site.give(answer, COOKIE, secret, int(sessions.ABSOLUTE.total_seconds()))
        site.take(answer, FLOW_COOKIE)
        if len(returned.id_token) <= MAX_HINT:
            site.give(answer, HINT_COOKIE, returned.id_token, int(sessions.ABSOLUTE.total_seconds()))
        return answer

    async def _start(self, flow: Flow, returned: Returned, before: str) -> str:
        """The secret of a new session; the one that this browser had is over."""
        now, claims = self.leg.clock(), returned.claims
        subject = Subject(claims.issuer, claims.subject)
        vessel = await self._vessel(flow, subject, returned)

        def unit(conn: Connection) -> str:
            turnstile.together(conn, flow.tenant)
            if not flows.end(conn, flow, now):
                raise refused(Why.RACED, flow.tenant)
            self.linking.person(conn, flow.tenant, subject)
            events: list[Event] = []
            old = sessions.of_cookie(conn, before, now) if before else None
            if old is not None and old.tenant == flow.tenant:
                events += sessions.end(conn, old, SessionEnd.REPLACED, now)
            secret, started = sessions.start(conn, flow.tenant, subject, now, sid=claims.sid, idp_sub=claims.sub)
            if self.grants is not None and vessel is not None and returned.refresh_token is not None:
                events += self.grants.store(conn, vessel, returned.refresh_token, now)
            self.linking.audit.append(conn, [*events, *started])
            return secret

        try:
            return await self.linking.writer.run(unit)
        except Refused as no:
            over = None if no.why is Why.RACED else flow
            raise await self.linking.record(no.about(flow.tenant, {"at": "signin"}), subject, over) from no

    async def _vessel(self, flow: Flow, subject: Subject, returned: Returned) -> Vessel | None:
        """Where the refresh token of this sign-in goes. None: nobody needs one, or it cannot be sealed now."""
        tenant = self.linking.tenant(flow.tenant)
        if self.grants is None or returned.refresh_token is None or not tenant.acts_elsewhere:
            return None
        try:
            return await self.grants.prepare(flow.tenant, subject)
        except KeyAway as error:
            log.error("a sign-in is not kept: %s", error)
            return None

    async def _sign_out(self, request: Request) -> Response:
        site = self.browsers.site
        who = await self.browsers.signed_in(request)
        if who is None:
            site_sent = site.sent(request)
            if not site_sent:
                raise NotOurs("That request did not come from a page of Countersign. Nothing was done.")
            return self._cleared(sorry("You are signed out", "Nobody is signed in in this browser.", 200))
        await self.browsers.form(request, who)
        now = self.leg.clock()

        def unit(conn: Connection) -> None:
            session = sessions.Session(who.session_id_hash, who.tenant, who.subject, now)
            self.linking.audit.append(conn, sessions.end(conn, session, SessionEnd.SIGNED_OUT, now))

        await self.linking.writer.run(unit)
        url = await self._away(who.tenant, site.cookie(request, HINT_COOKIE))
        label = f"Sign out of {self.linking.tenant(who.tenant).name} too" if url else ""
        text = "Countersign knows nobody in this browser any more."
        return self._cleared(sorry("You are signed out", text, 200, next_href=url, next_label=label))

    async def _away(self, tenant: TenantId, hint: str) -> str:
        """Where the company's IdP signs people out; empty where it does that nowhere."""
        issuer = self.linking.tenant(tenant).issuer
        try:
            meta = await self.leg.oidc.discover(issuer)
        except OidcError:
            return ""
        back = self.browsers.site.to("/signin")
        url = self.leg.oidc.end_session_url(meta, issuer, post_logout_redirect_uri=back, id_token_hint=hint or None)
        return url or ""

    def _cleared(self, answer: Response) -> Response:
        for name in (COOKIE, HINT_COOKIE):
            self.browsers.site.take(answer, name)
        return answer

    def _ask(self, tenant: Tenant | None, back_to: str | None, wrong: str = "", status: int = 200) -> Response:
        values = {
            "organisation": "" if tenant is None else tenant.name,
            "tenant": "" if tenant is None else tenant.tenant,
            "back_to": back_to or "",
            "wrong": wrong,
        }
        return paper("slip_signin.html", status, **values)

    def _meant(self, word: str) -> Tenant | None:
        """The organisation that `word` names, or the only one there is. None: it has to be typed; none is listed."""
        known = self.linking.tenants.tenants
        if len(known) == 1:
            return next(iter(known.values()))
        wanted = word.strip().casefold()
        named = [one for one in known.values() if wanted in (one.tenant.casefold(), one.name.casefold())]
        return named[0] if len(named) == 1 else None
