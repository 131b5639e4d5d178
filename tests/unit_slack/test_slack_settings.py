"""One workspace by its token, or several by the app's id and secret: what the settings mean, and what they lack."""

from __future__ import annotations

from bot.settings import Slack, look, read

APP = {"SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "s", "SLACK_SIGNING_SECRET": "g"}
BASE = {"COUNTERSIGN_BASE_URL": "https://bot.acme.test"}


def settings(**values: str) -> Slack:
    slack = read(values, file_here=False).slack
    assert slack is not None
    return slack


def wrong(**values: str) -> list[str]:
    return [fault.where for fault in look(values, file_here=False)[1]]


def test_without_a_token_the_app_is_installed_in_several() -> None:
    slack = settings(**APP, **BASE)
    assert (slack.bot_token, slack.client_id) == (None, "1.2")
    assert slack.client_secret is not None
    assert slack.client_secret.reveal() == "s"


def test_a_token_is_one_workspace_whatever_else_is_set() -> None:
    assert settings(SLACK_BOT_TOKEN="xoxb-1", **APP).bot_token is not None


def test_socket_mode_serves_several_too() -> None:
    slack = settings(SLACK_APP_TOKEN="xapp-1", SLACK_CLIENT_ID="1.2", SLACK_CLIENT_SECRET="s", **BASE)
    assert slack.bot_token is slack.signing_secret is None


def test_what_is_missing_is_named() -> None:
    assert wrong(**APP) == ["COUNTERSIGN_BASE_URL"]
    assert wrong(SLACK_CLIENT_ID="1.2", SLACK_SIGNING_SECRET="g", **BASE) == ["SLACK_CLIENT_SECRET", "SLACK_BOT_TOKEN"]
    assert wrong(SLACK_CLIENT_ID="1.2", SLACK_CLIENT_SECRET="s", **BASE) == ["SLACK_APP_TOKEN"]
    assert wrong(SLACK_SIGNING_SECRET="g") == ["SLACK_BOT_TOKEN"]
