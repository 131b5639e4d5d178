"""Asking an authorization server's token endpoint as a configured client, and what its refusals mean.

Knows client authentication and OAuth's error words; knows no grant type.
"""

from __future__ import annotations

import base64
from typing import Protocol
from urllib.parse import quote_plus

from bot.identity.downstream import Client
from bot.identity.idp_http import Answer, Form, IdpHttp, IdpSilent, JsonObject
from bot.identity.minting import ExchangeRefused, Fault

_INTERACTION = frozenset(
    {"interaction_required", "login_required", "consent_required", "insufficient_user_authentication"}
)
_CLIENT = frozenset({"invalid_client", "unauthorized_client"})
_SCOPE = frozenset({"invalid_scope", "invalid_target"})


class TokenEndpoints(Protocol):
    async def ask(self, client: Client, form: Form, *, in_body: bool = False) -> JsonObject:
        """What `client`'s token endpoint answers to `form`.

        Raises:
            ExchangeRefused: it does not say yes. Nothing else is raised.
        """


class HttpTokenEndpoints:
    """Over HTTPS. Implements `TokenEndpoints`."""

    def __init__(self, http: IdpHttp) -> None:
        self._http = http

    async def ask(self, client: Client, form: Form, *, in_body: bool = False) -> JsonObject:
        headers: dict[str, str] = {}
        body = dict(form)
        if client.secret is None:
            body["client_id"] = client.client_id
        elif in_body:  # as Entra documents it
            body |= {"client_id": client.client_id, "client_secret": client.secret.reveal()}
        else:
            # Both are form-encoded first (RFC 6749, 2.3.1): a colon in the id would shift the secret.
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret.reveal())}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        try:
            answer = await self._http.post(client.token_endpoint, body, headers)
        except IdpSilent as error:
            raise ExchangeRefused(Fault.UNREACHABLE, f"could not be asked: {error}") from error
        if answer.status != 200 or "error" in answer.body:
            raise _no(answer)
        return answer.body


def _no(answer: Answer) -> ExchangeRefused:
    """Why it said no. Its own words are not passed on: whoever wrote them may have put anything there."""
    word, sub = str(answer.body.get("error")), str(answer.body.get("suberror", ""))
    # Entra asks for more proof with a claims challenge, under more than one error.
    if word in _INTERACTION or "claims" in answer.body or sub in ("basic_action", "consent_required", "token_expired"):
        return ExchangeRefused(Fault.INTERACTION, "wants to see you sign in again")
    if word == "invalid_grant":
        return ExchangeRefused(Fault.INTERACTION, "no longer accepts your last sign-in")
    if word in _CLIENT:
        return ExchangeRefused(Fault.CLIENT, "does not accept Countersign's client id or secret; tell an admin")
    if word in _SCOPE:
        return ExchangeRefused(Fault.SCOPE, "does not give the rights this needs; tell an admin")
    if answer.status >= 500:
        return ExchangeRefused(Fault.UNREACHABLE, "is out of order")
    return ExchangeRefused(Fault.REFUSED, "said no; tell an admin if it happens twice")
