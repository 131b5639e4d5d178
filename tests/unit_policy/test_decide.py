"""Who may call what: the gate follows from the axes, and nothing makes it looser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.axes import ActionClass, floor, looser
from policy.decide import Sums, above, decide, explain, gate_of
from policy.model import (
    Allowed,
    BlastRadius,
    Denied,
    DenyReason,
    Gate,
    GateKind,
    NeedsApproval,
    Principal,
    Reversibility,
    RoleName,
    Threshold,
    ToolName,
    ToolPolicy,
)
from policy.rollout import Phase, Rollout
from policy.rules import Policy

REFUND, MAIL, READ, WRITE = (ToolName(name) for name in ("refund.issue", "email.send", "crm.read", "crm.write"))
People = Callable[..., Principal]


def usd(resource: str, requester: str | None = None) -> Sums:
    return Sums(Decimal(resource), Decimal(requester or resource), "USD")


def test_reading_runs_at_once(policy: Policy, person: People) -> None:
    assert decide(policy, person("support_agent"), READ) == Allowed(logged=False)


def test_an_undoable_write_is_logged(policy: Policy, person: People) -> None:
    assert decide(policy, person("sales_rep"), WRITE) == Allowed(logged=True)


def test_a_refund_needs_finance(policy: Policy, person: People) -> None:
    decision = decide(policy, person("support_agent"), REFUND, sums=usd("100.00"))
    assert isinstance(decision, NeedsApproval)
    assert decision.approver_roles == ("finance_approver",)
    assert decision.needed == 1
    assert decision.destinations == ("#finance-approvals",)
    assert decision.expires_s == 86400
    assert "cannot be taken back" in decision.why


@pytest.mark.parametrize(
    "sums",
    [
        usd("100.01"),
        usd("10.00", "100.01"),
        Sums(Decimal("0.01"), Decimal("0.01"), "SEK"),
        Sums(Decimal("NaN"), Decimal(1), "USD"),
        Sums(Decimal(1), Decimal(-1), "USD"),
        Sums(Decimal("Infinity"), Decimal(1), "USD"),
        Sums(Decimal(60), Decimal(60), "USD", {"EUR": Decimal(60)}),
        Sums(Decimal(1), Decimal(1), "USD", {"SEK": Decimal("0.01")}),
        Sums(Decimal(1), Decimal(1), "usd"),
        None,
    ],
)  # fmt: skip
def test_what_is_above_or_makes_no_sense_needs_two_people(policy: Policy, person: People, sums: Sums | None) -> None:
    decision = decide(policy, person("support_agent"), REFUND, sums)
    assert isinstance(decision, NeedsApproval)
    assert decision.needed == 2


def test_small_sums_in_two_currencies_stay_below(policy: Policy, person: People) -> None:
    decision = decide(
        policy, person("support_agent"), REFUND, Sums(Decimal(40), Decimal(40), "USD", {"EUR": Decimal(60)})
    )
    assert isinstance(decision, NeedsApproval)
    assert decision.needed == 1


def test_mail_goes_to_the_requester_s_own_lead(policy: Policy, person: People) -> None:
    for role, lead in (("support_agent", "support_lead"), ("sales_rep", "sales_lead")):
        decision = decide(policy, person(role), MAIL)
        assert isinstance(decision, NeedsApproval)
        assert decision.approver_roles == (lead,)
        assert decision.destinations == ("dm",)
        assert decision.needed == 1


def test_the_right_to_approve_is_not_the_right_to_ask(policy: Policy, person: People) -> None:
    decision = decide(policy, person("finance_approver", "admin"), REFUND, usd("1.00"))
    assert isinstance(decision, Denied)
    assert decision.reason is DenyReason.ROLE_LACKS_TOOL
    assert "support_agent" in decision.sentence


@pytest.mark.parametrize(
    ("roles", "tool", "reason"),
    [
        ((), READ, DenyReason.NO_ROLE),
        (("made-up",), READ, DenyReason.NO_ROLE),
        (("support_agent",), ToolName("crm.delete"), DenyReason.UNKNOWN_TOOL),
        (("auditor",), READ, DenyReason.ROLE_LACKS_TOOL),
    ],
)
def test_what_is_not_known_is_denied(
    policy: Policy, person: People, roles: tuple[str, ...], tool: ToolName, reason: DenyReason
) -> None:
    decision = decide(policy, person(*roles), tool)
    assert isinstance(decision, Denied)
    assert decision.reason is reason
    assert decision.sentence


def test_no_approvers_is_a_denial_and_not_a_free_pass(policy: Policy, person: People) -> None:
    rule = policy.tools[REFUND]
    sales, support = RoleName("sales_rep"), RoleName("support_agent")
    lines: list[dict[RoleName, tuple[RoleName, ...]]] = [{}, {RoleName("*"): ()}, {sales: (sales,)}, {support: ()}]
    for approvers in lines:
        gate = replace(rule.gate, approver_roles=approvers)
        bare = replace(policy, tools=MappingProxyType({**policy.tools, REFUND: replace(rule, gate=gate)}))
        decision = decide(bare, person("support_agent"), REFUND, usd("1.00"))
        assert isinstance(decision, Denied)
        assert decision.reason is DenyReason.NO_APPROVERS


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.SUGGEST])
def test_shadow_and_suggest_execute_nothing(policy: Policy, person: People, phase: Phase) -> None:
    held = replace(policy, rollout=Rollout(dict.fromkeys(ActionClass, phase)))
    for role, tool in (
        ("support_agent", READ),
        ("sales_rep", WRITE),
        ("support_agent", MAIL),
        ("support_agent", REFUND),
    ):
        decision = decide(held, person(role), tool, usd("1.00"))
        assert isinstance(decision, Denied)
        assert decision.reason is DenyReason.PHASE


def test_a_class_without_a_phase_shadows(policy: Policy, person: People) -> None:
    assert isinstance(decide(replace(policy, rollout=Rollout({})), person("support_agent"), READ), Denied)


def test_assist_has_undoable_writes_approved_and_reads_run(policy: Policy, person: People) -> None:
    assisting = replace(policy, rollout=Rollout(dict.fromkeys(ActionClass, Phase.ASSIST)))
    assert decide(assisting, person("support_agent"), READ) == Allowed(logged=False)
    decision = decide(assisting, person("sales_rep"), WRITE)
    assert isinstance(decision, Denied)
    assert decision.reason is DenyReason.NO_APPROVERS


def test_explain_reads_like_the_derivation(policy: Policy, person: People) -> None:
    text = explain(policy, person("support_agent"), REFUND)
    for part in (
        "axes: reversibility none",
        "least gate: approval",
        "second person above: 100.00 EUR",
        "=> needs approval by one other",
    ):
        assert part in text
    assert "denied (unknown_tool)" in explain(policy, person("support_agent"), ToolName("no.such"))
    assert "denied (policy_missing)" in explain(None, person("support_agent"), REFUND)


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        (
            Sums(Decimal(120), Decimal(120), "USD"),
            "on this one within 24 hours adds up to 120 USD, more than 100.00 USD.",
        ),
        (
            Sums(Decimal(20), Decimal(362), "USD"),
            "the requester asked for within 24 hours adds up to 362 USD, more than",
        ),
        (Sums(Decimal(20), Decimal(60), "USD", {"EUR": Decimal(60)}), "in all currencies together, is above"),
        (None, "because it is above the threshold."),
    ],
)
def test_the_card_says_which_sum_asks_for_a_second_person(
    policy: Policy, person: People, sums: Sums | None, words: str
) -> None:
    decision = decide(policy, person("support_agent"), REFUND, sums)
    assert isinstance(decision, NeedsApproval)
    assert words in decision.why


AXES = st.tuples(st.sampled_from(Reversibility), st.sampled_from(BlastRadius), st.booleans())


@given(AXES, st.sampled_from(GateKind), st.sampled_from(Phase))
def test_no_stated_gate_and_no_phase_loosens_what_follows_from_the_axes(
    axes: tuple[Reversibility, BlastRadius, bool], stated: GateKind, phase: Phase
) -> None:
    reversibility, blast, external = axes
    gate = Gate(stated, {}, {}, None, 60)
    rule = ToolPolicy(ToolName("x.y"), reversibility, blast, gate, external, {})
    counted = gate_of(rule, phase)
    assert not looser(counted, floor(*axes).kind)
    assert not looser(counted, stated)
    if external or reversibility in (Reversibility.NONE, Reversibility.LOW):
        assert counted is GateKind.APPROVAL


AMOUNTS = st.decimals(min_value=0, max_value=10_000, places=2)


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_more_money_never_needs_fewer_people(resource: Decimal, requester: Decimal, more: Decimal) -> None:
    threshold = Threshold({"USD": Decimal(100)}, 86400)
    if above(threshold, Sums(resource, requester, "USD")):
        assert above(threshold, Sums(resource + more, requester, "USD"))
        assert above(threshold, Sums(resource, requester + more, "USD"))
        assert above(threshold, Sums(resource, requester, "USD", {"EUR": more}))
