"""`countersign check` on channels: one chat that has it is enough, none is an error, a chat that has to have it is held
to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bot.checkup import Channel, Level, Read, asked_of, examine, judge_channels
from bot.messages import SurfaceName
from bot.settings import Teams
from policy.model import TenantId
from tests.kit.two_chats import ACME, GLOBEX, ROOT, tenants_text
from tools.credentials import Secret

FINANCE = "#finance-approvals"
ONLY_TEAMS = f"teams:{FINANCE}"
IN_TEAMS = "teams:19:0a1b@thread.tacv2"


@dataclass(frozen=True)
class Deployment:
    folder: Path

    def read(self, place: str = FINANCE) -> Read:
        policy = self.folder / "policy"
        policy.mkdir(exist_ok=True)
        for file in (ROOT / "policy").glob("*.yaml"):
            text = file.read_text("utf-8").replace(f'"{FINANCE}"', f'"{place}"')
            (policy / file.name).write_text(text, "utf-8")
        (self.folder / "tenants.yaml").write_text(tenants_text(), "utf-8")
        return examine(
            {
                "COUNTERSIGN_POLICY_DIR": str(policy),
                "COUNTERSIGN_TENANTS": str(self.folder / "tenants.yaml"),
                "COUNTERSIGN_KEYS_DIR": str(self.folder),
            }
        )


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def there(tenant: TenantId, place: str = FINANCE) -> Channel:
    return Channel(place, tenant=tenant)


def missing(tenant: TenantId, chat: str = "Slack", place: str = FINANCE) -> Channel:
    return Channel(place, problem=f"The bot is in no such channel of {chat}.", missing=True, tenant=tenant)


def test_a_channel_that_one_chat_has_is_enough(deployment: Deployment) -> None:
    found = judge_channels(deployment.read(), [there(ACME), missing(ACME), there(GLOBEX), missing(GLOBEX)], ())
    assert found == ()


def test_a_channel_that_no_chat_of_an_organisation_has_is_one_error(deployment: Deployment) -> None:
    seen = [missing(ACME, "Slack"), missing(ACME, "Teams"), there(GLOBEX)]
    (finding,) = judge_channels(deployment.read(), seen, ())
    assert (finding.level, finding.where) == (Level.ERROR, FINANCE)
    assert "Slack" in finding.what
    assert "Teams" in finding.what
    assert "correct the name in tools.yaml" in finding.mend


def test_another_organisation_s_channel_is_no_help(deployment: Deployment) -> None:
    (finding,) = judge_channels(deployment.read(), [there(GLOBEX), missing(ACME)], ())
    assert finding.level is Level.ERROR


def test_a_chat_that_was_not_to_be_asked_is_no_error_of_the_other(deployment: Deployment) -> None:
    """It could not be read: that is said, whatever the other chat has."""
    silent = Channel(FINANCE, problem="Teams did not answer.", tenant=ACME)
    (finding,) = judge_channels(deployment.read(), [there(ACME), silent, there(GLOBEX)], ())
    assert finding.what == "Teams did not answer."


def test_a_place_in_a_chat_that_is_not_connected_is_a_warning(deployment: Deployment) -> None:
    read = deployment.read(ONLY_TEAMS)
    assert read.destinations == (ONLY_TEAMS,)
    seen = [there(GLOBEX, ONLY_TEAMS)]
    (finding,) = judge_channels(read, seen, ())
    assert (finding.level, finding.where) == (Level.WARNING, ONLY_TEAMS)
    assert "in no chat that is connected for the tenant acme" in finding.what


def test_each_chat_is_asked_for_what_is_meant_there(deployment: Deployment) -> None:
    slack, teams = SurfaceName("slack"), SurfaceName("teams")
    every, one = deployment.read().policy, deployment.read(ONLY_TEAMS).policy
    assert every is not None
    assert one is not None
    assert [asked_of(every.of(ACME), chat) for chat in (slack, teams)] == [((FINANCE, FINANCE),)] * 2
    assert asked_of(one.of(ACME), teams) == ((ONLY_TEAMS, FINANCE),)
    assert asked_of(one.of(ACME), slack) == ()


@pytest.mark.parametrize(
    ("place", "warned"), [(FINANCE, True), (ONLY_TEAMS, True), ("slack:#finance-approvals", False), (IN_TEAMS, False)]
)
def test_where_teams_is_served_a_channel_named_by_its_name_is_doubtful(
    deployment: Deployment, place: str, warned: bool
) -> None:
    """Whoever may make a team may make a channel called like the approvers'."""
    read = deployment.read(place)
    told = [there(tenant, place) for tenant in (ACME, GLOBEX)]
    assert judge_channels(read, told, ()) == (), "Slack alone: a name is one channel"
    served = replace(
        read, settings=replace(read.settings, teams=Teams("app", Secret("TEAMS_APP_PASSWORD", "p"), "t", None))
    )
    found = judge_channels(served, told, ())
    assert [(one.level, one.where) for one in found] == ([(Level.WARNING, place)] if warned else [])
