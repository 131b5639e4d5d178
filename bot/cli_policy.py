"""`countersign policy …` and `countersign identity …`: who may do what, and why. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, assert_never

import typer

from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, Shell, Tenant, answering, settings_of
from bot.identity.directory import DirectoryFile
from bot.identity.people import person_key, principal_of
from bot.policy_files import PolicyFiles, read_policy
from bot.ports import Person
from bot.settings import PersonKey, Settings
from policy.decide import Sums, decide
from policy.decide import explain as derivation
from policy.model import Allowed, Decision, Denied, Json, NeedsApproval, TenantId, ToolName
from policy.rules import Policy, PolicyError, Problem

policy_app = typer.Typer(help="The security team's files.", no_args_is_help=True)
identity_app = typer.Typer(help="Who is who.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(help="A subject, a name, or an account: slack:T01:U01.")]


@policy_app.command()
def check(
    folder: Annotated[Path | None, typer.Option("--dir", help="The files to check. Default: those in force.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read the policy files and report every problem at once."""
    with answering(as_json) as shell:
        path = folder or settings_of(demo=False).policy_dir
        try:
            policy = read_policy(path)
        except PolicyError as error:
            if shell.as_json:
                shell.json({"holds": False, "errors": [_problem(at) for at in error.problems], "warnings": []})
            else:
                for at in error.problems:
                    shell.say(str(at), "red")
                shell.say(f"{len(error.problems)} to mend in {path}.", "bold red")
            raise typer.Exit(FOUND) from error
        if shell.as_json:
            warnings: list[Json] = [_problem(at) for at in policy.warnings]
            shell.json({"holds": True, "version": policy.version, "errors": [], "warnings": warnings})
        else:
            for at in policy.warnings:
                shell.say(str(at), "yellow")
            shell.say(f"The policy in {path} holds: {len(policy.tools)} tools, version {policy.version[:12]}.", "green")


@policy_app.command()
def explain(
    who: Who,
    tool: Annotated[str, typer.Argument(help="A tool, for instance refund.issue.")],
    amount: Annotated[str | None, typer.Option(help="The sum, for instance 120.00.")] = None,
    currency: Annotated[str, typer.Option(help="ISO 4217.")] = "USD",
    tenant: Tenant = None,
    demo: Demo = False,
    as_json: AsJson = False,
) -> None:
    """What a person may do with a tool, and why. Exit status 1: denied."""
    with answering(as_json) as shell:
        files, people, key = _known(demo, tenant)
        person = _person(shell, people, who)
        sums = Sums(Decimal(0), Decimal(0), currency)  # the smallest: what it takes below the threshold
        if amount is not None:
            try:
                value = Decimal(amount)
            except InvalidOperation:
                shell.fail(f"{amount} is not an amount. Write it like 120.00.", WRONG_USE)
            sums = Sums(value, value, currency)
        policy, name = files.of(person.tenant), ToolName(tool)
        asker = principal_of(person, policy.roles, key)
        decision = decide(policy, asker, name, sums)
        answer = _decision(decision)
        if shell.as_json:
            shell.json({"who": person.subject.sub, "tool": tool, **answer})
        else:
            shell.say(f"{person.display_name}, {tool}: {answer['decision']}", "bold")
            shell.say(str(answer["why"]))
            shell.say(f"\n{derivation(policy, asker, name)}")
        raise typer.Exit(FOUND if isinstance(decision, Denied) else DONE)


@identity_app.command(name="list")
def list_(tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """Everybody the directory knows, with the roles that policy gives them."""
    with answering(as_json) as shell:
        files, people, key = _known(demo, tenant)
        described = [_described(person, files.of(person.tenant), key) for person in people]
        if shell.as_json:
            shell.json(described)
        else:
            columns = ("tenant", "subject", "name", "active", "roles", "accounts")
            shell.table(columns, [[_cell(one[column]) for column in columns] for one in described])
        raise typer.Exit(DONE if people else FOUND)


@identity_app.command()
def show(who: Who, tenant: Tenant = None, demo: Demo = False, as_json: AsJson = False) -> None:
    """One person: groups, roles, what they may ask for and what they may approve."""
    with answering(as_json) as shell:
        files, people, key = _known(demo, tenant)
        person = _person(shell, people, who)
        found = _described(person, files.of(person.tenant), key)
        if shell.as_json:
            shell.json(found)
        else:
            shell.table(("", ""), [(name, _cell(value)) for name, value in found.items()])


def _known(demo: bool, tenant: str | None) -> tuple[PolicyFiles, tuple[Person, ...], PersonKey]:
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


def _person(shell: Shell, people: Sequence[Person], who: str) -> Person:
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
    }


def _decision(decision: Decision) -> dict[str, Json]:
    match decision:
        case Denied(reason=reason, sentence=sentence):
            return {"decision": "denied", "reason": reason.value, "why": sentence}
        case Allowed(logged=logged):
            why = "It runs at once; the state before and after is logged." if logged else "It runs at once."
            return {"decision": "allowed", "logged": logged, "why": why}
        case NeedsApproval():
            return {
                "decision": "needs approval",
                "needed": decision.needed,
                "approvers": list(decision.approver_roles),
                "posted_to": list(decision.destinations),
                "expires_s": decision.expires_s,
                "why": f"{_people(decision)} must approve, because {decision.why}",
            }
        case _:
            assert_never(decision)


def _people(decision: NeedsApproval) -> str:
    roles = " or ".join(decision.approver_roles)
    return f"One other person who is {roles}" if decision.needed == 1 else f"{decision.needed} people who are {roles}"


def _problem(at: Problem) -> Json:
    return {"file": at.file, "line": at.line, "key": at.key, "what": at.what, "mend": at.mend}


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
