"""For which workspace a delivery is, and whose account it names: Enterprise Grid, Slack Connect, organisations."""

from __future__ import annotations

from typing import Any

import pytest

from bot.messages import ChatUser, Room
from bot.ports import Standing
from bot.slack import deliveries
from bot.slack.deliveries import SLACK, Here
from bot.slack.standing import standing_of
from policy.approval import Verb

SERVED = frozenset({"T1", "T2"})
ALONE = Here("T1", "", "U0BOT", SERVED.__contains__)
GRID = Here("T1", "E1", "U0BOT", SERVED.__contains__)


def message(**changes: Any) -> dict[str, Any]:
    said = {"type": "message", "channel": "C1", "user": "U1", "text": "refund", "ts": "1.1"} | changes
    return {"type": "event_callback", "team_id": "T1", "event": said, "event_id": "Ev1"}


def press(**user: Any) -> dict[str, Any]:
    action = {"action_id": "cs.press.approve", "value": "h:1:d", "action_ts": "1.5"}
    return {"team": {"id": "T1"}, "user": {"id": "U1"} | user, "channel": {"id": "C1"}, "actions": [action]}


def command(**changes: Any) -> dict[str, Any]:
    return {"command": "/countersign", "team_id": "T1", "channel_id": "C1", "user_id": "U1", "text": "x"} | changes


def author(body: dict[str, Any], here: Here) -> ChatUser:
    read = deliveries.incoming(body, here)
    assert read is not None
    assert read.thread.team == here.team
    return read.who


@pytest.mark.parametrize("here", [ALONE, GRID])
def test_every_delivery_names_the_account_by_the_same_key(here: Here) -> None:
    who = ChatUser(SLACK, "T1", "U1", here.enterprise)
    assert author(message(), here) == who
    assert author(message(user_team="T1"), here) == who
    pressed = press(team_id="T1")
    assert deliveries.press_of_button(pressed, here, Verb.APPROVE).who == who
    assert deliveries.ask_again(pressed, here).who == who
    assert deliveries.link_answer(pressed, here).who == who
    assert deliveries.command(command(), here, Room.CHANNEL).who == who


def test_the_organisations_own_id_stands_for_the_workspace_in_a_grid_alone() -> None:
    assert author(message(user_team="E1"), GRID) == ChatUser(SLACK, "T1", "U1", "E1")
    assert author(message(user_team="E1"), ALONE) == ChatUser(SLACK, "E1", "U1")
    assert author(message(user_team="E2"), GRID) == ChatUser(SLACK, "E2", "U1")


@pytest.mark.parametrize("here", [ALONE, GRID])
def test_somebody_of_another_workspace_is_nobody_here_even_where_that_one_is_served(here: Here) -> None:
    """T2 may be another tenant's: whom it knows must not act in T1's channels."""
    for who in (author(message(user_team="T2"), here), deliveries.presser(press(team_id="T2"), here)):
        assert who.team not in SERVED
        assert who.user == "U1"
    assert author(message(user_team="T9"), here).team == "T9"
    assert deliveries.presser(press(), here).team == ""


def test_a_press_from_elsewhere_is_another_press_than_the_members_own() -> None:
    own = deliveries.press_of_button(press(team_id="T1"), GRID, Verb.APPROVE)
    other = deliveries.press_of_button(press(team_id="T2"), GRID, Verb.APPROVE)
    assert own.press_id != other.press_id


ENTRY = {"team_id": "T1", "enterprise_id": "E1", "is_enterprise_install": False}
PLACES = [
    pytest.param({"team_id": "T1"}, "T1", id="plain"),
    pytest.param({}, None, id="none named"),
    pytest.param({"team_id": "T1", "team": {"id": "T2"}}, None, id="two named"),
    pytest.param({"team_id": "T2", "authorizations": [ENTRY]}, None, id="the installation is another one's"),
    pytest.param({"team_id": "T2", "authorizations": [ENTRY], "is_ext_shared_channel": True}, "T1", id="connect"),
    pytest.param({"team_id": "T2", "enterprise_id": "E1", "authorizations": [ENTRY]}, "T1", id="shared in the grid"),
    pytest.param({"team_id": "T2", "enterprise_id": "E2", "authorizations": [ENTRY]}, None, id="another grid"),
    pytest.param({"team_id": "T1", "is_enterprise_install": True}, None, id="whole organisation"),
    pytest.param({"team_id": "T1", "is_enterprise_install": "true"}, None, id="whole organisation, in a command"),
    pytest.param({"team_id": "T1", "is_enterprise_install": "false"}, "T1", id="not so, in a command"),
    pytest.param({"team_id": "T1", "authorizations": [ENTRY | {"is_enterprise_install": True}]}, None, id="org event"),
]


@pytest.mark.parametrize(("body", "team"), PLACES)
def test_for_which_workspace(body: dict[str, Any], team: str | None) -> None:
    assert deliveries.installed_team(body) == team


ENTERPRISES = [
    pytest.param({"authorizations": [ENTRY], "enterprise_id": "E9"}, "E1", id="the installation's, not the author's"),
    pytest.param({"authorizations": [{"team_id": "T1", "enterprise_id": None}]}, "", id="none"),
    pytest.param({"enterprise": {"id": "E1"}}, "E1", id="a press"),
    pytest.param({"enterprise": None, "team": {"id": "T1"}}, None, id="a press does not say"),
    pytest.param(command(enterprise_id="E1"), "E1", id="a command"),
    pytest.param(command(), "", id="a command without"),
]


@pytest.mark.parametrize(("body", "enterprise"), ENTERPRISES)
def test_for_which_organisation(body: dict[str, Any], enterprise: str | None) -> None:
    assert deliveries.enterprise_of(body) == enterprise


def grid_user(team_id: str, enterprise: str, *teams: str) -> dict[str, Any]:
    return {"id": "U1", "team_id": team_id, "enterprise_user": {"enterprise_id": enterprise, "teams": list(teams)}}


def test_a_member_of_several_workspaces_of_a_grid() -> None:
    assert standing_of(grid_user("T2", "E1", "T1", "T2"), "T1", "E1") is Standing.MEMBER
    assert standing_of(grid_user("E1", "E1", "T1"), "T1", "E1") is Standing.MEMBER
    assert standing_of(grid_user("T2", "E1", "T2"), "T1", "E1") is Standing.STRANGER
    assert standing_of(grid_user("T2", "E2", "T1"), "T1", "E1") is Standing.STRANGER
    assert standing_of(grid_user("T2", "", "T1"), "T1", "") is Standing.STRANGER
    assert standing_of(grid_user("T2", "E1", "T1") | {"deleted": True}, "T1", "E1") is Standing.DEACTIVATED
