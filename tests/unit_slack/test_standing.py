"""What users.info says of an account, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.ports import Standing
from bot.slack.standing import standing_of, standing_of_error

MEMBER: dict[str, Any] = {"id": "U1", "team_id": "T1", "deleted": False, "is_bot": False, "is_restricted": False}


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        ({}, Standing.MEMBER),
        ({"is_email_confirmed": True}, Standing.MEMBER),
        ({"is_admin": True}, Standing.MEMBER),
        ({"is_app_user": True}, Standing.MEMBER),
        ({"deleted": True}, Standing.DEACTIVATED),
        ({"deleted": True, "is_bot": True}, Standing.DEACTIVATED),
        ({"deleted": "true"}, Standing.DEACTIVATED),
        ({"is_bot": True}, Standing.BOT),
        ({"is_workflow_bot": True}, Standing.BOT),
        ({"id": "USLACKBOT"}, Standing.BOT),
        ({"is_restricted": True}, Standing.GUEST),
        ({"is_ultra_restricted": True, "is_restricted": True}, Standing.GUEST),
        ({"is_stranger": True}, Standing.STRANGER),
        ({"is_stranger": True, "is_restricted": True}, Standing.STRANGER),
        ({"is_invited_user": True}, Standing.STRANGER),
        ({"is_email_confirmed": False}, Standing.STRANGER),
        ({"is_email_confirmed": "no"}, Standing.STRANGER),
        ({"team_id": "T2"}, Standing.STRANGER),
        ({"team_id": None}, Standing.UNKNOWN),
        ({"id": None}, Standing.UNKNOWN),
        ({"id": 5}, Standing.UNKNOWN),
    ],
)
def test_standing(change: dict[str, Any], standing: Standing) -> None:
    assert standing_of(MEMBER | change, "T1") is standing


@pytest.mark.parametrize("user", [None, [], "U1", 5, {}])
def test_nonsense_is_unknown(user: Any) -> None:
    assert standing_of(user, "T1") is Standing.UNKNOWN


def test_errors() -> None:
    assert standing_of_error("user_not_found") is Standing.STRANGER
    assert standing_of_error("internal_error") is Standing.UNKNOWN
    assert standing_of_error("ratelimited") is Standing.UNKNOWN
