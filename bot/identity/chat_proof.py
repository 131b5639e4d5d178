"""Whether a sign-in proves the chat account that a link was made for. Pure: knows claims and keys, no row."""

from __future__ import annotations

from typing import Final

from bot.identity.id_token import IdClaims
from bot.identity.issuers import Issuer, Preset
from bot.identity.link_words import SLACK, TEAMS
from bot.identity.refusals import Why
from bot.messages import ChatUser

SLACK_TEAM: Final = "https://slack.com/team_id"
SLACK_USER: Final = "https://slack.com/user_id"
SLACK_ENTERPRISE: Final = "https://slack.com/enterprise_id"


def by_slack(who: ChatUser, claims: IdClaims) -> Why | None:
    """Why Sign in with Slack names another account than `who`; None: it names `who`."""
    team, user, grid = (claims.extra.get(name) for name in (SLACK_TEAM, SLACK_USER, SLACK_ENTERPRISE))
    if who.surface != SLACK or team != who.team:
        return Why.OTHER_CHAT_TEAM
    if user != who.user:
        return Why.OTHER_CHAT_USER
    # Slack names the organisation above the workspace only where there is one.
    return Why.OTHER_CHAT_TEAM if grid is not None and who.enterprise and grid != who.enterprise else None


def opened_by(claims: IdClaims) -> str:
    """Whom Slack named, for the audit."""
    return f"slack:{claims.extra.get(SLACK_TEAM)}:{claims.extra.get(SLACK_USER)}"


def one_idp(who: ChatUser, issuer: Issuer) -> bool:
    """Whether chat account and company account are one and the same Entra account, so that their ids must agree."""
    return who.surface == TEAMS and issuer.preset is Preset.ENTRA and issuer.tid == who.team
