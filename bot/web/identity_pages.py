"""Everything with which people prove who they are, put together once. Knows what needs what; decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.routing import Route

from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.grants import Grants
from bot.identity.issuers import Issuer
from bot.identity.jwks import Keys
from bot.identity.link_commands import LinkCommands
from bot.identity.linking import Linking
from bot.identity.oidc import OidcClient
from bot.identity.telling import Telling
from bot.identity.tenants import Tenants
from bot.ports import Directory
from bot.web.backchannel import BackChannel, LogsOut
from bot.web.browser import Site
from bot.web.link import LinkPages
from bot.web.oidc_leg import Leg
from bot.web.signed_in import SignedInBrowsers
from bot.web.signin import SignIn


@dataclass(frozen=True, slots=True)
class IdentityPages:
    linking: Linking
    """Answers the presses in the chat: `confirm`."""
    commands: LinkCommands
    browsers: SignedInBrowsers
    """Whom every other page asks."""
    routes: list[Route]


def identity_pages(
    *,
    base_url: str,
    writer: Writer,
    audit: AuditStore,
    directory: Directory,
    tenants: Tenants,
    telling: Telling,
    oidc: OidcClient,
    keys: Keys,
    leavers: LogsOut,
    clock: Callable[[], datetime],
    slack: Issuer | None = None,
    grants: Grants | None = None,
) -> IdentityPages:
    """`slack`: Sign in with Slack (`slack_issuer`), where SLACK_CLIENT_ID and SLACK_CLIENT_SECRET are set.
    `grants`: where a tenant has APIs that are called in people's own name.

    Raises:
        ValueError: nobody can sign in safely at `base_url`; a sentence for people.
    """
    site = Site(base_url.rstrip("/"))
    linking = Linking(
        writer=writer, audit=audit, directory=directory, tenants=tenants, clock=clock, telling=telling, slack=slack
    )
    commands = LinkCommands(writer, audit, directory, telling, site.base_url, clock)
    browsers = SignedInBrowsers(site, writer, directory, clock)
    leg = Leg(oidc, keys, site, clock)
    link_pages = LinkPages(linking, leg, site)
    sign_in = SignIn(browsers, linking, link_pages, leg, grants)
    back_channel = BackChannel(linking, keys, leavers, clock)
    routes = [*link_pages.routes(), *sign_in.routes(), *back_channel.routes()]
    return IdentityPages(linking, commands, browsers, routes)
