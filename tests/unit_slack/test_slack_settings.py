"""One workspace by its token, or several by the app's id and secret: what the settings mean, and what they lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.ports import SurfaceError
from bot.settings import Settings, Slack, look, read
from bot.slack.chosen import workspaces_of
from bot.slack.installs import Installs
from bot.slack.workspaces import OneToken
from policy.pii import redact
from tests.rigs.slack_installs import Listed, utc_now

APP = {"SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "s", "SLACK_SIGNING_SECRET": "g"}
BASE = {"COUNTERSIGN_BASE_URL": "https://bot.acme.test"}


def settings(**values: str) -> Settings:
    return read(values, file_here=False)


def wrong(**values: str) -> list[str]:
    return [fault.where for fault in look(values, file_here=False)[1]]


@pytest.fixture
def writer(sqlite_url: str) -> Iterator[Writer]:
    engine = make_engine(sqlite_url)
    opened = Writer(engine)
    yield opened
    opened.close()
    engine.dispose()


def chosen(slack: Slack | None, writer: Writer, keys: Path, base_url: str | None) -> OneToken | Installs:
    assert slack is not None
    return workspaces_of(
        slack,
        base_url=base_url,
        keys_dir=keys,
        writer=writer,
        audit=AuditStore(redact),
        book=Listed(),
        clock=utc_now,
    )


async def test_without_a_token_the_app_is_installed_in_several(writer: Writer, tmp_path: Path) -> None:
    read = settings(**APP, **BASE)
    workspaces = chosen(read.slack, writer, tmp_path, read.base_url)
    assert isinstance(workspaces, Installs)
    assert workspaces.app.install_url == "https://bot.acme.test/slack/install"
    assert "s'" not in repr(workspaces.app), "the secret is not printed"


async def test_a_token_is_one_workspace_whatever_else_is_set(writer: Writer, tmp_path: Path) -> None:
    read = settings(SLACK_BOT_TOKEN="xoxb-1", **APP)
    assert isinstance(chosen(read.slack, writer, tmp_path, None), OneToken)


async def test_socket_mode_serves_several_too() -> None:
    slack = settings(SLACK_APP_TOKEN="xapp-1", SLACK_CLIENT_ID="1.2", SLACK_CLIENT_SECRET="s", **BASE).slack
    assert slack is not None
    assert (slack.bot_token, slack.client_id) == (None, "1.2")


def test_what_is_missing_is_named() -> None:
    assert wrong(**APP) == ["COUNTERSIGN_BASE_URL"]
    assert wrong(SLACK_CLIENT_ID="1.2", SLACK_SIGNING_SECRET="g", **BASE) == [
        "SLACK_CLIENT_SECRET",
        "SLACK_BOT_TOKEN",
    ]
    assert wrong(SLACK_CLIENT_ID="1.2", SLACK_CLIENT_SECRET="s", **BASE) == ["SLACK_APP_TOKEN"]
    assert wrong(SLACK_SIGNING_SECRET="g") == ["SLACK_BOT_TOKEN"]


async def test_settings_that_name_neither_are_a_sentence(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(SurfaceError, match="SLACK_BOT_TOKEN for one workspace"):
        chosen(Slack(None, None, None, None), writer, tmp_path, None)
