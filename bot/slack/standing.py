"""What ``users.info`` says of an account, as a standing. Pure; fails closed on anything it does not know.

See https://docs.slack.dev/reference/objects/user-object.
"""

from __future__ import annotations

from bot.payload import at, flag_at, list_at, text_at
from bot.ports import Standing
from policy.model import Json

_NOBODY = frozenset({"user_not_found", "users_not_found", "user_not_visible", "users_not_visible"})
SLACKBOT = "USLACKBOT"


def standing_of(user: Json, own_team: str, own_enterprise: str = "") -> Standing:
    """The worst that the user object says; a flag with a strange value counts as set."""
    checks = (
        (flag_at(user, "deleted"), Standing.DEACTIVATED),
        (_is_bot(user), Standing.BOT),
        (flag_at(user, "is_stranger") or flag_at(user, "is_invited_user"), Standing.STRANGER),
        (at(user, "is_email_confirmed") not in (None, True), Standing.STRANGER),
        (not _of_team(user, own_team, own_enterprise), Standing.STRANGER),
        (flag_at(user, "is_restricted") or flag_at(user, "is_ultra_restricted"), Standing.GUEST),
    )
    if not text_at(user, "id") or not text_at(user, "team_id"):
        return Standing.UNKNOWN
    return next((standing for holds, standing in checks if holds), Standing.MEMBER)


def _of_team(user: Json, own_team: str, own_enterprise: str) -> bool:
    """A person of an Enterprise Grid is in several workspaces, and `team_id` may be another one or the organisation."""
    if text_at(user, "team_id") == own_team:
        return True
    grid = at(user, "enterprise_user")
    return (
        bool(own_enterprise) and text_at(grid, "enterprise_id") == own_enterprise and own_team in list_at(grid, "teams")
    )


def standing_of_error(code: str) -> Standing:
    return Standing.STRANGER if code in _NOBODY else Standing.UNKNOWN


def _is_bot(user: Json) -> bool:
    return flag_at(user, "is_bot") or flag_at(user, "is_workflow_bot") or text_at(user, "id") == SLACKBOT
