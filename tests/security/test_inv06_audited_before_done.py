"""Invariant 6: the row is durable before the effect; what cannot be recorded is not done."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from audit.faults import StoreUnavailable
from audit.writer import make_engine
from policy.approval import ApprovalStatus, PressResult
from tests.kit.door import House
from tools.held import Blocked, BlockReason, EffectState, Executed, Failed
from tools.spec import Args, CallContext

REFUND = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}
WRITE = {"customer_id": "C-1007", "field": "phone", "value": "+1 206 555 0199"}


def breaks(house: House, kind: str = "") -> None:
    """From now on the log takes no row (of `kind`), whatever else the database takes."""
    when = f"NEW.kind = '{kind}'" if kind else "1=1"
    if house.writer.engine.dialect.name == "sqlite":
        house.write(
            f"CREATE TRIGGER full BEFORE INSERT ON agent_audit_log WHEN {when} BEGIN SELECT RAISE(FAIL, 'no'); END"
        )
        return
    house.write("CREATE FUNCTION full_() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$")
    house.write(
        f"CREATE TRIGGER full_ BEFORE INSERT ON agent_audit_log FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION full_()"
    )


def unavailable(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every append fails as a lost database does."""

    def append(*_: object) -> None:
        raise StoreUnavailable("The database of Countersign is full.")

    monkeypatch.setattr(type(house.door.audit), "append", append)


async def test_without_a_log_nothing_is_held(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    unavailable(house, monkeypatch)
    outcome = await house.ask("dana", "refund.issue", **REFUND)
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.AUDIT
    assert house.rows("SELECT count(*) FROM held_call") == [(0,)]


async def test_without_a_log_nothing_runs_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = house.watch("crm.write")
    unavailable(house, monkeypatch)
    outcome = await house.ask("sam", "crm.write", **WRITE)
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.AUDIT
    assert watched.runs == []
    assert house.rows("SELECT count(*) FROM effect") == [(0,)]


async def test_without_a_log_a_press_does_not_count(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    view = await house.ask_refund()
    with monkeypatch.context() as patch:
        unavailable(house, patch)
        with pytest.raises(StoreUnavailable):
            await house.press("ann", view)
    now = await house.now(view.held_id)
    assert (now.status, now.votes) == (ApprovalStatus.PENDING, ())
    assert house.rows("SELECT count(*) FROM press") == [(0,)]
    assert (await house.press("ann", view)).result is PressResult.APPROVED


async def test_without_a_log_nothing_approved_runs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    watched = house.watch("refund.issue")
    with monkeypatch.context() as patch:
        unavailable(house, patch)
        with pytest.raises(StoreUnavailable):
            await house.execute(view)
    assert watched.runs == []
    assert (await house.now(view.held_id)).effect is EffectState.QUEUED
    assert (await house.execute(view)).effect is EffectState.DONE
    assert len(house.refunds()) == 1


async def test_without_a_log_nothing_is_stopped_and_it_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.kit.door import DEMO
    from tools.held import Scope, ScopeKind
    from tools.stops import By

    unavailable(house, monkeypatch)
    with pytest.raises(StoreUnavailable):
        await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada"), "x")
    assert house.rows("SELECT count(*) FROM kill_switch") == [(0,)]


@pytest.mark.parametrize("kind", ["tool.started", "tool.requested", "approval.pressed", ""])
async def test_a_log_that_raises_leaves_nothing_done(house: House, kind: str) -> None:
    """Not a lost database but one that refuses the row: a damaged trigger, a right that was taken away."""
    refund, write = house.watch("refund.issue"), house.watch("crm.write")
    view = await house.ask_refund("10.00") if kind != "tool.requested" else None
    if view is not None and kind == "tool.started":
        await house.press("ann", view)
    breaks(house, kind)
    if kind in ("tool.requested", ""):
        with pytest.raises((DBAPIError, StoreUnavailable)):
            await house.ask("dana", "refund.issue", **REFUND)
    if view is not None:
        with pytest.raises((DBAPIError, StoreUnavailable)):
            await (house.execute(view) if kind == "tool.started" else house.press("ann", view))
        assert (await house.now(view.held_id)).effect in (EffectState.NONE, EffectState.QUEUED)
    if kind in ("tool.started", ""):
        with pytest.raises((DBAPIError, StoreUnavailable)):
            await house.ask("sam", "crm.write", **WRITE)
    assert (refund.runs, write.runs) == ([], [])
    assert house.refunds() == []


async def test_a_full_disk_refuses_and_loses_nothing(local_house: House) -> None:
    """SQLite says "full" in the middle of a transaction: the call is refused, what was there stays."""
    house = local_house
    view = await house.ask_refund("10.00")
    ((pages,),) = house.rows("PRAGMA page_count")
    house.writer.run_blocking(lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())
    body = "x" * 40_000
    outcome = await house.ask("dana", "email.send", to="C-1007", subject="s", body=body)
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.AUDIT
    assert "Try again" in outcome.sentence
    house.writer.run_blocking(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count=1000000").scalar())
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    await house.settle()
    assert len(house.refunds()) == 1


@pytest.mark.parametrize("name", ["refund.issue", "crm.write"])
async def test_started_is_on_disk_before_the_effect(house: House, name: str) -> None:
    """The action itself looks, over a connection of its own."""
    seen: list[list[str]] = []
    engine = make_engine(house.writer.engine.url)

    async def look(ctx: CallContext, args: Args) -> None:
        with engine.connect() as conn:
            query = text("SELECT kind FROM agent_audit_log WHERE tool_name = :t ORDER BY seq")
            kinds = [str(row[0]) for row in conn.execute(query, {"t": name})]
            states = [str(row[0]) for row in conn.execute(text("SELECT state FROM effect"))]
        seen.append([kinds[-1], *states])

    house.watch(name, before=look)
    if name == "refund.issue":
        view = await house.ask_refund()
        await house.press("ann", view)
        await house.settle()
    else:
        assert isinstance(await house.ask("sam", name, **WRITE), Executed)
    engine.dispose()
    assert seen == [["tool.started", "started"]]


async def test_a_read_whose_end_cannot_be_recorded_gives_nothing_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def then_it_breaks(*_: object) -> None:
        unavailable(house, monkeypatch)

    house.watch("crm.read", after=then_it_breaks)
    outcome = await house.ask("dana", "crm.read", kind="order", key="1042")
    assert isinstance(outcome, Failed)
    assert "Lindqvist" not in outcome.sentence


async def test_an_effect_whose_end_cannot_be_recorded_is_found_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await house.ask_refund()
    await house.press("ann", view)
    with monkeypatch.context() as patch:

        async def then_it_breaks(*_: object) -> None:
            unavailable(house, patch)

        watched = house.watch("refund.issue", after=then_it_breaks)
        with pytest.raises(StoreUnavailable):
            await house.execute(view)
    assert (await house.execute(view)).effect is EffectState.DONE
    assert len(watched.runs) == 1
    assert len(house.refunds()) == 1
