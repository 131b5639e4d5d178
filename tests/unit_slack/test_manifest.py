"""manifest.yml asks for what the code uses, no more and no less, and says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.identity.issuers import slack_issuer
from bot.slack import calls, events, install
from tools.credentials import Secret

ROOT = Path(__file__).parents[2]

SCOPES_OF_METHODS = {
    # https://docs.slack.dev/reference/methods
    "api.test": set(),
    "auth.revoke": set(),
    "agents.sessions.setStatus": {"assistant:write"},
    "assistant.threads.setStatus": {"assistant:write"},
    "auth.test": set(),
    "chat.appendStream": {"chat:write"},
    "chat.delete": {"chat:write"},
    "chat.getPermalink": set(),
    "chat.postEphemeral": {"chat:write"},
    "chat.postMessage": {"chat:write"},
    "chat.startStream": {"chat:write"},
    "chat.stopStream": {"chat:write"},
    "chat.update": {"chat:write"},
    "conversations.info": {"channels:read", "groups:read", "im:read", "mpim:read"},
    "conversations.members": {"channels:read", "groups:read"},
    "conversations.open": {"im:write"},
    "users.conversations": {"channels:read", "groups:read"},
    "users.info": {"users:read"},
    "views.open": set(),
    "views.publish": set(),
}
SCOPES_OF_EVENTS: dict[str, set[str]] = {
    "app_home_opened": set(),
    "app_mention": {"app_mentions:read"},
    "app_uninstalled": set(),
    "tokens_revoked": set(),
    "message.channels": {"channels:history"},
    "message.groups": {"groups:history"},
    "message.im": {"im:history"},
    "message.mpim": {"mpim:history"},
    "user_change": {"users:read"},
}


@pytest.fixture(name="text")
def _text() -> str:
    return (ROOT / "manifest.yml").read_text()


@pytest.fixture(name="manifest")
def _manifest(text: str) -> Any:
    return yaml.safe_load(text)


def test_scopes_are_those_of_the_methods_called_and_the_events_handled(manifest: Any) -> None:
    methods = calls.JSON_METHODS | calls.FORM_METHODS
    assert methods == set(SCOPES_OF_METHODS)
    needed = {"commands"}.union(*SCOPES_OF_METHODS.values(), *SCOPES_OF_EVENTS.values())
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == needed
    assert "user" not in manifest["oauth_config"]["scopes"]
    assert set(install.SCOPES) == needed, "what /slack/install asks for"


def test_every_method_named_in_the_code_is_on_the_list() -> None:
    named: set[str] = set()
    for path in (ROOT / "bot" / "slack").glob("*.py"):
        named |= set(
            re.findall(
                r'"((?:agents|api|assistant|auth|chat|conversations|users|views)\.[A-Za-z.]+)"', path.read_text()
            )
        )
    assert named == calls.JSON_METHODS | calls.FORM_METHODS


async def test_a_method_that_is_not_on_the_list_is_not_called() -> None:
    with pytest.raises(ValueError, match="permissions"):
        await calls.Calls(calls.web_client("xoxb-none", "http://127.0.0.1:1/")).call("admin.users.remove", {})


def test_events_are_those_that_are_handled(manifest: Any) -> None:
    subscribed = manifest["settings"]["event_subscriptions"]["bot_events"]
    assert set(subscribed) == set(SCOPES_OF_EVENTS)
    assert {event.split(".")[0] for event in subscribed} == set(events.EVENTS)


def test_every_scope_says_why(text: str, manifest: Any) -> None:
    for scope in manifest["oauth_config"]["scopes"]["bot"]:
        assert re.search(rf"^\s*- {re.escape(scope)} # \w+", text, re.MULTILINE), scope


def test_it_is_an_agent_with_buttons_and_the_command(manifest: Any) -> None:
    assert manifest["features"]["agent_view"]["agent_description"]
    assert "assistant_view" not in manifest["features"]
    (command,) = manifest["features"]["slash_commands"]
    assert command["command"] == events.COMMAND
    assert command["should_escape"] is True
    assert len(command["usage_hint"]) <= 100
    assert manifest["settings"]["interactivity"]["is_enabled"] is True
    assert len(manifest["display_information"]["description"]) <= 140


def _with(text: str, mark: str) -> Any:
    return yaml.safe_load(re.sub(rf"^(\s*)# (.+?) #(?: \w+)* {mark}\b.*$", r"\1\2", text, flags=re.MULTILINE))


def test_the_variant_for_several_workspaces_is_the_lines_marked_so(text: str) -> None:
    config = _with(text, "SEVERAL")["oauth_config"]
    assert config["redirect_urls"] == ["https://countersign.example.com" + install.REDIRECT]
    assert "user" not in config["scopes"]


def test_sign_in_with_slack_is_the_lines_marked_so(text: str) -> None:
    config = _with(text, "LINKING")["oauth_config"]
    assert config["redirect_urls"] == ["https://countersign.example.com/link/slack"]
    assert set(config["scopes"]["user"]) == set(slack_issuer("1.2", Secret("SLACK_CLIENT_SECRET", "s")).scopes)


def test_the_http_variant_is_the_lines_marked_so(text: str) -> None:
    http = re.sub(r"^(\s*)# (\S+: https://\S+) # HTTP$", r"\1\2", text, flags=re.MULTILINE)
    manifest = yaml.safe_load(http.replace("socket_mode_enabled: true", "socket_mode_enabled: false"))
    address = "https://countersign.example.com/slack/events"
    assert manifest["features"]["slash_commands"][0]["url"] == address
    assert manifest["settings"]["interactivity"]["request_url"] == address
    assert manifest["settings"]["event_subscriptions"]["request_url"] == address
