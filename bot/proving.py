"""Where people prove who they are, put together for a running service: links, sign-in, SCIM, published keys.

Knows what needs what; decides nothing. The demo's company (`bot.demo_idp`) and `countersign serve` share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from starlette.routing import BaseRoute

from bot.core import Core, Running, utc_now
from bot.identity.discovery import Discovery
from bot.identity.idp_http import IdpHttp
from bot.identity.issuers import Issuer
from bot.identity.jwks import KeySource
from bot.identity.link_words import NameOf
from bot.identity.oidc import OidcClient
from bot.identity.telling import Telling
from bot.messages import ChatUser, SurfaceName
from bot.parts import Parts
from bot.ports import Ask, ChatSurface, SurfaceError
from bot.web.identity_pages import IdentityPages, identity_pages
from bot.web.jwks import jwks_routes
from bot.web.office import Office, office_routes
from bot.web.office_proof import Prover
from bot.web.office_surface import OfficeSurface
from bot.web.scim import scim_routes

YES, NO = "Yes, link me", "No, that was not me"


@dataclass(frozen=True, slots=True)
class Provider:
    """How identity providers are spoken to: one pool of connections, one cache of keys."""

    oidc: OidcClient
    keys: KeySource


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    http = IdpHttp()
    discovery = Discovery(http)
    try:
        yield Provider(OidcClient(http, discovery), KeySource(http, discovery))
    finally:
        await http.close()


@runtime_checkable
class Naming(Protocol):
    """A chat that says what it calls an account."""

    async def name_of(self, who: ChatUser) -> str | None:
        """None: it does not say. Raises `SurfaceError`."""


@dataclass(frozen=True, slots=True)
class ChatWords:
    """Implements `bot.parts.ChatWord`: the chat account's own yes or no, in the organisation its team belongs to."""

    core: Core
    pages: IdentityPages

    async def answered(self, who: ChatUser, confirmation_id: str, *, yes: bool) -> str:
        tenant = self.core.directory.tenant_of(who.surface, who.team)
        if tenant is None:
            return "This chat team is not connected to Countersign. Nothing was linked."
        return await self.pages.linking.confirm(tenant, who, confirmation_id, yes)


def pages_of(
    core: Core,
    idp: Provider,
    base_url: str,
    surfaces: Mapping[SurfaceName, ChatSurface],
    *,
    name_of: NameOf | None = None,
    slack: Issuer | None = None,
) -> IdentityPages:
    """`surfaces` may be filled later: a chat is looked up when somebody there has to be told something.

    Raises:
        ValueError: nobody can sign in safely at `base_url`; a sentence for people.
    """
    return identity_pages(
        base_url=base_url,
        writer=core.writer,
        audit=core.audit,
        directory=core.directory,
        tenants=core.tenants,
        telling=_telling(surfaces, name_of),
        oidc=idp.oidc,
        keys=idp.keys,
        leavers=core.leavers,
        clock=utc_now,
        slack=slack,
        grants=None if core.elsewhere is None else core.elsewhere.grants,
    )


def complete(core: Core, pages: IdentityPages, parts: Parts) -> Parts:
    """`parts` of a service whose chat accounts are linked by their holders."""
    return replace(parts, links=pages.commands, chat_word=ChatWords(core, pages))


def office_chat(core: Core) -> OfficeSurface:
    """The page, as the service knows chats: who is signed in may press."""
    return OfficeSurface(core.writer, core.tenants, utc_now)


def office_of(service: Running, pages: IdentityPages, *, home: bool = True) -> list[BaseRoute]:
    """What somebody sees who has signed in. `service` has `office_chat` among its chats."""
    core = service.core
    prover = Prover(core.writer, core.settings.checkpoints, core.keys.checkpoint)
    office = Office(service.turn.parts, service.turn, pages.browsers, core.tenants, prover)
    return [*office_routes(office, home=home)]


def machine_routes(core: Core, base_url: str | None) -> list[BaseRoute]:
    """What other programs ask: the IdPs' SCIM clients, and whoever checks our signatures."""
    scim = scim_routes(core.writer, core.audit, core.tenants, core.leavers, utc_now, base_url=base_url)
    return [*scim, *jwks_routes(core.ring, utc_now)]


def _telling(surfaces: Mapping[SurfaceName, ChatSurface], name_of: NameOf | None) -> Telling:
    def chat(who: ChatUser) -> ChatSurface:
        surface = surfaces.get(who.surface)
        if surface is None:
            raise SurfaceError(f"{who.surface} is not connected.", gone=True)
        return surface

    async def tell(who: ChatUser, text: str) -> None:
        await chat(who).direct(who, text)

    async def ask(who: ChatUser, text: str, confirmation_id: str) -> None:
        asks = (Ask(YES, "link_yes", confirmation_id), Ask(NO, "link_no", confirmation_id))
        await chat(who).direct(who, text, asks)

    async def called(who: ChatUser) -> str | None:
        surface: object = surfaces.get(who.surface)
        return await surface.name_of(who) if isinstance(surface, Naming) else None

    return Telling(tell, ask, name_of or called)
