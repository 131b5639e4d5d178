"""What the words after `/countersign` mean; whatever stops nothing says what is missing."""

from __future__ import annotations

import pytest

from bot.commands import Kill, Plain, Resume, Target, Unclear, parse
from tools.held import ScopeKind


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Plain.HELP),
        ("HELP", Plain.HELP),
        ("whoami", Plain.WHOAMI),
        ("pending", Plain.PENDING),
        ("status", Plain.STATUS),
        ("kill", Kill(None)),
        ("kill all wrong amounts seen", Kill(Target(ScopeKind.TENANT), "wrong amounts seen")),
        ("Kill Tool Refund.Issue now", Kill(Target(ScopeKind.TOOL, "refund.issue"), "now")),
        ("kill user @dana odd refunds", Kill(Target(ScopeKind.USER, "@dana"), "odd refunds")),
        ('kill user "Dana Reyes" odd refunds', Kill(Target(ScopeKind.USER, "Dana Reyes"), "odd refunds")),
        ("kill user <@U123|dana> odd", Kill(Target(ScopeKind.USER, "<@U123|dana>"), "odd")),
        ("resume all", Resume(Target(ScopeKind.TENANT))),
        ("resume tool refund.issue", Resume(Target(ScopeKind.TOOL, "refund.issue"))),
    ],
)
def test_words_that_mean_something(text: str, meant: object) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("kill all", "kill tool", "kill tool refund.issue", "kill user", "kill user @dana", "kill everything now"),
        *("resume", "resume all now", "resume tool", "stop", 'kill user " x', "kill \x00 \x00"),
    ],
)
def test_words_that_do_not_stop_anything_say_what_is_missing(text: str) -> None:
    assert isinstance(parse(text), Unclear | Kill)
    if isinstance(found := parse(text), Kill):
        assert found.target is not None
        assert found.reason
