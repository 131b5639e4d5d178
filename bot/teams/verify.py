"""Whether an activity comes from the Bot Connector, for this bot, in Teams: the only file that trusts a token.

Knows the rules of https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication;
knows no tenant and no person. Forms, headers and signatures are refused as those of sign-ins are
(`bot.identity.signed_token`). There is no way in without an app id: the rig signs its tokens too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import jwt

from bot.identity.idp_http import IdpHttp
from bot.identity.issuers import Issuer, Preset
from bot.identity.jose import JsonObject
from bot.identity.signed_token import IdTokenRefused, TokenReason, signed_claims
from bot.payload import Body
from bot.teams.service_urls import ServiceUrls
from bot.teams.signing_keys import METADATA_URL, ConnectorKeys, issuer_of

CHANNEL: Final = "msteams"
"""Teams' name among the Bot Connector's channels. Web Chat and Direct Line let a caller write whom they are."""
SKEW: Final = timedelta(minutes=5)
"""Microsoft's own figure."""
_ALGORITHMS = ("RS256", "RS384", "RS512")
_BEARER = re.compile(r"bearer +([^\s,]+) *", re.ASCII | re.IGNORECASE)
_TYPES = frozenset({"jwt"})


class Why(StrEnum):
    """What is wrong with a delivery beyond its token's form. Closed: the log says these words."""

    NO_TOKEN = "no_token"
    SERVICE_URL = "serviceurl"
    """The token was made for another address than the activity names, or for none."""
    CHANNEL = "channel"
    ENDORSEMENT = "endorsement"
    """The key may not speak for this channel."""
    ADDRESS = "address"
    """Answers would carry the bot's token to an address that is not on the list."""


class NotTheConnector(Exception):
    """The delivery is not Teams'. `str(e)` holds nothing of the token."""

    def __init__(self, reason: Why | TokenReason, sentence: str, status: int = 401) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.status = status
        """401; 403 where somebody known may not do this; 503 where nobody could be asked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a token says that the Bot Connector signed for this bot."""

    service_url: str
    endorsements: frozenset[str]


class ConnectorTokens:
    """Checks who speaks. Belongs to one event loop; `http` is closed by whoever made it."""

    def __init__(
        self,
        app_id: str,
        http: IdpHttp,
        urls: ServiceUrls,
        *,
        metadata_url: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not app_id.strip():
            raise ValueError("Teams is not served without TEAMS_APP_ID: every sender would be believed.")
        published = metadata_url or METADATA_URL
        self._keys = ConnectorKeys(http, published)
        self._issuer = Issuer("teams", Preset.OIDC, issuer_of(published), app_id.strip(), algorithms=_ALGORITHMS)
        self._urls = urls
        self._clock = clock

    async def caller(self, authorization: Sequence[str]) -> Caller:
        """Who speaks, by the request's Authorization headers alone: nothing of the body is read for a stranger.

        Raises:
            NotTheConnector: nobody who may. Nothing else is raised.
        """
        bearer = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if bearer is None:
            raise NotTheConnector(Why.NO_TOKEN, "The request is not signed by Teams.")
        asked = _Asked(self._keys)
        try:
            _, claims = await signed_claims(bearer[1], self._issuer, asked, _TYPES)
        except IdTokenRefused as refused:
            if refused.reason is TokenReason.KEYS_UNAVAILABLE:
                sentence = "Who signs for Teams could not be asked. Nothing was done. Deliver it again."
                raise NotTheConnector(refused.reason, sentence, 503) from refused
            raise NotTheConnector(refused.reason, "The request is not signed by Teams.") from refused
        self._check(claims)
        return Caller(_text(claims, "serviceurl"), asked.endorsements)

    def _check(self, claims: JsonObject) -> None:
        if claims.get("iss") != self._issuer.issuer:
            raise NotTheConnector(TokenReason.ISS, "The token is not the Bot Connector's.")
        audience = claims.get("aud")
        # A GUID, which may be configured in capitals.
        if not isinstance(audience, str) or audience.lower() != self._issuer.client_id.lower():
            raise NotTheConnector(TokenReason.AUD, "The token is for another bot.")
        now = self._clock()
        if now >= _moment(claims, "exp") + SKEW:
            raise NotTheConnector(TokenReason.EXPIRED, "The token has expired, or a clock is wrong.")
        for name in ("nbf", "iat"):
            if name in claims and _moment(claims, name) > now + SKEW:
                raise NotTheConnector(TokenReason.NOT_YET, "The token is not valid yet, or a clock is wrong.")

    def vouch(self, caller: Caller, body: Body) -> None:
        """Holds what the activity says of itself against what the token says.

        Raises:
            NotTheConnector: they differ, or it is not Teams' channel, or no answer may go there.
        """
        named, channel = _text(body, "serviceUrl"), _text(body, "channelId")
        if not named or not caller.service_url or _plain(named) != _plain(caller.service_url):
            raise NotTheConnector(Why.SERVICE_URL, "The token was made for another service address.")
        if channel != CHANNEL:
            raise NotTheConnector(Why.CHANNEL, "Only Microsoft Teams is served here.", 403)
        if channel not in caller.endorsements:
            raise NotTheConnector(Why.ENDORSEMENT, "The token's key may not speak for Microsoft Teams.")
        if not self._urls.allow(named):
            raise NotTheConnector(Why.ADDRESS, "That service address is not known to be Microsoft's.", 403)


class _Asked:
    """The key one token asked for, and whom it may speak for. Implements `bot.identity.jwks.Keys`."""

    def __init__(self, keys: ConnectorKeys) -> None:
        self._keys = keys
        self.endorsements: frozenset[str] = frozenset()

    async def key(self, issuer: Issuer, kid: str, alg: str) -> jwt.PyJWK:
        del issuer  # there is one
        found = await self._keys.signing_key(kid, alg)
        self.endorsements = found.endorsements
        return found.key


def _plain(url: str) -> str:
    """Teams itself is not consistent in the slash at the end, nor is a host's case a difference."""
    return url.removesuffix("/").lower()


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _moment(claims: JsonObject, name: str) -> datetime:
    value = claims.get(name)
    # True is a number to Python; the range is also false for what is no number and for infinity.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**37:
        raise NotTheConnector(TokenReason.TIMES, "One of the token's times is missing or no time.")
    return datetime.fromtimestamp(value, UTC)
