"""Who is signed in to the page. Knows the session cookie and its form token; knows no page and no IdP.

Every request asks the sessions and the directory anew: who has left is out at the next click (invariant 9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from audit.writer import Writer
from bot.identity import opaque, sessions
from bot.messages import ChatUser, SurfaceName
from bot.ports import Directory, Person
from bot.web.browser import Form, NotOurs, Site, own_path
from policy.model import Subject, TenantId

COOKIE: Final = "cs-session"
FORM_TOKEN: Final = "csrf"
"""The name of the hidden field that every form of a signed-in page carries."""
WEB: Final = SurfaceName("web")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A browser whose holder the company's IdP has named, and the person as the directory knows them now."""

    tenant: TenantId
    subject: Subject
    person: Person
    session_id_hash: str
    csrf: str = field(repr=False)

    @property
    def account(self) -> ChatUser:
        """As whom the session presses and asks."""
        return ChatUser(WEB, self.tenant, str(self.subject))


class SignedInBrowsers:
    """Asked by every page of `serve`."""

    def __init__(self, site: Site, writer: Writer, directory: Directory, clock: Callable[[], datetime]) -> None:
        self.site = site
        self._writer = writer
        self._directory = directory
        self._clock = clock

    async def signed_in(self, request: Request, *, touch: bool = True) -> SignedIn | None:
        """Who this browser is; None: nobody, or no longer.

        `touch` False: the page asks by itself, which keeps nobody signed in whose holder has walked away.
        """
        secret = self.site.cookie(request, COOKIE)
        if not secret:
            return None
        now = self._clock()
        found = await self._writer.read(lambda conn: self._look(conn, secret, now))
        if found is None:
            return None
        session, person = found
        if touch and now - session.seen_at >= sessions.TOUCH:
            await self._writer.run(lambda conn: sessions.touch(conn, session, now))
        token = sessions.form_token(secret)
        return SignedIn(session.tenant, session.subject, person, session.sha256, token)

    async def form(self, request: Request, who: SignedIn) -> Form:
        """The fields of a form that a page of `who` sent.

        Raises:
            NotOurs: another page sent it. Nothing may be done.
        """
        form = await self.site.form(request)
        if not opaque.same(form.get(FORM_TOKEN, ""), who.csrf):
            raise NotOurs("That form belongs to a sign-in that is over. Nothing was done; reload the page, try again.")
        return form

    def to_signin(self, request: Request) -> Response:
        """Where somebody goes who is not signed in; they come back here."""
        back = own_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        query = f"?{urlencode({'back_to': back})}" if back is not None and request.method == "GET" else ""
        return RedirectResponse(f"/signin{query}", status_code=303)

    def _look(self, conn: Connection, secret: str, now: datetime) -> tuple[sessions.Session, Person] | None:
        session = sessions.of_cookie(conn, secret, now)
        if session is None:
            return None
        person = self._directory.by_subject(conn, session.tenant, session.subject)
        return (session, person) if person is not None and person.active else None
