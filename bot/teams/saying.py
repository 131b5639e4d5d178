"""Drawn messages, posted: what must be said of an activity so that Teams puts it where it belongs.

Knows the shape of activities and what an answer without an id means; draws nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bot.ports import SurfaceError
from bot.teams.connector import PATIENCE_S, Connector
from bot.teams.finding import Finder, where
from bot.teams.places import Place
from bot.teams.refusals import NO_CONVERSATION, Refused
from bot.teams.tables import Kind
from policy.model import Json

_KINDS: Final = {Kind.PERSONAL: "personal", Kind.GROUP: "groupChat", Kind.CHANNEL: "channel"}

DROPPED: Final = (
    "Teams took the message but gave it no id: it is not known whether anybody sees it, and it cannot be changed."
)


class Sayer:
    """Posts, changes and takes back messages in a place."""

    def __init__(self, connector: Connector, finder: Finder) -> None:
        self.connector = connector
        self._finder = finder

    async def post(
        self, place: Place, activity: Mapping[str, Json], root: str = "", *, patience_s: float = PATIENCE_S
    ) -> str:
        """The message's id; of several, the last one's. `root`: the reply chain in a channel.

        Raises:
            SurfaceError: it did not arrive, or Teams does not say as what.
        """
        message_id = ""
        for part in _parts(activity):
            message_id = await self.send(place, part, root, patience_s=patience_s)
            if not message_id:
                raise SurfaceError(DROPPED)
        return message_id

    async def send(
        self, place: Place, activity: Mapping[str, Json], root: str = "", *, patience_s: float = PATIENCE_S
    ) -> str:
        """The same of what needs no id (typing, a part of a stream): empty where Teams names none."""
        try:
            return await self.connector.post(where(place, root), addressed(place, activity), patience_s=patience_s)
        except Refused as refusal:
            await self._noted(place, refusal, root)
            raise

    async def change(self, place: Place, message_id: str, activity: Mapping[str, Json], root: str = "") -> None:
        """Raises: SurfaceError, `gone` when the message is not there any more."""
        try:
            await self.connector.put(where(place, root), message_id, addressed(place, activity))
        except Refused as refusal:
            await self._noted(place, refusal, root)
            raise

    async def take_back(self, place: Place, message_id: str, root: str = "") -> None:
        await self.connector.delete(where(place, root), message_id)

    async def _noted(self, place: Place, refusal: Refused, root: str) -> None:
        # A reply chain can be gone while its channel is there.
        if refusal.left and not (root and refusal.code == NO_CONVERSATION):
            await self._finder.note_left(place, refusal)


def addressed(place: Place, activity: Mapping[str, Json]) -> dict[str, Json]:
    """`activity` with who says it and what kind of conversation it is."""
    conversation: dict[str, Json] = {"conversationType": _KINDS[place.kind], "tenantId": place.team}
    if place.kind is not Kind.PERSONAL:
        conversation["isGroup"] = True
    return {**activity, "from": {"id": place.bot}, "conversation": conversation}


def _parts(activity: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    """Text and a card in one activity become two messages in Teams, which then name no id and cannot be changed."""
    if not (activity.get("text") and activity.get("attachments")):
        return (activity,)
    text = {name: value for name, value in activity.items() if name != "attachments"}
    return text, {"type": "message", "attachments": activity["attachments"]}
