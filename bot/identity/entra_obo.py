"""Entra ID's on-behalf-of flow: an access token for this deployment becomes one for an API, in the same person's name.

Knows Microsoft's form of RFC 7523 and its claims challenge; what is received is checked in `minting`.
"""

from __future__ import annotations

from bot.identity.minting import Ask, DownstreamToken, ExchangeRefused, Fault, received
from bot.identity.token_endpoint import TokenEndpoints

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class EntraOnBehalfOf:
    """Implements `TokenMinter`."""

    def __init__(self, endpoints: TokenEndpoints) -> None:
        self._endpoints = endpoints

    async def downstream(self, ask: Ask) -> DownstreamToken:
        if ask.proof.access_token is None:
            raise ExchangeRefused(Fault.INTERACTION, "needs a sign-in of yours that it can be shown")
        form = {
            "grant_type": GRANT,
            "requested_token_use": "on_behalf_of",
            "assertion": ask.proof.access_token,
            "scope": " ".join(ask.scopes),
        }
        return received(ask, await self._endpoints.ask(ask.downstream.at, form, in_body=True), ask.scopes)
