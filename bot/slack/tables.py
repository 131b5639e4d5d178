"""Where the app is installed: Bolt's own tables and queries, within our transactions. Knows rows; opens no token.

An installation is a chat team's, not a tenant's: tenants.yaml says whose the team is, anew at every use, so a team
that moves takes its installation along and nothing else. Tokens lie here sealed (`bot.slack.vault`).
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from slack_sdk.oauth.installation_store import Bot, Installation
from slack_sdk.oauth.installation_store.sqlalchemy import SQLAlchemyInstallationStore
from slack_sdk.oauth.state_store.sqlalchemy import SQLAlchemyOAuthStateStore
from sqlalchemy.engine import Connection, Engine
from sqlmodel import SQLModel

from audit.types import UtcDateTime

_TOKENS = ("bot_token", "bot_refresh_token", "user_token", "user_refresh_token")


class _Joined:
    """Bolt's stores open transactions of their own; with this for an engine they are part of the caller's."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        yield self._conn

    connect = begin


@dataclass(frozen=True, slots=True)
class Kept:
    """One installation as it lies in the database, its tokens sealed."""

    row: int
    bot: Bot


class InstallationStore(SQLAlchemyInstallationStore):
    """Bolt's store on one connection. A team has one installation at most; the newest replaces all before it."""

    def __init__(self, client_id: str, conn: Connection) -> None:
        super().__init__(client_id, cast(Engine, _Joined(conn)))
        self._conn = conn

    @classmethod
    def build_installations_table(cls, metadata: sa.MetaData, table_name: str) -> sa.Table:
        return _roomy(super().build_installations_table(metadata, table_name))

    @classmethod
    def build_bots_table(cls, metadata: sa.MetaData, table_name: str) -> sa.Table:
        table = _roomy(super().build_bots_table(metadata, table_name))
        # Who renews the token at this moment: a refresh token is good for one use.
        table.append_column(sa.Column("lease", sa.String(64)))
        table.append_column(sa.Column("lease_until", UtcDateTime))
        return table

    def save(self, installation: Installation) -> None:
        self.remove(installation.team_id or "")
        super().save(installation)

    def of_team(self, team: str) -> Kept | None:
        """The installation of a workspace, whatever organisation it was part of when it was installed."""
        bots = self.bots.c
        row = (
            self._conn.execute(
                self.bots.select()
                .where(bots.client_id == self.client_id, bots.team_id == team, bots.bot_token.is_not(None))
                .order_by(bots.installed_at.desc())
                .limit(1)
            )
            .mappings()
            .first()
        )
        return None if row is None else Kept(int(row["id"]), self.build_bot_entity(row))

    def teams(self) -> tuple[str, ...]:
        found = self._conn.execute(sa.select(self.bots.c.team_id).where(self.bots.c.client_id == self.client_id))
        return tuple(sorted({str(team) for team in found.scalars() if team}))

    def remove(self, team: str, kept: Kept | None = None) -> bool:
        """Forgets the team's installations, or the one that is `kept` if it is there still. Whether there were any."""
        gone = 0
        for table in (self.bots, self.installations):
            one = sa.and_(table.c.client_id == self.client_id, table.c.team_id == team)
            if kept is not None:
                one = sa.and_(one, table.c.bot_token == kept.bot.bot_token)
            gone += self._conn.execute(table.delete().where(one)).rowcount
        return gone > 0

    # --- renewing ------------------------------------------------------------------------------------

    def lease(self, kept: Kept, holder: str, now: datetime, seconds: float) -> bool:
        """Whether `holder` is the one to renew the token now; nobody else is until that time is over."""
        bots = self.bots.c
        taken = self._conn.execute(
            self.bots.update()
            .where(
                bots.id == kept.row,
                bots.bot_refresh_token == kept.bot.bot_refresh_token,
                sa.or_(bots.lease.is_(None), bots.lease == holder, bots.lease_until < now),
            )
            .values(lease=holder, lease_until=now + timedelta(seconds=seconds))
        )
        return taken.rowcount == 1

    def renew(self, kept: Kept, bot: Bot) -> bool:
        """Puts the renewed tokens of `bot` in the place of those of `kept`, if those still lie there."""
        fields = bot.to_dict()
        expires = fields["bot_token_expires_at"]
        renewed = {
            "bot_token": bot.bot_token,
            "bot_refresh_token": bot.bot_refresh_token,
            "bot_token_expires_at": expires.replace(tzinfo=None) if expires is not None else None,
        }
        bots, whole = self.bots.c, self.installations.c
        done = self._conn.execute(
            self.bots.update()
            .where(bots.id == kept.row, bots.bot_refresh_token == kept.bot.bot_refresh_token)
            .values(**renewed, lease=None, lease_until=None)
        )
        if done.rowcount != 1:
            return False
        self._conn.execute(
            self.installations.update()
            .where(whole.client_id == self.client_id, whole.bot_refresh_token == kept.bot.bot_refresh_token)
            .values(**renewed)
        )
        return True

    def release(self, kept: Kept, holder: str) -> None:
        mine = sa.and_(self.bots.c.id == kept.row, self.bots.c.lease == holder)
        self._conn.execute(self.bots.update().where(mine).values(lease=None, lease_until=None))


class StateStore(SQLAlchemyOAuthStateStore):
    """Bolt's one-time states on one connection. Kept as hashes; what has run out goes when a new one is made."""

    def __init__(self, seconds: int, conn: Connection, now: datetime) -> None:
        super().__init__(seconds, cast(Engine, _Joined(conn)))
        self._conn = conn
        self._now = now.replace(tzinfo=None)

    def issue(self, *args: object, **kwargs: object) -> str:
        state = secrets.token_urlsafe(32)
        column = self.oauth_states.c
        self._conn.execute(self.oauth_states.delete().where(column.expire_at <= self._now))
        until = self._now + timedelta(seconds=self.expiration_seconds)
        self._conn.execute(self.oauth_states.insert().values(state=_hash(state), expire_at=until))
        return state

    def consume(self, state: str) -> bool:
        """Whether `state` was issued, is fresh and was not used. Of two at once, one alone is told so.

        (Bolt's own looks first and deletes then: on PostgreSQL two requests would both pass.)
        """
        column = self.oauth_states.c
        used = self.oauth_states.delete().where(column.state == _hash(state), column.expire_at > self._now)
        return self._conn.execute(used).rowcount == 1


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()


def _roomy(table: sa.Table) -> sa.Table:
    """Sealed tokens are longer than Bolt's 200 characters."""
    for name in _TOKENS:
        if name in table.c:
            table.c[name].type = sa.Text()
    return table


# The migration creates what SQLModel's metadata lists; Bolt builds the same tables for itself at every use.
INSTALLATIONS = InstallationStore.build_installations_table(
    SQLModel.metadata, InstallationStore.default_installations_table_name
)
BOTS = InstallationStore.build_bots_table(SQLModel.metadata, InstallationStore.default_bots_table_name)
STATES = StateStore.build_oauth_states_table(SQLModel.metadata, StateStore.default_table_name)
