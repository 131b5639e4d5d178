"""The rows of `bot.teams.tables`: where the bot may speak, who was met where. Knows no chat and no address's meaning.

Every function takes the caller's open transaction and asks for one organisation's team alone (invariant 14).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from bot.store import table
from bot.teams.tables import Kind, TeamsConversation, TeamsPerson
from policy.model import TenantId

CONVERSATION: Final = table(TeamsConversation)
PERSON: Final = table(TeamsPerson)


@dataclass(frozen=True, slots=True)
class Met:
    """What one verified activity tells of the place it came from, and of who was there."""

    team: str
    """The Entra tenant, in lower case."""
    conversation: str
    """Without ``;messageid=``."""
    kind: Kind
    service_url: str
    bot: str
    """The bot's own id there, ``28:…``."""
    at: datetime
    name: str | None = None
    teams_team: str | None = None
    person: str | None = None
    """Who acted (aadObjectId, in lower case); None: nobody, such as an installation, whoever made it."""
    account: str | None = None
    """Teams' own id of who acted, ``29:…``."""


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation, and what is needed to speak there."""

    team: str
    conversation: str
    kind: Kind
    service_url: str
    bot: str
    name: str | None
    teams_team: str | None
    person: str | None
    removed: bool
    """The bot is not there any more, or is not wanted: nothing is posted until an activity comes from there."""


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody who was met."""

    person: str
    account: str
    met_in: str


# --- what an activity tells --------------------------------------------------------------------------


def remember(conn: Connection, tenant: TenantId, met: Met) -> bool:
    """Keep what `met` tells; a name it does not tell stays. Whether the bot was not there before."""
    own = met.person if met.kind is Kind.PERSONAL else None
    before = place(conn, tenant, met.team, met.conversation)
    values = {
        "tenant": tenant,
        "kind": met.kind.value,
        "service_url": met.service_url,
        "bot": met.bot,
        "seen_at": met.at,
        "removed_at": None,
    }
    told = {"name": met.name, "teams_team": met.teams_team, "person": own}
    _put(conn, CONVERSATION, {"team": met.team, "conversation": met.conversation}, values, told)
    if met.person is not None and met.account:
        known = {"tenant": tenant, "account": met.account, "met_in": met.conversation, "seen_at": met.at}
        personal = {"personal": met.conversation if own else None}
        _put(conn, PERSON, {"team": met.team, "person": met.person}, known, personal)
    return before is None or before.removed


def removed(conn: Connection, tenant: TenantId, team: str, conversation: str, at: datetime) -> int:
    """The bot is not there any more; where `conversation` is a Teams team, in none of its channels. How many."""
    done = conn.execute(
        sa.update(CONVERSATION)
        .where(
            *_of(CONVERSATION, tenant, team),
            sa.or_(CONVERSATION.c.conversation == conversation, CONVERSATION.c.teams_team == conversation),
            CONVERSATION.c.removed_at.is_(None),
        )
        .values(removed_at=at)
    )
    return done.rowcount


def rename(conn: Connection, tenant: TenantId, near: Place, listed: Mapping[str, str], at: datetime) -> None:
    """The channels of `near`'s Teams team as Teams lists them now: id -> name. One that was left stays left."""
    for conversation, name in listed.items():
        values = {"tenant": tenant, "kind": Kind.CHANNEL.value, "teams_team": near.teams_team, "name": name}
        new = {"service_url": near.service_url, "bot": near.bot, "seen_at": at}
        _put(conn, CONVERSATION, {"team": near.team, "conversation": conversation}, values, {}, new)


# --- where to speak ----------------------------------------------------------------------------------


def place(conn: Connection, tenant: TenantId, team: str, conversation: str) -> Place | None:
    found = _places(conn, tenant, team, CONVERSATION.c.conversation == conversation)
    return found[0] if found else None


def personal(conn: Connection, tenant: TenantId, team: str, person: str) -> Place | None:
    """The person's own conversation with the bot, as it was met last; it may be left by now."""
    own = _places(conn, tenant, team, CONVERSATION.c.kind == Kind.PERSONAL.value, CONVERSATION.c.person == person)
    return own[0] if own else None


def shared(conn: Connection, tenant: TenantId, team: str) -> tuple[Place, ...]:
    """Every channel and group chat that the bot is in, those met last first."""
    kinds = (Kind.CHANNEL.value, Kind.GROUP.value)
    return _places(conn, tenant, team, CONVERSATION.c.kind.in_(kinds), CONVERSATION.c.removed_at.is_(None))


def anywhere(conn: Connection, tenant: TenantId, team: str) -> Place | None:
    """The place that an activity came from last: what is known of the team's address."""
    found = _places(conn, tenant, team, CONVERSATION.c.removed_at.is_(None))
    return found[0] if found else None


# --- people ------------------------------------------------------------------------------------------


def known(conn: Connection, tenant: TenantId, team: str, people: Iterable[str]) -> dict[str, Known]:
    """Those of `people` (aadObjectId) who were met."""
    query = sa.select(PERSON).where(*_of(PERSON, tenant, team), PERSON.c.person.in_(list(people)))
    rows = conn.execute(query).mappings()
    return {row["person"]: Known(row["person"], row["account"], row["met_in"]) for row in rows}


def behind(conn: Connection, tenant: TenantId, team: str, accounts: Iterable[str]) -> dict[str, str]:
    """Who is behind Teams' own ids: account -> aadObjectId."""
    query = sa.select(PERSON.c.account, PERSON.c.person).where(
        *_of(PERSON, tenant, team), PERSON.c.account.in_(list(accounts))
    )
    return {row.account: row.person for row in conn.execute(query)}


# --- rows --------------------------------------------------------------------------------------------


def _of(where: sa.Table, tenant: TenantId, team: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """A team that is another organisation's by now has none of its rows."""
    return where.c.tenant == tenant, where.c.team == team


def _places(conn: Connection, tenant: TenantId, team: str, *conditions: sa.ColumnElement[bool]) -> tuple[Place, ...]:
    query = (
        sa.select(CONVERSATION)
        .where(*_of(CONVERSATION, tenant, team), *conditions)
        .order_by(CONVERSATION.c.removed_at.is_not(None), CONVERSATION.c.seen_at.desc(), CONVERSATION.c.conversation)
    )
    return tuple(_place(row) for row in conn.execute(query).mappings())


def _place(row: RowMapping) -> Place:
    kind = Kind(row["kind"])
    return Place(
        team=row["team"],
        conversation=row["conversation"],
        kind=kind,
        service_url=row["service_url"],
        bot=row["bot"],
        name=row["name"],
        teams_team=row["teams_team"],
        # It may have been personal once: others are in it now.
        person=row["person"] if kind is Kind.PERSONAL else None,
        removed=row["removed_at"] is not None,
    )


def _put(
    conn: Connection,
    where: sa.Table,
    key: Mapping[str, object],
    values: Mapping[str, object],
    kept: Mapping[str, object],
    new: Mapping[str, object] | None = None,
) -> None:
    """Insert, or change. `kept`: what is told replaces, what is not told (None) stays. `new`: for a new row alone."""
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(where).values(**key, **values, **kept, **(new or {}))
    changed: dict[str, object] = {name: insert.excluded[name] for name in values}
    changed |= {name: sa.func.coalesce(insert.excluded[name], where.c[name]) for name in kept}
    conn.execute(insert.on_conflict_do_update(index_elements=list(key), set_=changed))


def named(found: Sequence[Place], name: str) -> tuple[Place, ...]:
    """Those that `name` means, as people write it."""
    wanted = name.strip().casefold()
    return tuple(one for one in found if one.name is not None and one.name.strip().casefold() == wanted)
