"""A policy file as a tree that remembers its lines, and the problems found in it.

Knows YAML and how to word an error; does not know what any key means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import yaml

MAX_CHARS = 256 * 1024
MAX_DEPTH = 10

_TAG = "tag:yaml.org,2002:"
_DURATION = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MONEY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?", re.ASCII)
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_YES = frozenset({"true", "yes", "on", "y"})

Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a policy file: where, what, and the mend."""

    file: str
    line: int
    """Counted from 1; 0: the file as a whole."""
    key: str
    what: str
    mend: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.what} {self.mend}"


class PolicyError(Exception):
    """The files are no policy. Carries everything that is wrong with all of them."""

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.key)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(slots=True)
class Findings:
    """What was found while reading: errors refuse the policy, warnings do not."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a file. A reader notes what is wrong in `findings` and goes on with a fallback."""

    file: str
    key: str
    node: yaml.Node
    findings: Findings

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def wrong(self, what: str, mend: str) -> None:
        self.findings.errors.append(Problem(self.file, self.line, self.key, what, mend))

    def doubtful(self, what: str, mend: str) -> None:
        self.findings.warnings.append(Problem(self.file, self.line, self.key, what, mend))

    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def entries(self) -> dict[str, Field]:
        """The keys of a mapping, in file order. A key written twice is an error, the first one stays."""
        if not isinstance(self.node, yaml.MappingNode):
            self.wrong(f"has to be keys and values, not {self._kind()}.", "Write `name: value` lines, indented.")
            return {}
        found: dict[str, Field] = {}
        for key_node, value_node in self.node.value:
            at = Field(self.file, self.key, key_node, self.findings)
            name = at.text()
            if name is None:
                continue
            if name in found:
                at.wrong(f"'{name}' is written twice (first on line {found[name].line}).", "Keep one of them.")
                continue
            path = f"{self.key}.{name}" if self.key else name
            found[name] = Field(self.file, path, value_node, self.findings)
        return found

    def section(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Field]:
        """A mapping with known keys: unknown ones are refused, with the name probably meant."""
        known = [*required, *optional]
        found = self.entries()
        for name in [name for name in found if name not in known]:
            found.pop(name).wrong("is not a known key.", meant(name, known, "Remove it, or write one of"))
        if self.is_mapping():
            for name in required:
                if name not in found:
                    self.wrong(f"'{name}' is missing.", f"Add `{name}:` here.")
        return found

    def items(self) -> list[Field]:
        """The elements of a list; a single value stands for a list of one."""
        if isinstance(self.node, yaml.ScalarNode):
            return [] if self.node.tag == _TAG + "null" else [self]
        if not isinstance(self.node, yaml.SequenceNode):
            self.wrong(f"has to be a list, not {self._kind()}.", "Write it as [one, two].")
            return []
        return [Field(self.file, f"{self.key}[{i}]", item, self.findings) for i, item in enumerate(self.node.value)]

    def text(self) -> str | None:
        """A non-empty string. ``no`` and ``42`` have to be quoted, so that nothing is guessed."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.wrong(f"has to be a word, not {self._kind()}.", "Write a single value.")
            return None
        value = str(self.node.value)
        if self.node.tag != _TAG + "str":
            what = f"{value or 'an empty value'} reads as {self._kind()}, not as text."
            self.wrong(what, f'Write "{value}" in quotes.')
            return None
        if not value.strip():
            self.wrong("is empty.", "Write a value or remove the key.")
            return None
        return value

    def texts(self) -> tuple[str, ...]:
        """A list of strings, each once."""
        found: list[str] = []
        for item in self.items():
            value = item.text()
            if value is None:
                continue
            if value in found:
                item.wrong(f"'{value}' is listed twice.", "Keep one of them.")
                continue
            found.append(value)
        return tuple(found)

    def word(self, words: type[Word], noun: str, fallback: Word, allowed: Collection[Word] = ()) -> Word:
        """One word of a closed set."""
        choices = list(allowed) or list(words)
        listed = ", ".join(choice.value for choice in choices)
        value = str(self.node.value) if isinstance(self.node, yaml.ScalarNode) else self._kind()
        for choice in choices:
            if choice.value == value:
                return choice
        self.wrong(f"'{value}' is not {noun}.", f"Write one of: {listed}.")
        return fallback

    def integer(self, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.node.value if isinstance(self.node, yaml.ScalarNode) else None
        if not isinstance(value, str) or self.node.tag != _TAG + "int" or not _INTEGER.fullmatch(value):
            self.wrong("is not a whole number.", f"Write a number from {least} to {most}, without quotes.")
            return least
        if not least <= int(value) <= most:
            self.wrong(f"{value} is out of range.", f"Write a number from {least} to {most}.")
            return least
        return int(value)

    def boolean(self) -> bool:
        """``true`` or ``false``; YAML 1.1's yes, no, on, off mean the same."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag != _TAG + "bool":
            self.wrong("is neither true nor false.", "Write true or false, without quotes.")
            return True
        return str(self.node.value).lower() in _YES

    def seconds(self, least: int, most: int) -> int:
        """A duration such as ``30m`` or ``24h``, in seconds."""
        value = self.node.value if isinstance(self.node, yaml.ScalarNode) else ""
        match = _DURATION.fullmatch(value)
        if match is None:
            self.wrong(f"'{value}' is not a duration.", "Write a number and s, m, h or d, for instance 24h.")
            return least
        span = int(match[1]) * _SECONDS[match[2]]
        if not least <= span <= most:
            self.wrong(f"{value} is out of range.", f"Write {least} to {most} seconds, as s, m, h or d.")
            return least
        return span

    def money(self) -> Decimal:
        """An amount such as ``100.00``; quotes are optional, signs and exponents are not allowed."""
        value = self.node.value if isinstance(self.node, yaml.ScalarNode) else ""
        if not _MONEY.fullmatch(value):
            self.wrong(f"'{value}' is not an amount.", "Write it like 100.00.")
            return Decimal(0)
        return Decimal(value)

    def _kind(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "keys and values"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        tag = str(self.node.tag).removeprefix(_TAG)
        return {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}.get(tag, tag)


def meant(name: str, known: Collection[str], otherwise: str) -> str:
    """The mend for a name nobody knows: the nearest one, and all there are."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listed = ", ".join(known)
    return f"Did you mean '{near[0]}'?" if near else f"{otherwise}: {listed}."


def parse(file: str, text: str, findings: Findings) -> Field | None:
    """The root of one file; None, with a problem noted, when there is nothing to go on with."""

    def refuse(line: int, what: str, mend: str) -> None:
        findings.errors.append(Problem(file, line, "", what, mend))

    if len(text) > MAX_CHARS:
        refuse(0, f"is larger than {MAX_CHARS} characters.", "A policy file is short: split out what is not policy.")
        return None
    try:
        fault = _bounded(text)
        if fault is not None:
            refuse(*fault)
            return None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        refuse(mark.line + 1 if mark else 0, f"is not YAML: {error.problem}.", "Check indentation, quotes and colons.")
        return None
    except yaml.YAMLError:
        refuse(0, "holds characters that YAML does not allow.", "Save it as plain UTF-8 text.")
        return None
    if node is None:
        refuse(0, "is empty.", "Copy the default file of this name and change that.")
        return None
    return Field(file, "", node, findings)


def _bounded(text: str) -> tuple[int, str, str] | None:
    """What makes a text unsafe to build a tree from: read event by event, so it costs no memory."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            return line, "uses a YAML anchor or alias.", "Write the value out: a reviewer must see what it is."
        tag = getattr(event, "tag", None)
        if tag is not None:
            return line, f"uses the YAML tag {tag}.", "Remove the tag: policy files hold plain values."
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                return line, "holds more than one document.", "Remove the `---` line."
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return line, f"is nested deeper than {MAX_DEPTH} levels.", "Policy files need three."
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def rooted(files: Mapping[str, str], names: Collection[str], findings: Findings) -> dict[str, Field]:
    """The roots of all `names`; a file that is absent or that nobody knows is an error."""
    roots: dict[str, Field] = {}
    for name in sorted(set(files) - set(names)):
        mend = meant(name, names, "Remove it from the policy directory; the files are")
        findings.errors.append(Problem(name, 0, "", "is not a policy file.", mend))
    for name in names:
        if name not in files:
            what = "is missing from the policy directory."
            findings.errors.append(Problem(name, 0, "", what, "Copy the default file of this name and change that."))
            continue
        root = parse(name, files[name], findings)
        if root is not None:
            roots[name] = root
    return roots
