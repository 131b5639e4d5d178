"""``python -m lints``: holds every file of the project against the house rules. Exit 1 if one is broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lints.rules import LOCK_RULES, PRODUCT, PYTHON_RULES, Finding, Rule

SKIPPED = frozenset({"node_modules", "__pycache__"})


def check(root: Path) -> Iterator[Finding]:
    """What is wrong below `root`, in the order of the paths."""
    for folder in sorted({*PRODUCT, "lints", "tests"}):
        for path in sorted((root / folder).rglob("*.py")):
            if not SKIPPED.intersection(path.parts):
                yield from _apply(PYTHON_RULES, root, path)
    for path in (*sorted((root / "requirements").glob("*.txt")), root / "tests/rigs/package-lock.json"):
        if path.exists():
            yield from _apply(LOCK_RULES, root, path)


def _apply(rules: tuple[Rule, ...], root: Path, path: Path) -> Iterator[Finding]:
    source = path.read_text(encoding="utf-8")
    for rule in rules:
        yield from rule(PurePosixPath(path.relative_to(root).as_posix()), source)


def main() -> int:
    found = list(check(Path(__file__).parents[1]))
    for finding in found:
        sys.stdout.write(f"{finding}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
