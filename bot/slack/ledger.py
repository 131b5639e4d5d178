"""What is kept of installations: transactions, seals and audit rows around `bot.slack.tables`. Calls no Slack.

Tokens are sealed before a transaction and opened after one: a KMS may be asked for its key, and that takes its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from slack_sdk.oauth.installation_store import Bot, Installation
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.faults import StoreUnavailable
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.sealing import KeyAway, SealBroken
from bot.ports import SurfaceError
from bot.slack.deliveries import SLACK
from bot.slack.tables import InstallationStore, Kept, StateStore
from bot.slack.vault import BOT, REFRESH, Vault
from policy.model import TenantId

T = TypeVar("T")

STATE_S = 600
"""How long an installation that was begun may take."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An installation, with its tokens as they lie in the database and in the open."""

    kept: Kept
    bot: Bot


class Ledger:
    """Every method raises `SurfaceError`, and nothing else, where store or key are away."""

    def __init__(
        self, client_id: str, *, writer: Writer, audit: AuditStore, vault: Vault, clock: Callable[[], datetime]
    ) -> None:
        self._client_id = client_id
        self._writer = writer
        self._audit = audit
        self._vault = vault
        self._clock = clock

    # --- installations ---------------------------------------------------------------------------------

    async def teams(self) -> tuple[str, ...]:
        return await self._read(lambda conn: self._on(conn).teams())

    async def kept(self, team: str) -> Kept | None:
        return await self._read(lambda conn: self._on(conn).of_team(team))

    async def opened(self, team: str) -> Opened | None:
        """The team's installation.

        Raises:
            SurfaceError: its tokens do not open.
        """
        kept = await self.kept(team)
        if kept is None:
            return None
        try:
            return Opened(kept, await asyncio.to_thread(self._open, team, kept.bot))
        except KeyAway as error:
            raise SurfaceError(f"The token of the Slack workspace {team} cannot be opened now. {error}") from error
        except SealBroken as error:
            raise SurfaceError(
                f"The stored token of the Slack workspace {team} does not open: it was altered, or its key is another "
                "one. Nothing was sent. Install the app anew at /slack/install."
            ) from error

    async def save(self, installation: Installation, team: str, tenant: TenantId) -> None:
        """Keeps a new installation in the place of the team's former one."""
        sealed = Installation(**{
            **installation.to_dict_for_copying(),
            # A person's own token is asked for nowhere, and is not kept if one comes.
            "user_token": None, "user_refresh_token": None, "user_token_expires_at": None,
            **await self._sealed(team, installation.bot_token, installation.bot_refresh_token),
        })  # fmt: skip
        detail = {
            "surface": SLACK,
            "team": team,
            "enterprise": installation.enterprise_id or "",
            "by": installation.user_id or "",
            "scopes": ",".join(installation.bot_scopes or ()),
        }

        def unit(conn: Connection) -> None:
            self._on(conn).save(sealed)
            self._audit.append(conn, [Event(Kind.CHAT_INSTALLED, tenant, self._clock(), "installed", detail=detail)])

        await self._write(unit)

    async def turned_away(self, team: str, why: str) -> None:
        """Writes down that somebody installed the app where it may not be."""
        event = Event(Kind.CHAT_REFUSED, None, self._clock(), why, detail={"surface": SLACK, "team": team})
        await self._write(lambda conn: self._audit.append(conn, [event]))

    async def forget(self, team: str, kept: Kept, how: str, tenant: TenantId | None) -> bool:
        """Drops that installation, unless another one is in its place by now."""
        event = Event(Kind.CHAT_REMOVED, tenant, self._clock(), how, detail={"surface": SLACK, "team": team})

        def unit(conn: Connection) -> bool:
            gone = self._on(conn).remove(team, kept)
            if gone:
                self._audit.append(conn, [event])
            return gone

        return await self._write(unit)

    # --- renewing --------------------------------------------------------------------------------------

    async def lease(self, kept: Kept, holder: str, seconds: float) -> bool:
        """Whether `holder` is the one to renew the token now."""
        now = self._clock()
        return await self._write(lambda conn: self._on(conn).lease(kept, holder, now, seconds))

    async def renew(self, team: str, kept: Kept, renewed: Bot) -> bool:
        """Stores renewed tokens. False: the team was installed anew meanwhile, and those tokens hold."""
        sealed = Bot(**{
            **renewed.to_dict_for_copying(),
            **await self._sealed(team, renewed.bot_token, renewed.bot_refresh_token),
        })  # fmt: skip
        return await self._write(lambda conn: self._on(conn).renew(kept, sealed))

    async def release(self, kept: Kept, holder: str) -> None:
        await self._write(lambda conn: self._on(conn).release(kept, holder))

    # --- states ----------------------------------------------------------------------------------------

    async def issue(self) -> str:
        """A state for a browser on its way to Slack: good once, for ten minutes."""
        now = self._clock()
        return await self._write(lambda conn: StateStore(STATE_S, conn, now).issue())

    async def consume(self, state: str) -> bool:
        now = self._clock()
        return await self._write(lambda conn: StateStore(STATE_S, conn, now).consume(state))

    # --- inside ----------------------------------------------------------------------------------------

    def _on(self, conn: Connection) -> InstallationStore:
        return InstallationStore(self._client_id, conn)

    def _open(self, team: str, sealed: Bot) -> Bot:
        bot = Bot(**sealed.to_dict_for_copying())
        bot.bot_token = self._vault.open(team, BOT, sealed.bot_token)
        if sealed.bot_refresh_token is not None:
            bot.bot_refresh_token = self._vault.open(team, REFRESH, sealed.bot_refresh_token)
        return bot

    async def _sealed(self, team: str, token: str | None, refresh: str | None) -> dict[str, str | None]:
        def work() -> dict[str, str | None]:
            return {
                "bot_token": self._vault.seal(team, BOT, token) if token else None,
                "bot_refresh_token": self._vault.seal(team, REFRESH, refresh) if refresh else None,
            }

        try:
            return await asyncio.to_thread(work)
        except KeyAway as error:
            raise SurfaceError(f"The workspace's token could not be sealed, so it was not kept. {error}") from error

    async def _read(self, unit: Callable[[Connection], T]) -> T:
        try:
            return await self._writer.read(unit)
        except StoreUnavailable as error:
            raise SurfaceError(f"Where the Slack app is installed cannot be looked up now. {error}") from error

    async def _write(self, unit: Callable[[Connection], T]) -> T:
        try:
            return await self._writer.run(unit)
        except StoreUnavailable as error:
            raise SurfaceError(str(error)) from error
