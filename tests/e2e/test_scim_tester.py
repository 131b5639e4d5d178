"""scim2-tester, whole, against our endpoint over real HTTP on both databases."""

from __future__ import annotations

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server
from scim2_tester.utils import CheckResult

from tests.kit.scim_house import ACME, ScimHouse, scim_house

REFUSED_ON_PURPOSE = {
    # A remove that names nobody: emptying a group takes an explicit replace with [].
    "members",
    # Nobody is switched by leaving `active` out: it takes true or false.
    "active",
}


def results(house: ScimHouse, *only: str) -> list[CheckResult]:
    http = httpx2.Client(
        base_url=f"{house.url}/scim/v2", headers={"Authorization": f"Bearer {house.tokens[ACME]}"}, timeout=30
    )
    with http:
        found: list[CheckResult] = check_server(SyncSCIMClient(http), resource_types=list(only) or None)
    return found


@pytest.mark.timeout(400)
def test_everything_succeeds_by_the_letter_of_the_rfcs(engine_url: str) -> None:
    with scim_house(engine_url, lenient=False) as house:
        found = results(house)
    # It looks at every attribute of users and groups, adding, replacing and removing each.
    assert len(found) > 100
    assert [one for one in found if one.status is not Status.SUCCESS] == []


@pytest.mark.timeout(400)
def test_with_the_quirks_all_but_the_two_that_are_refused_on_purpose(engine_url: str) -> None:
    with scim_house(engine_url) as house:
        others = [one for one in results(house) if one.status is not Status.SUCCESS]
    assert {one.title for one in others} == {"check_remove_attribute"}
    assert {one.data["urn"] for one in others if isinstance(one.data, dict)} == REFUSED_ON_PURPOSE
    assert len(others) == len(REFUSED_ON_PURPOSE)
    assert all("Failed to remove attribute" in (one.reason or "") for one in others)


def test_the_tester_finds_what_is_wrong(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose, so that the other two can fail."""
    monkeypatch.setattr("bot.identity.scim_members.shown", lambda *_: {})
    with scim_house(sqlite_url, lenient=False) as house:
        assert any(one.status is Status.ERROR for one in results(house, "Group"))
