"""Notes where the bot is and whom it met, as activities come in. Knows deliveries and rows; says nothing to anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bot.payload import Body


class Whereabouts(Protocol):
    async def note(self, body: Body) -> bool: ...
    async def behind(self, team: str, accounts: tuple[str, ...]) -> Mapping[str, str]: ...
