"""A chat's own single sign-on as the proof of a link: the chat says who wrote, the company's IdP who that is.

For chats whose accounts are the IdP's own (Teams, where the company's IdP is that very Entra tenant). Knows the ticket
and both proofs; speaks to no chat, draws nothing. Elsewhere single sign-on would prove the chat's side alone, and the
link page proves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Connection

from bot.identity import chat_proof, links, opaque, tickets
from bot.identity.id_token import IdTokenRefused, verify_access_token
from bot.identity.issuers import Issuer
from bot.identity.jwks import Keys
from bot.identity.link_words import Linked
from bot.identity.linking import Bound, Linking
from bot.identity.refusals import Refused, Why, refused
from bot.identity.tickets import TicketEnd
from bot.messages import ChatUser
from policy.model import Subject, TenantId
from tools import turnstile

CLIENTS: Final = frozenset({"1fec8e78-bce4-4aaf-ab1b-5451cc387264", "5e3ce6c0-2b1f-4285-8d4b-75ee78787346"})
"""Microsoft Teams itself: on desktop and mobile, and in the browser. Another client's token is not believed."""
SCOPE: Final = "access_as_user"
ELSEWHERE: Final = (
    "Your company does not sign in with this chat's own accounts, so the chat alone cannot say who you are. Nothing "
    "was linked. Use the button: it leads to your company's sign-in."
)


@dataclass(frozen=True, slots=True)
class ChatSignIn:
    """Every refusal is a row, as the link page's are."""

    linking: Linking
    keys: Keys
    audiences: frozenset[str]
    """What a token for us may be addressed to: the app's id, or its address."""

    def offers(self, who: ChatUser) -> bool:
        """Whether this account can be linked so."""
        return self._organisation(who) is not None

    def exchange_of(self, address: str) -> str:
        """What names the link at `address` to the chat, and opens nothing."""
        return opaque.digest(address.rpartition("/")[2])

    async def linked(self, who: ChatUser) -> bool:
        tenant = self.linking.tenants.tenant_of(who.surface, who.team)
        if tenant is None:
            return False
        found = await self.linking.writer.read(lambda conn: links.of_account(conn, tenant, who))
        return found is not None

    async def redeem(self, who: ChatUser, exchange: str, token: str) -> Linked | None:
        """Links `who`, whom the chat vouches for, to whom `token` names. None: another of their devices was first.

        Raises:
            Refused: nothing was bound.
        """
        here = self._organisation(who)
        if here is None:
            tenant = self.linking.tenants.tenant_of(who.surface, who.team)
            raise await self.linking.record(
                Refused(Why.ISSUER, "Not by this sign-in", ELSEWHERE, tenant=tenant, detail=dict(links.described(who)))
            )
        tenant, issuer = here
        subject = await self._named(who, tenant, issuer, token)
        now = self.linking.clock()

        def unit(conn: Connection) -> Bound | None:
            turnstile.together(conn, tenant)
            ticket = tickets.by_hash(conn, exchange)
            # Another account's card, or another organisation's, is as good as none.
            if ticket is None or ticket.who != who or ticket.tenant != tenant:
                raise refused(Why.LINK_UNKNOWN, tenant, dict(links.described(who)))
            if ticket.ended is TicketEnd.USED:
                there = links.of_account(conn, tenant, who)
                if there is not None and there.subject == subject:
                    return None
            self.linking.open_ticket(ticket, now)
            if not tickets.end(conn, ticket, TicketEnd.USED, now):
                raise refused(Why.RACED, tenant)
            return self.linking.bind(conn, tenant, who, subject, now)

        bound = await self.linking.judged(unit, subject=subject)
        return None if bound is None else await self.linking.told(bound)

    async def _named(self, who: ChatUser, tenant: TenantId, issuer: Issuer, token: str) -> Subject:
        """Whom `token` names, who is the holder of `who`."""
        detail = dict(links.described(who))
        try:
            subject = await verify_access_token(
                token,
                issuer,
                self.keys,
                audiences=self.audiences,
                clients=CLIENTS,
                scope=SCOPE,
                now=self.linking.clock(),
            )
        except IdTokenRefused as error:
            word = {"token": error.reason.value}
            no = Refused(Why.ID_TOKEN, "The sign-in was not accepted", str(error), tenant=tenant, detail=detail | word)
            raise await self.linking.record(no) from error
        if subject.casefold() != who.user.casefold():
            raise await self.linking.record(refused(Why.OTHER_CHAT_USER, tenant, detail | {"opened_by": subject}))
        return Subject(issuer.issuer, subject)

    def _organisation(self, who: ChatUser) -> tuple[TenantId, Issuer] | None:
        """The organisation of an account that is its IdP's own."""
        tenant = self.linking.tenants.tenant_of(who.surface, who.team)
        found = None if tenant is None else self.linking.tenants.get(tenant)
        if found is None or not chat_proof.one_idp(who, found.issuer):
            return None
        return found.tenant, found.issuer
