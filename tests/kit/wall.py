"""Slack with two workspaces, as a service of two organisations sees it. Knows who was told what; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.cards import Card, Item
from bot.messages import ChatUser, SurfaceName
from bot.ports import Home, Posted
from bot.slack.workspaces import NotInstalled, Workspace
from policy.model import TenantId
from tests.kit.scripted import RecordedChat

SLACK = SurfaceName("slack")
TEAM: Mapping[TenantId, str] = {TenantId("acme"): "T0ACME", TenantId("globex"): "T0GLOBEX"}


@dataclass
class Wall(RecordedChat):
    """Slack with two workspaces, as `bot.service` needs it: writes down what it is told, and in which of them."""

    name: SurfaceName = SLACK
    api_url: str | None = None
    book: Any = None
    drawn: list[tuple[str, str, Card]] = field(default_factory=list)
    """(team, channel, card) of every posting and every update."""
    homes: list[tuple[ChatUser, Home]] = field(default_factory=list)

    @property
    def workspaces(self) -> Wall:
        return self

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        posted = await super().post(team, destination, card)
        self.drawn.append((team, destination, card))
        return posted

    async def update(self, posted: Posted, card: Card) -> None:
        await super().update(posted, card)
        self.drawn.append((posted.team, posted.channel, card))

    async def show_home(self, who: ChatUser, home: Home) -> None:
        self.homes.append((who, home))

    def heard(self, tenant: TenantId) -> str:
        """Everything anybody could read in the workspace of `tenant`."""
        team = TEAM[tenant]
        said = [repr(one) for one in self.said if one.thread.team == team]
        return "\n".join(
            [
                *said,
                *(repr(card) for where, _, card in self.drawn if where == team),
                *(repr(home) for who, home in self.homes if who.team == team),
            ]
        )

    def items_of(self, tenant: TenantId) -> list[Item]:
        """The newest drawing of every card in that workspace."""
        newest = {(where, card.card_id): card for team, where, card in self.drawn if team == TEAM[tenant]}
        return [item for card in newest.values() for item in card.items]

    # `bot.slack.workspaces.Workspaces`, as far as the gate asks it

    async def of(self, team: str) -> Workspace:
        if team not in TEAM.values():
            raise NotInstalled("The bot is not in that workspace.")
        return Workspace(team, "", "U0BOT", "B0BOT", None)  # type: ignore[arg-type]

    async def teams(self) -> tuple[str, ...]:
        return tuple(TEAM.values())

    async def removed(self, team: str, how: str) -> None: ...

    async def close(self) -> None: ...


# -- the deployment -------------------------------------------------------------------------------------------
