"""A person's own token for another API: grant, exchange, audit row, in that order. Implements `tools.ports.UserTokens`.

Knows tenants' APIs and grants through ports; knows no protocol and keeps no token. Where only the person can help it
says so, in a sentence for the card and the thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from audit.event import Event, Kind
from audit.faults import StoreUnavailable
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.downstream import Downstream, DownstreamKind, SubjectToken
from bot.identity.entra_obo import EntraOnBehalfOf
from bot.identity.exchange import TokenExchange
from bot.identity.grants import GrantAway, Grants, NoGrant
from bot.identity.id_jag import IdentityAssertion
from bot.identity.id_token import IdTokenRefused, verify_id_token
from bot.identity.issuers import Issuer
from bot.identity.jwks import Keys
from bot.identity.minting import Ask, Assertions, DownstreamToken, ExchangeRefused, Fault, Proof, TokenMinter
from bot.identity.oidc import OidcClient, Refreshed
from bot.identity.token_endpoint import TokenEndpoints
from policy.model import Principal, TenantId, ToolName
from tools.spec import ActionError, Certainty, SignInAgain

log = logging.getLogger("countersign.downstream")

_LATER = frozenset({Fault.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Organisation:
    """What a tenant configured: where its people sign in, and which APIs may be called in their name."""

    issuer: Issuer
    downstreams: Mapping[str, Downstream]


def minters(endpoints: TokenEndpoints, assertions: Assertions) -> Mapping[DownstreamKind, TokenMinter]:
    """Every way to get a downstream token."""
    return {
        DownstreamKind.RFC8693: TokenExchange(endpoints, assertions),
        DownstreamKind.ENTRA_OBO: EntraOnBehalfOf(endpoints),
        DownstreamKind.ID_JAG: IdentityAssertion(endpoints),
    }


@dataclass(frozen=True, slots=True)
class UserBearers:
    """One per process."""

    organisation: Callable[[TenantId], Organisation | None]
    grants: Grants
    oidc: OidcClient
    keys: Keys
    minters: Mapping[DownstreamKind, TokenMinter]
    writer: Writer
    audit: AuditStore
    clock: Callable[[], datetime]
    base_url: str | None = None

    async def bearer(self, who: Principal, name: str, tool: ToolName, call_id: str) -> str:
        organisation = self.organisation(who.tenant)
        target = organisation.downstreams.get(name) if organisation is not None else None
        if organisation is None or target is None:
            raise _not_done(f"{name} cannot be called in your name: your organisation has not set it up.")
        scopes = target.tools.get(tool)
        if not scopes:
            raise _not_done(f"{tool} may not call {name} in your name: its rights there are not set up.")
        if who.subject.issuer != organisation.issuer.issuer:
            raise _not_done(f"{name} cannot be called in your name: you are not known by your organisation's sign-in.")
        proof = await self._proof(who, organisation.issuer, target)
        try:
            token = await self.minters[target.kind].downstream(
                Ask(who, tool, call_id, target, scopes, proof, self.clock())
            )
        except ExchangeRefused as refusal:
            await self._record(who, target, tool, call_id, scopes, refusal)
            self._refused(target, refusal)
        await self._record(who, target, tool, call_id, scopes, token)
        return token.token

    async def _proof(self, who: Principal, issuer: Issuer, target: Downstream) -> Proof:
        """Fresh tokens of the person's own sign-in. Their refresh token is replaced and stays sealed."""
        if target.subject is SubjectToken.OWN:
            return Proof()

        async def ask(refresh_token: str) -> Refreshed:
            return await self.oidc.refresh(issuer, refresh_token)

        try:
            got = await self.grants.use(who.tenant, who.subject, ask)
        except NoGrant as error:
            raise self._again(target.name) from error
        except GrantAway as error:
            raise ActionError(str(error), Certainty.NOT_DONE, retryable=True) from error
        if target.subject is not SubjectToken.ID_TOKEN:
            return Proof(access_token=got.access_token)
        if got.id_token is None:
            raise _not_done(
                f"{target.name} cannot be called in your name: your organisation's sign-in does not assert you."
            )
        try:
            claims = await verify_id_token(got.id_token, issuer, self.keys, nonce=None, now=self.clock())
        except IdTokenRefused as error:
            raise _not_done(f"{target.name} cannot be called in your name: {error}") from error
        if claims.subject != who.subject.sub:
            raise _not_done(f"{target.name} cannot be called in your name: the stored sign-in is somebody else's.")
        return Proof(id_token=got.id_token)

    def _refused(self, target: Downstream, refusal: ExchangeRefused) -> NoReturn:
        if refusal.fault is Fault.INTERACTION and target.subject is not SubjectToken.OWN:
            raise self._again(target.name) from refusal
        sentence = f"{target.name} was not called: its sign-in service {refusal}. Nothing was done."
        raise ActionError(sentence, Certainty.NOT_DONE, retryable=refusal.fault in _LATER) from refusal

    def _again(self, name: str) -> SignInAgain:
        where = f" at {self.base_url.rstrip('/')}/signin" if self.base_url else ""
        return SignInAgain(
            f"{name} can no longer be called in the requester's name: their sign-in has ended. Nothing was done. "
            f"The requester has to sign in again{where}, and then ask again."
        )

    async def _record(
        self,
        who: Principal,
        target: Downstream,
        tool: ToolName,
        call_id: str,
        scopes: tuple[str, ...],
        outcome: DownstreamToken | ExchangeRefused,
    ) -> None:
        """Durable before the token is handed on (invariant 6)."""
        issued = isinstance(outcome, DownstreamToken)
        event = Event(
            kind=Kind.GRANT_EXCHANGED,
            tenant=who.tenant,
            occurred_at=self.clock(),
            status="issued" if isinstance(outcome, DownstreamToken) else outcome.fault.value,
            actor_user_id=who.subject.sub,
            actor_roles=tuple(sorted(who.roles)),
            # In the detail: a row of its own with a call's id would become that call's first or last word.
            detail={
                "call": call_id,
                "tool": tool,
                "api": target.name,
                "how": target.kind.value,
                "audience": target.audience,
                "scopes": list(outcome.scopes if isinstance(outcome, DownstreamToken) else scopes),
                "act": outcome.actor if isinstance(outcome, DownstreamToken) else None,
            },
        )
        try:
            await self.writer.run(lambda conn: self.audit.append(conn, [event]))
        except StoreUnavailable as error:
            log.error("an exchange could not be recorded: %s", error)
            if issued:
                raise ActionError(
                    "The audit log cannot be written, so nothing was done. Try again in a moment.",
                    Certainty.NOT_DONE,
                    retryable=True,
                ) from error


def _not_done(what: str) -> ActionError:
    return ActionError(f"{what} Nothing was done. Tell an admin.", Certainty.NOT_DONE)
