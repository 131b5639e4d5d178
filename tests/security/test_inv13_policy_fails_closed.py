"""Invariant 13: what is missing, unknown or broken in a policy allows nothing."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.axes import floor
from policy.decide import decide
from policy.model import BlastRadius, Denied, GateKind, Principal, Reversibility, RoleName, Subject, TenantId, ToolName
from policy.rules import FILE_NAMES, PolicyError, load

POLICY = Path(__file__).parents[2] / "policy"
FILES = {name: (POLICY / name).read_text(encoding="utf-8") for name in FILE_NAMES}


def asker(*roles: str) -> Principal:
    return Principal(TenantId("demo"), Subject("urn:t", "dana"), "Dana", frozenset(map(RoleName, roles)), "E1")


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_missing_or_empty_file_is_no_policy(name: str) -> None:
    for files in (
        {key: text for key, text in FILES.items() if key != name},
        {**FILES, name: ""},
        {**FILES, name: "{}"},
    ):
        with pytest.raises(PolicyError, match=name):
            load(files)


def test_no_file_at_all_names_all_of_them() -> None:
    with pytest.raises(PolicyError) as caught:
        load({})
    assert [problem.file for problem in caught.value.problems] == sorted(FILE_NAMES)


def test_a_file_nobody_knows_is_refused_rather_than_passed_over() -> None:
    with pytest.raises(PolicyError, match=r"role\.yaml: is not a policy file\. Did you mean 'roles\.yaml'"):
        load({**FILES, "role.yaml": FILES["roles.yaml"]})


def test_without_a_policy_everything_is_denied() -> None:
    for tool in load(FILES).tools:
        assert isinstance(decide(None, asker("support_agent", "admin"), tool), Denied)


@given(st.text(max_size=20), st.text(max_size=20))
def test_unknown_roles_and_unknown_tools_are_denied(role: str, tool: str) -> None:
    policy = load(FILES)
    if role not in policy.roles.by_name:
        for known in policy.tools:
            assert isinstance(decide(policy, asker(role), known), Denied)
    if tool not in policy.tools:
        assert isinstance(decide(policy, asker(*policy.roles.by_name), ToolName(tool)), Denied)


def test_a_tool_that_roles_grant_but_tools_do_not_classify_cannot_load() -> None:
    with pytest.raises(PolicyError, match=r"'crm\.read' is not in tools\.yaml"):
        load({**FILES, "tools.yaml": FILES["tools.yaml"].replace("crm.read:", "crm.reads:")})


def test_every_pair_of_axes_has_a_gate_and_only_reads_run_unlogged() -> None:
    for reversibility, blast, external in product(Reversibility, BlastRadius, (False, True)):
        kind = floor(reversibility, blast, external).kind
        assert (kind is GateKind.AUTONOMOUS) == (reversibility is Reversibility.NA and not external)


@pytest.mark.parametrize("word", ["autonomous", "logged"])
@pytest.mark.parametrize("tool", ["email.send", "refund.issue"])
def test_no_file_makes_an_approved_tool_run_alone(tool: str, word: str) -> None:
    head, _, tail = FILES["tools.yaml"].partition(f"\n{tool}:")
    assert "gate: approval" in tail
    with pytest.raises(PolicyError, match="A file can tighten a gate, never loosen it"):
        load({**FILES, "tools.yaml": f"{head}\n{tool}:{tail.replace('gate: approval', f'gate: {word}', 1)}"})
