"""What Teams' roster says of a member, as a standing. Pure; fails closed on anything it does not know.

See https://learn.microsoft.com/microsoftteams/platform/bots/how-to/get-teams-context#fetch-single-member-details.
"""

from __future__ import annotations

from typing import Final

from bot.payload import text_at
from bot.ports import Standing
from bot.teams.deliveries import BOT
from bot.teams.refusals import NO_MEMBER, Refused
from policy.model import Json

_ROLES: Final = {
    "": Standing.MEMBER,
    "user": Standing.MEMBER,
    "owner": Standing.MEMBER,
    "guest": Standing.GUEST,
    "anonymous": Standing.STRANGER,
    "bot": Standing.BOT,
    "skill": Standing.BOT,
}
_EXTERNAL: Final = "#ext#"
"""In the user principal name of whoever was invited from elsewhere (Entra B2B)."""


def standing_of(member: Json, team: str, person: str) -> Standing:
    """The worst that the roster says. `team`: the Entra tenant; `person`: the aadObjectId that was asked for."""
    told = text_at(member, "aadObjectId").lower() or text_at(member, "objectId").lower()
    if text_at(member, "id").startswith(BOT):
        return Standing.BOT
    if not told or told != person.lower():
        return Standing.UNKNOWN
    return standing_in(member, team)


def standing_in(member: Json, team: str) -> Standing:
    """The same of somebody read from a list, whoever they are."""
    tenant = text_at(member, "tenantId").lower()
    roles = (text_at(member, "userRole").lower(), text_at(member, "role").lower())
    found = [_ROLES.get(role, Standing.UNKNOWN) for role in roles]
    if Standing.BOT in found or text_at(member, "id").startswith(BOT):
        return Standing.BOT
    if tenant and tenant != team.lower():
        return Standing.STRANGER
    if Standing.STRANGER in found:
        return Standing.STRANGER
    if Standing.GUEST in found or _EXTERNAL in text_at(member, "userPrincipalName").lower():
        return Standing.GUEST
    # Teams names the tenant of everybody; who has none was not read whole.
    return Standing.UNKNOWN if not tenant or Standing.UNKNOWN in found else Standing.MEMBER


def standing_of_refusal(refusal: Refused) -> Standing:
    return Standing.STRANGER if refusal.code == NO_MEMBER else Standing.UNKNOWN
