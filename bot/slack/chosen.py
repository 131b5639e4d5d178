"""Which workspaces the settings mean: the one of a bot token, or all that installed the app. Wires, no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.sealing import Sealer, open_or_make
from bot.ports import Book, SurfaceError
from bot.settings import Slack
from bot.slack.installs import App, Installs
from bot.slack.ledger import Ledger
from bot.slack.vault import Vault
from bot.slack.workspaces import OneToken


def workspaces_of(
    slack: Slack,
    *,
    base_url: str | None,
    keys_dir: Path,
    grants_key: Path | None = None,
    writer: Writer,
    audit: AuditStore,
    book: Book,
    clock: Callable[[], datetime],
) -> OneToken | Installs:
    """A bot token stands for its one workspace; without one the app's id and secret stand for all that install it.

    `grants_key`: COUNTERSIGN_GRANTS_KEY_FILE, the key-encryption keys, where they are not in the keys folder.

    Raises:
        SurfaceError: the settings name neither.
        KeysError: tokens could not be sealed.
    """
    if slack.bot_token is not None:
        return OneToken(slack.bot_token.reveal(), slack.api_url)
    if slack.client_id is None or slack.client_secret is None or base_url is None:
        raise SurfaceError(
            "Slack needs SLACK_BOT_TOKEN for one workspace, or SLACK_CLIENT_ID, SLACK_CLIENT_SECRET and "
            "COUNTERSIGN_BASE_URL for several."
        )
    vault = Vault(Sealer(open_or_make(keys_dir, grants_key)), slack.client_id)
    ledger = Ledger(slack.client_id, writer=writer, audit=audit, vault=vault, clock=clock)
    return Installs(App(slack.client_id, slack.client_secret.reveal(), base_url, slack.api_url), ledger, book)
