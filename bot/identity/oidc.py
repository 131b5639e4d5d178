"""Signing in at a provider: the address to send the browser to, and what its code and refresh token are worth.

Knows the authorization code flow with PKCE (OpenID Connect Core, RFC 7636, RFC 9207); keeps no state, nonce or
verifier, and believes no token: `id_token` does that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote_plus, urlencode

from bot.identity.discovery import Discovery, DiscoveryFailed, Metadata
from bot.identity.idp_http import Answer, Form, IdpHttp, IdpSilent, JsonObject
from bot.identity.issuers import Issuer, slack_issuer

__all__ = [
    "Metadata",
    "OidcClient",
    "OidcError",
    "OidcFault",
    "Refreshed",
    "TokenSet",
    "challenge_of",
    "check_response_issuer",
    "slack_issuer",
]

MAX_TOKEN = 16 * 1024


class OidcFault(StrEnum):
    """Why a provider gave nothing. Closed: the audit stores these words."""

    UNREACHABLE = "unreachable"
    METADATA = "metadata"
    GRANT = "grant"
    """The code or refresh token is spent, expired or not ours."""
    CLIENT = "client"
    """The provider does not know this deployment, or not with this secret."""
    REFUSED = "refused"
    ANSWER = "answer"
    """It said yes, and what came with it cannot be used."""
    ISSUER = "issuer"
    """The browser brought an answer of another provider."""


class OidcError(Exception):
    """A provider gave nothing. `str(e)` is for people: no address, no code and no secret is in it."""

    def __init__(self, fault: OidcFault, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a code was worth. Not believed yet."""

    id_token: str = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in: int | None = None


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh token was worth."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    """None: the one that was sent stays good. Else that one is spent."""
    id_token: str | None = field(default=None, repr=False)
    expires_in: int | None = None


class OidcClient:
    """This deployment as a client of every issuer."""

    def __init__(self, http: IdpHttp, discovery: Discovery) -> None:
        self._http = http
        self._discovery = discovery

    async def discover(self, issuer: Issuer) -> Metadata:
        """What `issuer` says of itself.

        Raises:
            OidcError: it says nothing usable.
        """
        try:
            return await self._discovery.of(issuer)
        except DiscoveryFailed as error:
            raise OidcError(
                OidcFault.METADATA,
                f"The sign-in service of your organisation ({issuer.name}) cannot be used: {error}. Nothing was done. "
                "Try again in a few minutes; if it stays, an admin has to look at its entry in tenants.yaml.",
            ) from error

    def authorize_url(
        self,
        meta: Metadata,
        issuer: Issuer,
        *,
        redirect_uri: str,
        state: str,
        nonce: str,
        code_challenge: str,
        prompt: str | None = None,
        login_hint: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """Where to send the browser. `more`: what one provider alone understands, such as Slack's `team`."""
        asked = {
            **(more or {}),
            "response_type": "code",
            "client_id": issuer.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(issuer.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": code_challenge,
            "code_challenge_method": "S256",
        }
        if prompt is not None:
            asked["prompt"] = prompt
        if login_hint is not None:
            asked["login_hint"] = login_hint
        return _with_query(meta.authorization_endpoint, asked)

    async def redeem(self, issuer: Issuer, *, code: str, redirect_uri: str, code_verifier: str) -> TokenSet:
        """The tokens that `code` is worth, once.

        Raises:
            OidcError: none.
        """
        said = await self.ask_token_endpoint(
            issuer,
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": code_verifier,
            },
        )
        id_token = _token(said, "id_token")
        if id_token is None:
            raise _unusable(issuer)
        return TokenSet(id_token, _access_token(said, issuer), _token(said, "refresh_token"), _seconds(said))

    async def refresh(self, issuer: Issuer, refresh_token: str) -> Refreshed:
        """The tokens that `refresh_token` is worth now. A fault of GRANT: it is spent, and the grant over.

        Raises:
            OidcError: none.
        """
        said = await self.ask_token_endpoint(issuer, {"grant_type": "refresh_token", "refresh_token": refresh_token})
        return Refreshed(
            _access_token(said, issuer), _token(said, "refresh_token"), _token(said, "id_token"), _seconds(said)
        )

    async def ask_token_endpoint(self, issuer: Issuer, form: Form) -> JsonObject:
        """What the token endpoint answers to `form`, to which this client's proof of itself is added.

        Raises:
            OidcError: it does not say yes.
        """
        meta = await self.discover(issuer)
        headers, proof = _proof(meta, issuer)
        try:
            answer = await self._http.post(meta.token_endpoint, {**form, **proof}, headers)
        except IdpSilent as error:
            raise OidcError(
                OidcFault.UNREACHABLE,
                f"The sign-in service of your organisation ({issuer.name}) did not help: {error}. Nothing was done. "
                "Try again in a few minutes.",
            ) from error
        # Slack says no with status 200.
        if answer.status != 200 or answer.body.get("ok") is False or "error" in answer.body:
            raise _no(answer, issuer)
        return answer.body

    def end_session_url(
        self,
        meta: Metadata,
        issuer: Issuer,
        *,
        post_logout_redirect_uri: str,
        state: str | None = None,
        id_token_hint: str | None = None,
    ) -> str | None:
        """Where to send the browser to sign out at the provider too; None where it offers that nowhere."""
        if meta.end_session_endpoint is None:
            return None
        asked = {"client_id": issuer.client_id, "post_logout_redirect_uri": post_logout_redirect_uri}
        if state is not None:
            asked["state"] = state
        if id_token_hint is not None:
            asked["id_token_hint"] = id_token_hint
        return _with_query(meta.end_session_endpoint, asked)


def challenge_of(code_verifier: str) -> str:
    """PKCE's S256 challenge (RFC 7636)."""
    return base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def check_response_issuer(meta: Metadata, iss: str | None) -> None:
    """`iss` beside the code names the provider the browser was sent to (RFC 9207, against mix-up).

    Raises:
        OidcError: it names another, or is missing although this provider always sends it.
    """
    if iss is None and not meta.iss_in_response:
        return
    if iss != meta.issuer:
        raise OidcError(
            OidcFault.ISSUER,
            "This answer does not come from the sign-in service you were sent to. Nothing was done. "
            "Close this page and start again from the chat.",
        )


def _proof(meta: Metadata, issuer: Issuer) -> tuple[Mapping[str, str], Form]:
    """How this client says who it is: headers and form fields."""
    if issuer.client_secret is None:
        return {}, {"client_id": issuer.client_id}
    secret = issuer.client_secret.reveal()
    if "client_secret_basic" in meta.auth_methods:
        # Both are form-encoded first (RFC 6749, 2.3.1): a colon in the id would shift the secret.
        pair = f"{quote_plus(issuer.client_id)}:{quote_plus(secret)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}, {}
    if "client_secret_post" in meta.auth_methods:
        return {}, {"client_id": issuer.client_id, "client_secret": secret}
    raise OidcError(
        OidcFault.METADATA,
        f"The sign-in service of your organisation ({issuer.name}) takes no client secret. Nothing was done. An admin "
        "has to allow client_secret_basic or client_secret_post there, or make it a public client in tenants.yaml.",
    )


def _no(answer: Answer, issuer: Issuer) -> OidcError:
    """Why it said no. Its own words are not passed on: whoever wrote them may have put anything there."""
    match answer.body.get("error"):
        case "invalid_grant" | "invalid_code" | "code_already_used" | "invalid_refresh_token" | "token_expired":
            return OidcError(
                OidcFault.GRANT,
                "This sign-in has expired or was used before. Nothing was done. Start again from the chat.",
            )
        case "invalid_client" | "unauthorized_client" | "invalid_client_id" | "bad_client_secret":
            return OidcError(
                OidcFault.CLIENT,
                f"The sign-in service of your organisation ({issuer.name}) does not accept Countersign's client id or "
                "secret. Nothing was done. An admin has to mend them in tenants.yaml.",
            )
        case _:
            fault = OidcFault.UNREACHABLE if answer.status >= 500 else OidcFault.REFUSED
            return OidcError(
                fault,
                f"The sign-in service of your organisation ({issuer.name}) said no. Nothing was done. "
                "Start again; if it happens twice, tell an admin.",
            )


def _unusable(issuer: Issuer) -> OidcError:
    return OidcError(
        OidcFault.ANSWER,
        f"The sign-in service of your organisation ({issuer.name}) gave an answer that cannot be used. Nothing was "
        "done. Start again; if it happens twice, tell an admin.",
    )


def _access_token(said: JsonObject, issuer: Issuer) -> str:
    token, kind = _token(said, "access_token"), said.get("token_type")
    if token is None or not isinstance(kind, str) or kind.lower() != "bearer":
        raise _unusable(issuer)
    return token


def _token(said: JsonObject, name: str) -> str | None:
    value = said.get(name)
    sound = isinstance(value, str) and 0 < len(value) <= MAX_TOKEN and value.isascii() and value.isprintable()
    return str(value) if sound else None


def _seconds(said: JsonObject) -> int | None:
    value = said.get("expires_in")
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _with_query(endpoint: str, asked: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"
