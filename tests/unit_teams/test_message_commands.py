"""Which messages are commands, and which sentences only begin like one."""

from __future__ import annotations

import pytest

from bot import commands
from bot.teams.commands import command_of


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("help", "help"),
        ("Help", "help"),
        ("  whoami \n", "whoami"),
        ("PENDING", "pending"),
        ("status", "status"),
        ("link", "link"),
        ("Home", "home"),
        ("unlink", "unlink"),
        ("unlink <@aaaa>", "unlink <@aaaa>"),
        ("kill", "kill"),
        ("Kill all too many wrong refunds", "kill all too many wrong refunds"),
        ("kill TOOL refund.issue wrong amounts", "kill TOOL refund.issue wrong amounts"),
        ("kill tool refund.issue", "kill tool refund.issue"),
        ("kill user <@aaaa> left", "kill user <@aaaa> left"),
        ("resume", "resume"),
        ("resume all", "resume all"),
        ("/countersign", ""),
        ("/Countersign kill all why", "kill all why"),
        ("/countersign Help me", "help me"),
        ("/countersign no such word", "no such word"),
    ],
)
def test_commands(text: str, command: str) -> None:
    assert command_of(text) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        "help me with order 1042",
        "status of order 1042?",
        "pending orders of Ada",
        "link the two orders",
        "unlink my old account please",
        "kill the reminder mail to Ada",
        "Resume the talk with Ada about order 1042",
        "killing time",
        "countersignature needed",
        "/countersigned kill all x",
        "please kill all",
    ],
)
def test_sentences(text: str) -> None:
    assert command_of(text) is None


@pytest.mark.parametrize("text", ["Kill ALL why", "RESUME all", "Help", "WHOAMI", "kill tool refund.issue wrong"])
def test_the_grammar_reads_what_is_taken_for_a_command(text: str) -> None:
    command = command_of(text)
    assert command is not None
    assert not isinstance(commands.parse(command), commands.Unclear)
