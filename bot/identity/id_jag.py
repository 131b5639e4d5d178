"""Identity assertion authorization grants (draft-ietf-oauth-identity-assertion-authz-grant): the IdP asserts, the
API's own authorization server gives the token.

Knows the two requests and what the assertion between them must say: it is for that server, for us, and the person's.
"""

from __future__ import annotations

from datetime import timedelta

from bot.identity.downstream import Client
from bot.identity.exchange import GRANT, ID_TOKEN
from bot.identity.jose import JoseRefused, JsonObject, parts
from bot.identity.minting import MAX_TOKEN, Ask, DownstreamToken, ExchangeRefused, Fault, moment, received
from bot.identity.token_endpoint import TokenEndpoints
from bot.identity.tokens import CLOCK_SKEW

ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
TYPE = "oauth-id-jag+jwt"
REDEEM = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_LIFETIME = timedelta(minutes=10)
"""Of the assertion: it is redeemed at once."""


class IdentityAssertion:
    """Implements `TokenMinter`."""

    def __init__(self, endpoints: TokenEndpoints) -> None:
        self._endpoints = endpoints

    async def downstream(self, ask: Ask) -> DownstreamToken:
        target = ask.downstream
        if ask.proof.id_token is None:
            raise ExchangeRefused(Fault.INTERACTION, "needs a sign-in of yours that it can be shown")
        if target.redeem_at is None or target.redeem_audience is None:
            raise ExchangeRefused(Fault.CLIENT, "is not configured whole; tell an admin")
        form = {
            "grant_type": GRANT,
            "requested_token_type": ID_JAG,
            "audience": target.redeem_audience,
            "scope": " ".join(ask.scopes),
            "subject_token": ask.proof.id_token,
            "subject_token_type": ID_TOKEN,
        }
        if target.resource is not None:
            form["resource"] = target.resource
        said = await self._endpoints.ask(target.at, form)
        assertion = _assertion(ask, said, target.redeem_at, target.redeem_audience)
        redeem = {"grant_type": REDEEM, "assertion": assertion}
        return received(ask, await self._endpoints.ask(target.redeem_at, redeem), ask.scopes)


def _assertion(ask: Ask, said: JsonObject, redeem_at: Client, audience: str) -> str:
    """The assertion in `said`, before it is carried to anybody."""
    token = said.get("access_token")
    # It is no access token, and must not be one (token_type N_A).
    if said.get("issued_token_type") != ID_JAG or str(said.get("token_type")).upper() != "N_A":
        raise ExchangeRefused(Fault.ANSWER, "was given no identity assertion by your organisation")
    try:
        header, claims = parts(token if isinstance(token, str) else "", MAX_TOKEN)
    except JoseRefused as error:
        raise ExchangeRefused(Fault.ANSWER, "was given no identity assertion by your organisation") from error
    if header.get("typ") != TYPE:
        raise ExchangeRefused(Fault.ANSWER, "was given an assertion of another type by your organisation")
    if claims.get("aud") not in (audience, [audience]) or claims.get("client_id") != redeem_at.client_id:
        raise ExchangeRefused(Fault.AUDIENCE, "was given an assertion for another server by your organisation")
    if claims.get("iss") != ask.principal.subject.issuer or not _theirs(ask, claims):
        raise ExchangeRefused(Fault.SUBJECT, "was given somebody else's assertion by your organisation")
    given = str(claims["scope"]).split() if "scope" in claims else list(ask.scopes)
    if not set(given) <= set(ask.scopes):
        raise ExchangeRefused(Fault.SCOPE, "was given an assertion with other rights than were asked for")
    ends = moment(claims.get("exp"))
    if ends is None or not ask.now - CLOCK_SKEW < ends <= ask.now + MAX_LIFETIME + CLOCK_SKEW:
        raise ExchangeRefused(Fault.LIFETIME, "was given an assertion that is out of time by your organisation")
    return str(token)


def _theirs(ask: Ask, claims: JsonObject) -> bool:
    """Entra's people are told apart by oid, everybody else's by sub."""
    return ask.principal.subject.sub in (claims.get("sub"), claims.get("oid"))
