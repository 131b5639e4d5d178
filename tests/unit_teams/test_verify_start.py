"""Where the bot's token may go, and that nothing is served without an app id."""

from __future__ import annotations

import logging

import pytest

from bot.identity.idp_http import IdpHttp
from bot.settings import SettingsError, read
from bot.teams.service_urls import HOSTS, ServiceUrls
from bot.teams.verify import ConnectorTokens
from tests.kit.teams_gate import APP_ID

MICROSOFT = [
    *(f"https://{host}/teams/" for host in sorted(HOSTS)),
    "https://smba.trafficmanager.net/amer/8f0c1a2b-0000-4000-8000-00000000abcd/",
    "https://smba.trafficmanager.net",
    "https://smba.trafficmanager.net:443/in/",
    "https://SMBA.TrafficManager.net/emea/",
    "https://api.botframework.com/",
    "https://europe.token.botframework.com",
    "https://api.botframework.azure.us/",
]
ELSEWHERE = [
    "",
    "smba.trafficmanager.net",
    "//smba.trafficmanager.net/",
    "http://smba.trafficmanager.net/",
    "ftp://smba.trafficmanager.net/",
    "https://smba.trafficmanager.net:80/",
    "https://smba.trafficmanager.net:8443/",
    "https://smba.trafficmanager.net:0/",
    "https://smba.trafficmanager.net:x/",
    "https://smba.trafficmanager.net./",
    "https://evil.smba.trafficmanager.net/",
    "https://trafficmanager.net/",
    "https://evil.trafficmanager.net/",
    "https://smba.trafficmanager.net.evil.example/",
    "https://evil.example/smba.trafficmanager.net/",
    "https://evil.example#smba.trafficmanager.net/",
    "https://evil.example?.botframework.com",
    "https://evil.example\\.botframework.com/",
    "https://evil.example/.botframework.com",
    "https://smba.trafficmanager.net@evil.example/",
    "https://smba.trafficmanager.net\\@evil.example/",
    "https://evil.example\\@smba.trafficmanager.net/",
    "https://a:b@smba.trafficmanager.net/",
    "https://@smba.trafficmanager.net/",
    "https://smba.trafficmanager.net/?to=evil",
    "https://smba.trafficmanager.net/?",
    "https://smba.trafficmanager.net/#",
    "https://smba.trafficmanager.net/../..",
    "https://smba.trafficmanager.net/%2e%2e/",
    "https://smba.trafficmanager.net/a b",
    "https://smba.trafficmanager.net/\t",
    "https://smba.traffic\nmanager.net/",
    "https://smba.trafficmanager.net\x00.evil.example/",
    " https://smba.trafficmanager.net/",
    "https://smba.traffｉcmanager.net/",
    "https://botframework.com.evil.example/",
    "https://botframework.com/",
    "https://evilbotframework.com/",
    "https://evil.example/" + "a" * 2000,
    "https://[::1]/",
    "https://[smba.trafficmanager.net]/",
    "https://127.0.0.1/",
    "http://127.0.0.1:56150/_connector",
    "http://localhost/",
    "https://169.254.169.254/",
]


@pytest.mark.parametrize("url", MICROSOFT)
def test_microsofts_addresses_are_allowed(url: str) -> None:
    assert ServiceUrls().allow(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_the_token_goes_nowhere_else(url: str) -> None:
    assert not ServiceUrls().allow(url)
    assert not ServiceUrls(("https://own.example/bots",)).allow(url)


def test_what_the_deployment_adds_is_that_place_and_what_is_below_it() -> None:
    urls = ServiceUrls(("https://own.example/bots/", "http://127.0.0.1:56150/_connector", "https://other.example"))
    for url in (
        "https://own.example/bots",
        "https://own.example/bots/",
        "https://own.example/bots/teams/",
        "https://own.example:443/bots",
        "http://127.0.0.1:56150/_connector",
        "http://127.0.0.1:56150/_connector/",
        "https://other.example",
        "https://other.example/anything",
        "https://smba.trafficmanager.net/emea/",
    ):
        assert urls.allow(url), url
    for url in (
        "https://own.example/",
        "https://own.example/botsy",
        "https://own.example/bots/../admin",
        "https://own.example:444/bots",
        "http://own.example/bots",
        "https://sub.own.example/bots",
        "http://127.0.0.1:56151/_connector",
        "https://127.0.0.1:56150/_connector",
        "http://localhost:56150/_connector",
        "http://other.example/",
    ):
        assert not urls.allow(url), url


def test_plain_http_beyond_this_machine_is_never_allowed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        urls = ServiceUrls(("http://own.example/", "nonsense", "https://u:secret@own.example/"))
    assert not urls.allow("http://own.example/")
    assert not urls.allow("https://u:secret@own.example/")
    assert caplog.text.count("is not used. Write https://HOST/PATH") == 3
    assert "secret" not in caplog.text


@pytest.mark.parametrize("app_id", ["", "  ", "\n"])
async def test_nothing_is_served_without_an_app_id(app_id: str) -> None:
    http = IdpHttp()
    with pytest.raises(ValueError, match="Teams is not served without TEAMS_APP_ID"):
        ConnectorTokens(app_id, http, ServiceUrls())
    ConnectorTokens(APP_ID, http, ServiceUrls())
    await http.close()


@pytest.mark.parametrize("missing", ["TEAMS_APP_ID", "TEAMS_APP_PASSWORD", "TEAMS_TENANT_ID"])
def test_a_deployment_that_names_half_of_its_bot_does_not_start(missing: str) -> None:
    told = {"TEAMS_APP_ID": APP_ID, "TEAMS_APP_PASSWORD": "p", "TEAMS_TENANT_ID": APP_ID}
    made = read(told, file_here=False).teams
    assert made is not None
    assert made.app_id == APP_ID
    for left in ({name: value for name, value in told.items() if name != missing}, {**told, missing: ""}):
        with pytest.raises(SettingsError, match=missing):
            read(left, file_here=False)
