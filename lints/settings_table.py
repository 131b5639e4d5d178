"""Writes the table of settings in docs/run.md from the names in bot.settings. Knows Markdown, reads no setting."""

from __future__ import annotations

import sys
from pathlib import Path

from bot.settings import NAMES

PAGE = Path(__file__).parents[1] / "docs/run.md"
BEGIN, END = "held by a test -->\n", "<!-- end of settings -->"


def table() -> str:
    """The settings as a Markdown table."""
    lines = ["| name | in countersign.yaml | what it is |", "|---|---|---|"]
    for name in NAMES:
        key = f"`{name.key}`" if name.key else ("secret" if name.secret else "")
        lines.append(f"| `{name.env}` | {key} | {name.help} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """`page` with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is up to date.\n")
