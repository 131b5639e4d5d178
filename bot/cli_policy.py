"""`countersign policy …`: who may do what, and why. Changes nothing."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, assert_never

import typer

from bot import cli_identity
from bot.cli_identity import Who, known, one_person
from bot.console import DONE, FOUND, WRONG_USE, AsJson, Demo, Tenant, answering, settings_of
from bot.identity.people import principal_of
from bot.policy_files import read_policy
from policy.decide import Sums, decide
from policy.decide import explain as derivation
from policy.model import Allowed, Decision, Denied, Json, NeedsApproval, ToolName
from policy.rules import PolicyError, Problem

policy_app = typer.Typer(help="The security team's files.", no_args_is_help=True)
identity_app = cli_identity.app


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
        files, people, key = known(demo, tenant)
        person = one_person(shell, people, who)
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
