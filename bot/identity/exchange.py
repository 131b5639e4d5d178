"""OAuth 2.0 Token Exchange (RFC 8693): a token of the person, for one API, with us named as the one who acts.

Knows the request and what the answer must say of itself; checks nobody's signature but signs our own assertions.
"""

from __future__ import annotations

from bot.identity.downstream import SubjectToken
from bot.identity.minting import Ask, Assertions, DownstreamToken, ExchangeRefused, Fault, received
from bot.identity.token_endpoint import TokenEndpoints

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


class TokenExchange:
    """RFC 8693. Implements `TokenMinter`."""

    def __init__(self, endpoints: TokenEndpoints, assertions: Assertions) -> None:
        self._endpoints = endpoints
        self._assertions = assertions

    async def downstream(self, ask: Ask) -> DownstreamToken:
        target = ask.downstream
        subject, kind = subject_token(ask, self._assertions)
        form = {
            "grant_type": GRANT,
            "subject_token": subject,
            "subject_token_type": kind,
            "requested_token_type": ACCESS_TOKEN,
            "audience": target.audience,
            "scope": " ".join(ask.scopes),
        }
        if target.resource is not None:
            form["resource"] = target.resource
        if target.actor:
            form |= {
                "actor_token": self._assertions.actor(target.at.token_endpoint, ask.now),
                "actor_token_type": JWT,
            }
        said = await self._endpoints.ask(target.at, form)
        # A JWT access token may be called either; anything else is not what was asked for.
        if said.get("issued_token_type") not in (ACCESS_TOKEN, JWT):
            raise ExchangeRefused(Fault.ANSWER, "gave a token of another type")
        return received(ask, said, ask.scopes)


def subject_token(ask: Ask, assertions: Assertions) -> tuple[str, str]:
    """What proves whom we act for, and its type."""
    match ask.downstream.subject:
        case SubjectToken.OWN:
            return assertions.subject(ask.principal, ask.downstream.at.token_endpoint, ask.now), JWT
        case SubjectToken.ACCESS_TOKEN:
            token, kind = ask.proof.access_token, ACCESS_TOKEN
        case SubjectToken.ID_TOKEN:
            token, kind = ask.proof.id_token, ID_TOKEN
    if token is None:
        raise ExchangeRefused(Fault.INTERACTION, "needs a sign-in of yours that it can be shown")
    return token, kind
