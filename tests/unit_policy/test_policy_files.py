"""The five files: what they say when they are right, and how they say what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.guard_rules import Action
from policy.model import GateKind, RoleName, ToolName
from policy.rules import FILE_NAMES, Policy, PolicyError, load

SECOND = "  second_approver:\n    above: {USD: 100.00, EUR: 100.00, GBP: 100.00}\n    window: 24h\n"


def problems(files: dict[str, str]) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(files)
    return [str(problem) for problem in caught.value.problems]


def with_tools(shipped: dict[str, str], old: str, new: str) -> dict[str, str]:
    assert old in shipped["tools.yaml"]
    return {**shipped, "tools.yaml": shipped["tools.yaml"].replace(old, new, 1)}


def test_the_shipped_files_hold_and_raise_no_doubt(policy: Policy) -> None:
    assert policy.warnings == ()
    assert len(policy.version) == 64
    refund = policy.tools[ToolName("refund.issue")]
    assert refund.gate.kind is GateKind.APPROVAL
    assert refund.gate.destinations == {"finance_approver": ("#finance-approvals",)}
    assert refund.gate.threshold is not None
    assert refund.gate.threshold.window_s == 86400
    assert refund.limits == {"per_user_per_day": 10}
    assert policy.tools[ToolName("email.send")].gate.presupposes == ("refund.issue",)
    assert policy.tools[ToolName("crm.write")].gate.kind is GateKind.LOGGED
    assert policy.guardrails.input_guards.injection.action is Action.KILL


def test_the_issue_s_own_example_of_an_error(shipped: dict[str, str]) -> None:
    files = with_tools(
        shipped, "gate: approval\n  approvers: [finance_approver]", "gate: aproval\n  approvers: [finance_approver]"
    )
    line = files["tools.yaml"].splitlines().index("  gate: aproval") + 1
    assert problems(files) == [
        f"tools.yaml:{line}: refund.issue.gate: 'aproval' is not a gate. Write one of: autonomous, logged, approval."
    ]


def test_every_file_is_read_before_anything_is_said(shipped: dict[str, str]) -> None:
    files = {name: text + "\nnonsense: 1\n" for name, text in shipped.items()}
    found = problems(files)
    assert {line.split(":")[0] for line in found} == set(FILE_NAMES)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("expires: 24h", "expiers: 24h", "email.send.expiers: is not a known key. Did you mean 'expires'?"),
        ("expires: 24h", "expires: tomorrow", "'tomorrow' is not a duration."),
        ("expires: 24h", "expires: 30d", "30d is out of range."),
        ("approvers: [finance_approver]", "approvers: [finance_aprover]", "Did you mean 'finance_approver'?"),
        ("approvers: [finance_approver]", "approvers: []", "names no role, so nobody could approve."),
        ("presupposes: [refund.issue]", "presupposes: [refund]", "Did you mean 'refund.issue'?"),
        ("limits: {per_user_per_day: 200}", "limits: {per_user_per_day: many}", "is not a whole number."),
        ("limits: {per_user_per_day: 200}", "limits: {per_user_per_day: 0}", "0 is out of range."),
        ("external_send: true", "external_send: maybe", "is neither true nor false."),
        ("{USD: 100.00,", "{dollars: 100.00,", "'dollars' is not a currency."),
        ("{USD: 100.00,", "{USD: 1e2,", "'1e2' is not an amount."),
        ("{USD: 100.00,", "{USD: -1,", "'-1' is not an amount."),
        ('"#finance-approvals"', "finance", "'finance' is not a destination."),
        ('"#finance-approvals"', '"mail:#finance"', "'mail:#finance' is not a destination. Write dm, or a channel"),
        ("crm.read:", "no:", 'no reads as true or false, not as text. Write "no" in quotes.'),
        ("ledger.read:", "crm.read:", "'crm.read' is written twice"),
        ("crm.read:", "crm.read: &anchor", "uses a YAML anchor or alias."),
        ("crm.read:", "crm.read: !!python/object:os.system", "uses the YAML tag"),
        ("reversibility: none", "reversibility: nope", "'nope' is not a reversibility."),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_the_mend(shipped: dict[str, str], old: str, new: str, said: str) -> None:
    found = problems(with_tools(shipped, old, new))
    assert any(said in line for line in found), found
    assert all(line.startswith(FILE_NAMES) for line in found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gate: approval\n  approvers: [finance", "gate: logged\n  approvers: [finance", "'logged' is looser than"),
        ("gate: approval\n  approvers:\n    support", "gate: autonomous\n  approvers:\n    support", "looser than"),
        ("  limits: {per_user_per_min: 20}", "  gate: autonomous", "looser than"),
        ("  limits: {per_user_per_day: 10}\n", "", None),
        (SECOND, "", "second person"),
    ],
)  # fmt: skip
def test_a_file_cannot_loosen_what_the_axes_ask_for(
    shipped: dict[str, str], old: str, new: str, said: str | None
) -> None:
    files = with_tools(shipped, old, new)
    if said is None:
        # guardrails.yaml still limits refunds: the stricter of both counts.
        assert load(files).tools[ToolName("refund.issue")].limits == {"per_user_per_day": 10}
        return
    assert any(said in line for line in problems(files))


def test_an_irreversible_tool_without_any_limit_is_refused(shipped: dict[str, str]) -> None:
    extra = "\nwire.send:\n  reversibility: none\n  blast_radius: low\n  approvers: [admin]\n"
    files = {**shipped, "tools.yaml": shipped["tools.yaml"] + extra}
    assert any("wire.send: cannot be taken back, but has no limit." in line for line in problems(files))


def test_a_file_can_tighten(shipped: dict[str, str]) -> None:
    files = with_tools(
        shipped,
        "blast_radius: medium\n  limits: {per_user_per_min: 20}",
        "blast_radius: medium\n  gate: approval\n  approvers: [sales_lead]",
    )
    gate = load(files).tools[ToolName("crm.write")].gate
    assert gate.kind is GateKind.APPROVAL
    assert gate.destinations == {"sales_lead": ("dm",)}


def test_the_stricter_refund_limit_of_both_files_counts(shipped: dict[str, str]) -> None:
    text = shipped["guardrails.yaml"].replace("refund_issue_per_user_per_day: 10", "refund_issue_per_user_per_day: 3")
    assert load({**shipped, "guardrails.yaml": text}).tools[ToolName("refund.issue")].limits == {"per_user_per_day": 3}


def test_tools_that_wait_for_each_other_are_refused(shipped: dict[str, str]) -> None:
    files = with_tools(
        shipped, "  gate: approval\n  approvers: [finance", "  presupposes: [email.send]\n  approvers: [finance"
    )
    assert sum("presupposes itself" in line for line in problems(files)) == 2


def test_a_right_to_ask_that_nobody_can_approve_is_a_warning(shipped: dict[str, str]) -> None:
    text = shipped["roles.yaml"].replace("tools: [ledger.read, db.query]", "tools: [ledger.read, db.query, email.send]")
    warnings = load({**shipped, "roles.yaml": text}).warnings
    assert [warning.key for warning in warnings] == ["email.send"]
    assert "finance may ask for it, but nobody approves that" in str(warnings[0])


@pytest.mark.parametrize("word", ["yes", "on", "true", "True"])
def test_yaml_words_for_true_mean_true(shipped: dict[str, str], word: str) -> None:
    files = with_tools(shipped, "external_send: true", f"external_send: {word}")
    assert load(files).tools[ToolName("email.send")].external_send


def test_second_approver_always(shipped: dict[str, str]) -> None:
    threshold = (
        load(with_tools(shipped, SECOND, "  second_approver: always\n")).tools[ToolName("refund.issue")].gate.threshold
    )
    assert threshold is not None
    assert threshold.above == {}


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "[" * 50_000,
        "a:\n" + "".join(" " * depth + "a:\n" for depth in range(1, 200)),
        "x" * 300_000,
        "a: b\n---\nc: d\n",
        "a: [1, 2\n",
        "a: \x00\n",
        "",
        "# only a comment\n",
        "just words",
        "- a\n- b\n",
        "? [a, b]\n: c\n",
        "? {a: b}\n: c\n",
        "<<: {a: b}\n",
    ],
)  # fmt: skip
def test_hostile_yaml_is_one_more_problem_with_a_name(shipped: dict[str, str], bomb: str) -> None:
    for name in FILE_NAMES:
        assert any(line.startswith(name) for line in problems({**shipped, name: bomb}))


@given(st.text(max_size=200), st.sampled_from(FILE_NAMES))
def test_no_text_escapes_as_anything_but_a_policy_error(text: str, name: str) -> None:
    with pytest.raises(PolicyError):
        load({name: text})


def test_guardrails_take_the_house_s_own_patterns(shipped: dict[str, str]) -> None:
    text = shipped["guardrails.yaml"].replace(
        "injection: kill", 'injection: {action: kill, patterns: ["operation bluebird"]}'
    )
    assert load({**shipped, "guardrails.yaml": text}).guardrails.input_guards.injection.patterns == (
        "operation bluebird",
    )


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(?=x)", "is not a pattern RE2 takes"), ("(", "is not a pattern RE2 takes"), ("x*", "matches the empty text")],
)
def test_a_pattern_re2_does_not_take_is_named(shipped: dict[str, str], pattern: str, said: str) -> None:
    text = shipped["guardrails.yaml"].replace(
        "injection: kill", f'injection: {{action: kill, patterns: ["{pattern}"]}}'
    )
    assert any(
        said in line and "input_guards.injection.patterns" in line
        for line in problems({**shipped, "guardrails.yaml": text})
    )


def test_injection_cannot_be_redacted_and_no_guard_can_be_switched_off(shipped: dict[str, str]) -> None:
    for word in ("redact", "off", "pass", "none"):
        text = shipped["guardrails.yaml"].replace("injection: kill", f"injection: {word}")
        assert any("is not an action here" in line for line in problems({**shipped, "guardrails.yaml": text}))


def test_what_must_be_approved_can_never_be_automatic(shipped: dict[str, str]) -> None:
    text = shipped["rollout.yaml"].replace("irreversible: act_with_approval", "irreversible: scoped_auto")
    assert any("can never run without approval" in line for line in problems({**shipped, "rollout.yaml": text}))


@pytest.mark.parametrize("name", ["claude", "anthropic:", "acme:model", "openai-chat:a b"])
def test_a_model_needs_an_adapter(shipped: dict[str, str], name: str) -> None:
    found = problems({**shipped, "models.yaml": f'default: ["{name}"]\n'})
    assert any("is not a model" in line for line in found)


def test_roles_groups_and_tools(policy: Policy) -> None:
    roles = policy.roles
    assert roles.roles_of(["support", "nobody-knows"]) == {"support_agent"}
    assert roles.roles_of(["Support"]) == frozenset()
    assert roles.unmapped(["support", "zeta", "alpha"]) == ("alpha", "zeta")
    assert roles.tools_of([RoleName("auditor"), RoleName("made-up")]) == frozenset()
    assert "refund.issue" in roles.tools_of([RoleName("support_agent")])
    assert not any(
        "refund.issue" in roles.by_name[name].tools for name in (RoleName("finance_approver"), RoleName("admin"))
    )


def test_the_version_changes_with_any_byte_and_not_with_the_order(shipped: dict[str, str], policy: Policy) -> None:
    backwards = dict(reversed(list(shipped.items())))
    assert load(backwards).version == policy.version
    assert load({**shipped, "roles.yaml": shipped["roles.yaml"] + "\n"}).version != policy.version
