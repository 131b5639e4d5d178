"""`countersign eval`: runs the labelled tasks and says what passed. Knows the command line; grades nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from bot.agent.offline import Offline
from bot.agent.routing import RoutingError
from bot.console import DONE, FOUND, WRONG_USE, Shell, answering
from bot.identity.directory import DirectoryFile
from bot.providers import adapters
from bot.settings import default_policy_dir, for_demo, look
from evals.house import TENANT
from evals.loading import TasksBroken, load
from evals.run import Make, Result, run_all
from evals.task import Task
from policy.model import Json
from policy.model_rules import Adapter, ModelName
from policy.rules import FILE_NAMES, Policy
from policy.rules import load as load_policy

commands = typer.Typer(name="eval", help="Labelled tasks, run through the real turn and gateway.", no_args_is_help=True)
_ALIASES = {"claude": Adapter.ANTHROPIC}

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Only = Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be given several times.")]
Which = Annotated[str, typer.Option("--model", help="offline, claude:NAME, openai:NAME or openai-chat:NAME.")]


def main(arguments: Sequence[str]) -> int:
    """Runs the command; the exit status: 0 all passed, 1 something did not, 2 wrong use."""
    try:
        commands(args=list(arguments), prog_name="countersign eval")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE
    return DONE


@commands.command("run")
def run_(model: Which = "offline", task: Only = None, as_json: AsJson = False) -> None:
    """Run the tasks, each in a fresh house, and grade what came of them."""
    with answering(as_json=as_json) as shell:
        policy = _policy()
        chosen, make = _model(shell, model)
        wanted = _wanted(shell, task)
        logging.getLogger("countersign").setLevel(logging.ERROR)
        results: list[Result] = []
        try:
            with shell.progress("Tasks", len(wanted)) as done:
                for result in run_all(wanted, chosen, policy.models, make):
                    results.append(result)
                    done(len(results))
        except RoutingError as error:
            shell.fail(str(error), WRONG_USE)
        _report(shell, chosen, results)
        raise typer.Exit(DONE if all(one.passed for one in results) else FOUND)


@commands.command("list")
def list_(as_json: AsJson = False) -> None:
    """Name the tasks."""
    with answering(as_json=as_json) as shell:
        tasks = _wanted(shell, None)
        if as_json:
            shell.json([{"id": one.id, "about": one.about, "as": one.who, "place": one.place} for one in tasks])
        else:
            shell.table(("task", "as", "about"), [(one.id, one.who, one.about) for one in tasks])


def tasks_of_the_demo() -> tuple[Task, ...]:
    """Every task, checked against the tools and the people that there are.

    Raises:
        TasksBroken: with everything that is wrong.
    """
    path = for_demo({}, default_policy_dir()).directory
    people = () if path is None else DirectoryFile(path).people(None, TENANT)
    return load(tuple(_policy().tools), [person.subject.sub for person in people])


def _wanted(shell: Shell, names: list[str] | None) -> tuple[Task, ...]:
    try:
        tasks = tasks_of_the_demo()
    except TasksBroken as error:
        shell.fail(str(error), WRONG_USE)
    unknown = [name for name in names or () if name not in {one.id for one in tasks}]
    if unknown:
        shell.fail(f"There is no task {', '.join(unknown)}. `countersign eval list` names them.", WRONG_USE)
    return tuple(one for one in tasks if not names or one.id in names)


def _policy() -> Policy:
    folder = default_policy_dir()
    return load_policy({name: (folder / name).read_text("utf-8") for name in FILE_NAMES})


def _model(shell: Shell, written: str) -> tuple[ModelName, Make]:
    """The model under test. Only here keys and addresses of the environment are read."""
    if written == "offline":
        return ModelName(Adapter.OFFLINE, "offline"), {Adapter.OFFLINE: lambda _name: Offline()}
    word, _, name = written.partition(":")
    adapter = _ALIASES.get(word) or next((one for one in Adapter if one == word), None)
    if adapter is None or adapter is Adapter.OFFLINE or not name:
        shell.fail("Write the model as offline, claude:NAME, openai:NAME or openai-chat:NAME.", WRONG_USE)
    make = adapters(look(os.environ, file_here=False)[0])
    if adapter not in make:
        needs = "ANTHROPIC_API_KEY" if adapter is Adapter.ANTHROPIC else "OPENAI_API_KEY (or OPENAI_BASE_URL)"
        shell.fail(f"{written} cannot be asked: {needs} is not set. Set it, or run with --model offline.", WRONG_USE)
    return ModelName(adapter, name), make


def _report(shell: Shell, model: ModelName, results: Sequence[Result]) -> None:
    passed = sum(one.passed for one in results)
    answered = ", ".join(dict.fromkeys(name for one in results for name in one.models)) or "no model"
    if model.adapter is Adapter.OFFLINE:
        answered += " (the stand-in, no language model)"
    cost, seconds = sum((one.cost_usd for one in results), start=0), sum(one.seconds for one in results)
    if shell.as_json:
        tasks: list[Json] = [_json(one) for one in results]
        shell.json({"model": str(model), "answered": answered, "passed": passed, "of": len(results),
                    "cost_usd": format(cost, "f"), "seconds": f"{seconds:.2f}", "tasks": tasks})  # fmt: skip
        return
    rows = [
        (
            "pass" if one.passed else "FAIL",
            one.task.id,
            one.task.who,
            f"{one.seconds:.2f} s",
            f"${one.cost_usd:.4f}",
            "\n".join(one.findings) or one.task.about,
        )
        for one in results
    ]
    shell.table(("", "task", "as", "time", "cost", "what"), rows)
    shell.say(f"{passed} of {len(results)} tasks passed. Answered by {answered}. {seconds:.1f} s, ${cost:.4f}.")


def _json(one: Result) -> Json:
    return {
        "id": one.task.id,
        "place": one.task.place,
        "passed": one.passed,
        "findings": list(one.findings),
        "models": list(one.models),
        "cost_usd": format(one.cost_usd, "f"),
        "seconds": f"{one.seconds:.2f}",
        "answer": one.transcript,
    }
