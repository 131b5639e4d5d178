"""Task files -> tasks. Every mistake is told with file, line, key and mend; a suite with one is not run at all.

Knows the files' schema; knows no model and runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from evals.task import (
    CallPattern,
    Command,
    Ends,
    ExpectedCall,
    ExpectedRequest,
    Matcher,
    Press,
    Say,
    Stands,
    Task,
    Told,
    Turn,
    Words,
)
from policy.approval import Verb
from policy.document import Field, Findings, Problem, parse
from policy.model import ToolName

FOLDER = Path(__file__).with_name("tasks")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_AMOUNT = re.compile(r"[0-9]{1,9}\.[0-9]{2}", re.ASCII)


class TasksBroken(Exception):
    """The task files are no suite. Carries everything that is wrong with them."""

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: (one.file, one.line, one.key)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(tools: Collection[ToolName], people: Collection[str], folder: Path = FOLDER) -> tuple[Task, ...]:
    """Every task below `folder`, in the order of the files. `tools` and `people` are those that exist.

    Raises:
        TasksBroken: with everything that is wrong.
    """
    findings = Findings()
    reader = _Reader(frozenset(tools), frozenset(people))
    tasks: list[Task] = []
    seen: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        root = parse(path.name, path.read_text("utf-8"), findings)
        for item in root.items() if root is not None else []:
            task = reader.task(item)
            if task.id in seen:
                item.wrong(f"the task '{task.id}' exists already ({seen[task.id]}).", "Give it another id.")
            seen.setdefault(task.id, task.place)
            tasks.append(task)
    if not tasks and not findings.errors:
        findings.errors.append(Problem(str(folder), 0, "", "holds no task.", "Write one into a .yaml file there."))
    if findings.errors:
        raise TasksBroken(findings.errors)
    return tuple(tasks)


class _Reader:
    """Reads one task. What is wrong is noted in the field's findings; reading goes on with a fallback."""

    def __init__(self, tools: frozenset[ToolName], people: frozenset[str]) -> None:
        self._tools, self._people = tools, people

    def task(self, item: Field) -> Task:
        keys = item.section(
            ("id", "about", "as", "turns"),
            ("calls", "forbidden", "requests", "says", "never_says", "refunds", "mails", "customers"),
        )
        name = (keys["id"].text() if "id" in keys else None) or "?"
        if "id" in keys and name != "?" and not _ID.fullmatch(name):
            keys["id"].wrong(f"'{name}' is not an id.", "Write small letters, digits and hyphens.")
        turns = tuple(self._turn(one) for one in keys["turns"].items()) if "turns" in keys else ()
        if "turns" in keys and not any(isinstance(one, Say) for one in turns):
            keys["turns"].wrong("has nobody say anything.", "Add a `say:` line.")
        requests = None
        if "requests" in keys:
            requests = tuple(self._request(one) for one in keys["requests"].items())
        return Task(
            id=name,
            about=(keys["about"].text() if "about" in keys else None) or "",
            who=self._person(keys["as"]) if "as" in keys else "",
            turns=turns,
            calls=tuple(self._call(one) for one in keys["calls"].items()) if "calls" in keys else (),
            forbidden=tuple(self._pattern(one) for one in keys["forbidden"].items()) if "forbidden" in keys else (),
            requests=requests,
            words=_words(keys),
            ends=_ends(keys),
            place=f"{item.file}:{item.line}",
        )

    def _turn(self, item: Field) -> Turn:
        found = item.entries()
        kind = next((word for word in ("say", "press", "command") if word in found), "say")
        known = {"say": (), "press": ("by", "tool"), "command": ("by",)}[kind]
        keys = item.section((kind, *known), ("says", "never_says", *(("reason",) if kind == "press" else ())))
        by = self._person(keys["by"]) if "by" in keys else ""
        text = (keys[kind].text() if kind in keys and kind != "press" else None) or ""
        match kind:
            case "press":
                verb = keys["press"].word(Verb, "a button", Verb.APPROVE) if "press" in keys else Verb.APPROVE
                reason = (keys["reason"].text() if "reason" in keys else None) or ""
                tool = self._tool(keys["tool"]) if "tool" in keys else ToolName("")
                return Press(by, verb, tool, reason, _words(keys))
            case "command":
                return Command(by, text, _words(keys))
            case _:
                return Say(text, _words(keys))

    def _call(self, item: Field) -> ExpectedCall:
        if not item.is_mapping():
            return ExpectedCall(CallPattern(self._tool(item)), None, None)
        keys = item.section(("tool",), ("where", "told", "times"))
        told = keys["told"].word(Told, "what the door says", Told.DONE) if "told" in keys else None
        times = keys["times"].integer(1, 20) if "times" in keys else None
        return ExpectedCall(self._fitting(keys), told, times)

    def _request(self, item: Field) -> ExpectedRequest:
        keys = item.section(("tool", "stands"), ("where",))
        stands = keys["stands"].word(Stands, "how a request stands", Stands.WAITING) if "stands" in keys else None
        return ExpectedRequest(self._fitting(keys), stands or Stands.WAITING)

    def _pattern(self, item: Field) -> CallPattern:
        if not item.is_mapping():
            return CallPattern(self._tool(item))
        return self._fitting(item.section(("tool",), ("where",)))

    def _fitting(self, keys: Mapping[str, Field]) -> CallPattern:
        tool = self._tool(keys["tool"]) if "tool" in keys else ToolName("")
        return CallPattern(tool, _matchers(keys["where"]) if "where" in keys else {})

    def _tool(self, written: Field) -> ToolName:
        name = ToolName(written.text() or "")
        if name and name not in self._tools:
            written.wrong(f"there is no tool {name}.", f"Write one of: {', '.join(sorted(self._tools))}.")
        return name

    def _person(self, written: Field) -> str:
        name = written.text() or ""
        if name and name not in self._people:
            written.wrong(f"nobody is called {name}.", f"Write one of: {', '.join(sorted(self._people))}.")
        return name


def _words(keys: Mapping[str, Field]) -> Words:
    return Words(
        keys["says"].texts() if "says" in keys else (), keys["never_says"].texts() if "never_says" in keys else ()
    )


def _matchers(written: Field) -> dict[str, Matcher]:
    found: dict[str, Matcher] = {}
    for name, value in written.entries().items():
        text = value.text() or ""
        if len(text) > 1 and text.startswith("/") and text.endswith("/"):
            try:
                re.compile(text[1:-1])
            except re.error as error:
                value.wrong(f"is not a regular expression: {error}.", "Mend it, or write ~ before a plain part.")
                continue
        found[name] = Matcher(text)
    return found


def _ends(keys: Mapping[str, Field]) -> Ends:
    refunds: dict[str, str] = {}
    for order, amount in (keys["refunds"].entries() if "refunds" in keys else {}).items():
        text = amount.text() or ""
        if text and not _AMOUNT.fullmatch(text):
            amount.wrong(f"'{text}' is not an amount.", 'Write it like "42.00", in quotes.')
        refunds[order] = text
    # One person may get two mails: the list may name an address twice.
    mails = tuple(one.text() or "" for one in keys["mails"].items()) if "mails" in keys else ()
    customers = {
        number: _matchers(record)
        for number, record in (keys["customers"].entries() if "customers" in keys else {}).items()
    }
    return Ends(refunds, mails, customers)
