"""`countersign demo --idp`: the demo workspace of a company that has an identity provider, a real one, beside it.

Knows how the two are introduced to each other; the provider is `bot.local_idp`'s, the workspace `bot.demo`'s. Nobody
stands in a file here: people and groups come over SCIM, and a chat account is nobody's until its holder says whose.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from sqlalchemy.engine import Connection
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from bot import local_idp, proving
from bot.core import Core, Running, running, seed_demo, utc_now
from bot.demo import TENANT, Data, free_socket, offline_router
from bot.identity import scim_tokens
from bot.identity.issuers import Issuer, Preset
from bot.identity.tenants import Team, Tenant, Tenants
from bot.local_idp import Client, Entry, LocalIdp
from bot.messages import ChatUser
from bot.parts import Parts
from bot.ports import Person
from bot.web.chatlog import ChatLog
from bot.web.data import Doorway
from bot.web.demo import demo_app
from bot.web.identity_pages import IdentityPages
from bot.web.link import COMPANY_BACK
from bot.web.office import PATHS as OFFICE
from bot.web.scim import PATH as SCIM
from bot.web.serving import DemoServer, bind_loopback, hosts_of
from bot.web.surface import DemoSurface
from bot.web.workspace import DEMO, TEAM, Workspace, load_workspace
from policy.model import Subject
from tools.credentials import Secret

COMPANY: Final = "Acme"
PASSWORD: Final = "countersign"
ADMIN: Final = "ada"
"""Who runs the provider, too."""
DOORS: Final = (SCIM, "/link/", "/signin", "/signout", *OFFICE)
"""Paths that have doors of their own; the demo page's key opens the rest."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What to tell whoever started it."""

    address: str
    provider: str
    people: tuple[Entry, ...]

    def said(self) -> tuple[str, ...]:
        """Where to go, as whom, and what to try; a line each."""
        requests = self.address.partition("?")[0] + "requests"
        return (
            f"Countersign is ready, and so is the identity provider of {COMPANY}. Nobody's chat account is linked yet:",
            "",
            f"    {self.address}",
            "",
            f"Log in as {', '.join(sorted(entry.user_name for entry in self.people))}, with the password {PASSWORD}",
            "Try this:",
            "  1. As Dana, ask for a refund. Countersign does not know her: open the link it sends, log in as dana,",
            "     say yes on the page and in the chat, and type the code. From then on it acts as her.",
            "  2. Open somebody's link and log in as somebody else: the chat says who it would become, and can say no.",
            f"  3. At {requests} , sign in as ann: what waits for her, and no chat needed.",
            f"  4. At {self.provider} , log in as {ADMIN} and lock dana's account. What she asked for ends at once.",
            "",
            "Ctrl-C ends both and keeps nothing.",
        )


@dataclass(frozen=True, slots=True)
class Company:
    """The socket that the workspace will answer on, and a provider that knows its address."""

    sock: socket.socket
    base_url: str
    idp: LocalIdp
    people: tuple[Entry, ...]
    tenants: Tenants


@contextlib.contextmanager
def company(port: int | None) -> Iterator[Company]:
    """The company's provider for the length of the block, and the port of the workspace.

    Raises:
        PortTaken: the port that was asked for is taken (None: 8080, or the next free one).
        LocalIdpError: there is no provider here, or it did not start.
    """
    with contextlib.closing(bind_loopback(port) if port is not None else free_socket()) as sock:
        base_url = f"http://{hosts_of(sock)[0]}"
        client = Client("countersign-demo", secrets.token_urlsafe(32), "Countersign", (base_url + COMPANY_BACK,))
        with local_idp.running(COMPANY, local_idp.acme(PASSWORD), client, admins=(ADMIN,), always_ask=True) as idp:
            secret = Secret("the demo's client secret", client.secret)
            issuer = Issuer("acme", Preset.OIDC, idp.issuer, client.id, secret)
            yield Company(sock, base_url, idp, tuple(idp.people().values()), _tenants(issuer))


async def serve(core: Core, acme: Company, ready: Callable[[Opened], None]) -> None:
    """Serve the workspace until SIGINT or SIGTERM. `ready` is called once everybody has been provisioned.

    Raises:
        LocalIdpError: the provider could not provision its people.
    """
    seed_demo(core)
    faces = tuple(_face(entry, acme.idp.issuer) for entry in acme.people)
    workspace = load_workspace(faces)
    surface = DemoSurface(ChatLog(core.writer, TENANT), workspace)
    async with proving.provider() as idp:
        pages = proving.pages_of(
            core, idp, acme.base_url, {surface.name: surface}, name_of=partial(_name_of, workspace)
        )

        def complete(parts: Parts) -> Parts:
            return proving.complete(core, pages, parts)

        async with running(
            core, lambda _core: (surface, proving.office_chat(core)), offline_router(), complete
        ) as service:
            token = secrets.token_urlsafe(24)
            page = demo_app(
                service=service.turn,
                surface=surface,
                data=Data(core, workspace, {face.subject.sub: face for face in faces}),
                token=token,
                hosts=hosts_of(acme.sock),
                doorways=_doorways(acme),
            )
            opened = Opened(f"{acme.base_url}/?token={token}", acme.idp.issuer, acme.people)
            await _served(Fronts(_doors(service, acme, pages), page), surface, core, acme, lambda: ready(opened))


async def _served(app: ASGIApp, surface: DemoSurface, core: Core, acme: Company, ready: Callable[[], None]) -> None:
    """Serves until it is told to stop. What cannot begin, because nobody arrived, ends."""
    up = asyncio.Event()
    server = DemoServer(app, surface.hub, up.set)

    async def introduce() -> None:
        await up.wait()
        try:
            await provision(core, acme)
        except BaseException:
            server.should_exit = True
            raise
        ready()

    introduced = asyncio.create_task(introduce(), name="countersign-demo-provisioning")
    try:
        await server.serve(sockets=[acme.sock])
    finally:
        introduced.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await introduced


async def provision(core: Core, acme: Company) -> None:
    """Gives the provider a SCIM token, and has it push everybody; later changes it pushes by itself."""

    def unit(conn: Connection) -> str:
        _, secret, event = scim_tokens.create(conn, TENANT, "Acme's provider", "demo", utc_now())
        core.audit.append(conn, [event])
        return secret

    token = await core.writer.run(unit)
    # In a thread: the provider answers when we have answered it.
    await asyncio.to_thread(acme.idp.provision_to, acme.base_url + SCIM, token)
    await asyncio.to_thread(acme.idp.push)


class Fronts:
    """Two applications at one address: pages with doors of their own, and the demo page behind its key."""

    def __init__(self, doors: ASGIApp, page: ASGIApp) -> None:
        self._doors = doors
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        front = self._doors if scope["type"] == "http" and scope["path"].startswith(DOORS) else self._page
        await front(scope, receive, send)


async def _name_of(workspace: Workspace, who: ChatUser) -> str | None:
    member = workspace.member(who.user)
    return None if member is None else member.name


def _doors(service: Running, acme: Company, pages: IdentityPages) -> Starlette:
    # Another site whose name leads here must not be answered as if it were this one.
    here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])
    machines = proving.machine_routes(service.core, acme.base_url)
    return Starlette(
        routes=[*machines, *pages.routes, *proving.office_of(service, pages, home=False)], middleware=[here]
    )


def _doorways(acme: Company) -> tuple[Doorway, ...]:
    return (
        Doorway(
            f"{COMPANY}'s identity provider",
            f"{acme.idp.issuer}/login",
            f"Everybody's password is {PASSWORD}. As {ADMIN}, lock somebody out and see what they asked for end.",
        ),
        Doorway(
            "Your own page",
            "/requests",
            "Sign in without the chat: as ann approve, as aud read the log, as ada see stops",
        ),
    )


def _face(entry: Entry, issuer: str) -> Person:
    """How the chat shows somebody. It says nothing of who they are: the chat's accounts are linked to nobody yet."""
    return Person(
        tenant=TENANT,
        subject=Subject(issuer, entry.sub),
        display_name=entry.name,
        email=entry.email,
        active=True,
        groups=(),
        employee_number=None,
        accounts=(ChatUser(DEMO, TEAM, entry.user_name),),
    )


def _tenants(issuer: Issuer) -> Tenants:
    """What tenants.yaml would say, could it name the demo's chat."""
    acme = Tenant(TENANT, COMPANY, issuer, (Team(DEMO, TEAM),), None, timedelta(hours=168))
    return Tenants(
        MappingProxyType({TENANT: acme}),
        MappingProxyType({issuer.name: issuer}),
        MappingProxyType({(DEMO, TEAM): TENANT}),
    )
