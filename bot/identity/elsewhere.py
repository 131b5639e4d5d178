"""Acting for people at other APIs, put together: their sealed sign-ins, the exchanges, and the connections for both.

Knows what needs what; decides nothing. Where no organisation has such an API there is nothing, and no key is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.discovery import Discovery
from bot.identity.grants import Grants
from bot.identity.idp_http import IdpHttp
from bot.identity.jwks import KeySource
from bot.identity.minting import Assertions
from bot.identity.oidc import OidcClient
from bot.identity.sealing import Sealer
from bot.identity.tenants import Tenants
from bot.identity.token_endpoint import HttpTokenEndpoints
from bot.identity.tokens import CallTokens
from bot.identity.user_tokens import Organisation, UserBearers, minters
from bot.identity.wrapping import Wrapping
from policy.model import TenantId


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """`users` is the door's `user_tokens`; `grants` is what signing in stores into. Belongs to one event loop."""

    grants: Grants
    users: UserBearers
    _http: IdpHttp

    async def close(self) -> None:
        await self._http.close()


def elsewhere(
    tenants: Tenants,
    tokens: CallTokens,
    writer: Writer,
    audit: AuditStore,
    wrapping: Wrapping,
    clock: Callable[[], datetime],
    *,
    base_url: str | None = None,
) -> Elsewhere | None:
    """None where no organisation in `tenants` has an API that is called in people's own name.

    Raises:
        KeysError: the key-encryption key cannot be used.
    """
    if not any(tenant.downstreams for tenant in tenants.tenants.values()):
        return None
    grants = Grants(writer, audit, Sealer(wrapping.open()), clock)
    http = IdpHttp()
    discovery = Discovery(http)

    def organisation(name: TenantId) -> Organisation | None:
        tenant = tenants.get(name)
        return Organisation(tenant.issuer, tenant.downstreams) if tenant is not None else None

    users = UserBearers(
        organisation=organisation,
        grants=grants,
        oidc=OidcClient(http, discovery),
        keys=KeySource(http, discovery),
        minters=minters(HttpTokenEndpoints(http), Assertions(tokens)),
        writer=writer,
        audit=audit,
        clock=clock,
        base_url=base_url,
    )
    return Elsewhere(grants, users, http)
