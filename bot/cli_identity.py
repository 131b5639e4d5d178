"""`countersign identity …`: who is who, and whose chat account is whose. For imports and emergencies.

People link their accounts themselves, with proof of both sides; what is linked here rests on an operator's word, which
the audit log keeps with its reason. Nobody is looked up by e-mail address, not even to suggest them.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from sqlalchemy.engine import Connection

from audit.event import Event
from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, Shell, Tenant, answering, settings_of
from bot.identity import links
from bot.identity.directory import DirectoryFile
from bot.identity.link_commands import end_link, held
from bot.identity.link_words import TEAMS
from bot.identity.links import How, LinkedElsewhere
from bot.identity.people import person_key
from bot.messages import ChatUser, SurfaceName
from bot.policy_files import PolicyFiles
from bot.ports import Person
from bot.settings import PersonKey, Settings
from policy.model import Json, Subject, TenantId
from policy.rules import Policy
from tools import turnstile

if TYPE_CHECKING:
    from bot.core import Core

app = typer.Typer(help="Who is who, and whose chat account is whose.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(help="A subject, a name, or an account: slack:T01:U01.")]
Account = Annotated[str, typer.Option(help="The chat account: SURFACE:TEAM:USER, e.g. slack:T01:U01.")]
Enterprise = Annotated[
    str | None, typer.Option(help="Slack's Enterprise Grid organisation. Default: what tenants.yaml says of the team.")
]
Reason = Annotated[str, typer.Option(help="Why this is done by hand. The audit log keeps it.")]
_Work: TypeAlias = "Callable[[Core, Connection], dict[str, Json] | str]"
IN_A_FILE = "The demo's people and their accounts stand in a file. Nothing was changed."


@app.command(name="list")
def list_(tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """Everybody the directory knows, with their roles and linked chat accounts."""
    with answering(as_json) as shell:
        files, people, key = known(demo, tenant)
        described = [_described(person, files.of(person.tenant), key) for person in people]
        if shell.as_json:
            shell.json(described)
        else:
            columns = ("tenant", "subject", "name", "active", "roles", "accounts")
            shell.table(columns, [[_cell(one[column]) for column in columns] for one in described])
        raise typer.Exit(DONE if people else FOUND)


@app.command()
def show(who: Who, tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """One person: groups, roles, what they may ask for and what they may approve."""
    with answering(as_json) as shell:
        files, people, key = known(demo, tenant)
        person = one_person(shell, people, who)
        found = _described(person, files.of(person.tenant), key)
        if shell.as_json:
            shell.json(found)
        else:
            shell.table(("", ""), [(name, _cell(value)) for name, value in found.items()])


@app.command()
def link(
    account: Account,
    subject: Annotated[str, typer.Option(help="The person's subject, as `countersign identity list` shows it.")],
    reason: Reason,
    enterprise: Enterprise = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say whose a chat account is, without either side proving it. The person is not asked."""
    with answering(as_json) as shell:
        _given(shell, reason)
        who = _account(shell, account, enterprise)

        def work(core: Core, conn: Connection) -> dict[str, Json] | str:
            at = _whole(core, who, enterprise)
            name = core.directory.tenant_of(at.surface, at.team)
            if name is None or (tenant is not None and name != tenant):
                return f"The team {at.team} is no team of {tenant or 'any organisation'} in tenants.yaml."
            turnstile.together(conn, name)
            issuer = core.tenants.tenants[name].issuer.issuer
            person = core.directory.by_subject(conn, name, Subject(issuer, subject))
            if person is None or not person.active:
                return f"The directory of {name} has no active person with the subject {subject}."
            try:
                events = links.bind(conn, name, at, person.subject, How.SHELL, _now(), _login())
            except LinkedElsewhere:
                return f"{at} is linked to somebody else. `countersign identity unlink` ends that first."
            core.audit.append(conn, [_because(event, reason) for event in events])
            said = f"{at} is linked to {person.display_name} ({subject})." + ("" if events else " It was so before.")
            return {"account": str(at), "subject": subject, "tenant": name, "changed": bool(events), "said": said}

        _answer(shell, _within(work))


@app.command()
def unlink(
    reason: Reason,
    account: Annotated[str | None, typer.Option(help="One chat account: SURFACE:TEAM:USER.")] = None,
    subject: Annotated[str | None, typer.Option(help="Every chat account of this person.")] = None,
    enterprise: Enterprise = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """End the link of one chat account, or every link of a person. What they asked for before goes on."""
    with answering(as_json) as shell:
        _given(shell, reason)
        if (account is None) == (subject is None):
            shell.fail("Name either --account or --subject. Nothing was changed.", WRONG_USE)
        who = None if account is None else _account(shell, account, enterprise)

        def work(core: Core, conn: Connection) -> dict[str, Json] | str:
            ended: list[str] = []
            names = core.directory.tenants() if tenant is None else (TenantId(tenant),)
            for name in names:
                found = [
                    one
                    for one, owner in held(conn, core.directory, name).items()
                    if (who is not None and one == _whole(core, who, enterprise))
                    or (subject is not None and subject in (owner.sub, str(owner)))
                ]
                if found and ended:
                    return f"{subject} is a subject in several organisations. Say which with --tenant."
                now, by = _now(), _login()
                events = [
                    event for one in found for event in end_link(conn, core.directory, name, one, "shell", now, by)
                ]
                core.audit.append(conn, [_because(event, reason) for event in events])
                ended += [str(one) for one in found]
            if not ended:
                return f"No chat account is linked that is {account or f'of {subject}'}."
            return {"unlinked": list(ended), "said": f"No longer linked: {', '.join(ended)}."}

        _answer(shell, _within(work))


def known(demo: bool, tenant: str | None) -> tuple[PolicyFiles, tuple[Person, ...], PersonKey]:
    """The policy, everybody of the organisation (of all, if none is named), and what tells people apart."""
    settings = settings_of(demo)
    if settings.directory is None:
        return asyncio.run(_provisioned(settings, tenant))
    directory = DirectoryFile(settings.directory)
    names = (TenantId(tenant),) if tenant is not None else directory.tenants()
    people = tuple(person for name in names for person in directory.people(None, name))
    return PolicyFiles(settings.policy_dir), people, settings.person_key


async def _provisioned(settings: Settings, tenant: str | None) -> tuple[PolicyFiles, tuple[Person, ...], PersonKey]:
    from bot import app as service

    async with service.operator(settings) as operator:
        names = (TenantId(tenant),) if tenant is not None else operator.directory.tenants()
        people = [person for name in names for person in await operator.book.people(name)]
        return operator.core.policy, tuple(people), settings.person_key


def one_person(shell: Shell, people: Sequence[Person], who: str) -> Person:
    """The one person `who` names; anything else ends the command."""
    wanted = who.casefold()
    found = [
        person
        for person in people
        if wanted in (person.subject.sub.casefold(), person.display_name.casefold())
        or who in (str(account) for account in person.accounts)
    ]
    if not found:
        shell.fail(f"The directory knows nobody called {who}. `countersign identity list` shows everybody.")
    if len(found) > 1:
        shell.fail(f"{len(found)} people are called {who}. Name the subject, and the --tenant.", WRONG_USE)
    return found[0]


def _within(work: _Work) -> dict[str, Json] | str:
    """Runs `work` in one transaction; a sentence instead of an answer takes it back."""

    async def run() -> dict[str, Json] | str:
        from bot import app as service

        async with service.operator(settings_of(demo=False)) as operator:
            core = operator.core
            if core.settings.directory is not None:
                return IN_A_FILE

            def unit(conn: Connection) -> dict[str, Json]:
                answer = work(core, conn)
                if isinstance(answer, str):
                    raise _NotDone(answer)
                return answer

            try:
                return await core.writer.run(unit)
            except _NotDone as no:
                return f"{no} Nothing was changed."

    return asyncio.run(run())


class _NotDone(Exception):
    pass


def _answer(shell: Shell, answer: dict[str, Json] | str) -> None:
    if isinstance(answer, str):
        shell.fail(answer)
    if shell.as_json:
        shell.json(answer)
    else:
        shell.say(f"{answer['said']} The audit log says that it was you.", "green")


def _given(shell: Shell, reason: str) -> None:
    if not reason.strip():
        shell.fail("Give a --reason: people will ask. Nothing was changed.", WRONG_USE)


def _account(shell: Shell, text: str, enterprise: str | None) -> ChatUser:
    surface, _, rest = text.partition(":")
    team, _, user = rest.partition(":")
    if surface not in ("slack", "teams") or not team or not user or ":" in user:
        shell.fail(f"{text} is no chat account. Write slack:TEAM:USER or teams:TENANT:OBJECT-ID.", WRONG_USE)
    return ChatUser(SurfaceName(surface), team, user, enterprise or "")


def _whole(core: Core, who: ChatUser, enterprise: str | None) -> ChatUser:
    """With the organisation above the team: links are kept under both."""
    if enterprise is not None:
        return who
    teams = [team for tenant in core.tenants.tenants.values() for team in tenant.teams]
    above = [team.enterprise for team in teams if (team.surface, team.team) == (who.surface, who.team)]
    return replace(who, enterprise=above[0]) if above else who


def _because(event: Event, reason: str) -> Event:
    return replace(event, detail={**(event.detail or {}), "reason": reason})


def _now() -> datetime:
    return datetime.now(UTC)


def _login() -> str:
    return f"shell:{getpass.getuser()}"


def _described(person: Person, policy: Policy, key: PersonKey) -> dict[str, Json]:
    roles = policy.roles.roles_of(person.groups)
    approves = {
        rule.tool
        for rule in policy.tools.values()
        if any(roles.intersection(approvers) for approvers in rule.gate.approver_roles.values())
    }
    return {
        "tenant": person.tenant,
        "subject": person.subject.sub,
        "issuer": person.subject.issuer,
        "name": person.display_name,
        "email": person.email,
        "active": person.active,
        "groups": list(person.groups),
        "roles": sorted(roles),
        "may_ask_for": sorted(policy.roles.tools_of(roles)),
        "may_approve": sorted(approves),
        "person_key": person_key(person, key),
        "accounts": [str(account) for account in person.accounts],
        "accounts_of_the_idp": [str(account) for account in person.accounts if _own(person, account)],
    }


def _own(person: Person, account: ChatUser) -> bool:
    """Whether chat and IdP know the account by one id: in Teams, where both are one Entra tenant."""
    return account.surface == TEAMS and account.user == person.subject.sub


def _cell(value: Json) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(str(one) for one in value)
        case _:
            return str(value)
