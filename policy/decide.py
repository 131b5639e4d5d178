"""Who may call what, and under which gate. Pure: a policy, a person and sums in, a decision out.

Knows neither how sums are gathered nor how an approval is counted (`policy.approval`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from policy.axes import floor, stricter_of
from policy.model import (
    Allowed,
    Decision,
    Denied,
    DenyReason,
    Gate,
    GateKind,
    NeedsApproval,
    Principal,
    RoleName,
    Threshold,
    ToolName,
    ToolPolicy,
)
from policy.places import DM
from policy.rollout import Phase, held_back
from policy.rules import Policy
from policy.tool_rules import EVERYBODY


@dataclass(frozen=True, slots=True)
class Sums:
    """What was gathered within the threshold's window: executed, pending, and this call itself."""

    resource: Decimal
    """For the resource the call draws from, whoever asked."""
    requester: Decimal
    """By this requester, whatever it was drawn from."""
    currency: str
    """ISO 4217, of both sums."""
    elsewhere: Mapping[str, Decimal] = field(default_factory=dict)
    """By this requester in other currencies, so that spreading over currencies does not get under."""


def decide(policy: Policy | None, principal: Principal, tool: ToolName, sums: Sums | None = None) -> Decision:
    """What `principal` may do with `tool` now. Total; whatever is not known is denied (invariant 13).

    A call without `sums` is above every threshold.
    """
    if policy is None:
        return Denied(DenyReason.POLICY_MISSING, "No policy is loaded, so nothing may be done. Please tell an admin.")
    asking = policy.roles.asking(principal.roles, tool)
    if not asking or tool not in policy.tools:
        return _no_right(policy, principal, tool)
    rule = policy.tools[tool]
    phase = policy.rollout.phase(rule)
    denied = held_back(rule, phase)
    if denied is not None:
        return denied
    kind = gate_of(rule, phase)
    if kind is not GateKind.APPROVAL:
        return Allowed(logged=kind is GateKind.LOGGED)
    roles = approvers_of(rule.gate, asking)
    if not roles:
        sentence = f"Nobody is named who may approve {tool} for you, so it was not asked for. Please tell an admin."
        return Denied(DenyReason.NO_APPROVERS, sentence)
    needed = 2 if rule.gate.threshold is not None and above(rule.gate.threshold, sums) else 1
    return NeedsApproval(roles, needed, destinations_of(rule.gate, roles), rule.gate.expires_s, why(rule, needed, sums))


def gate_of(rule: ToolPolicy, phase: Phase) -> GateKind:
    """The gate that counts: what follows from the axes, tightened by the file and by the phase."""
    least = floor(rule.reversibility, rule.blast_radius, rule.external_send).kind
    kind = stricter_of(least, rule.gate.kind)
    if phase is Phase.ASSIST and kind is GateKind.LOGGED:
        return GateKind.APPROVAL
    return kind


def approvers_of(gate: Gate, asking: tuple[RoleName, ...]) -> tuple[RoleName, ...]:
    """Who approves for a person who may ask because of `asking`. A role's own line beats ``*``."""
    own = [gate.approver_roles[role] for role in asking if role in gate.approver_roles]
    lines = own or [gate.approver_roles.get(EVERYBODY, ())]
    return tuple(dict.fromkeys(role for line in lines for role in line))


def destinations_of(gate: Gate, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
    """Where the card goes, each place once. A role without a place is reached by direct message."""
    return tuple(dict.fromkeys(place for role in roles for place in gate.destinations.get(role, (DM,))))


def above(threshold: Threshold, sums: Sums | None) -> bool:
    """Whether a second person must approve. A sum that makes no sense counts as above."""
    if sums is None:
        return True
    limit = threshold.above.get(sums.currency)
    if limit is None or not _sane(sums.resource) or not _sane(sums.requester):
        return True
    if max(sums.resource, sums.requester) > limit:
        return True
    return bool(sums.elsewhere) and _share(threshold, sums) > 1


def why(rule: ToolPolicy, needed: int, sums: Sums | None = None) -> str:
    """For the card: why people were asked, in one sentence."""
    because = floor(rule.reversibility, rule.blast_radius, rule.external_send).because
    if floor(rule.reversibility, rule.blast_radius, rule.external_send).kind is not GateKind.APPROVAL:
        because = "the security team wants it approved"
    many = f". Two different people have to agree, because {_sum_above(rule.gate, sums)}" if needed > 1 else ""
    return f"{because}{many}."


def _sum_above(gate: Gate, sums: Sums | None) -> str:
    """Which sum is above the threshold. An approver of 20 dollars must see why one signature is not enough."""
    limit = None if gate.threshold is None or sums is None else gate.threshold.above.get(sums.currency)
    if gate.threshold is None or sums is None or limit is None or not (_sane(sums.resource) and _sane(sums.requester)):
        return "it is above the threshold"
    window = f"within {gate.threshold.window_s // 3600} hours"
    most = f"more than {limit} {sums.currency}"
    if sums.resource > limit:
        return f"what is asked for on this one {window} adds up to {sums.resource} {sums.currency}, {most}"
    if sums.requester > limit:
        return f"what the requester asked for {window} adds up to {sums.requester} {sums.currency}, {most}"
    return f"what the requester asked for {window}, in all currencies together, is above the threshold"


def explain(policy: Policy | None, principal: Principal, tool: ToolName) -> str:
    """How the decision comes about, line by line, for `countersign policy explain`."""
    lines = [f"{principal.display_name} ({', '.join(sorted(principal.roles)) or 'no role'}) asks for {tool}"]
    rule = policy.tools.get(tool) if policy is not None else None
    if policy is not None and rule is not None:
        least = floor(rule.reversibility, rule.blast_radius, rule.external_send)
        asking = policy.roles.asking(principal.roles, tool)
        phase = policy.rollout.phase(rule)
        sends = ", leaves the house" if rule.external_send else ""
        lines += [
            f"  may ask because of: {', '.join(asking) or 'nothing'}",
            f"  axes: reversibility {rule.reversibility.value}, blast radius {rule.blast_radius.value}{sends}",
            f"  least gate: {least.kind.value} ({least.because})",
            f"  gate in tools.yaml: {rule.gate.kind.value}",
            f"  rollout phase of {least.action.value}: {phase.value}",
            f"  gate that counts: {gate_of(rule, phase).value}",
            *_explain_gate(rule, asking),
        ]
    outcome = decide(policy, principal, tool, _nothing(rule))
    lines.append(f"  => {_say(outcome)}")
    return "\n".join(lines)


def _no_right(policy: Policy, principal: Principal, tool: ToolName) -> Denied:
    if tool not in policy.tools:
        return Denied(DenyReason.UNKNOWN_TOOL, f"There is no tool called {tool}. Nothing was done.")
    if not principal.roles & policy.roles.by_name.keys():
        sentence = "None of your groups gives you a role here, so nothing was done. Please ask an admin for access."
        return Denied(DenyReason.NO_ROLE, sentence)
    having = sorted(role.name for role in policy.roles.by_name.values() if tool in role.tools)
    offer = f" People with the role {' or '.join(having)} may ask for it." if having else ""
    return Denied(DenyReason.ROLE_LACKS_TOOL, f"Your role may not use {tool}, so nothing was done.{offer}")


def _sane(amount: Decimal) -> bool:
    return amount.is_finite() and amount >= 0


def _share(threshold: Threshold, sums: Sums) -> Decimal:
    """How much of the threshold the requester has used up over all currencies; 1 is all of it."""
    used = Decimal(0)
    for currency, amount in {**sums.elsewhere, sums.currency: sums.requester}.items():
        if amount == 0:
            continue
        limit = threshold.above.get(currency)
        if not limit or not _sane(amount):
            return Decimal("Infinity")
        used += amount / limit
    return used


def _explain_gate(rule: ToolPolicy, asking: tuple[RoleName, ...]) -> list[str]:
    gate = rule.gate
    lines: list[str] = []
    if gate.approver_roles:
        roles = approvers_of(gate, asking)
        lines.append(f"  approved by: {' or '.join(roles) or 'nobody'}, never by the requester")
        lines.append(f"  cards go to: {', '.join(destinations_of(gate, roles)) or 'nowhere'}")
        lines.append(f"  expires after: {gate.expires_s // 60} minutes")
    if gate.threshold is not None:
        sums = ", ".join(f"{amount} {currency}" for currency, amount in sorted(gate.threshold.above.items()))
        window = gate.threshold.window_s // 3600
        lines.append(f"  second person above: {sums or 'nothing, always'}; per order and requester in {window} h")
    if gate.presupposes:
        lines.append(f"  waits for: {', '.join(gate.presupposes)} of the same turn")
    if rule.limits:
        lines.append(f"  limits: {', '.join(f'{count} {name}' for name, count in sorted(rule.limits.items()))}")
    return lines


def _nothing(rule: ToolPolicy | None) -> Sums | None:
    """The smallest sum, so that `explain` shows the one-person case where there is one."""
    if rule is None or rule.gate.threshold is None or not rule.gate.threshold.above:
        return None
    return Sums(Decimal(0), Decimal(0), next(iter(rule.gate.threshold.above)))


def _say(decision: Decision) -> str:
    match decision:
        case Denied():
            return f"denied ({decision.reason.value}): {decision.sentence}"
        case Allowed():
            return "runs at once; the state before and after is logged" if decision.logged else "runs at once"
        case NeedsApproval():
            people = "two different people" if decision.needed > 1 else "one other person"
            return f"needs approval by {people} holding {' or '.join(decision.approver_roles)}"
