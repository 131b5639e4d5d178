"""`countersign keys …`: the keys of call tokens and stored sign-ins, and replacing them. Needs no chat and no model.

A rotation is written into the audit log; where the database is away it still happens, and that is said.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from audit.event import Event, Kind
from audit.faults import StoreUnavailable, spoken
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, answering, settings_of
from bot.identity.grants import Grants
from bot.identity.keyring import KEEP, LEAD, Ring, read_ring
from bot.identity.rotation import Rotated, rotate
from bot.identity.sealing import KeyAway, Sealer, add_key
from bot.identity.wrapping import wrapping_of
from bot.settings import Settings
from policy.model import Json
from policy.pii import redact

app = typer.Typer(help="The keys of call tokens and of stored sign-ins.", no_args_is_help=True)


@app.command(name="list")
def list_(demo: Demo = False, as_json: AsJson = False) -> None:
    """Which key signs, which one is next, and which ones still verify. Exit status 1: no next key is published."""
    with answering(as_json) as shell:
        ring, now = read_ring(settings_of(demo).keys_dir), datetime.now(UTC)
        if shell.as_json:
            shell.json({"keys": _as_json(ring, now)})
        else:
            shell.table(("key", "state", "since"), _lines(ring, now))
            if ring.next is None:
                shell.say("No next key is published: the next `countersign keys rotate` publishes one.", "yellow")
        raise typer.Exit(DONE if ring.next is not None else FOUND)


@app.command(name="rotate")
def rotate_(
    now: Annotated[bool, typer.Option("--now", help="Do not wait until everybody knows the next key.")] = False,
    leaked: Annotated[
        bool, typer.Option("--leaked", help="The folder was seen: new keys at once, nothing signed before counts.")
    ] = False,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """One step: publish a next key, or let the published one sign. Running services follow by themselves."""
    with answering(as_json) as shell:
        if now and leaked:
            shell.fail("--leaked takes effect at once by itself: leave --now out. Nothing was changed.", WRONG_USE)
        settings = settings_of(demo)
        rotated = rotate(settings.keys_dir, datetime.now(UTC), at_once=now, leaked=leaked)
        sentence = _said(rotated, leaked)
        try:
            _audit(settings, rotated, "leaked" if leaked else "now" if now else "routine")
        except StoreUnavailable as error:
            shell.fail(f"{sentence} The audit log has no row of it: {error}")
        if shell.as_json:
            moment = datetime.now(UTC)
            signs_at = rotated.signs_at.isoformat() if rotated.signs_at else None
            shell.json({"said": sentence, "signs_at": signs_at, "keys": _as_json(rotated.ring, moment)})
        else:
            shell.say(sentence)


@app.command()
def rewrap(
    file: Annotated[
        Path | None, typer.Option(help="The key file, where it is not grants.key in the keys folder.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="First put a new key before the others.")] = False,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """Put stored sign-ins under KMS's key, or the file's first. Leave old ones there: Slack tokens may need them."""
    with answering(as_json) as shell:
        settings = settings_of(demo)
        where = wrapping_of(settings)
        if file is not None:
            where = replace(where, file=file)
        if new and where.kms is not None:
            shell.fail("A key in AWS KMS is rotated there: leave --new out. Nothing was changed.", WRONG_USE)
        keys = where.open()
        if new:
            add_key(where.path)
        with _log(settings) as writer:
            grants = Grants(writer, AuditStore(redact), Sealer(keys), lambda: datetime.now(UTC))
            try:
                done = asyncio.run(grants.rewrap())
            except KeyAway as error:
                shell.fail(f"{error} What it wrapped was not changed.")
            detail: dict[str, Json] = {"why": "new" if new else "routine", "wraps": keys.current(), "grants": done}
            _append(writer, "rewrapped", detail)
        sentence = f"{keys.current()} wraps stored sign-ins now; {done} were put under it."
        if shell.as_json:
            shell.json({"said": sentence, "wraps": keys.current(), "grants": done})
        else:
            shell.say(sentence)


def _said(rotated: Rotated, leaked: bool) -> str:
    ring = rotated.ring
    if leaked:
        return (
            f"{ring.current.kid} signs now, and nothing that was signed before counts any more. Calls that were under "
            "way are refused; people ask again."
        )
    if rotated.promoted:
        minutes = int(KEEP.total_seconds()) // 60
        return (
            f"{ring.current.kid} signs now; the key before it verifies for {minutes} more minutes. The next key is "
            "published."
        )
    following = ring.next.kid if ring.next is not None else "The next key"
    when = f"{rotated.signs_at:%H:%M} UTC" if rotated.signs_at else "a while"
    return f"{following} is published. Run `countersign keys rotate` again from {when} on to let it sign."


def _audit(settings: Settings, rotated: Rotated, why: str) -> None:
    ring = rotated.ring
    with _log(settings) as writer:
        _append(
            writer,
            "signing" if rotated.promoted else "published",
            {
                "why": why,
                "signs": ring.current.kid,
                "next": ring.next.kid if ring.next is not None else None,
                "verify": [one.kid for one in ring.previous],
                "distrusted": list(rotated.distrusted),
            },
        )


def _append(writer: Writer, status: str, detail: Mapping[str, Json]) -> None:
    """Ids of keys alone. In the service's own chain: keys are no tenant's."""
    event = Event(
        kind=Kind.KEYS_ROTATED,
        tenant=None,
        occurred_at=datetime.now(UTC),
        status=status,
        actor_user_id=f"shell:{getpass.getuser()}",
        detail=detail,
    )
    writer.run_blocking(lambda conn: AuditStore(redact).append(conn, [event]))


@contextmanager
def _log(settings: Settings) -> Iterator[Writer]:
    """The database with its audit log."""
    engine = make_engine(settings.database_url)
    writer = Writer(engine)
    try:
        with spoken(), engine.connect() as conn:
            there = sa.inspect(conn).has_table("audit_head")
        if not there:
            raise StoreUnavailable("The database holds no audit log yet. Run `countersign migrate` first.")
        yield writer
    finally:
        writer.close()
        engine.dispose()


def _lines(ring: Ring, now: datetime) -> list[tuple[str, str, str]]:
    return [(str(one["kid"]), str(one["state"]), str(one["since"] or "")) for one in _states(ring, now)]


def _as_json(ring: Ring, now: datetime) -> Json:
    return [dict(one) for one in _states(ring, now)]


def _states(ring: Ring, now: datetime) -> list[dict[str, str | None]]:
    found = [_state(ring.current.kid, "signs", ring.current.since)]
    if ring.next is not None:
        ready = ring.next.since is not None and now >= ring.next.since + LEAD
        found.append(_state(ring.next.kid, "next, may sign" if ready else "next", ring.next.since))
    before = (
        _state(one.kid, "verifies" if one.verifies(now) else "forgotten", one.retired_at) for one in ring.previous
    )
    return [*found, *before]


def _state(kid: str, state: str, since: datetime | None) -> dict[str, str | None]:
    return {"kid": kid, "state": state, "since": since.isoformat(timespec="seconds") if since else None}
