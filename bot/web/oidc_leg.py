"""One trip of a browser to an identity provider and back. Knows what must come back; decides nothing about people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import Request

from bot.identity import flows, opaque
from bot.identity.flows import Step
from bot.identity.id_token import IdClaims, IdTokenRefused, verify_id_token
from bot.identity.issuers import Issuer, Preset
from bot.identity.jwks import Keys
from bot.identity.oidc import OidcClient, OidcError, OidcFault, challenge_of, check_response_issuer
from bot.identity.refusals import Refused, Why, refused
from bot.web.browser import Site

_FAULTS: Mapping[OidcFault, tuple[Why, int]] = {
    OidcFault.UNREACHABLE: (Why.IDP_UNREACHABLE, 503),
    OidcFault.METADATA: (Why.IDP_UNREACHABLE, 503),
    OidcFault.ISSUER: (Why.ISSUER, 403),
}


OTHER_PROVIDER = OidcError(
    OidcFault.ISSUER,
    "This answer came to an address that belongs to another sign-in service than the one you were sent to. Nothing was "
    "done. Start again; if it happens twice, tell an admin.",
)


@dataclass(frozen=True, slots=True)
class Returned:
    """What a provider answered, verified. `id_token` is kept by nobody but the browser it is about."""

    claims: IdClaims
    id_token: str
    refresh_token: str | None = field(default=None, repr=False)
    """Kept sealed where an API is called in people's own name, and else by nobody."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Every trip, whichever the provider."""

    oidc: OidcClient
    keys: Keys
    site: Site
    clock: Callable[[], datetime]

    async def out(
        self,
        issuer: Issuer,
        cookie: str,
        step: Step,
        path: str,
        *,
        anew: bool = False,
        lasting: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """Where to send this browser. `path`: where it comes back to.

        `anew`: whoever was signed in there before is asked again, so that nobody is linked by a click alone.
        `lasting`: what they agree to should serve after they have gone, which the standard wants asked for.

        Raises:
            Refused: the provider cannot be asked.
        """
        asked = flows.answers(cookie, step)
        try:
            meta = await self.oidc.discover(issuer)
        except OidcError as error:
            raise _of_provider(error) from error
        return self.oidc.authorize_url(
            meta,
            issuer,
            redirect_uri=self.site.to(path),
            state=asked.state,
            nonce=asked.nonce,
            code_challenge=challenge_of(asked.verifier),
            # Google's Workspace, where `hd` is set, knows no "login".
            prompt=_prompt(issuer, anew=anew, lasting=lasting),
            more=more,
        )

    async def back(self, request: Request, issuer: Issuer, cookie: str, step: Step, path: str) -> Returned:
        """Whom the provider names in its answer.

        Raises:
            Refused: it is not an answer to this browser, or says no, or cannot be believed.
        """
        asked = flows.answers(cookie, step)
        # First of all: an answer that this browser did not ask for can do nothing, not even end its sign-in.
        if not opaque.same(_once(request, "state") or "", asked.state):
            raise refused(Why.STATE)
        # Before the code is shown to anybody: one that came to another provider's address is another provider's.
        if request.scope["path"] != path:
            raise _of_provider(OTHER_PROVIDER)
        try:
            check_response_issuer(await self.oidc.discover(issuer), _once(request, "iss"))
            if "error" in request.query_params:
                denied = request.query_params["error"] in ("access_denied", "interaction_required", "login_required")
                raise refused(Why.IDP_DENIED if denied else Why.IDP_ERROR)
            code = _once(request, "code")
            if not code:
                raise refused(Why.IDP_ERROR)
            tokens = await self.oidc.redeem(
                issuer, code=code, redirect_uri=self.site.to(path), code_verifier=asked.verifier
            )
            claims = await verify_id_token(
                tokens.id_token,
                issuer,
                self.keys,
                nonce=asked.nonce,
                now=self.clock(),
                access_token=tokens.access_token,
            )
        except OidcError as error:
            raise _of_provider(error) from error
        except IdTokenRefused as error:
            raise Refused(
                Why.ID_TOKEN, "The sign-in was not accepted", str(error), detail={"token": error.reason.value}
            ) from error
        return Returned(claims, tokens.id_token, tokens.refresh_token)


def _prompt(issuer: Issuer, *, anew: bool, lasting: bool) -> str | None:
    if anew:
        return "login" if issuer.hd is None else "select_account"
    # OpenID Connect Core, 11. Okta, Entra ID and Auth0 go by what an admin consented to; asking people there would
    # only send them to that admin.
    return "consent" if lasting and issuer.preset is Preset.OIDC else None


def _once(request: Request, name: str) -> str | None:
    """A parameter that is there exactly once: of two, two readers could each believe another."""
    given = request.query_params.getlist(name)
    return given[0] if len(given) == 1 else None


def _of_provider(error: OidcError) -> Refused:
    why, status = _FAULTS.get(error.fault, (Why.IDP_ERROR, 502))
    return Refused(why, "The sign-in service did not help", str(error), status=status, detail={"fault": error.fault})
