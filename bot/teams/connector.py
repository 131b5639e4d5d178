"""The one way out to Teams: what the bot asks of the Bot Connector, how often, and when it asks again.

Knows paths and Teams' limits; knows no card, no person and no row. Bodies are our own JSON: the SDK's models drop what
they do not know (the fields of entities). Every failure comes out as `SurfaceError` with a sentence for people; nothing
of a request is logged.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bot.payload import Body, list_at, text_at
from bot.ports import SurfaceError
from bot.teams.rates import READING, SAYING, Rates
from bot.teams.refusals import AGAIN, Answered, refused
from bot.teams.wire import Wire, part
from policy.model import Json

CHANNEL_ID: Final = "msteams"
PATIENCE_S: Final = 8.0
"""How long a call may wait in all where Teams asks to come back later; the outbox waits longer, by itself."""
_FIRST_S: Final = 0.5
_LONGEST_S: Final = 20.0
_PAGES: Final = 200
_MEMBERS: Final = "500"


@dataclass(frozen=True, slots=True)
class Where:
    """A conversation's address. `conversation` may name a reply chain, ``…;messageid=…``."""

    team: str
    service_url: str
    conversation: str

    @property
    def key(self) -> tuple[str, str]:
        """Teams counts a conversation's messages together; two organisations' are never one (invariant 14)."""
        return self.team, self.conversation.partition(";")[0]


class Connector:
    """Teams' connector. `sleep` and `clock` (monotonic seconds) are other ones in tests alone."""

    def __init__(
        self,
        wire: Wire,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._wire = wire
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._saying = Rates(SAYING, clock)
        self._reading = Rates(READING, clock)

    async def health(self) -> None:
        """Whether the bot is given a token: without one nothing can be said anywhere."""
        await self._wire.health()

    async def close(self) -> None:
        await self._wire.close()

    # --- messages ------------------------------------------------------------------------------------

    async def post(self, where: Where, activity: Mapping[str, Json], *, patience_s: float = PATIENCE_S) -> str:
        """The message's id; empty where Teams took it and named none.

        Raises:
            Refused: Teams said no; `retry_after_s` is set when it was too often.
            SurfaceError: Teams could not be reached, or may not be.
        """
        path = f"/v3/conversations/{part(where.conversation)}/activities"
        answered = await self._say("POST", where, path, _addressed(where, activity), patience_s=patience_s)
        return text_at(answered.body, "id")

    async def put(
        self, where: Where, message_id: str, activity: Mapping[str, Json], *, patience_s: float = PATIENCE_S
    ) -> None:
        """Replaces a message. Raises as `post` does; `gone` when it is not there any more."""
        body = {**_addressed(where, activity), "id": message_id}
        await self._say("PUT", where, _message(where, message_id), body, of_message=True, patience_s=patience_s)

    async def delete(self, where: Where, message_id: str, *, patience_s: float = PATIENCE_S) -> None:
        """Takes a message back. Raises as `post` does."""
        await self._say("DELETE", where, _message(where, message_id), None, of_message=True, patience_s=patience_s)

    async def begin(self, where: Where, bot: str, member: str, *, patience_s: float = PATIENCE_S) -> str:
        """The id of `member`'s own conversation with the bot, made where there is none. `where.conversation` is unused.

        Raises: as `post` does; also where Teams names no conversation.
        """
        body: dict[str, Json] = {
            "isGroup": False,
            "bot": {"id": bot},
            "members": [{"id": member}],
            "tenantId": where.team,
            "channelData": {"tenant": {"id": where.team}},
        }
        mine = Where(where.team, where.service_url, f"with:{member}")
        answered = await self._say("POST", mine, "/v3/conversations", body, patience_s=patience_s)
        conversation = text_at(answered.body, "id").partition(";")[0]
        if not conversation:
            raise SurfaceError("Teams named no conversation with this person. Nothing was posted.")
        return conversation

    # --- people and places ---------------------------------------------------------------------------

    async def member(self, where: Where, account: str, *, patience_s: float = PATIENCE_S) -> Body:
        """What Teams says of one member. `account`: ``29:…`` or an aadObjectId. Raises as `post` does."""
        path = f"/v3/conversations/{part(where.conversation)}/members/{part(account)}"
        return await self._read(where, path, patience_s=patience_s)

    async def members(self, where: Where) -> Sequence[Json]:
        """Everybody in a conversation; in a channel that is everybody in it, guests included. Raises as `post` does."""
        path = f"/v3/conversations/{part(where.conversation)}/pagedmembers"
        found: list[Json] = []
        cursor = ""
        for _ in range(_PAGES):
            query = {"pageSize": _MEMBERS} | ({"continuationToken": cursor} if cursor else {})
            page = await self._read(where, path, query)
            found += list_at(page, "members")
            cursor = text_at(page, "continuationToken")
            if not cursor:
                return found
        raise SurfaceError("The conversation has more members than can be looked at.")

    async def channels(self, where: Where, teams_team: str) -> Mapping[str, str]:
        """The channels of a Teams team, id -> name. The one that every team has comes without a name."""
        told = await self._read(where, f"/v3/teams/{part(teams_team)}/conversations")
        listed = [one for one in list_at(told, "conversations") if text_at(one, "id")]
        return {text_at(one, "id"): text_at(one, "name") or "General" for one in listed}

    async def team_name(self, where: Where, teams_team: str) -> str:
        return text_at(await self._read(where, f"/v3/teams/{part(teams_team)}"), "name")

    # --- calls ---------------------------------------------------------------------------------------

    async def _read(
        self, where: Where, path: str, query: Mapping[str, str] | None = None, *, patience_s: float = PATIENCE_S
    ) -> Body:
        async def ask() -> Answered:
            return await self._wire.ask("GET", where.service_url, path, query)

        answered = await self._patiently(self._reading, where, ask, patience_s)
        if not isinstance(answered.body, Mapping):
            raise SurfaceError("Teams answered something that is not JSON.")
        return answered.body

    async def _say(
        self, method: str, where: Where, path: str, body: Json, *, patience_s: float, of_message: bool = False
    ) -> Answered:
        async def ask() -> Answered:
            return await self._wire.ask(method, where.service_url, path, None, body)

        return await self._patiently(self._saying, where, ask, patience_s, of_message=of_message)

    async def _patiently(
        self,
        rates: Rates,
        where: Where,
        ask: Callable[[], Awaitable[Answered]],
        patience_s: float,
        *,
        of_message: bool = False,
    ) -> Answered:
        until = self._clock() + patience_s
        attempt, token_renewed = 0, False
        while True:
            await self._may(rates, where.key, until)
            answered = await ask()
            if 200 <= answered.status < 300:
                return answered
            refusal = refused(answered, of_message=of_message)
            if answered.status == 401 and not token_renewed:
                token_renewed = True
                continue
            if answered.status not in AGAIN:
                raise refusal
            # Half of it by chance, so that what was refused together does not come back together.
            backoff = min(_LONGEST_S, _FIRST_S * 2.0**attempt) * (0.5 + self._jitter() / 2)
            # Teams names one time to all of them: never before it, and not together at it either.
            wait = (answered.retry_after_s or 0.0) + backoff
            if self._clock() + wait > until:
                raise refusal
            attempt += 1
            await self._sleep(wait)

    async def _may(self, rates: Rates, key: tuple[str, str], until: float) -> None:
        """Returns once one more call is within Teams' limits, and counts it."""
        while (wait := rates.take(key)) > 0:
            if self._clock() + wait > until:
                sentence = "The bot has said as much in this conversation as Teams allows. Nothing was posted."
                raise SurfaceError(sentence, retry_after_s=wait)
            await self._sleep(wait)


def _message(where: Where, message_id: str) -> str:
    return f"/v3/conversations/{part(where.conversation)}/activities/{part(message_id)}"


def _addressed(where: Where, activity: Mapping[str, Json]) -> dict[str, Json]:
    """`activity` with where it goes; what it says of its conversation itself stays."""
    told = activity.get("conversation")
    conversation: Json = {"id": where.conversation, **(told if isinstance(told, Mapping) else {})}
    return {"channelId": CHANNEL_ID, **activity, "conversation": conversation}
