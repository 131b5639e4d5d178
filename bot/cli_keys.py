"""`countersign keys …`: the keys that call tokens are signed with, and replacing them. Needs the keys folder alone.

A rotation is written into the audit log; where the database is away it still happens, and that is said.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
import typer

from audit.event import Event, Kind
from audit.faults import StoreUnavailable, spoken
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, answering, settings_of
from bot.identity.keyring import KEEP, LEAD, Ring, read_ring
from bot.identity.rotation import Rotated, rotate
from bot.settings import Settings
from policy.model import Json
from policy.pii import redact

app = typer.Typer(help="The keys that call tokens are signed with.", no_args_is_help=True)


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
    """Ids of keys alone. In the service's own chain: keys are no tenant's."""
    ring, login = rotated.ring, getpass.getuser()
    event = Event(
        kind=Kind.KEYS_ROTATED,
        tenant=None,
        occurred_at=datetime.now(UTC),
        status="signing" if rotated.promoted else "published",
        actor_user_id=f"shell:{login}",
        detail={
            "why": why,
            "signs": ring.current.kid,
            "next": ring.next.kid if ring.next is not None else None,
            "verify": [one.kid for one in ring.previous],
            "distrusted": list(rotated.distrusted),
        },
    )
    engine = make_engine(settings.database_url)
    writer = Writer(engine)
    try:
        with spoken(), engine.connect() as conn:
            there = sa.inspect(conn).has_table("audit_head")
        if not there:
            raise StoreUnavailable("the database holds no audit log yet. Run `countersign migrate` first.")
        writer.run_blocking(lambda conn: AuditStore(redact).append(conn, [event]))
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
