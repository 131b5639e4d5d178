"""`countersign audit …`: the auditor's commands. Needs the database and a public key; no chat, model or policy.

Exit status 1 says that something does not hold, or that nothing was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from sqlalchemy.engine import Engine

from audit import export, query
from audit.checkpoint import Line, heads, load_public_key, public_path
from audit.checkpoint import read as read_checkpoints
from audit.event import SYSTEM_CHAIN, Json, Kind
from audit.faults import StoreUnavailable, spoken
from audit.types import iso
from audit.verify import verify as verify_log
from audit.writer import make_engine
from bot import keys
from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, Shell, Tenant, answering, settings_of
from bot.settings import Settings

app = typer.Typer(help="Who did what, and proof of it.", no_args_is_help=True)

_SPAN = re.compile(r"(\d{1,5})([mhdw])", re.ASCII)
_UNIT = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLUMNS = ("seq", "occurred_at", "kind", "actor_user_id", "tool_name", "status", "hitl_approver", "tool_args")


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def moment(text: str) -> datetime:
    """``2026-01-31``, ``2026-01-31T09:30:00Z``, or a span before now: ``30m``, ``24h``, ``7d``. UTC unless it says."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return datetime.now(UTC) - timedelta(**{_UNIT[span[2]]: int(span[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("write a date (2026-01-31), a time (2026-01-31T09:30:00Z) or a span (7d)") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


@app.command()
def verify(
    checkpoints: Annotated[Path | None, typer.Option(help="The checkpoint file, where it is kept elsewhere.")] = None,
    key: Annotated[Path | None, typer.Option(help="The public key, checkpoint.pem.pub, as you were given it.")] = None,
    file: Annotated[Path | None, typer.Option(help="Verify an export instead of the database.")] = None,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """Check every row against its hash, and the chain against the signed checkpoints."""
    with answering(as_json) as shell:
        if file is not None:
            _verify_export(shell, file, key)
        settings = settings_of(demo)
        with _log(settings) as engine:
            lines = _lines(settings, checkpoints, key)
            with shell.progress("Verifying"):
                report = verify_log(engine, lines)
        if shell.as_json:
            shell.json(
                {
                    "holds": report.holds,
                    "rows": report.rows,
                    "unproven": report.unproven,
                    "breaks": [{"tenant": at.tenant, "seq": at.seq, "why": at.why} for at in report.breaks],
                    "bad_checkpoints": [{"line": line.number, "why": line.why} for line in report.bad_lines],
                    "chains": [
                        {"tenant": one.tenant, "rows": one.rows, "head": one.head, "proven": one.proven}
                        for one in report.chains
                    ],
                }
            )
        else:
            for sentence in report.sentences():
                shell.say(sentence)
            verdict = (
                f"{report.rows} {'row holds' if report.rows == 1 else 'rows hold'}."
                if report.holds
                else "The log does not hold."
            )
            shell.say(verdict, "bold green" if report.holds else "bold red")
        raise typer.Exit(DONE if report.holds else FOUND)


@app.command(name="query")
def query_(
    who: Annotated[str | None, typer.Option(help="Who asked or approved.")] = None,
    tool: Annotated[str | None, typer.Option(help="A tool, for instance refund.issue.")] = None,
    since: Annotated[str | None, typer.Option(help="A date, a time, or a span such as 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="A date or a time; not included.")] = None,
    status: Annotated[str | None, typer.Option(help="What became of it, for instance executed.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="What happened, for instance tool.executed.")] = None,
    call: Annotated[str | None, typer.Option(help="One call's id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=query.PAGE_LIMIT, help="Rows at most, the newest first.")] = 50,
    form: Annotated[Form, typer.Option("--format", help="How to answer.")] = Form.TABLE,
    tenant: Tenant = None,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """Rows of the log, the newest first."""
    form = Form.JSON if as_json else form
    with answering(form is Form.JSON) as shell, _log(settings_of(demo)) as engine:
        wanted = query.Filter(
            who=who,
            tool=tool,
            since=moment(since) if since else None,
            until=moment(until) if until else None,
            status=status,
            kind=kind,
            call_id=call,
        )
        name = _tenant(shell, engine, tenant)
        with spoken(), engine.connect() as conn:
            page = query.query(conn, name, wanted, limit=limit)
        match form:
            case Form.JSON:
                shell.write(export.as_json(page.rows) + "\n")
            case Form.CSV:
                shell.write(export.as_csv(page.rows))
            case Form.TABLE:
                shell.table(_COLUMNS, [_shown(row) for row in page.rows])
                if page.before is not None:
                    shell.say(f"There are more; these are the newest {limit}. Narrow the question or raise --limit.")
        raise typer.Exit(DONE if page.rows else FOUND)


@app.command()
def head(demo: Demo = False, as_json: AsJson = False) -> None:
    """The last row's number and hash of every chain: note them down elsewhere."""
    with answering(as_json) as shell, _log(settings_of(demo)) as engine:
        with spoken(), engine.connect() as conn:
            found = heads(conn)
        if shell.as_json:
            shell.json([{"tenant": at.tenant, "seq": at.seq, "hash": at.hash} for at in found])
        else:
            shell.table(("tenant", "seq", "hash"), [(at.tenant, str(at.seq), at.hash) for at in found])


@app.command(name="export")
def export_(
    out: Annotated[Path | None, typer.Option(help="The file to write. Without it: standard output.")] = None,
    tenant: Tenant = None,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """A whole chain as JSON lines that `audit verify --file` proves without the database."""
    with answering(as_json) as shell:
        settings = settings_of(demo)
        with _log(settings) as engine:
            lines = export.export_jsonl(engine, name := _tenant(shell, engine, tenant), _checkpoint(settings, name))
            if out is None:
                for line in lines:
                    shell.write(f"{line}\n")
                return
            count = -1
            with shell.progress("Exporting") as done, out.open("w", encoding="utf-8") as file:
                for count, line in enumerate(lines):
                    file.write(f"{line}\n")
                    if count % 1000 == 0:
                        done(count)
        if shell.as_json:
            shell.json({"file": str(out), "rows": max(count, 0)})
        else:
            shell.say(f"{max(count, 0)} rows are in {out}.")


def _verify_export(shell: Shell, file: Path, key: Path | None) -> None:
    try:
        with file.open(encoding="utf-8") as lines:
            breaks = export.verify_export(lines, load_public_key(key) if key is not None else None)
    except OSError as error:
        shell.fail(f"{file} cannot be read: {error.strerror}. Nothing was verified.")
    except (ValueError, KeyError, TypeError):
        shell.fail(f"{file} is no export of the audit log. Nothing was verified.")
    if shell.as_json:
        found: list[Json] = [{"tenant": at.tenant, "seq": at.seq, "why": at.why} for at in breaks]
        shell.json({"holds": not breaks, "end_proven": key is not None, "breaks": found})
    else:
        for at in breaks:
            shell.say(f"{at.tenant}, row {at.seq}: {at.why}")
        shell.say(
            "The export does not hold." if breaks else "The export holds.", "bold red" if breaks else "bold green"
        )
        if key is None:
            shell.say("Its end is unproven: name the public key with --key.", "yellow")
    raise typer.Exit(FOUND if breaks else DONE)


@contextmanager
def _log(settings: Settings) -> Iterator[Engine]:
    """The database, which has to be there already: looking must not make one."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).exists()):
        raise StoreUnavailable(f"There is no database at {url.database}. Set COUNTERSIGN_DATABASE_URL, or add --demo.")
    engine = make_engine(settings.database_url)
    try:
        with spoken(), engine.connect() as conn:
            there = sa.inspect(conn).has_table("audit_head")
        if not there:
            raise StoreUnavailable("The database holds no audit log yet. Run `countersign migrate` first.")
        yield engine
    finally:
        engine.dispose()


def _tenant(shell: Shell, engine: Engine, wanted: str | None) -> str | None:
    """The chain to look at; None is the service's own."""
    with spoken(), engine.connect() as conn:
        names = [at.tenant for at in heads(conn)]
    known = [name for name in names if name != SYSTEM_CHAIN]
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None and not known:
        sentence = "Nobody has asked for anything yet, so the log of no organisation has a row."
        shell.fail(f"{sentence} `--tenant {SYSTEM_CHAIN}` shows what the service itself recorded.", FOUND)
    if wanted is None or wanted not in names:
        listed = ", ".join(names) or "none yet"
        shell.fail(f"Say which organisation with --tenant. In the log: {listed}.", WRONG_USE)
    return None if wanted == SYSTEM_CHAIN else wanted


def _lines(settings: Settings, file: Path | None, key: Path | None) -> tuple[Line, ...]:
    """The signed checkpoints; none where there are none yet, which the report calls unproven."""
    path = file or settings.checkpoints
    if file is None and not path.exists():
        return ()
    public = key or public_path(settings.keys_dir / keys.CHECKPOINT)
    return tuple(read_checkpoints(path, load_public_key(public)))


def _checkpoint(settings: Settings, tenant: str | None) -> str | None:
    public = public_path(settings.keys_dir / keys.CHECKPOINT)
    if not settings.checkpoints.exists() or not public.exists():
        return None
    return export.last_checkpoint(settings.checkpoints, tenant, load_public_key(public))


def _shown(row: query.Row) -> tuple[str, ...]:
    args = row.tool_args or {}
    return (
        str(row.seq),
        iso(row.occurred_at)[:19].replace("T", " "),
        row.kind.value,
        row.actor_user_id or "",
        row.tool_name or "",
        row.status,
        row.hitl_approver or "",
        " ".join(f"{name}={value}" for name, value in args.items())[:80],
    )
