"""Invariant 2 at the door: a token is for one person, one tool, one call, and for five minutes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.approval import ApprovalStatus, PressResult
from policy.model import TenantId, ToolName
from tests.kit.door import DEMO, House
from tools.held import Blocked, BlockReason, EffectState, Executed, Held, HeldView, Outcome, Proposal

READ = ToolName("crm.read")
REFUND = ToolName("refund.issue")
ORDER = {"kind": "order", "key": "1042"}


async def propose(house: House, call: Proposal) -> Outcome:
    (outcome,) = await house.gateway.propose(house.turn("dana"), [call])
    return outcome


async def turned_away(house: House, call: Proposal, reason: BlockReason = BlockReason.TOKEN) -> None:
    outcome = await propose(house, call)
    assert isinstance(outcome, Blocked)
    assert outcome.reason is reason
    ((kind, authz, who),) = house.audit("kind", "authz_decision", "actor_user_id")
    assert (kind, authz, who) == ("tool.blocked", f"deny:{reason.value}", None)


async def test_a_token_for_another_tool(local_house: House) -> None:
    house = local_house
    token = house.tokens.mint(house.who("dana"), REFUND, house.clock.now, jti="c")
    await turned_away(house, Proposal("c", READ, ORDER, token))


async def test_a_token_for_another_call(local_house: House) -> None:
    house = local_house
    good = house.proposal("dana", "crm.read", ORDER, "c1")
    assert isinstance(await propose(house, good), Executed)
    outcome = await propose(house, replace(good, call_id="c2"))
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.TOKEN


async def test_a_token_of_an_approval_proposes_nothing(local_house: House) -> None:
    house = local_house
    token = house.tokens.mint(house.who("dana"), READ, house.clock.now, jti="c", approval_id="h_1")
    await turned_away(house, Proposal("c", READ, ORDER, token))


@pytest.mark.parametrize("minutes", [5.1, 60, -5])
async def test_a_token_of_another_time(local_house: House, minutes: float) -> None:
    house = local_house
    call = house.proposal("dana", "crm.read", ORDER)
    house.clock.move(minutes=minutes)
    await turned_away(house, call)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\x00", "eyJhbGciOiJub25lIn0.e30."])
async def test_no_token(local_house: House, token: str) -> None:
    await turned_away(local_house, Proposal("c", READ, ORDER, token))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("x", "That is not a token."),
        ("e30.e30.", "The token's header is not that of a call token."),
        ("late", "The token has expired."),
        ("early", "The token is from the future."),
        ("other tool", "The token is for another tool."),
    ],
)
async def test_the_audit_says_what_was_wrong_with_a_token_and_the_model_does_not_hear_it(
    local_house: House, token: str, why: str
) -> None:
    house = local_house
    minted = house.tokens.mint(house.who("dana"), REFUND if token == "other tool" else READ, house.clock.now, jti="c")
    house.clock.move(minutes={"late": 6, "early": -6}.get(token, 0))
    given = token if "." in token or len(token) == 1 else minted
    outcome = await propose(house, Proposal("c", READ, ORDER, given))
    assert isinstance(outcome, Blocked)
    assert why not in outcome.sentence
    (detail,) = house.audit("detail")
    assert why in str(detail[0])


async def test_a_token_of_another_tenant(local_house: House) -> None:
    house = local_house
    eve = house.who("eve", TenantId("other"))
    token = house.tokens.mint(eve, READ, house.clock.now, jti="c")
    await turned_away(house, Proposal("c", READ, ORDER, token), BlockReason.TENANT)


async def test_a_token_by_another_key(local_house: House) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from bot.identity.tokens import CallTokens

    house = local_house
    token = CallTokens(Ed25519PrivateKey.generate()).mint(house.who("dana"), READ, house.clock.now, jti="c")
    await turned_away(house, Proposal("c", READ, ORDER, token))


async def test_one_person_s_call_id_does_not_open_another_s_request(house: House) -> None:
    first = house.proposal("dana", "refund.issue", {**REFUND_ARGS, "amount": "42.00"}, "shared")
    assert isinstance(await propose(house, first), Held)
    outcome = await propose(house, house.proposal("greedy", "refund.issue", REFUND_ARGS, "shared"))
    assert isinstance(outcome, Blocked)
    assert "42.00" not in outcome.sentence


REFUND_ARGS = {"order_id": "1042", "amount": "10.00", "currency": "USD", "reason": "r"}


# -- at execution --------------------------------------------------------------------------------------------------


async def approved(house: House) -> HeldView:
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    return view


def mint(house: House, view: HeldView, sub: str = "dana", **changes: object) -> str:
    claims = {"approval_id": view.held_id, "jti": f"{view.held_id}:{view.revision}"} | changes
    tool = ToolName(str(claims.pop("tool", view.tool)))
    return house.tokens.mint(house.who(sub), tool, house.clock.now, **claims)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"approval_id": None},
        {"approval_id": "h_other"},
        {"jti": "other"},
        {"jti": "h:1"},
        {"tool": "email.send"},
        {"sub": "greedy"},
        {"sub": "ann"},
    ],
    ids=str,
)
async def test_a_token_for_something_else_executes_nothing(local_house: House, changes: dict[str, str]) -> None:
    house = local_house
    view = await approved(house)
    ended = await house.gateway.execute(DEMO, view.held_id, 1, mint(house, view, **changes))
    assert (ended.status, ended.effect) == (ApprovalStatus.VOIDED, EffectState.NONE)
    assert house.refunds() == []
    assert "token" in str(house.audit("detail", where="kind='approval.voided'"))


async def test_the_token_of_the_proposal_executes_nothing(local_house: House) -> None:
    house = local_house
    call = house.proposal("dana", "refund.issue", REFUND_ARGS)
    held = await propose(house, call)
    assert isinstance(held, Held)
    await house.press("ann", held.view)
    await house.gateway.execute(DEMO, held.view.held_id, 1, call.token)
    assert house.refunds() == []


async def test_an_old_token_executes_nothing(local_house: House) -> None:
    house = local_house
    view = await approved(house)
    token = mint(house, view)
    house.clock.move(minutes=6)
    await house.gateway.execute(DEMO, view.held_id, 1, token)
    assert house.refunds() == []


async def test_the_token_of_before_a_stop_does_not_execute_the_revision_after_it(local_house: House) -> None:
    from tools.held import Scope, ScopeKind
    from tools.stops import By

    house, by = local_house, By("ada", "Ada Kim")
    view = await approved(house)
    old = mint(house, view)
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), by, "look")
    await house.gateway.resume(DEMO, Scope(ScopeKind.TENANT), by)
    now = await house.now(view.held_id)
    await house.press("ann", now)
    await house.gateway.execute(DEMO, view.held_id, now.revision, old)
    assert house.refunds() == []


async def test_the_roles_of_the_token_do_not_help_at_execution(local_house: House) -> None:
    """The token says what the directory said when it was minted; the claim asks the directory again."""
    house = local_house
    view = await approved(house)
    token = mint(house, view)
    house.change_people(
        'groups: [support]\n    employee_number: "1001"', 'groups: [sales]\n    employee_number: "1001"'
    )
    ended = await house.gateway.execute(DEMO, view.held_id, 1, token)
    assert ended.status is ApprovalStatus.VOIDED
    assert house.refunds() == []


async def test_the_roles_of_the_token_count_at_the_proposal(local_house: House) -> None:
    house = local_house
    sam = replace(house.who("sam"), roles=frozenset())
    token = house.tokens.mint(sam, READ, house.clock.now, jti="c")
    outcome = await propose(house, Proposal("c", READ, ORDER, token))
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.ROLE
