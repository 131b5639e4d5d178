"""`countersign scim token …`: the bearer tokens with which IdPs push people. Needs tenants.yaml and the database.

A token is shown once, when it is made; the database keeps its hash. Several count at once: make the new one, give it
to the IdP, see in `list` that it is used, revoke the old one.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import sqlalchemy as sa
import typer
from sqlalchemy.engine import Connection

from audit.faults import StoreUnavailable, spoken
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.console import DONE, FOUND, WRONG_USE, AsJson, Shell, Tenant, answering, settings_of
from bot.identity import scim_tokens
from bot.identity.scim_tokens import Listed
from bot.identity.tenants import read_tenants
from bot.settings import Settings
from policy.model import Json, TenantId
from policy.pii import redact

T = TypeVar("T")

app = typer.Typer(help="Provisioning by the company's IdP (SCIM 2.0).", no_args_is_help=True)
token_app = typer.Typer(help="The bearer tokens of IdPs.", no_args_is_help=True)
app.add_typer(token_app, name="token")

MAX_NAME = 100
PATH = "/scim/v2"


@token_app.command()
def create(
    name: Annotated[str, typer.Option(help="What it is for, e.g. okta-2026. Shown in `list`.")] = "scim",
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", min=1, max=3650, help="Days it counts. Default: until revoked.")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and show it, once. Tokens made before go on counting."""
    with answering(as_json) as shell:
        if not name.strip() or len(name) > MAX_NAME:
            shell.fail(f"A name has 1 to {MAX_NAME} characters. No token was made.", WRONG_USE)
        settings, whose = _whose(shell, tenant)
        now = datetime.now(UTC)
        expires_at = None if expires_days is None else now + timedelta(days=expires_days)

        def work(conn: Connection, audit: AuditStore) -> tuple[str, str]:
            token_id, secret, event = scim_tokens.create(conn, whose, name.strip(), _login(), now, expires_at)
            audit.append(conn, [event])
            return token_id, secret

        token_id, secret = _within(settings, work)
        address = f"{(settings.base_url or 'https://YOUR-ADDRESS').rstrip('/')}{PATH}"
        if shell.as_json:
            shell.json(
                {"id": token_id, "token": secret, "tenant": whose, "url": address, "expires_at": _iso(expires_at)}
            )
            return
        shell.say(f"Token {token_id} of {whose}. It is shown this once:", "green")
        shell.write(f"\n  {secret}\n\n")
        shell.say(f"Give it to the IdP with the address {address} (bearer token, or OAuth bearer token).")


@token_app.command(name="list")
def list_(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Every token: whether it counts, and when it was last used. Exit status 1: none counts."""
    with answering(as_json) as shell:
        settings, whose = _whose(shell, tenant)
        now = datetime.now(UTC)
        found = _within(settings, lambda conn, _: scim_tokens.listed(conn, whose))
        described = [_described(one, now) for one in found]
        if shell.as_json:
            shell.json(described)
        else:
            columns = ("id", "name", "state", "created_at", "expires_at", "used_at")
            shell.table(columns, [[str(one[column] or "") for column in columns] for one in described])
        counts = any(one.state(now) is scim_tokens.TokenState.VALID for one in found)
        raise typer.Exit(DONE if counts else FOUND)


@token_app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """End a token. The IdP's next request with it is refused; people stay as they were provisioned."""
    with answering(as_json) as shell:
        settings, whose = _whose(shell, tenant)

        def work(conn: Connection, audit: AuditStore) -> bool:
            event = scim_tokens.revoke(conn, whose, token_id, _login(), datetime.now(UTC))
            audit.append(conn, [] if event is None else [event])
            return event is not None

        if not _within(settings, work):
            shell.fail(
                f"{whose} has no token {token_id} that could be revoked; `countersign scim token list` shows them. "
                "Nothing was changed."
            )
        if shell.as_json:
            shell.json({"id": token_id, "tenant": whose, "state": "revoked"})
        else:
            shell.say(f"Token {token_id} of {whose} counts no more.")


def _whose(shell: Shell, wanted: str | None) -> tuple[Settings, TenantId]:
    """The organisation a command is about; the only one, if there is one."""
    settings = settings_of(False)
    known = sorted(read_tenants(settings.tenants, os.environ).tenants)
    if wanted is None and len(known) == 1:
        return settings, known[0]
    if wanted is None or wanted not in known:
        names = ", ".join(known) or "tenants.yaml has none"
        shell.fail(f"Say which organisation with --tenant: {names}. Nothing was changed.", WRONG_USE)
    return settings, TenantId(wanted)


def _within(settings: Settings, work: Callable[[Connection, AuditStore], T]) -> T:
    """`work` in one transaction of the service's database; its audit row or nothing."""
    engine = make_engine(settings.database_url)
    writer = Writer(engine)
    try:
        with spoken(), engine.connect() as conn:
            there = sa.inspect(conn).has_table("scim_token")
        if not there:
            raise StoreUnavailable("The database is not ready. Run `countersign migrate` first. Nothing was changed.")
        audit = AuditStore(redact)
        return writer.run_blocking(lambda conn: work(conn, audit))
    finally:
        writer.close()
        engine.dispose()


def _described(one: Listed, now: datetime) -> dict[str, Json]:
    return {
        "id": one.token_id,
        "name": one.name,
        "state": one.state(now).value,
        "created_at": _iso(one.created_at),
        "expires_at": _iso(one.expires_at),
        "revoked_at": _iso(one.revoked_at),
        "used_at": _iso(one.used_at),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _login() -> str:
    return f"shell:{getpass.getuser()}"
