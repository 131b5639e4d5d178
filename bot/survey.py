"""What the chats say of the channels to which cards are posted, for `countersign check`. Asks; `bot.checkup` judges."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from bot.chats import slack_of, teams_of
from bot.checkup import Channel, asked_of
from bot.core import Core
from bot.identity.idp_http import IdpHttp
from bot.messages import ChatUser
from bot.ports import SurfaceError
from policy.places import name_in

if TYPE_CHECKING:
    from bot.slack.surface import SlackSurface
    from bot.teams.surface import TeamsSurface


async def survey(core: Core, destinations: tuple[str, ...]) -> tuple[Channel, ...]:
    """Every channel of every organisation, in every team of a configured chat. `destinations`: all that are named."""
    settings = core.settings
    found: list[Channel] = []
    if settings.slack is not None:
        slack, _ = slack_of(core, settings.slack)
        found += [one async for one in _slack(core, slack, destinations)]
    if settings.teams is not None:
        from bot.teams.service_urls import ServiceUrls

        async with contextlib.AsyncExitStack() as ending:
            http = IdpHttp()
            ending.push_async_callback(http.close)
            teams = teams_of(core, settings.teams, http, ServiceUrls(settings.teams.service_urls))
            ending.push_async_callback(teams.close)
            found += [one async for one in _teams(core, teams)]
    return tuple(found)


async def _slack(core: Core, surface: SlackSurface, destinations: tuple[str, ...]) -> AsyncIterator[Channel]:
    every = [(place, name) for place in destinations if (name := name_in(place, surface.name)) is not None]
    try:
        teams = await surface.workspaces.teams()
    except SurfaceError as error:
        for place, _ in every:
            yield Channel(place, problem=str(error))
        return
    for team in teams:
        tenant = core.directory.tenant_of(surface.name, team)
        # An organisation's own policy may name channels that no other workspace has.
        for place, name in every if tenant is None else asked_of(core.policy.of(tenant), surface.name):
            try:
                enterprise = (await surface.workspaces.of(team)).enterprise
                facts = await surface.channel_facts(name, team)
            except SurfaceError as error:
                yield Channel(place, problem=str(error), missing=error.gone, tenant=tenant)
                continue
            members = tuple(ChatUser(surface.name, team, user, enterprise) for user in facts.members)
            yield Channel(place, not facts.is_private, facts.is_shared, members, tenant=tenant)


async def _teams(core: Core, surface: TeamsSurface) -> AsyncIterator[Channel]:
    for tenant in core.directory.tenants():
        for name, team in core.directory.teams_of(tenant):
            if name != surface.name:
                continue
            for place, called in asked_of(core.policy.of(tenant), name):
                try:
                    facts = await surface.channel_facts(called, team)
                except SurfaceError as error:
                    yield Channel(place, problem=str(error), missing=error.gone, tenant=tenant)
                    continue
                members = tuple(ChatUser(name, team, user) for user in facts.members)
                # Teams does not tell bots whether everybody may join: no word is no finding.
                yield Channel(place, facts.is_private is False, facts.is_shared, members, tenant=tenant)
