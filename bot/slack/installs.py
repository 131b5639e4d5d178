"""The workspaces in which the app was installed through Slack's OAuth: one token each, renewed before it ends.

Knows when to ask Slack for the next token and who may; what is kept and how is `bot.slack.ledger`'s. What the ledger
says is asked anew every half minute, so that what happened at one replica holds at all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from slack_sdk.oauth.installation_store import Bot

from bot.ports import Book, SurfaceError
from bot.slack.calls import SPOILED, Calls, Refused, web_client
from bot.slack.deliveries import SLACK
from bot.slack.ledger import Ledger, Opened
from bot.slack.renewal import Renewal
from bot.slack.workspaces import NotInstalled, Workspace

log = logging.getLogger(__name__)

_FRESH_S = 30.0
_RENEW_S = 2 * 3600.0
"""How long before its end a token is renewed. Slack's live twelve hours."""
_LEASE_S = 60.0
"""Longer than a renewal can take, its time-out included."""
_AGAIN_S = 60.0
"""After a renewal that failed."""
_LAST_CHANCE_S = 10.0


@dataclass(frozen=True, slots=True)
class App:
    """The Slack app, as its page at api.slack.com names it."""

    client_id: str
    client_secret: str = field(repr=False)
    base_url: str
    """Where people reach this service: Slack sends browsers back there."""
    api_url: str | None = None

    @property
    def install_url(self) -> str:
        return f"{self.base_url}/slack/install"


@dataclass(frozen=True, slots=True)
class _Held:
    read_at: float
    opened: Opened
    workspace: Workspace


class Installs:
    """Implements `bot.slack.workspaces.Workspaces`."""

    def __init__(self, app: App, ledger: Ledger, book: Book, *, timeout_s: int = 10) -> None:
        self.app = app
        self.ledger = ledger
        self.book = book
        self._timeout_s = timeout_s
        self._renewal = Renewal(app.client_id, app.client_secret, app.api_url, timeout_s)
        self._replica = uuid.uuid4().hex
        self._held: dict[str, _Held] = {}
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._renewing: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        """When a team's renewal failed, and why."""

    async def of(self, team: str) -> Workspace:
        if self.book.tenant_of(SLACK, team) is None:
            self.drop(team)
            raise NotInstalled("No organisation in tenants.yaml names that Slack workspace. Nothing was sent there.")
        held = await self._current(team)
        if _left(held.opened.bot) < _RENEW_S:
            renewing = self._renew_soon(team, held.opened)
            if _left(held.opened.bot) <= 0:
                if renewing is not None:
                    await asyncio.wait({renewing}, timeout=self._timeout_s)
                held = await self._current(team)
                if _left(held.opened.bot) <= 0:
                    raise SurfaceError(self._ran_out(team))
        return held.workspace

    async def teams(self) -> tuple[str, ...]:
        return tuple(team for team in await self.ledger.teams() if self.book.tenant_of(SLACK, team) is not None)

    async def health(self) -> None:
        """The store answers, and Slack does. One workspace that took the app out is no reason to serve none."""
        await self.ledger.teams()
        try:
            await Calls(web_client(None, self.app.api_url, timeout_s=self._timeout_s)).call("api.test", {})
        except Refused:
            return  # it answered

    async def removed(self, team: str, how: str) -> None:
        """Forgets the installation, once Slack confirms that its token is dead: such news can come late, after the
        app was installed anew, or be of another token. Links stay: they hold again once the app is back.
        """
        while (opened := await self.ledger.opened(team)) is not None:
            self.drop(team)
            if await self._lives(opened.bot):
                return
            # Not so where the token was renewed in the meantime: then once more.
            if await self.ledger.forget(team, opened.kept, how, self.book.tenant_of(SLACK, team)):
                log.warning(
                    "The app is not in the Slack workspace %s any more (%s). Nobody is served there, what waits goes "
                    "on waiting, links stay. It is installed anew at %s",
                    team,
                    how,
                    self.app.install_url,
                )
        self.drop(team)

    async def _lives(self, bot: Bot) -> bool:
        """Whether Slack takes the token. Raises where it does not say."""
        try:
            await Calls(web_client(bot.bot_token, self.app.api_url, timeout_s=self._timeout_s)).call("auth.test", {})
        except Refused as refused:
            if refused.code not in SPOILED:
                raise
            return False
        return True

    async def close(self) -> None:
        """A renewed token that is not stored yet would be lost with this process: it gets a last chance."""
        if self._renewing:
            _, late = await asyncio.wait(self._renewing.values(), timeout=_LAST_CHANCE_S)
            for task in late:
                log.error("%s was broken off: if its token was spent, that workspace installs anew", task.get_name())
                task.cancel()

    def drop(self, team: str) -> None:
        """What is remembered of the team is asked anew."""
        self._held.pop(team, None)
        self._failed.pop(team, None)

    # --- reading ---------------------------------------------------------------------------------------

    async def _current(self, team: str) -> _Held:
        lock = self._reading.setdefault(team, asyncio.Lock())
        async with lock:
            held = self._held.get(team)
            if held is not None and time.monotonic() - held.read_at < _FRESH_S:
                return held
            opened = await self.ledger.opened(team)
            if opened is None:
                self.drop(team)
                raise NotInstalled(
                    "The app is not installed in that Slack workspace, or was taken out of it. Nothing was sent. "
                    f"Somebody who may install apps there does it at {self.app.install_url}"
                )
            return self._hold(team, opened)

    def _hold(self, team: str, opened: Opened) -> _Held:
        bot = opened.bot
        client = web_client(bot.bot_token, self.app.api_url, timeout_s=self._timeout_s)
        calls = Calls(client, spoiled=lambda: self._spoiled(team, bot.bot_token))
        workspace = Workspace(team, bot.enterprise_id or "", bot.bot_user_id, bot.bot_id, calls)
        self._held[team] = held = _Held(time.monotonic(), opened, workspace)
        return held

    def _spoiled(self, team: str, token: str) -> None:
        """Slack does not take the token: perhaps another replica has renewed it, or somebody installed anew."""
        held = self._held.get(team)
        if held is not None and held.opened.bot.bot_token == token:
            del self._held[team]

    # --- renewing --------------------------------------------------------------------------------------

    def _renew_soon(self, team: str, opened: Opened) -> asyncio.Task[None] | None:
        """Beside the calls, which go on with the token there is. None: not now."""
        if team in self._renewing:
            return self._renewing[team]
        failed_at, _ = self._failed.get(team, (float("-inf"), ""))
        if time.monotonic() - failed_at < _AGAIN_S:
            return None
        task = asyncio.create_task(self._renew(team, opened), name=f"Renewing the token of {team}")
        self._renewing[team] = task
        task.add_done_callback(lambda _done: self._renewing.pop(team, None))
        return task

    async def _renew(self, team: str, opened: Opened) -> None:
        """One replica asks Slack; the others find the new token where it stores it."""
        try:
            if not await self._mine(team, opened):
                self._held.pop(team, None)
                return
            renewed = await self._renewal.of(opened.bot)
        except SurfaceError as error:
            log.error("The token of the Slack workspace %s was not renewed: %s", team, error)
            self._held.pop(team, None)
            self._failed[team] = (time.monotonic(), str(error))
            await self._let_go(opened)
            return
        await self._store(team, opened, renewed)

    async def _mine(self, team: str, opened: Opened) -> bool:
        """Whether the renewal is this replica's. Where the token has run out another one's is waited for."""
        deadline = time.monotonic() + self._timeout_s
        while not await self.ledger.lease(opened.kept, self._replica, _LEASE_S):
            now = await self.ledger.kept(team)
            done = now is None or now.bot.bot_refresh_token != opened.kept.bot.bot_refresh_token
            if done or _left(opened.bot) > 0 or time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.2)
        return True

    async def _store(self, team: str, opened: Opened, renewed: Bot) -> None:
        """The refresh token is spent: until its successor is stored it lives here alone. So: until it is."""
        pause = 0.5
        while True:
            try:
                if not await self.ledger.renew(team, opened.kept, renewed):
                    log.info("The Slack workspace %s was installed anew while its token was renewed", team)
            except SurfaceError as error:
                log.error("The renewed token of the Slack workspace %s is not stored yet: %s", team, error)
                self._hold(team, Opened(opened.kept, renewed))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _FRESH_S / 2)
                continue
            self.drop(team)
            return

    async def _let_go(self, opened: Opened) -> None:
        try:
            await self.ledger.release(opened.kept, self._replica)
        except SurfaceError as error:
            log.warning("A lease on a token's renewal runs out by itself: %s", error)

    def _ran_out(self, team: str) -> str:
        _, why = self._failed.get(team, (0.0, ""))
        return (
            f"The token of the Slack workspace {team} has run out and was not renewed. {why} Nothing was sent. "
            f"If it stays so, install the app anew at {self.app.install_url}"
        )


def _left(bot: Bot) -> float:
    """Seconds until the token runs out; for ever where it does not."""
    return float("inf") if bot.bot_token_expires_at is None else bot.bot_token_expires_at - time.time()
