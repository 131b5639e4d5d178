"""Invariant 14 in the policy: an organisation's own files hold for it alone, also after a reload that fails."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bot.core import open_core
from bot.settings import read
from policy.approval import PressResult, Verb
from policy.model import RoleName, TenantId
from policy.rules import PolicyError
from tests.kit.two_tenants import ACME, GLOBEX, TEAM, Two, door_alone, environment, serving, tenants_file
from tools.held import HeldView, PressRequest


def own_policy(folder: Path, *, above: str = "10.00", approver: str = "support_lead") -> None:
    """Acme has tools.yaml of its own: refunds are support leads' to approve, and two of them above ten dollars."""
    tenants_file(folder, {name: (team,) for name, team in TEAM.items()}, own=(ACME,))
    text = (folder / "policy" / "tools.yaml").read_text()
    text = text.replace("approvers: [finance_approver]", f"approvers: [{approver}]")
    text = text.replace('finance_approver: "#finance-approvals"', f"{approver}: dm").replace(
        "USD: 100.00", f"USD: {above}"
    )
    (folder / "policy-acme" / "tools.yaml").write_text(text)


async def press(two: Two, tenant: TenantId, sub: str, view: HeldView) -> PressResult:
    who = await two.who(tenant, sub)
    wanted = PressRequest(two.next("p"), view.held_id, view.revision, view.digest, Verb.APPROVE, "", "slack:x:y")
    return (await two.core.gateway.countersign(tenant, who, wanted)).result


async def test_threshold_and_approvers_of_one_hold_for_it_alone(two_folder: Path) -> None:
    own_policy(two_folder)
    with door_alone(two_folder) as two:
        mine, theirs = await two.refund(ACME), await two.refund(GLOBEX)
        assert (mine.needed, mine.approver_roles, mine.destinations) == (2, (RoleName("support_lead"),), ("dm",))
        assert (theirs.needed, theirs.approver_roles) == (1, (RoleName("finance_approver"),))
        assert theirs.destinations == ("#finance-approvals",)
        assert await press(two, ACME, "ann", mine) is PressResult.NOT_APPROVER
        assert await press(two, ACME, "lee", mine) is PressResult.COUNTED
        assert await press(two, GLOBEX, "lee", theirs) is PressResult.NOT_APPROVER
        assert await press(two, GLOBEX, "ann", theirs) is PressResult.APPROVED


async def test_roles_of_one_hold_for_it_alone(two_folder: Path) -> None:
    own_policy(two_folder)
    roles = (two_folder / "policy" / "roles.yaml").read_text().replace("groups: [support]", "groups: [sales]", 1)
    swapped = roles.replace("sales_rep:\n  groups: [sales]", "sales_rep:\n  groups: [support]")
    (two_folder / "policy-acme" / "roles.yaml").write_text(swapped)
    with door_alone(two_folder) as two:
        assert (await two.who(ACME, "dana")).roles == {"sales_rep"}
        assert (await two.who(GLOBEX, "dana")).roles == {"support_agent"}


async def test_a_reload_changes_one_and_a_broken_one_changes_neither(two_folder: Path) -> None:
    own_policy(two_folder)
    async with serving(two_folder) as two:
        policy = two.core.policy
        assert (await two.refund(ACME, "5.00", "1017")).needed == 1
        own_policy(two_folder, above="3.00")
        before = policy.of(GLOBEX)
        os.kill(os.getpid(), signal.SIGHUP)
        await two.until(lambda: policy.of(GLOBEX) is not before)
        assert policy.of(GLOBEX).version == before.version
        assert (await two.refund(ACME, "5.00", "1017")).needed == 2
        assert (await two.refund(GLOBEX, "5.00", "1017")).needed == 1
        # One file of acme's is broken, and the deployment's own file has been changed: neither counts.
        mine, theirs = policy.of(ACME), policy.of(GLOBEX)
        own = two_folder / "policy-acme" / "tools.yaml"
        own.write_text(own.read_text().replace("reversibility: low", "reversibility: sometimes"))
        shared = two_folder / "policy" / "tools.yaml"
        shared.write_text(shared.read_text().replace("USD: 100.00", "USD: 1.00"))
        told = policy.reload()
        assert isinstance(told, PolicyError)
        assert {problem.file for problem in told.problems} == {"acme: tools.yaml"}
        assert (policy.of(ACME), policy.of(GLOBEX)) == (mine, theirs)
        assert (await two.refund(GLOBEX, "6.00", "1031")).needed == 1
        for _ in range(100):
            rows = await two.rows("SELECT detail FROM agent_audit_log WHERE kind = 'policy.rejected'")
            if rows:
                break
            await asyncio.sleep(0.05)
        assert "acme: tools.yaml" in str(rows)
        for tenant in (ACME, GLOBEX):
            assert await two.log(tenant, kinds="policy.rejected") == []
        assert await two.log(GLOBEX, kinds="policy.%") == []


@pytest.mark.parametrize("broken", ["tools.yaml", "models.yaml"])
def test_nothing_is_served_on_a_broken_file_of_one(two_folder: Path, broken: str) -> None:
    """models.yaml too: a deployment has one set of models, and a file that nobody reads must not look as if it held."""
    own_policy(two_folder)
    text = "x: [" if broken == "tools.yaml" else (two_folder / "policy" / "models.yaml").read_text()
    (two_folder / "policy-acme" / broken).write_text(text)
    with pytest.raises(PolicyError) as told:
        open_core(read(environment(two_folder), file_here=False)).close()
    assert {problem.file for problem in told.value.problems} == {f"acme: {broken}"}
