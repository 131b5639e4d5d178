"""The company's IdP says that somebody was logged out (OpenID Connect Back-Channel Logout 1.0): `/signin/backchannel`.

Knows the token and whom it concerns; what ends is `bot.identity.leavers`' business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from audit.event import Event
from audit.faults import StoreUnavailable
from bot.identity import sessions
from bot.identity.id_token import IdTokenRefused, LogoutClaims, issuer_named_in, verify_logout_token
from bot.identity.issuers import Issuer
from bot.identity.jwks import Keys
from bot.identity.linking import Linking
from bot.identity.refusals import Refused, Why
from bot.identity.tenants import OnLogout, Tenant
from bot.web.browser import SEALED, NotOurs, fields
from policy.model import Subject, TenantId

log = logging.getLogger(__name__)

PATH: Final = "/signin/backchannel"
REMEMBERED: Final = timedelta(days=1)
"""Longer than any logout token counts."""


class LogsOut(Protocol):
    """`bot.identity.leavers.Leavers`, as far as this is concerned."""

    def logged_out(
        self,
        conn: Connection,
        tenant: TenantId,
        issuer: str,
        *,
        subject: Subject | None = None,
        sid: str | None = None,
        everything: bool = True,
    ) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class BackChannel:
    linking: Linking
    keys: Keys
    leavers: LogsOut
    clock: Callable[[], datetime]

    def routes(self) -> list[Route]:
        return [Route(PATH, self.hear, methods=["POST"], middleware=SEALED)]

    async def hear(self, request: Request) -> Response:
        """200: done. 400: the token does not hold, or was used before. Never a page: a server asks."""
        try:
            token = (await fields(request)).get("logout_token", "")
            issuer, claims = await self._read(token)
            fresh = [await self._end(tenant, issuer, claims) for tenant in self.linking.tenants.served_by(issuer)]
        except NotOurs:
            return _no("There is no logout_token in a form.")
        except Refused as no:
            await self.linking.record(no)
            return _no(str(no))
        except StoreUnavailable as error:
            log.warning("a back-channel logout could not be written: %s", error)
            return _no("Try again.", 503)
        if not any(fresh):
            await self.linking.record(_refused("replayed"))
            return _no("This logout token was used before.")
        return Response(status_code=200)

    async def _read(self, token: str) -> tuple[Issuer, LogoutClaims]:
        issuer = issuer_named_in(token, self.linking.tenants.issuers.values())
        if issuer is None:
            raise _refused("issuer")
        try:
            return issuer, await verify_logout_token(token, issuer, self.keys, now=self.clock())
        except IdTokenRefused as error:
            raise _refused(error.reason.value) from error

    async def _end(self, tenant: Tenant, issuer: Issuer, claims: LogoutClaims) -> bool:
        """Whether the token was new to this tenant: each has a transaction and a chain of its own."""
        now = self.clock()

        def unit(conn: Connection) -> bool:
            # Per tenant, so that a token is not spent for those whose transaction did not come through.
            if not sessions.first_use(conn, f"{tenant.tenant} {issuer.issuer}", claims.jti, now + REMEMBERED):
                return False
            named = () if claims.subject is None else (Subject(issuer.issuer, claims.subject),)
            by_sub = () if claims.sub is None else sessions.subjects_of(conn, tenant.tenant, issuer.issuer, claims.sub)
            events: list[Event] = []
            for subject in named or by_sub or (None,):
                if subject is not None or claims.sid is not None:
                    events += self.leavers.logged_out(
                        conn,
                        tenant.tenant,
                        issuer.issuer,
                        subject=subject,
                        sid=claims.sid,
                        everything=tenant.on_logout is OnLogout.EVERYTHING,
                    )
            self.linking.audit.append(conn, events)
            return True

        return await self.linking.writer.run(unit)


def _refused(token: str) -> Refused:
    return Refused(
        Why.LOGOUT_TOKEN,
        "Refused",
        "The logout token does not hold. Nobody was signed out.",
        status=400,
        detail={"token": token},
    )


def _no(sentence: str, status: int = 400) -> Response:
    return JSONResponse({"error": "invalid_request", "error_description": sentence}, status)
