"""The page as a chat (`bot.ports.ChatSurface`), so that a press on it is judged like any other. Knows sessions alone.

Its accounts are the people themselves: nobody is linked to one, so nothing is ever posted to it. What stands on the
page is read from the rows each time somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

from audit.faults import StoreUnavailable
from audit.writer import Writer
from bot.cards import Card
from bot.identity import sessions
from bot.identity.tenants import Tenants
from bot.messages import ChatUser, SurfaceName, Thread
from bot.ports import Answer, Ask, Home, Posted, Standing, Stream, SurfaceError
from bot.web.signed_in import WEB
from policy.model import Subject, TenantId


class OfficeSurface:
    """A member is whoever is signed in, in that organisation, at this moment."""

    def __init__(self, writer: Writer, tenants: Tenants, clock: Callable[[], datetime]) -> None:
        self._writer = writer
        self._tenants = tenants
        self._clock = clock

    @property
    def name(self) -> SurfaceName:
        return WEB

    async def health(self) -> None:
        """The page is there whenever this process is."""

    async def standing(self, who: ChatUser) -> Standing:
        tenant = self._tenants.get(TenantId(who.team))
        if who.surface != WEB or who.enterprise or tenant is None:
            return Standing.STRANGER
        # Cut at the tenant's own issuer: a bar inside either part moves nothing from one to the other.
        mark = f"{tenant.issuer.issuer}|"
        if not who.user.startswith(mark):
            return Standing.STRANGER
        subject, now = Subject(tenant.issuer.issuer, who.user.removeprefix(mark)), self._clock()
        try:
            here = await self._writer.read(lambda conn: sessions.live(conn, tenant.tenant, subject, now))
        except StoreUnavailable as error:
            raise SurfaceError(str(error)) from error
        return Standing.MEMBER if here else Standing.STRANGER

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        _nowhere()

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        _nowhere()

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        _nowhere()

    async def begin(self, thread: Thread, who: ChatUser) -> Stream:
        _nowhere()

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        _nowhere()

    async def update(self, posted: Posted, card: Card) -> None:
        _nowhere()

    async def link(self, thread: Thread) -> str | None:
        return None

    async def show_home(self, who: ChatUser, home: Home) -> None:
        _nowhere()


def _nowhere() -> NoReturn:
    raise SurfaceError("Nothing is posted to the page: it shows what the rows say.", gone=True)
