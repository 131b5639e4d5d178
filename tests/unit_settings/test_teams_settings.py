"""Teams' settings: all of them or none, and an address of single sign-on that is this app's."""

from __future__ import annotations

import pytest

from bot.settings import look

APP_ID = "5b8f0d6a-7c1e-4f5a-8d2b-3e9a1c4f6b20"
TEAMS = {"TEAMS_APP_ID": APP_ID, "TEAMS_APP_PASSWORD": "p", "TEAMS_TENANT_ID": "11111111-1111-4111-8111-111111111111"}


def faults(**more: str) -> list[str]:
    return [fault.where for fault in look({**TEAMS, **more}, file_here=False)[1]]


def test_single_sign_on_is_there_where_it_was_set() -> None:
    for resource in (f"api://botid-{APP_ID}", f"api://bots.acme.example/botid-{APP_ID.upper()}"):
        settings, found = look({**TEAMS, "TEAMS_SSO_RESOURCE": resource}, file_here=False)
        assert found == ()
        assert settings.teams is not None
        assert settings.teams.sso_resource == resource
    settings, _ = look(TEAMS, file_here=False)
    assert settings.teams is not None
    assert settings.teams.sso_resource is None


@pytest.mark.parametrize(
    "resource",
    ["https://acme.example", f"botid-{APP_ID}", "api://botid-22222222-7c1e-4f5a-8d2b-3e9a1c4f6b20", "api://"],
)
def test_an_address_that_is_not_this_apps_is_a_fault(resource: str) -> None:
    assert faults(TEAMS_SSO_RESOURCE=resource) == ["TEAMS_SSO_RESOURCE"]


def test_the_password_is_in_no_text_of_the_settings() -> None:
    settings, _ = look({**TEAMS, "TEAMS_APP_PASSWORD": "hunter2-of-the-bot"}, file_here=False)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("name", sorted(TEAMS))
def test_one_of_them_missing_is_said(name: str) -> None:
    settings, found = look({key: value for key, value in TEAMS.items() if key != name}, file_here=False)
    assert settings.teams is None
    assert [fault.where for fault in found] == [name]


@pytest.mark.parametrize(
    "url", ["http://proxy.acme.example/teams", "ftp://x", "https://", "proxy.acme.example", "https://["]
)
def test_the_bots_token_goes_nowhere_in_the_open(url: str) -> None:
    assert faults(TEAMS_SERVICE_URLS=f"https://proxy.acme.example {url}") == ["TEAMS_SERVICE_URLS"]


def test_addresses_of_a_rig_on_this_machine_and_of_a_proxy() -> None:
    assert faults(TEAMS_SERVICE_URLS="http://127.0.0.1:39788 https://proxy.acme.example/teams") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEAMS_OPENID_METADATA_URL", "https://login.botframework.com/v1/.well-known/openidconfiguration"),
        ("TEAMS_LOGIN_URL", "https://login.microsoftonline.us"),
        ("TEAMS_SERVICE_URLS", "https://smba.trafficmanager.net"),
        ("TEAMS_SSO_RESOURCE", f"api://botid-{APP_ID}"),
    ],
)
def test_a_deployment_that_means_teams_does_not_start_without_an_app_id(name: str, value: str) -> None:
    """With Slack set as well it would serve that alone, and nobody would know why Teams is silent."""
    settings, found = look({name: value}, file_here=False)
    assert settings.teams is None
    assert [fault.where for fault in found] == ["TEAMS_APP_ID"]
