"""Notes where the bot is and whom it met, as activities come in. Knows deliveries and rows; says nothing to anybody.

An installation and a removal are rows of the audit too; somebody who takes the app out of their chat leaves nothing
else: they are no leaver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from audit.event import Event
from audit.event import Kind as Fact
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.issuer_blocks import GUID
from bot.payload import Body, at, text_at
from bot.teams import deliveries, places
from bot.teams.deliveries import TEAMS
from bot.teams.places import Met
from bot.teams.tables import Kind
from policy.model import TenantId

_SEES = frozenset({"channelCreated", "channelRenamed", "channelRestored"})
_LOSES = frozenset({"channelDeleted"})
_APART = frozenset({"private", "shared"})
"""Channels of a team in which the bot is not because it is in the team."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    writer: Writer
    audit: AuditStore
    tenant_of: Callable[[str], TenantId | None]
    clock: Callable[[], datetime]

    async def note(self, body: Body) -> bool:
        """Keeps what a verified activity tells; whether the bot was not in that conversation before.

        Raises:
            StoreUnavailable: nothing was kept.
        """
        tenant = self.tenant_of(deliveries.team_of(body))
        met = _met(body, self.clock())
        if tenant is None or met is None:
            return False
        gone = deliveries.left(body) or deliveries.event_of(body) in _LOSES

        def unit(conn: Connection) -> bool:
            if gone:
                fresh, told = False, places.removed(conn, tenant, met.team, met.conversation, met.at) > 0
            else:
                fresh = places.remember(conn, tenant, met)
                told = fresh and deliveries.arrived(body)
            if told:
                self.audit.append(conn, [_event(tenant, met, _actor(body), gone=gone)])
            return fresh

        return await self.writer.run(unit)

    async def behind(self, team: str, accounts: tuple[str, ...]) -> Mapping[str, str]:
        """Who is behind Teams' own ids (``29:…``): those who were met, by their aadObjectId."""
        tenant = self.tenant_of(team)
        if tenant is None or not accounts:
            return {}
        return await self.writer.read(lambda conn: places.behind(conn, tenant, team, accounts))


def _met(body: Body, now: datetime) -> Met | None:
    """None: an activity that tells of no place."""
    conversation, name, kind = deliveries.conversation_of(body), _name(body), deliveries.kind_of(body)
    channel = at(body, "channelData", "channel")
    if deliveries.event_of(body) in _SEES | _LOSES:
        # Told in the team's own conversation, about another one.
        if text_at(channel, "type").lower() in _APART:
            return None
        conversation, name, kind = text_at(channel, "id"), text_at(channel, "name") or None, Kind.CHANNEL
    service_url, bot = text_at(body, "serviceUrl"), text_at(body, "recipient", "id")
    if not (conversation and service_url and bot):
        return None
    # What Teams tells by itself names whoever caused it, such as an administrator who installs the app for others: the
    # chat is not theirs, and they need not be in it.
    person = None if deliveries.of_nobody(body) else _actor(body)
    return Met(
        team=deliveries.team_of(body),
        conversation=conversation,
        kind=kind,
        service_url=service_url,
        bot=bot,
        at=now,
        name=name,
        teams_team=_team(body) if kind is Kind.CHANNEL else None,
        person=person,
        account=None if person is None else text_at(body, "from", "id"),
    )


def _actor(body: Body) -> str | None:
    """The aadObjectId of the person an activity is from."""
    person = text_at(body, "from", "aadObjectId").lower()
    return person if deliveries.from_person(body) and GUID.fullmatch(person) else None


def _name(body: Body) -> str | None:
    if deliveries.kind_of(body) is Kind.PERSONAL:
        return None
    told = text_at(body, "channelData", "channel", "name") or text_at(body, "conversation", "name")
    return told or None


def _team(body: Body) -> str | None:
    return text_at(body, "channelData", "team", "id") or text_at(body, "channelData", "teamsTeamId") or None


def _event(tenant: TenantId, met: Met, actor: str | None, *, gone: bool) -> Event:
    detail = {"surface": TEAMS, "team": met.team, "conversation": met.conversation, "kind": met.kind.value}
    if actor is not None:
        detail["by"] = actor
    if gone:
        return Event(Fact.CHAT_REMOVED, tenant, met.at, "uninstalled", detail=detail)
    return Event(Fact.CHAT_INSTALLED, tenant, met.at, "installed", detail=detail)
