"""What the documents say is so: settings, commands, links between them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from bot.cli import app
from lints.settings_table import PAGE, with_table

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_every_setting_is_documented() -> None:
    """Mend: .venv/bin/python -m lints.settings_table."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page


def test_the_table_notices_a_change() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page.replace("`SLACK_BOT_TOKEN`", "`SLACK_TOKEN`")) == page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_documents_exist(page: Path) -> None:
    root = get_command(app)
    known = getattr(root, "commands")  # noqa: B009
    text = page.read_text(encoding="utf-8")
    for first, second in re.findall(r"(?:^|`|&& |bin/)countersign ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE):
        assert first in known, first
        below = getattr(known[first], "commands", None)
        if below is not None and second:
            assert second in below, f"{first} {second}"


def test_make_targets_in_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"\bmake ([a-z]+)(?=[`\s]*(?:#|`|$))", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"
