"""A chat account -> a principal, or why not. Knows the order of the questions; remembers no answer.

Every question is asked anew for each decision: what the chat says of the account, what the directory says
of the person, which roles policy gives their groups. Whatever is not known is refused (invariant 13).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never

from audit.faults import StoreUnavailable
from bot.identity.people import Aged, ageless, principal_of
from bot.messages import ChatUser
from bot.ports import Book, ChatSurface, PolicyOf, Standing, SurfaceError
from bot.settings import PersonKey
from policy.model import Principal, Subject, TenantId


class RefusalReason(StrEnum):
    """Why nobody can be acted for. Closed: the audit stores these words."""

    NO_TENANT = "no_tenant"
    """The chat team belongs to no organisation here."""
    STRANGER = "stranger"
    GUEST = "guest"
    BOT = "bot"
    DEACTIVATED = "deactivated"
    CHAT_SILENT = "chat_silent"
    """The chat did not say who this is."""
    UNKNOWN_PERSON = "unknown_person"
    INACTIVE = "inactive"
    """The directory knows them as somebody who has left."""
    NO_ROLES = "no_roles"
    STALE = "stale"
    """Nobody has vouched for what is known of them for too long."""
    DIRECTORY_SILENT = "directory_silent"
    """The directory could not be read."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`sentence` may be shown to the account, privately. `tenant` and `subject` are for the audit row."""

    reason: RefusalReason
    sentence: str
    tenant: TenantId | None = None
    subject: Subject | None = None


Resolved: TypeAlias = Principal | Refusal


class Resolver:
    def __init__(self, book: Book, policy: PolicyOf, key: PersonKey, aged: Aged = ageless) -> None:
        """`aged`: why what is known of a person is too old to be acted on; None: it is not."""
        self._book = book
        self._policy = policy
        self._key = key
        self._aged = aged

    async def resolve(self, who: ChatUser, surface: ChatSurface) -> Resolved:
        """Who `who` is at this moment. Never raises for what a chat or a person did."""
        tenant = self._book.tenant_of(who.surface, who.team)
        if tenant is None or who.surface != surface.name:
            return Refusal(
                RefusalReason.NO_TENANT,
                "This chat team is not connected to Countersign. Nothing was done. "
                f"Ask an admin to add the team {who.team} to tenants.yaml.",
            )
        try:
            standing = await surface.standing(who)
        except SurfaceError:
            standing = Standing.UNKNOWN
        refusal = of_standing(standing, tenant)
        return refusal if refusal is not None else await self._person(who, tenant)

    async def _person(self, who: ChatUser, tenant: TenantId) -> Resolved:
        try:
            person = await self._book.by_account(who)
        except StoreUnavailable as error:
            return Refusal(RefusalReason.DIRECTORY_SILENT, f"I cannot look up who you are just now. {error}", tenant)
        if person is None or person.tenant != tenant:
            return Refusal(
                RefusalReason.UNKNOWN_PERSON,
                "I do not know who you are in your company's directory, so I cannot act for you. Nothing was done. "
                "Say who you are first: `/countersign link`.",
                tenant,
            )
        if not person.active:
            return Refusal(
                RefusalReason.INACTIVE,
                "The directory says that this account is no longer active. Nothing was done. "
                "If that is wrong, ask an admin to mend the directory entry.",
                tenant,
                person.subject,
            )
        too_old = self._aged(person)
        if too_old is not None:
            return Refusal(RefusalReason.STALE, too_old, tenant, person.subject)
        principal = principal_of(person, self._policy(tenant).roles, self._key)
        if not principal.roles:
            return Refusal(
                RefusalReason.NO_ROLES,
                "None of your groups has a role here, so there is nothing I may do for you. "
                "Ask an admin which group you need.",
                tenant,
                person.subject,
            )
        return principal


def of_standing(standing: Standing, tenant: TenantId | None) -> Refusal | None:
    """What the chat's own word on an account means; None: a full member."""
    match standing:
        case Standing.MEMBER:
            return None
        case Standing.GUEST:
            reason, why = RefusalReason.GUEST, "Guests of this workspace cannot use Countersign."
        case Standing.STRANGER:
            reason, why = RefusalReason.STRANGER, "Countersign serves members of this workspace only."
        case Standing.BOT:
            reason, why = RefusalReason.BOT, "Countersign acts for people, not for other bots."
        case Standing.DEACTIVATED:
            reason, why = RefusalReason.DEACTIVATED, "This chat account is deactivated."
        case Standing.UNKNOWN:
            reason = RefusalReason.CHAT_SILENT
            why = "The chat could not confirm who you are just now. Try again in a moment."
        case _:
            assert_never(standing)
    return Refusal(reason, f"{why} Nothing was done.", tenant)
