"""Each house rule as a function from one source file to what is wrong with it. Knows syntax, reads no file."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

MAX_LINES = 400
DOOR = PurePosixPath("tools/gateway.py")
PRODUCT = frozenset({"audit", "bot", "evals", "policy", "tools"})

NO_ACTIONS = frozenset({"_Run", "_writer", "anyio", "asyncio", "commands", "subprocess", "uvicorn", "writer"})
"""Receivers of ``.run`` that are no tool's action. A new name here is a decision for review."""

PURE = frozenset({
    "__future__", "base64", "binascii", "codecs", "collections", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "functools", "hashlib", "html", "itertools", "json", "math", "operator", "policy", "re", "re2", "stdnum",
    "string", "types", "typing", "unicodedata", "yaml",
})  # fmt: skip
"""What policy may import: nothing that reads a clock, a file, a socket, the environment or chance."""
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"})
CLOCKS = frozenset({"now", "utcnow", "today"})

ADDRESS = re.compile(r"https?://|^\s*--(extra-)?index-url|^\s*--find-links", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    path: PurePosixPath
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


Rule: TypeAlias = Callable[[PurePosixPath, str], Iterator[Finding]]


def one_door(path: PurePosixPath, source: str) -> Iterator[Finding]:
    """Invariant 1: a tool's ``run`` is touched by the gateway alone, called or handed on."""
    if path.parts[0] not in PRODUCT or path == DOOR:
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=receiver, attr="run") if _last_name(receiver) not in NO_ACTIONS:
                yield Finding(path, node.lineno, f"`.run` outside {DOOR}: tool code runs through the gateway alone.")
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value="run"), *_]):
                yield Finding(
                    path, node.lineno, f"`run` by name outside {DOOR}: tool code runs through the gateway alone."
                )


def pure_policy(path: PurePosixPath, source: str) -> Iterator[Finding]:
    """policy decides on values it is given: no clock, no I/O, no chance."""
    if path.parts[0] != "policy":
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                roots = [alias.name.partition(".")[0] for alias in names]
            case ast.ImportFrom(module=module, level=level):
                roots = [] if level else [(module or "").partition(".")[0]]
            case _:
                roots = []
        for root in roots:
            if root not in PURE:
                yield Finding(path, _line(node), f"policy imports {root}: hand its value in instead.")
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield Finding(path, node.lineno, f"policy calls {name}(): hand the value in instead.")
            case ast.Attribute(attr=name) if name in CLOCKS:
                yield Finding(path, node.lineno, f"policy reads a clock (.{name}): hand the time in instead.")


def short_file(path: PurePosixPath, source: str) -> Iterator[Finding]:
    """Past 400 lines, two nouns share a file."""
    lines = source.count("\n")
    drafted = path.parts[:3] == ("bot", "migrations", "versions")  # written by alembic from the tables
    if path.suffix == ".py" and lines > MAX_LINES and not drafted:
        yield Finding(path, MAX_LINES, f"{lines} lines: past {MAX_LINES}, two nouns share a file. Give each its own.")


def no_init_below_tests(path: PurePosixPath, source: str) -> Iterator[Finding]:
    """``tests/audit/__init__.py`` would shadow the package ``audit``."""
    if path.parts[0] == "tests" and path.name == "__init__.py":
        yield Finding(path, 1, "an __init__.py below tests/ shadows a package of that name: remove it.")


def no_registry_address(path: PurePosixPath, source: str) -> Iterator[Finding]:
    """Lock files name versions and hashes; where they come from is the machine's business."""
    if path.parts[0] == "requirements" or path.name == "package-lock.json":
        pattern = re.compile(r'"resolved"') if path.suffix == ".json" else ADDRESS
        for at in pattern.finditer(source):
            line = source.count("\n", 0, at.start()) + 1
            yield Finding(path, line, "a lock file names an address: run `make lock`.")


PYTHON_RULES: tuple[Rule, ...] = (one_door, pure_policy, short_file, no_init_below_tests)
LOCK_RULES: tuple[Rule, ...] = (no_registry_address,)


def _last_name(node: ast.expr) -> str | None:
    """``writer`` of ``self.door.writer``, ``_Run`` of ``_Run(...)``."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return _last_name(func)
        case _:
            return None


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))
