"""Invariant 14 at the door: every method of the gateway and every tool, with ids and tokens of another organisation.

Both have the same people, order numbers and customer ids; calls and turns have the same ids too. A method or a tool
that this file does not name fails the test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa

from audit.event import Event, Kind
from bot.core import utc_now
from policy.approval import ApprovalStatus, PressResult, Verb
from policy.model import Json, TenantId, ToolName
from tests.kit.provision import ISSUER
from tests.kit.two_tenants import ACME, BOTH, GLOBEX, WORD, Two, door_alone, other, subject
from tools.gateway import Gateway
from tools.held import Blocked, BlockReason, Executed, Held, HeldView, PressRequest, Proposal, Scope, ScopeKind
from tools.stops import By

NOBODY = "h_000000000000000000000000"


@pytest.fixture
def door(two_folder_anywhere: tuple[Path, str | None]) -> Iterator[Two]:
    with door_alone(*two_folder_anywhere) as two:
        yield two


def silent(shown: object) -> None:
    assert WORD[ACME] not in str(shown), shown


async def token(two: Two, tenant: TenantId, sub: str, tool: str, jti: str, approval: str | None = None) -> str:
    who = await two.who(tenant, sub)
    return two.core.tokens.mint(who, ToolName(tool), utc_now(), jti=jti, approval_id=approval)


def request(view: HeldView, press_id: str, verb: Verb = Verb.APPROVE, held_id: str = "") -> PressRequest:
    return PressRequest(press_id, held_id or view.held_id, view.revision, view.digest, verb, "why", "slack:x:y")


# -- every method ----------------------------------------------------------------------------------------------------


async def reading(two: Two, view: HeldView) -> None:
    gateway = two.core.gateway
    assert await gateway.view(GLOBEX, view.held_id) is None
    assert await gateway.card(GLOBEX, view.card_id) == ()
    for sub in ("ann", "bob", "lee", "ada"):
        silent(await gateway.waiting_for(await two.who(GLOBEX, sub)))
        assert await gateway.open_to(await two.who(GLOBEX, sub), view.held_id) == ()
    silent(await gateway.asked_by(GLOBEX, view.requester))
    assert [one.held_id for one in await gateway.asked_by(ACME, view.requester)] == [view.held_id]
    assert await gateway.card(ACME, view.card_id) == (await gateway.view(ACME, view.held_id),)
    assert len(await gateway.waiting_for(await two.who(ACME, "ann"))) == 1
    assert len(await gateway.open_to(await two.who(ACME, "ann"), view.held_id)) == 1


async def question(two: Two, view: HeldView) -> None:
    asked = request(view, "the-same-press", Verb.ASK)
    await two.core.gateway.countersign(ACME, await two.who(ACME, "ann"), asked)
    assert await two.core.gateway.question(GLOBEX, view.held_id, "the-same-press") is None
    assert await two.core.gateway.question(ACME, view.held_id, "the-same-press") is not None


async def countersign(two: Two, view: HeldView) -> None:
    """By somebody of globex in either organisation's name, and by the same person in both."""
    before = await two.state(ACME)
    for sub in ("ann", "bob", "dana", "ada"):
        who = await two.who(GLOBEX, sub)
        for verb in Verb:
            for tenant in BOTH:
                pressed = await two.core.gateway.countersign(tenant, who, request(view, two.next("p"), verb))
                none = await two.core.gateway.countersign(tenant, who, request(view, two.next("p"), verb, NOBODY))
                assert (pressed.result, pressed.sentence, pressed.view) == (none.result, none.sentence, None)
                assert pressed.result in (PressResult.UNKNOWN, PressResult.OTHER_TENANT, PressResult.STRANGER)
                silent(pressed)
    after = await two.state(ACME)
    changed = {name for name in after if after[name] != before[name]}
    # A press that named acme is a row of acme's (invariant 5), which says who it was by the subject alone.
    assert changed <= {"agent_audit_log", "audit_head", "stranger_acts", "rate_use"}, changed
    assert WORD[GLOBEX] not in str(after["agent_audit_log"])
    assert (await two.core.gateway.view(ACME, view.held_id)) is not None


async def proposing(two: Two, view: HeldView) -> None:
    """Acme's token in globex' turn, and the other way round: nothing is looked up, let alone run."""
    for tenant in BOTH:
        call = two.next("call")
        stolen = await token(two, other(tenant), "dana", "crm.read", call)
        wanted = Proposal(call, ToolName("crm.read"), {"kind": "order", "key": "1042"}, stolen)
        (outcome,) = await two.core.gateway.propose(two.turn_of(tenant, "dana"), [wanted])
        assert isinstance(outcome, Blocked)
        assert outcome.reason is BlockReason.TENANT
        assert WORD[ACME] not in str(outcome)
        assert WORD[GLOBEX] not in str(outcome)
    assert two.core.gateway.again_id(view.held_id, "t") == Gateway.again_id(view.held_id, "t")


async def ask_again(two: Two, view: HeldView) -> None:
    turn = two.turn_of(GLOBEX, "dana", view.turn_id)
    told = []
    for held_id in (view.held_id, NOBODY):
        call = two.core.gateway.again_id(held_id, turn.turn_id)
        minted = await token(two, GLOBEX, "dana", "refund.issue", call)
        told.append(await two.core.gateway.ask_again(turn, await two.who(GLOBEX, "dana"), held_id, minted))
    assert all(isinstance(one, Blocked) for one in told)
    assert told[0].sentence == told[1].sentence  # type: ignore[union-attr]
    silent(told)


async def execute_stolen(two: Two, view: HeldView) -> None:
    """The same person's token of globex, for acme's approved call."""
    await two.core.gateway.countersign(ACME, await two.who(ACME, "ann"), request(view, two.next("p")))
    stolen = await token(two, GLOBEX, "dana", "refund.issue", f"{view.held_id}:{view.revision}", view.held_id)
    after = await two.core.gateway.execute(ACME, view.held_id, view.revision, stolen)
    assert after.effect != "done"
    assert await refunded(two) == {ACME: 0, GLOBEX: 0}


async def execute(two: Two, view: HeldView) -> None:
    """Approved in acme. Neither in globex' name nor with a token of globex' does it run."""
    await two.core.gateway.countersign(ACME, await two.who(ACME, "ann"), request(view, two.next("p")))
    approved = await two.core.gateway.view(ACME, view.held_id)
    assert approved is not None
    assert approved.status is ApprovalStatus.APPROVED
    jti = f"{view.held_id}:{approved.revision}"
    stolen = await token(two, GLOBEX, "dana", "refund.issue", jti, view.held_id)
    mine = await token(two, ACME, "dana", "refund.issue", jti, view.held_id)
    for minted in (stolen, mine):
        with pytest.raises(LookupError) as told:
            await two.core.gateway.execute(GLOBEX, view.held_id, approved.revision, minted)
        silent(told.value)
    assert await refunded(two) == {ACME: 0, GLOBEX: 0}
    done = await two.core.gateway.execute(ACME, view.held_id, approved.revision, mine)
    assert done.effect == "done"
    assert await refunded(two) == {ACME: 1, GLOBEX: 0}


async def settle_doubt(two: Two, view: HeldView) -> None:
    await two.core.writer.run(
        lambda conn: (
            conn.execute(
                sa.text("UPDATE held_call SET effect = 'in_doubt' WHERE held_id = :id"), {"id": view.held_id}
            ).rowcount
        )
    )
    assert await two.core.gateway.in_doubt(GLOBEX) == ()
    assert [one.held_id for one in await two.core.gateway.in_doubt(ACME)] == [view.held_id]
    for held_id in (view.held_id, NOBODY):
        with pytest.raises(LookupError) as told:
            await two.core.gateway.settle_doubt(GLOBEX, held_id, "Gil", True, "seen")
        silent(str(told.value).replace(held_id, ""))
    assert [one.held_id for one in await two.core.gateway.in_doubt(ACME)] == [view.held_id]


async def stopping(two: Two, view: HeldView) -> None:
    by = By("ada", f"Ada {WORD[GLOBEX]}", ("admin",))
    me = f"{ISSUER}|dana"
    scopes = (Scope(ScopeKind.TENANT), Scope(ScopeKind.TOOL, "refund.issue"), Scope(ScopeKind.USER, me))
    before = await two.state(ACME)
    for scope in scopes:
        for dry in (True, False):
            report = await two.core.gateway.kill(GLOBEX, scope, by, f"because {WORD[GLOBEX]}", dry_run=dry)
            assert (report.pending, report.in_flight, report.reopened) == (0, (), 0)
    assert await two.state(ACME) == before
    report = await two.core.gateway.kills(ACME)
    assert (report.active, report.pending) == ((), 1)
    mine = By("ada", f"Ada {WORD[ACME]}", ("admin",))
    await two.core.gateway.kill(ACME, scopes[0], mine, f"because {WORD[ACME]}")
    for scope in scopes:
        silent(await two.core.gateway.resume(GLOBEX, scope, by))
    assert (await two.core.gateway.kills(GLOBEX)).active == ()
    assert len((await two.core.gateway.kills(ACME)).active) == 1
    stopped = await two.core.gateway.countersign(ACME, await two.who(ACME, "ann"), request(view, two.next("p")))
    assert stopped.result is PressResult.STOPPED


async def sweeping(two: Two, view: HeldView) -> None:
    """Deadlines are everybody's; each is noted where it belongs."""
    theirs = await two.refund(GLOBEX, call_id="theirs")
    await two.core.writer.run(
        lambda conn: (
            conn.execute(
                sa.text("UPDATE held_call SET expires_at = created_at, remind_at = created_at WHERE held_id = :id"),
                {"id": view.held_id},
            ).rowcount
        )
    )
    before = await two.state(GLOBEX)
    await two.core.gateway.expire_due()
    await two.core.gateway.remind_due()
    assert await two.state(GLOBEX) == before
    mine, other_one = (
        await two.core.gateway.view(ACME, view.held_id),
        await two.core.gateway.view(GLOBEX, theirs.held_id),
    )
    assert mine is not None
    assert other_one is not None
    assert mine.status is not ApprovalStatus.PENDING  # expired, or voided because the row was altered
    assert other_one.status is ApprovalStatus.PENDING


async def reconsider(two: Two, view: HeldView) -> None:
    """The same person left globex."""
    before = await two.state(ACME)

    def unit(conn: sa.Connection) -> None:
        events = two.core.gateway.reconsider(conn, GLOBEX, [subject("dana"), subject("ann")], "left", force=True)
        two.core.audit.append(conn, events)

    await two.core.writer.run(unit)
    assert await two.state(ACME) == before
    assert view.status is ApprovalStatus.PENDING


async def record(two: Two, view: HeldView) -> None:
    """Rows of two organisations at once: each stands in its own chain."""
    now = utc_now()
    rows = [Event(Kind.COMMAND_REFUSED, tenant, now, "refused", detail={"command": WORD[tenant]}) for tenant in BOTH]
    await two.core.gateway.record(rows)
    for tenant in BOTH:
        said = str(await two.log(tenant, kinds="command.refused"))
        assert WORD[tenant] in said
        assert WORD[other(tenant)] not in said
    assert view.tenant == ACME


Probe: TypeAlias = Callable[[Two, HeldView], Awaitable[None]]
MATRIX: Mapping[str, Probe] = {
    "view": reading,
    "card": reading,
    "open_to": reading,
    "waiting_for": reading,
    "asked_by": reading,
    "question": question,
    "countersign": countersign,
    "propose": proposing,
    "again_id": proposing,
    "ask_again": ask_again,
    "execute": execute,
    "in_doubt": settle_doubt,
    "settle_doubt": settle_doubt,
    "kill": stopping,
    "resume": stopping,
    "kills": stopping,
    "expire_due": sweeping,
    "remind_due": sweeping,
    "reconsider": reconsider,
    "record": record,
}


def _name(probe: object) -> str:
    return getattr(probe, "__name__", "")


def test_every_method_of_the_door_is_tried() -> None:
    public = {name for name in dir(Gateway) if not name.startswith("_") and callable(getattr(Gateway, name))}
    assert public == set(MATRIX), "the door has a method of which this matrix does not say what it does at the border"


@pytest.mark.parametrize("probe", sorted({*MATRIX.values(), execute_stolen}, key=_name), ids=_name)
async def test_ids_and_tokens_of_one_organisation_open_nothing_in_another(two_folder: Path, probe: Probe) -> None:
    with door_alone(two_folder) as two:
        await probe(two, await two.refund(ACME, call_id="the-same-call"))
        assert WORD[ACME] not in str(await two.log(GLOBEX))
        assert WORD[GLOBEX] not in str(await two.log(ACME))


# -- every tool ----------------------------------------------------------------------------------------------------

CALLS: Mapping[str, tuple[str, dict[str, Json], str]] = {
    "crm.read": ("dana", {"kind": "order", "key": "1042"}, ""),
    "crm.write": ("sam", {"customer_id": "C-1007", "field": "phone", "value": "+46 8 555 010 77"}, ""),
    "ledger.read": ("fay", {}, ""),
    "db.query": ("dana", {"sql": "SELECT * FROM customers"}, ""),
    "email.send": ("dana", {"to": "C-1007", "subject": "s", "body": "b"}, "lee"),
    "refund.issue": ("dana", {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}, "ann"),
}
"""Who asks, with what, and who countersigns. All of it means something in both organisations."""


async def test_the_same_call_is_another_call_in_another_organisation(door: Two) -> None:
    """The same call ids, one after the other: what one did is neither seen by the other nor taken for theirs."""
    assert set(CALLS) == set(door.core.catalog), "a tool of which this file does not say what it does at the border"
    for tool, (sub, arguments, approver) in CALLS.items():
        for tenant in BOTH:
            before = await shop(door, other(tenant))
            told = await door.propose(tenant, sub, tool, arguments, call_id=f"same-{tool}")
            outcome = await _signed(door, tenant, told.view, approver) if isinstance(told, Held) else told
            assert isinstance(outcome, Executed | HeldView), (tool, tenant, outcome)
            assert WORD[other(tenant)] not in str(outcome), (tool, tenant)
            assert await shop(door, other(tenant)) == before, (tool, tenant)
            if tool != "ledger.read":
                assert WORD[tenant] in str(outcome), (tool, tenant, outcome)
    assert await refunded(door) == {ACME: 1, GLOBEX: 1}


async def _signed(two: Two, tenant: TenantId, view: HeldView, approver: str) -> HeldView:
    pressed = await two.core.gateway.countersign(
        tenant, await two.who(tenant, approver), request(view, f"the-same {view.tool}")
    )
    assert pressed.result in (PressResult.APPROVED, PressResult.COUNTED), pressed
    jti = f"{view.held_id}:{view.revision}"
    minted = await token(two, tenant, "dana", view.tool, jti, view.held_id)
    done = await two.core.gateway.execute(tenant, view.held_id, view.revision, minted)
    assert done.effect == "done", done
    return done


async def test_what_one_wrote_the_other_does_not_take_back(two_folder: Path) -> None:
    with door_alone(two_folder) as two:
        phone = {"customer_id": "C-1007", "field": "phone", "value": "+46 8 555 010 77"}
        assert isinstance(await two.propose(ACME, "sam", "crm.write", phone, call_id="written"), Executed)
        before = await shop(two, ACME)
        undo = phone | {"undo_of": "written"}
        told = [
            await two.propose(GLOBEX, "sam", "crm.write", phone | {"undo_of": one}, call_id=f"undo-{one}")
            for one in ("written", "nothing")
        ]
        assert not any(isinstance(one, Executed) for one in told), told
        assert str(told[0]).replace("written", "IT") == str(told[1]).replace("nothing", "IT")
        assert await shop(two, ACME) == before
        assert isinstance(await two.propose(ACME, "sam", "crm.write", undo, call_id="undo"), Executed)


async def test_thresholds_limits_and_what_is_left_are_counted_apart(two_folder: Path) -> None:
    """Sums per order and per requester, a day's refunds, what an order still has: by the same person, same order."""
    with door_alone(two_folder) as two:
        first = await two.refund(ACME, "84.00")
        assert (await two.refund(GLOBEX, "84.00")).needed == 1
        assert first.needed == 1
        small = {**CALLS["refund.issue"][1], "order_id": "1017", "amount": "1.00"}
        for _ in range(9):
            assert isinstance(await two.propose(ACME, "dana", "refund.issue", small), Held)
        full = await two.propose(ACME, "dana", "refund.issue", small)
        assert isinstance(full, Blocked)
        assert full.reason is BlockReason.RATE_LIMIT
        free = await two.propose(GLOBEX, "dana", "refund.issue", small)
        assert isinstance(free, Held)
        assert WORD[ACME] not in str(replace(free.view, tenant=GLOBEX))


async def refunded(two: Two) -> dict[TenantId, int]:
    query = sa.text("SELECT count(*) FROM refunds WHERE tenant = :t AND order_id = '1042' AND call_id != ''")
    return {
        tenant: await two.core.business.read(lambda conn, t=tenant: conn.execute(query, {"t": t}).scalar_one())  # type: ignore[misc]
        for tenant in BOTH
    }


async def shop(two: Two, tenant: TenantId) -> dict[str, list[str]]:
    """Every row of the organisation in the business' own database."""

    def look(conn: sa.Connection) -> dict[str, list[Any]]:
        names = [
            name
            for name in sa.inspect(conn).get_table_names()
            if "tenant" in {column["name"] for column in sa.inspect(conn).get_columns(name)}
        ]
        rows = {name: conn.execute(sa.text(f"SELECT * FROM {name} WHERE tenant = :t"), {"t": tenant}) for name in names}
        return {name: sorted(str(tuple(row)) for row in found) for name, found in rows.items()}

    return await two.core.business.read(look)
