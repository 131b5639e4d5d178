"""`countersign data …` and `countersign doubt …`: erasing raw text, and what nobody knows the end of. Needs no chat."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, Shell, Tenant, answering, settings_of
from policy.model import Subject, TenantId

if TYPE_CHECKING:
    from bot.app import Operator

T = TypeVar("T")

data_app = typer.Typer(help="Raw text that is kept, and erasing it.", no_args_is_help=True)
doubt_app = typer.Typer(help="Calls of which nobody knows whether they happened.", no_args_is_help=True)


@data_app.command()
def erase(
    person: Annotated[str | None, typer.Option(help="The subject whose text to erase.")] = None,
    before: Annotated[str | None, typer.Option(help="Everybody's text older than this day, like 2026-01-31.")] = None,
    tenant: Tenant = None,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """Erase transcripts and the text of requests that are over. The audit chain stays whole."""
    with answering(as_json) as shell:
        if person is None and before is None:
            shell.fail("Say whose text: --person SUBJECT, or --before DAY. Nothing was erased.", WRONG_USE)
        day = _day(shell, before)

        async def work(operator: Operator) -> tuple[int, int]:
            name = tenant_of(shell, operator, tenant)
            subject = None if person is None else await _subject(shell, operator, name, person)
            return await operator.erase(name, _login(), subject=subject, before=day)

        texts, requests = _operate(work, demo)
        if shell.as_json:
            shell.json({"transcript_rows": texts, "requests": requests})
        else:
            shell.say(f"Erased: {texts} lines of conversation, the text of {requests} requests. The log is whole.")


@doubt_app.command(name="list")
def list_(tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """What is in doubt. Exit status 1: something is."""
    with answering(as_json) as shell:
        found = _operate(lambda operator: operator.gateway.in_doubt(tenant_of(shell, operator, tenant)), demo)
        if shell.as_json:
            shell.json(
                [{"id": view.held_id, "request": view.headline, "requester": view.requester.sub} for view in found]
            )
        elif found:
            shell.table(
                ("id", "request", "asked by"), [(view.held_id, view.headline, view.requester_name) for view in found]
            )
            shell.say("Look at the provider, then: countersign doubt settle ID --done | --not-done NOTE")
        else:
            shell.say("Nothing is in doubt.", "green")
        raise typer.Exit(FOUND if found else DONE)


@doubt_app.command()
def settle(
    held_id: Annotated[str, typer.Argument(help="The request's id.")],
    note: Annotated[str, typer.Argument(help="What you saw at the provider.")],
    done: Annotated[bool, typer.Option("--done/--not-done", help="Whether it happened.")],
    tenant: Tenant = None,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """Say what became of a call in doubt, after looking at the provider. Nothing is run by this."""
    with answering(as_json) as shell:

        async def work(operator: Operator) -> str:
            name = tenant_of(shell, operator, tenant)
            try:
                view = await operator.gateway.settle_doubt(name, held_id, _login(), done, note)
            except LookupError as error:
                shell.fail(str(error.args[0]))
            return view.effect.value

        effect = _operate(work, demo)
        if shell.as_json:
            shell.json({"id": held_id, "effect": effect})
        else:
            shell.say(
                f"Noted, with your name: it {'happened' if done else 'did not happen'}. People are told.", "green"
            )


def tenant_of(shell: Shell, operator: Operator, wanted: str | None) -> TenantId:
    """The organisation a command is about; the only one, if there is one."""
    known = operator.directory.tenants()
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None or wanted not in known:
        shell.fail(f"Say which organisation with --tenant: {', '.join(known) or 'the directory has none'}.", WRONG_USE)
    return TenantId(wanted)


def _operate(work: Callable[[Operator], Awaitable[T]], demo: bool) -> T:
    async def run() -> T:
        from bot import app as service

        async with service.operator(settings_of(demo)) as operator:
            return await work(operator)

    return asyncio.run(run())


def _login() -> str:
    return f"{getpass.getuser()} (shell)"


def _day(shell: Shell, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        shell.fail(f"{text} is no day. Write it like 2026-01-31. Nothing was erased.", WRONG_USE)


async def _subject(shell: Shell, operator: Operator, tenant: TenantId, text: str) -> Subject:
    """A person of the directory, or ``issuer|sub`` of somebody who has left it."""
    for person in await operator.book.people(tenant):
        if text in (person.subject.sub, str(person.subject)):
            return person.subject
    issuer, bar, sub = text.partition("|")
    if not bar:
        shell.fail(
            f"The directory has nobody with the subject {text}. For somebody who left, write ISSUER|SUBJECT. "
            "Nothing was erased.",
            WRONG_USE,
        )
    return Subject(issuer, sub)
