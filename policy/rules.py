"""The five policy files as one frozen `Policy`, or everything that is wrong with them.

Text in, values out: knows no directory and no clock. Whoever reads the files hands their text in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from policy.axes import floor
from policy.document import Field, Findings, PolicyError, Problem, meant, rooted
from policy.guard_rules import Guardrails, read_guardrails
from policy.model import GateKind, ToolName, ToolPolicy
from policy.model_rules import Models, read_models
from policy.roles import Roles, read_roles
from policy.rollout import Rollout, read_rollout
from policy.tool_rules import EVERYBODY, read_tools

__all__ = ["FILE_NAMES", "Policy", "PolicyError", "Problem", "load"]

FILE_NAMES = ("roles.yaml", "tools.yaml", "guardrails.yaml", "rollout.yaml", "models.yaml")
"""All five have to be there (invariant 13)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the security team decided. Replaced as a whole on reload, never changed."""

    roles: Roles
    tools: Mapping[ToolName, ToolPolicy]
    guardrails: Guardrails
    rollout: Rollout
    models: Models
    version: str
    """sha256 of the files, hex. Goes into the audit with every reload."""
    warnings: tuple[Problem, ...] = ()
    """What is allowed but probably not meant; `countersign check` shows it."""


def load(files: Mapping[str, str]) -> Policy:
    """The policy that `files` (name -> text) state.

    Raises:
        PolicyError: with every problem of every file.
    """
    findings = Findings()
    roots = rooted(files, FILE_NAMES, findings)
    roles, mentioned = read_roles(roots["roles.yaml"]) if "roles.yaml" in roots else (Roles({}), {})
    guardrails = read_guardrails(roots["guardrails.yaml"]) if "guardrails.yaml" in roots else None
    tools: Mapping[ToolName, ToolPolicy] = {}
    if {"roles.yaml", "tools.yaml"} <= roots.keys():
        tools, written = read_tools(roots["tools.yaml"], roles)
        tools = _with_rates(tools, guardrails)
        _require_limits(tools, written)
        _agree(roles, mentioned, tools, written)
    rollout = read_rollout(roots["rollout.yaml"]) if "rollout.yaml" in roots else None
    models = read_models(roots["models.yaml"]) if "models.yaml" in roots else None
    if findings.errors or guardrails is None or rollout is None or models is None:
        raise PolicyError(findings.errors)
    return Policy(roles, tools, guardrails, rollout, models, version_of(files), tuple(findings.warnings))


def version_of(files: Mapping[str, str]) -> str:
    """sha256 over names and texts; the order in which they were read does not matter."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name, files[name]):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _with_rates(tools: Mapping[ToolName, ToolPolicy], rules: Guardrails | None) -> Mapping[ToolName, ToolPolicy]:
    """guardrails.yaml limits refunds too; the stricter of both files counts."""
    refund = ToolName("refund.issue")
    if rules is None or refund not in tools:
        return tools
    a_day = min(rules.rate_limits.refund_issue_per_user_per_day, tools[refund].limits.get("per_user_per_day", 10**9))
    limits = MappingProxyType({**tools[refund].limits, "per_user_per_day": a_day})
    return MappingProxyType({**tools, refund: replace(tools[refund], limits=limits)})


def _require_limits(tools: Mapping[ToolName, ToolPolicy], written: Mapping[str, Field]) -> None:
    for name, tool in tools.items():
        if floor(tool.reversibility, tool.blast_radius, tool.external_send).needs_limit and not tool.limits:
            written[name].wrong("cannot be taken back, but has no limit.", "Add `limits: {per_user_per_day: 10}`.")


def _agree(
    roles: Roles,
    mentioned: Mapping[ToolName, Field],
    tools: Mapping[ToolName, ToolPolicy],
    written: Mapping[str, Field],
) -> None:
    """What one file says of another: tools exist, and whoever may ask has somebody who may approve."""
    for name, where in mentioned.items():
        if name not in tools:
            where.wrong(f"'{name}' is not in tools.yaml.", meant(name, list(tools), "Write one of"))
    for role in roles.by_name.values():
        for name in sorted(role.tools & tools.keys()):
            gate = tools[name].gate
            if gate.kind is GateKind.APPROVAL and not {role.name, EVERYBODY} & gate.approver_roles.keys():
                what = f"{role.name} may ask for it, but nobody approves that: every such request is refused."
                written[name].doubtful(what, f"Add a line `{role.name}:` below `approvers`.")
