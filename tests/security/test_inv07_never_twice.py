"""Invariant 7: an effect happens once or a person is told that nobody knows; a crash changes nothing of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.approval import ApprovalStatus, PressResult
from tests.kit.door import DEMO, Crash, House, crash, later, until
from tools import running
from tools.held import EffectState, Held, HeldView
from tools.ports import NoticeKind
from tools.spec import ActionError, Args, CallContext, Certainty


async def approved(house: House, tool: str = "refund.issue") -> HeldView:
    if tool == "refund.issue":
        view = await house.ask_refund()
        who = "ann"
    else:
        held = await house.ask("dana", "email.send", to="C-1007", subject="Hello", body="It is late.")
        assert isinstance(held, Held)
        view, who = held.view, "lee"
    assert (await house.press(who, view)).result is PressResult.APPROVED
    return view


async def dies(house: House, view: HeldView) -> None:
    with pytest.raises(Crash):
        await house.execute(view)


async def test_dead_before_the_claim_the_other_door_does_it(
    pair: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    view = await approved(one)
    with monkeypatch.context() as patch:
        patch.setattr(running, "claim", _dead)
        await dies(one, view)
    assert (await two.execute(view)).effect is EffectState.DONE
    assert len(one.refunds()) == 1


def _dead(*_: object, **__: object) -> None:
    raise Crash


async def test_dead_after_the_claim_the_other_door_does_it_once(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", before=crash)
    await dies(one, view)
    assert one.refunds() == []
    done = await later(two).execute(view)
    assert done.effect is EffectState.DONE
    assert len(one.refunds()) == 1
    assert len(one.audit("seq", where="kind='tool.executed'")) == 1


async def test_dead_between_effect_and_record_it_is_found_and_not_fired(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", after=crash)
    await dies(one, view)
    watched = two.watch("refund.issue")
    assert (await later(two).execute(view)).effect is EffectState.DONE
    assert watched.runs == []
    assert len(one.refunds()) == 1


async def test_dead_while_recording_it_is_found_and_recorded_once(
    pair: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    view = await approved(one)
    with monkeypatch.context() as patch:
        patch.setattr(running, "record", _dead)
        await dies(one, view)
    assert (await later(two).execute(view)).effect is EffectState.DONE
    assert len(one.refunds()) == 1
    assert len(one.audit("seq", where="kind='tool.executed'")) == 1


async def test_a_blind_look_up_and_the_same_key_is_still_one_refund(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", after=crash)
    await dies(one, view)
    watched = two.watch("refund.issue", blind=True)
    assert (await later(two).execute(view)).effect is EffectState.DONE
    assert [run.idempotency_key for run in watched.runs] == [view.held_id]
    assert len(one.refunds()) == 1


async def test_when_the_key_is_too_old_it_is_parked_in_doubt(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", before=crash)
    await dies(one, view)
    lifetime = two.tools[view.tool].key_lifetime_s
    watched = two.watch("refund.issue", blind=True)
    parked = await later(two, lifetime + 1).execute(view)
    assert parked.effect is EffectState.IN_DOUBT
    assert watched.runs == []
    assert NoticeKind.IN_DOUBT in {notice.kind for notice in two.queue.notices}
    assert (DEMO, view.held_id) in two.queue.outcomes


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_mail_of_which_nobody_knows_is_never_sent_again(pair: tuple[House, House], when: str) -> None:
    one, two = pair
    view = await approved(one, "email.send")
    if when == "before":
        one.watch("email.send", before=crash)
    else:
        one.watch("email.send", after=crash)
    await dies(one, view)
    # However long its keys are said to live: the mail server knows none.
    two.tools[view.tool] = replace(two.tools[view.tool], key_lifetime_s=86_400)
    watched = two.watch("email.send", blind=True)
    for _ in range(3):
        assert (await later(two).execute(view)).effect is EffectState.IN_DOUBT
    assert watched.runs == []
    assert len(one.mails()) == (0 if when == "before" else 1)
    assert NoticeKind.IN_DOUBT in {notice.kind for notice in two.queue.notices}
    assert "in_doubt" in str(one.rows("SELECT status FROM agent_calls"))


async def test_the_other_door_waits_as_long_as_the_first_may_be_at_it(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    go, at_it = asyncio.Event(), asyncio.Event()

    async def slow(ctx: CallContext, args: Args) -> None:
        at_it.set()
        await go.wait()

    one.watch("refund.issue", before=slow)
    watched = two.watch("refund.issue")
    first = asyncio.create_task(one.execute(view))
    await asyncio.wait_for(at_it.wait(), 10)
    second = asyncio.create_task(two.execute(view))
    await asyncio.wait({second}, timeout=0.2)
    assert watched.looks == 0
    go.set()
    assert (await first).effect is EffectState.DONE
    assert (await second).effect is EffectState.DONE
    assert watched.runs == []
    assert len(one.refunds()) == 1
    assert len(one.audit("seq", where="kind='tool.executed'")) == 1


async def test_two_doors_at_once_refund_once(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    tokens = one.token_for(view), two.token_for(view)
    await asyncio.gather(
        *(
            house.gateway.execute(view.tenant, view.held_id, view.revision, token)
            for house, token in zip((one, two), tokens, strict=True)
            for _ in range(3)
        )
    )
    assert (await one.now(view.held_id)).effect is EffectState.DONE
    assert len(one.refunds()) == 1
    assert len(one.audit("seq", where="kind='tool.started'")) == 1
    assert len(one.audit("seq", where="kind='tool.executed'")) == 1


async def test_trying_again_without_effect_proves_nothing_of_the_first_try(pair: tuple[House, House]) -> None:
    """The first process refunded and died; the second cannot reach the provider. That is doubt, not failure."""
    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", after=crash)
    await dies(one, view)
    two.watch("refund.issue", blind=True, before=_unreachable)
    parked = await later(two).execute(view)
    assert parked.effect is EffectState.IN_DOUBT
    assert one.audit("seq", where="kind='tool.failed'") == []


async def _unreachable(ctx: CallContext, args: Args) -> None:
    raise ActionError("The provider could not be reached.", Certainty.NOT_DONE)


async def test_a_late_failure_does_not_outvote_the_attempt_that_took_over(pair: tuple[House, House]) -> None:
    """The first process was only slow. Its failure must not hide the refund that the second one made."""
    one, two = pair
    view = await approved(one)
    taken, failed = asyncio.Event(), asyncio.Event()

    async def slow(ctx: CallContext, args: Args) -> None:
        await taken.wait()
        raise ActionError("The provider could not be reached.", Certainty.NOT_DONE)

    async def overtaken(ctx: CallContext, args: Args) -> None:
        taken.set()
        await asyncio.wait_for(failed.wait(), 10)

    watched = one.watch("refund.issue", before=slow)
    two.watch("refund.issue", before=overtaken, blind=True)
    first = asyncio.create_task(one.execute(view))
    await until(lambda: bool(watched.runs))
    second = asyncio.create_task(later(two).execute(view))
    await first
    failed.set()
    assert (await second).effect is EffectState.DONE
    assert (await one.now(view.held_id)).effect is EffectState.DONE
    assert len(one.refunds()) == 1
    assert one.audit("seq", where="kind='tool.failed'") == []


async def test_a_late_proof_wins_over_doubt(pair: tuple[House, House]) -> None:
    """A slow process finishes after the other one has parked the mail: what happened is recorded."""
    one, two = pair
    view = await approved(one, "email.send")
    parked = asyncio.Event()

    async def slow(ctx: CallContext, args: Args) -> None:
        await parked.wait()

    watched = one.watch("email.send", before=slow)
    two.watch("email.send", blind=True)
    first = asyncio.create_task(one.execute(view))
    await until(lambda: bool(watched.runs))
    assert (await later(two).execute(view)).effect is EffectState.IN_DOUBT
    parked.set()
    await first
    assert (await two.now(view.held_id)).effect is EffectState.DONE
    assert len(one.mails()) == 1


async def test_money_that_moved_is_recorded_even_after_somebody_said_it_had_not(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one, "email.send")
    settled = asyncio.Event()

    async def slow(ctx: CallContext, args: Args) -> None:
        await settled.wait()

    watched = one.watch("email.send", before=slow)
    two.watch("email.send", blind=True)
    first = asyncio.create_task(one.execute(view))
    await until(lambda: bool(watched.runs))
    await later(two).execute(view)
    await two.gateway.settle_doubt(DEMO, view.held_id, "Ada Kim", False, "Not in the log.")
    assert (await two.now(view.held_id)).effect is EffectState.FAILED
    settled.set()
    await first
    assert (await two.now(view.held_id)).effect is EffectState.DONE
    assert ("tool.executed",) in one.audit("kind")


async def test_retries_end_before_another_door_may_take_over(pair: tuple[House, House]) -> None:
    one, _ = pair
    view = await approved(one)

    async def refuses(ctx: CallContext, args: Args) -> None:
        await asyncio.sleep(0.7 * one.door.timings.action)
        raise ActionError("Busy.", Certainty.NOT_DONE, retryable=True)

    one.watch("refund.issue", before=refuses)
    began = asyncio.get_running_loop().time()
    await one.execute(view)
    assert asyncio.get_running_loop().time() - began < one.door.timings.action + one.door.timings.grace + 1


async def test_a_requester_who_left_in_the_middle_leaves_a_call_in_doubt(pair: tuple[House, House]) -> None:
    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", before=crash)
    await dies(one, view)
    parked = await two.gateway.execute(view.tenant, view.held_id, view.revision, None)
    assert parked.effect is EffectState.IN_DOUBT
    assert one.refunds() == []
    assert NoticeKind.IN_DOUBT in {notice.kind for notice in two.queue.notices}


async def test_a_kill_keeps_a_begun_effect_from_being_fired_again(pair: tuple[House, House]) -> None:
    from tools.held import Scope, ScopeKind
    from tools.stops import By

    one, two = pair
    view = await approved(one)
    one.watch("refund.issue", before=crash)
    await dies(one, view)
    await two.gateway.kill(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim"), "look")
    watched = two.watch("refund.issue")
    assert (await later(two).execute(view)).effect is EffectState.IN_DOUBT
    assert watched.runs == []


async def test_in_doubt_is_never_executed_again(local_house: House) -> None:
    house = local_house
    view = await approved(house)
    house.break_tool("refund.issue", after=False)
    await house.settle()
    watched = house.watch("refund.issue")
    for _ in range(2):
        assert (await house.execute(view)).effect is EffectState.IN_DOUBT
    assert watched.runs == []


async def test_what_is_done_or_failed_is_not_settled_by_hand(house: House) -> None:
    view = await approved(house)
    with pytest.raises(LookupError):
        await house.gateway.settle_doubt(DEMO, view.held_id, "Ada Kim", True, "")
    await house.settle()
    with pytest.raises(LookupError):
        await house.gateway.settle_doubt(DEMO, view.held_id, "Ada Kim", False, "")


async def test_an_approval_that_waited_through_an_outage_of_the_provider_fails_plainly(local_house: House) -> None:
    house = local_house
    view = await approved(house)

    class Down:
        async def resolve(self, ctx: CallContext, args: Args) -> object:
            raise ActionError("The payment provider does not answer.", Certainty.NOT_DONE, retryable=True)

    tool = house.tools[view.tool]
    house.tools[view.tool] = replace(tool, action=Down())  # type: ignore[arg-type]
    house.clock.move(seconds=timedelta(minutes=1).total_seconds())
    ended = await house.execute(view)
    assert (ended.status, ended.effect) == (ApprovalStatus.APPROVED, EffectState.FAILED)
    assert house.refunds() == []
    assert house.rows("SELECT count(*) FROM effect") == [(0,)]
