"""The `countersign` command. Each command reads its words, calls one function and shows what came back.

Exit status: 0 done, 1 found something or could not, 2 wrong use. What a command needs is imported when it
runs: looking at the audit must not wait for chats and models.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated, TypeVar, assert_never

import typer

from bot import cli_audit, cli_data, cli_keys, cli_policy, cli_scim, cli_teams
from bot.cli_check import check, starting
from bot.cli_data import tenant_of as _tenant
from bot.console import DEMO_HOME, DONE, FOUND, WRONG_USE, AsJson, Demo, Shell, Tenant, answering, settings_of
from bot.settings import for_demo, read
from policy.approval import ApprovalStatus
from policy.model import Json, Subject, TenantId, ToolName
from tools.held import HeldView, KillReport, KillView, Scope, ScopeKind
from tools.stops import By

if TYPE_CHECKING:
    from bot.app import Operator
    from bot.demo_idp import Opened

T = TypeVar("T")

app = typer.Typer(
    help="An agent that acts as the person who asks, and lets nothing leave without a countersignature.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_policy.policy_app, name="policy")
app.add_typer(cli_policy.identity_app, name="identity")
app.add_typer(cli_data.data_app, name="data")
app.add_typer(cli_data.doubt_app, name="doubt")
app.add_typer(cli_keys.app, name="keys")
app.add_typer(cli_scim.app, name="scim")
app.add_typer(cli_teams.app, name="teams")
app.command()(check)

ScopeWords = Annotated[
    list[str] | None,
    typer.Argument(help="all | tenant | tool NAME | user SUBJECT, then the reason.", metavar="[SCOPE] [REASON]"),
]


def _version(wanted: bool) -> None:
    if wanted:
        try:
            version = importlib.metadata.version("countersign")
        except importlib.metadata.PackageNotFoundError:
            version = "from a checkout"
        typer.echo(f"countersign {version}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Runs before every command."""


def _countersign() -> str:
    """How this command is called from here: `make demo` puts it into .venv, which is on nobody's path."""
    beside = Path(sys.executable).with_name("countersign")
    if which("countersign") is not None or not beside.exists():
        return "countersign"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="8080, or the next free one.")] = None,
    idp: Annotated[
        bool, typer.Option("--idp", help="With a real identity provider beside it: `make demo-idp`, in a clone.")
    ] = False,
) -> None:
    """The demo workspace on this machine: no keys, no accounts, nothing leaves."""
    with answering(as_json=False) as shell, starting(shell):
        from bot import app as service
        from bot.web.serving import PortTaken

        def opened(here: Opened) -> None:
            for line in here.said():
                shell.say(line, "bold" if line.startswith("    http") else "")

        def ready(address: str) -> None:
            shell.say("Countersign is ready. Pick a person, ask for a refund, then countersign it as somebody else:")
            shell.say(f"\n    {address}\n", "bold")
            shell.say(
                f"Ctrl-C ends it. `{_countersign()} audit verify --demo`, in another terminal, proves what was done."
            )

        try:
            if idp:
                service.demo_idp(os.environ, port, opened)
            else:
                service.demo(for_demo(os.environ, DEMO_HOME), port, ready)
        except PortTaken as error:
            shell.fail(str(error))


@app.command()
def serve() -> None:
    """Serve the configured chats until told to stop."""
    with answering(as_json=False) as shell, starting(shell):
        settings = read(os.environ)
        from bot import app as service

        service.serve(settings)


@app.command()
def migrate(
    service_role: Annotated[
        str | None, typer.Option(metavar="NAME", help="PostgreSQL: give this login what the service needs, no more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database up to date, and make the keys that are missing. Safe to run again."""
    with answering(as_json) as shell, starting(shell):
        settings = read(os.environ)
        from bot import app as service

        with shell.progress("Migrating"):
            applied = service.migrate(settings, service_role)
        if shell.as_json:
            shell.json({"applied": list(applied), "keys": str(settings.keys_dir)})
        else:
            for line in applied:
                shell.say(line)
            shell.say(f"The database is up to date. The keys are in {settings.keys_dir}: back them up.", "green")


@app.command()
def kill(words: ScopeWords = None, tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """Stop everything, an organisation, a tool or a person. Without a scope: show what would stop, change nothing."""
    with answering(as_json) as shell, starting(shell):
        if not words:
            report = _stop(shell, None, "", tenant, demo)
            return _show_stops(shell, report, "Nothing was stopped. `countersign kill all REASON` would stop:")
        scope, reason = _scope(shell, words)
        if not reason:
            shell.fail(
                "Say why, after the scope: people whose requests stop will read it. Nothing was stopped.", WRONG_USE
            )
        report = _stop(shell, scope, reason, tenant, demo)
        return _show_stops(shell, report, f"Stopped: {_label(scope)}. Nothing new starts from this moment.")


@app.command()
def resume(words: ScopeWords = None, tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """Lift a stop. Nothing runs by itself: what was stopped needs a fresh press."""
    with answering(as_json) as shell, starting(shell):
        scope, rest = _scope(shell, words or [])
        if rest:
            shell.fail("A resume takes a scope and nothing else. Nothing was changed.", WRONG_USE)

        async def lift(operator: Operator) -> KillReport:
            name = _scope_tenant(shell, operator, scope, tenant)
            return await operator.gateway.resume(name, await _checked(shell, operator, scope, name), _by(scope))

        return _show_stops(
            shell, _operate(lift, demo), f"Resumed: {_label(scope)}. What was stopped needs a fresh press."
        )


@app.command()
def status(tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """Whether anything is stopped, what waits and what is under way. Exit status 1: something is stopped."""
    with answering(as_json) as shell, starting(shell):

        async def look(operator: Operator) -> KillReport:
            return await operator.gateway.kills(_tenant(shell, operator, tenant))

        report = _operate(look, demo)
        _show_stops(shell, report, "Stopped:" if report.active else "Nothing is stopped.")
        raise typer.Exit(FOUND if report.active else DONE)


@app.command()
def pending(tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """Every request that waits for an approval. Exit status 1: none does."""
    with answering(as_json) as shell, starting(shell):

        async def look(operator: Operator) -> list[HeldView]:
            name = _tenant(shell, operator, tenant)
            people = await operator.book.people(name)
            asked = [await operator.gateway.asked_by(name, person.subject) for person in people]
            return [view for views in asked for view in views if view.status is ApprovalStatus.PENDING]

        views = sorted(_operate(look, demo), key=lambda view: view.expires_at)
        if shell.as_json:
            shell.json([_view(view) for view in views])
        else:
            columns = ("id", "request", "asked by", "approvals", "waits for", "expires")
            if not views:
                shell.say("Nothing waits for an approval.")
            else:
                shell.table(columns, [_line(view) for view in views])
        raise typer.Exit(DONE if views else FOUND)


@app.command(
    name="eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def eval_(context: typer.Context) -> None:
    """Run the labelled tasks: `countersign eval run [--model NAME]`."""
    with answering(as_json=False) as shell:
        try:
            command = importlib.import_module("evals.command")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "evals":
                raise
            shell.fail("The evaluations are not part of this installation. Run this in a checkout of the repository.")
        raise typer.Exit(int(command.main(context.args)))


# --- stopping ---------------------------------------------------------------------------------------------


def _scope(shell: Shell, words: list[str]) -> tuple[Scope, str]:
    """The scope that `words` begin with, and the rest."""
    kind, *rest = words or [""]
    if kind in ("all", "tenant"):
        return Scope(ScopeKind(kind)), " ".join(rest)
    if kind not in ("tool", "user") or not rest:
        shell.fail("Say what: all, tenant, tool NAME or user SUBJECT. Nothing was changed.", WRONG_USE)
    return Scope(ScopeKind(kind), rest[0]), " ".join(rest[1:])


def _stop(shell: Shell, scope: Scope | None, reason: str, tenant: str | None, demo: bool) -> KillReport:
    async def stop(operator: Operator) -> KillReport:
        if scope is None:
            everything = Scope(ScopeKind.ALL)
            return await operator.gateway.kill(None, everything, _by(everything), "", dry_run=True)
        name = _scope_tenant(shell, operator, scope, tenant)
        return await operator.gateway.kill(name, await _checked(shell, operator, scope, name), _by(scope), reason)

    return _operate(stop, demo)


def _scope_tenant(shell: Shell, operator: Operator, scope: Scope, wanted: str | None) -> TenantId | None:
    """`all` is every organisation of this deployment; the rest happens within one."""
    return None if scope.kind is ScopeKind.ALL else _tenant(shell, operator, wanted)


async def _checked(shell: Shell, operator: Operator, scope: Scope, tenant: TenantId | None) -> Scope:
    """`scope` as the door spells it. A name that names nothing must not look like a stop."""
    match scope.kind:
        case ScopeKind.ALL | ScopeKind.TENANT:
            return scope
        case ScopeKind.TOOL:
            known = sorted(operator.core.policy.current().tools if tenant is None else operator.policy(tenant).tools)
            if scope.value not in known:
                shell.fail(
                    f"There is no tool {scope.value}. Nothing was changed. Tools: {', '.join(known)}.", WRONG_USE
                )
            return Scope(ScopeKind.TOOL, ToolName(scope.value))
        case ScopeKind.USER:
            people = await operator.book.people(tenant) if tenant is not None else ()
            found: list[Subject] = [one.subject for one in people if scope.value in (one.subject.sub, str(one.subject))]
            if len(found) != 1:
                shell.fail(f"The directory has nobody with the subject {scope.value}. Nothing was changed.", WRONG_USE)
            return Scope(ScopeKind.USER, str(found[0]))
        case _:
            assert_never(scope.kind)


def _by(scope: Scope) -> By:
    login = getpass.getuser()
    return By(f"shell:{login}", f"{login} (shell)", ("operator",), _label(scope))


def _label(scope: Scope) -> str:
    match scope.kind:
        case ScopeKind.ALL:
            return "everything"
        case ScopeKind.TENANT:
            return "everything in this organisation"
        case ScopeKind.TOOL:
            return f"the tool {scope.value}"
        case ScopeKind.USER:
            return f"the person {scope.value}"
        case _:
            assert_never(scope.kind)


def _show_stops(shell: Shell, report: KillReport, first: str) -> None:
    if shell.as_json:
        shell.json(
            {
                "said": first,
                "active": [_switch(one) for one in report.active],
                "pending": report.pending,
                "in_flight": [_view(view) for view in report.in_flight],
                "reopened": report.reopened,
            }
        )
        return
    shell.say(first, "bold")
    for one in report.active:
        shell.say(f"  {one.scope}: by {one.by}, since {one.since:%Y-%m-%d %H:%M} UTC: {one.reason}")
    shell.say(f"Waiting for approval: {report.pending}.")
    if report.reopened:
        shell.say(f"Approved but not started, waiting again for a fresh press: {report.reopened}.")
    if report.in_flight:
        shell.say("Under way, too late to stop:")
        shell.table(("id", "request"), [(view.held_id, view.headline) for view in report.in_flight])


# --- what they stand on -----------------------------------------------------------------------------------


def _operate(work: Callable[[Operator], Awaitable[T]], demo: bool) -> T:
    """`work` on the door, with no chat and no model (invariant 8)."""

    async def run() -> T:
        from bot import app as service

        async with service.operator(settings_of(demo)) as operator:
            return await work(operator)

    return asyncio.run(run())


def _switch(one: KillView) -> Json:
    return {"scope": one.scope, "by": one.by, "since": one.since.isoformat(), "reason": one.reason}


def _view(view: HeldView) -> Json:
    return {
        "id": view.held_id,
        "tool": view.tool,
        "request": view.headline,
        "requester": view.requester.sub,
        "status": view.status.value,
        "effect": view.effect.value,
        "votes": [vote.name for vote in view.votes],
        "needed": view.needed,
        "approvers": list(view.approver_roles),
        "expires_at": view.expires_at.isoformat(),
    }


def _line(view: HeldView) -> tuple[str, ...]:
    have = f"{len(view.votes)} of {view.needed}"
    expires = f"{view.expires_at:%Y-%m-%d %H:%M} UTC"
    return view.held_id, view.headline, view.requester_name, have, ", ".join(view.approver_roles), expires
