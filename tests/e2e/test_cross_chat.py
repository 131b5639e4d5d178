"""A request of one chat is decided in the other: both cards show it, within 2 s, and each chat falls by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from bot.core import utc_now
from bot.messages import Incoming, Room, SurfaceName, Thread
from bot.ports import SurfaceError
from bot.undelivered import Missed
from bot.work import Later
from policy.approval import Verb
from tests.kit.two_chats import ACME, ENTRA, FINANCE, SLACK, TEAMS, Floor, account, oid, two_chats
from tools.ports import Notice, NoticeKind

REACH_S = 2.0


@pytest.fixture
async def floor(engine_url: str, tmp_path: Path) -> AsyncIterator[Floor]:
    async with two_chats(tmp_path / "floor", engine_url) as made:
        yield made


@pytest.mark.parametrize(("asked_in", "decided_in"), [(SLACK, TEAMS), (TEAMS, SLACK)])
async def test_a_request_is_decided_in_the_other_chat(
    floor: Floor, asked_in: SurfaceName, decided_in: SurfaceName
) -> None:
    view = await floor.ask("dana", asked_in)
    await floor.both_show("Waiting for a finance approver.")
    assert (await floor.press("ann", decided_in, view)).sentence == "Approved."
    await floor.both_show("Approved by Ann Okafor acme", REACH_S)
    await floor.both_show("Refunded 42.00 USD")
    assert await floor.refunds() == [4200]
    # The end is told where it was asked for, and nowhere else.
    home, other = floor.chat(asked_in), floor.chat(decided_in)
    await floor.until(lambda: "Refunded 42.00 USD" in home.heard_by(floor.dm("dana", asked_in)))
    assert other.said == []
    assert ("approval.pressed", "approved", oid("ann")) in await floor.audit("approval.pressed")
    late = await floor.press("bob", asked_in, view)
    assert "Already approved" in late.sentence


async def test_two_people_approve_in_two_chats_and_both_cards_count_them(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK, "180.00", "1043")
    await floor.both_show("2 different people")
    await floor.press("ann", TEAMS, view)
    await floor.both_show("1 of 2: Ann Okafor acme", REACH_S)
    await floor.press("bob", SLACK, view)
    await floor.both_show("Approved by Ann Okafor acme", REACH_S)
    assert [vote.name for vote in (await floor.view(view.held_id)).votes] == ["Ann Okafor acme", "Bob Lindgren acme"]


@pytest.mark.parametrize("verb", [Verb.REJECT, Verb.WITHDRAW])
async def test_the_end_without_effect_stands_on_both_cards(floor: Floor, verb: Verb) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    who = "ann" if verb is Verb.REJECT else "dana"
    await floor.press(who, TEAMS, view, verb, "no")
    await floor.both_show("Rejected by Ann" if verb is Verb.REJECT else "Withdrawn by Dana", REACH_S)
    assert await floor.refunds() == []


async def test_a_stop_stands_on_the_cards_of_both_chats(floor: Floor) -> None:
    await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    assert "Stopped" in await floor.command("ada", TEAMS, "kill tool refund.issue wrong amounts")
    await floor.both_show("Stopped (the tool refund.issue) by Ada Kim acme", REACH_S)


async def test_a_chat_that_has_no_such_channel_is_no_fault(floor: Floor) -> None:
    floor.teams.channels.clear()
    view = await floor.ask("dana", SLACK)
    await floor.until(lambda: floor.shows(SLACK, "Waiting"))
    await floor.until(lambda: "waits for a finance approver" in floor.slack.heard_by(floor.dm("dana", SLACK)))
    await floor.press("ann", TEAMS, view)
    await floor.until(lambda: floor.shows(SLACK, "Refunded"))
    assert floor.items(TEAMS) == ()
    assert await floor.audit("notice.") == []
    assert "could not" not in floor.slack.heard_by(floor.dm("dana", SLACK))


async def test_a_channel_that_no_chat_has_is_said_and_posted_once_it_is_there(floor: Floor) -> None:
    for chat in (floor.slack, floor.teams):
        chat.channels.clear()
    await floor.ask("dana", SLACK)
    await floor.until(lambda: "I could not reach the approvers" in floor.slack.heard_by(floor.dm("dana", SLACK)))
    floor.teams.channels.add(FINANCE)
    await floor.until(lambda: floor.shows(TEAMS, "Waiting"))
    await floor.until(lambda: "waits for a finance approver" in floor.slack.heard_by(floor.dm("dana", SLACK)))
    kinds = {(kind, status) for kind, status, _ in await floor.audit("notice.")}
    assert ("notice.undelivered", "place_gone") in kinds
    assert floor.items(SLACK) == ()


@pytest.mark.parametrize("chat", [SLACK, TEAMS])
async def test_a_place_in_one_chat_is_in_that_chat_alone(engine_url: str, tmp_path: Path, chat: SurfaceName) -> None:
    async with two_chats(tmp_path / "floor", engine_url, post_to=f'["{chat}:{FINANCE}"]') as floor:
        await floor.ask("dana", SLACK)
        await floor.until(lambda: floor.shows(chat, "Waiting"))
        named = "Slack" if chat == SLACK else "Microsoft Teams"
        await floor.until(lambda: f"in {FINANCE} ({named})" in floor.slack.heard_by(floor.dm("dana", SLACK)))
        other = TEAMS if chat == SLACK else SLACK
        assert floor.chat(other).posts == []


async def test_a_place_that_one_chat_has_to_have_is_told_apart_from_the_one_that_stands(
    engine_url: str, tmp_path: Path
) -> None:
    """The card stands in Slack; Teams has to have it too and has not: tried again, said, written down."""
    async with two_chats(tmp_path / "floor", engine_url, post_to=f'["{FINANCE}", "teams:#Finance desk"]') as floor:
        floor.teams.channels.clear()
        await floor.ask("dana", SLACK)
        heard = "not everywhere: in #Finance desk (Microsoft Teams)"
        await floor.until(lambda: heard in floor.slack.heard_by(floor.dm("dana", SLACK)))
        assert floor.shows(SLACK, "Waiting")
        floor.teams.channels.add("#Finance desk")
        await floor.until(lambda: floor.shows(TEAMS, "Waiting", "#Finance desk"))
        row = ("notice.delivered", "delivered", None)
        await floor.until(lambda: _noted(floor, row))


async def _noted(floor: Floor, row: tuple[str, str, None]) -> bool:
    return row in await floor.audit("notice.")


def _private(sub: str) -> Thread:
    """Where a direct message to somebody in Slack stands."""
    who = account(sub, SLACK)
    return Thread(SLACK, who.team, f"dm:{who.user}", f"dm:{who.user}")


# --- one chat falls -------------------------------------------------------------------------------------------


async def test_a_chat_that_refuses_keeps_nobody_in_the_other_waiting(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    floor.teams.closed = SurfaceError("Teams did not answer.")
    await floor.press("ann", SLACK, view)
    await floor.until(lambda: floor.shows(SLACK, "Approved by Ann Okafor acme"), REACH_S)
    await floor.until(lambda: floor.shows(SLACK, "Refunded"))
    await floor.until(lambda: "Refunded" in floor.slack.heard_by(floor.dm("dana", SLACK)))
    assert floor.shows(TEAMS, "Waiting")
    await floor.until(lambda: _noted(floor, ("notice.undelivered", "not_taken", None)))
    floor.teams.closed = None
    await floor.until(lambda: floor.shows(TEAMS, "Refunded"))
    await floor.until(lambda: _noted(floor, ("notice.delivered", "delivered", None)))


async def test_what_a_chat_did_not_take_is_over_once_it_took_anything_later(floor: Floor) -> None:
    """The card may have moved on before it is tried again: nobody is left with a row that says it never arrived."""
    first = Missed(ACME, "c1", TEAMS, ENTRA[ACME], FINANCE, "a" * 64)
    later = replace(first, state="b" * 64)
    places = (replace(later, destination=f"{FINANCE}:x"), replace(later, card_id="c2"), replace(later, surface=SLACK))

    def unit(conn: Connection) -> list[list[str]]:
        now, held = utc_now(), ("h1",)
        steps = [
            first.noted(conn, held, SurfaceError("Teams did not answer."), now),
            *(place.mended(conn, held, now) for place in places),
            later.mended(conn, held, now),
            later.mended(conn, held, now),
            first.mended(conn, held, now),
        ]
        return [[event.status for event in events] for events in steps]

    assert await floor.core.writer.run(unit) == [["not_taken"], [], [], [], ["delivered"], [], []]


async def test_a_chat_that_hangs_keeps_nobody_in_the_other_waiting(floor: Floor) -> None:
    """Not with the first thing that is told there, nor with the next ones, which queue behind it."""
    view = await floor.ask("dana", SLACK, "180.00", "1043")
    await floor.both_show("2 different people")
    floor.teams.hangs = asyncio.Event()
    await floor.press("ann", SLACK, view)
    await floor.until(lambda: floor.shows(SLACK, "1 of 2"), REACH_S)
    await floor.press("bob", SLACK, view)
    await floor.until(lambda: floor.shows(SLACK, "Approved by Ann"), REACH_S)
    await floor.until(lambda: floor.shows(SLACK, "Refunded"))
    assert floor.shows(TEAMS, "2 different people")
    floor.teams.hangs.set()
    await floor.until(lambda: floor.shows(TEAMS, "Refunded"))


async def test_a_card_whose_posting_hangs_in_one_chat_is_decided_in_the_other(floor: Floor) -> None:
    floor.teams.hangs = asyncio.Event()
    view = await floor.ask("dana", SLACK)
    await floor.until(lambda: floor.shows(SLACK, "Waiting"), REACH_S)
    await floor.press("ann", SLACK, view)
    await floor.until(lambda: floor.shows(SLACK, "Approved by Ann"), REACH_S)
    floor.teams.hangs.set()
    await floor.until(lambda: floor.shows(TEAMS, "Refunded"))
    assert len(floor.teams.posts) == 1


async def test_an_approver_who_blocked_the_bot_is_asked_in_their_other_chat(engine_url: str, tmp_path: Path) -> None:
    async with two_chats(tmp_path / "floor", engine_url, post_to="dm") as floor:
        floor.teams.blocked.add(oid("ann"))
        view = await floor.ask("dana", TEAMS)
        await floor.until(lambda: floor.shows(SLACK, "Waiting", "dm:U-ann"))
        await floor.until(lambda: floor.shows(TEAMS, "Waiting", f"dm:{oid('bob')}"))
        # Once each, in the requester's chat if they are there; nothing to the requester.
        theirs = {f"dm:{oid('bob')}", f"dm:{oid('danb')}"}
        await floor.until(lambda: {place for place, _ in floor.teams.posts} >= theirs)
        assert {place for place, _ in floor.slack.posts} == {"dm:U-ann"}
        assert {place for place, _ in floor.teams.posts} == theirs
        await floor.press("ann", SLACK, view)
        await floor.until(lambda: floor.shows(TEAMS, "Refunded", f"dm:{oid('bob')}"))
        await floor.until(lambda: floor.shows(SLACK, "Refunded", "dm:U-ann"))


async def test_an_approver_nobody_reaches_is_a_row_while_the_others_decide(engine_url: str, tmp_path: Path) -> None:
    async with two_chats(tmp_path / "floor", engine_url, post_to="dm") as floor:
        floor.teams.blocked.add(oid("ann"))
        floor.slack.blocked.add("U-ann")
        view = await floor.ask("dana", TEAMS)
        heard = "by direct message (Microsoft Teams)"
        await floor.until(lambda: heard in floor.teams.heard_by(floor.dm("dana", TEAMS)))
        rows = await floor.rows("SELECT status, detail FROM agent_audit_log WHERE kind = 'notice.undelivered'")
        assert {status for status, _ in rows} == {"place_gone"}
        assert {one for one in (oid("ann"), "U-ann") if any(one in str(detail) for _, detail in rows)} == {
            oid("ann"),
            "U-ann",
        }
        await floor.press("bob", TEAMS, view)
        await floor.until(lambda: floor.shows(TEAMS, "Refunded", f"dm:{oid('bob')}"))


async def test_a_message_that_is_gone_in_one_chat_is_posted_anew_there(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    floor.teams.faults["update"] = [SurfaceError("activity not found", gone=True)]
    await floor.press("ann", TEAMS, view, Verb.REJECT, "no")
    await floor.both_show("Rejected by Ann", REACH_S)
    assert [place for place, _ in floor.teams.posts] == [FINANCE, FINANCE]
    assert [place for place, _ in floor.slack.posts] == [FINANCE]


async def test_a_place_that_is_gone_is_written_down_and_not_asked_for_a_day(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    floor.teams.channels.clear()
    floor.teams.faults["update"] = [SurfaceError("the bot is not in the conversation", gone=True)] * 9
    await floor.press("ann", SLACK, view, Verb.REJECT, "no")
    await floor.until(lambda: floor.shows(SLACK, "Rejected"), REACH_S)
    await floor.until(lambda: _noted(floor, ("notice.undelivered", "place_gone", None)))
    await floor.quiet()  # nothing is put off until later
    assert len(floor.teams.faults["update"]) == 8


async def test_in_neither_chat_is_anything_told_twice(floor: Floor) -> None:
    await floor.ask("dana", TEAMS)
    await floor.both_show("Waiting")
    await floor.until(lambda: "waits for a finance approver" in floor.teams.heard_by(floor.dm("dana", TEAMS)))
    assert [len(chat.posts) for chat in (floor.slack, floor.teams)] == [1, 1]
    assert floor.slack.said == []
    (summary,) = [said for said in floor.teams.said if "waits for a finance approver" in said.text]
    assert summary.thread.team == ENTRA[floor.service.turn.parts.directory.tenants()[0]]
    assert account("dana", TEAMS).team == summary.thread.team


async def test_the_only_place_that_is_gone_is_not_given_up_while_somebody_has_to_decide(
    engine_url: str, tmp_path: Path
) -> None:
    async with two_chats(tmp_path / "floor", engine_url, post_to=f'"teams:{FINANCE}"') as floor:
        view = await floor.ask("dana", SLACK, "180.00", "1043")
        await floor.until(lambda: floor.shows(TEAMS, "2 different people"))
        floor.teams.channels.clear()
        floor.teams.faults["update"] = [SurfaceError("the bot is not in the conversation", gone=True)] * 9
        await floor.press("ann", SLACK, view)
        await floor.until(lambda: _noted(floor, ("notice.undelivered", "place_gone", None)))
        floor.teams.channels.add(FINANCE)
        await floor.until(lambda: floor.shows(TEAMS, "1 of 2"))


async def test_whoever_asked_where_the_bot_was_put_out_since_is_told_once_in_private(floor: Floor) -> None:
    """What is for them alone reaches them (in Teams: in their own chat); the place itself hears nothing any more."""
    where = Thread(TEAMS, ENTRA[ACME], "19:office@thread.v2", "19:office@thread.v2", Room.CHANNEL)
    floor.teams.left.add(where.channel)
    floor.teams.faults["done"] = [SurfaceError("The bot is not in that conversation.", gone=True)] * 9
    who = account("dana", TEAMS)
    await floor.service.turn.on_message(Incoming(who, where, "m-out", "e-out", "Refund order 1042, 42.00 USD"))
    await floor.both_show("Waiting")
    await floor.until(lambda: any(said.asks for said in floor.teams.said))
    await floor.quiet()
    heard = [said for said in floor.teams.said if "waits for a finance approver" in said.text]
    assert [(said.only_for, bool(said.asks)) for said in heard] == [(oid("dana"), False), (oid("dana"), True)]
    answers = [said.only_for for said in floor.teams.said if said.text == "Both wait for approval."]
    assert answers == [oid("dana")]
    assert len(floor.teams.faults["done"]) == 8
    assert all(said.only_for == oid("dana") for said in floor.teams.said)


async def test_whoever_blocked_the_bot_after_asking_is_told_in_their_other_chat(floor: Floor) -> None:
    floor.teams.left.add(floor.dm("dana", TEAMS).channel)
    floor.teams.blocked.add(oid("dana"))
    await floor.ask("dana", TEAMS)
    await floor.both_show("Waiting")
    await floor.until(lambda: "waits for a finance approver" in floor.slack.heard_by(_private("dana")))
    (said,) = [said for said in floor.slack.said if "waits for a finance approver" in said.text]
    assert [ask.label for ask in said.asks] == ["Withdraw"]


# --- what is said besides cards -------------------------------------------------------------------------------


async def test_a_question_from_the_other_chat_reaches_the_requester_where_they_asked(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    await floor.press("ann", TEAMS, view, Verb.ASK, "Which parcel service?")
    await floor.until(lambda: "> Which parcel service?" in floor.slack.heard_by(floor.dm("dana", SLACK)))
    assert floor.teams.said == []
    assert (await floor.press("bob", SLACK, view)).sentence == "Approved."


async def test_a_reminder_is_told_below_both_cards_once_each_and_one_chat_s_fault_is_its_own(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    await floor.quiet()
    notice = Notice(NoticeKind.REMINDER, ACME, view.held_id, view.revision)

    def heard() -> list[int]:
        return [sum("Reminder" in said.text for said in chat.said) for chat in (floor.slack, floor.teams)]

    floor.teams.closed = SurfaceError("Teams did not answer.", retry_after_s=7)
    with pytest.raises(Later) as later:
        await floor.service.turn.segments.tell(notice)
    assert (heard(), later.value.pause_s) == ([1, 0], 7)
    floor.teams.closed = None
    for _ in range(2):
        await floor.service.turn.segments.tell(notice)
    assert heard() == [1, 1]
    (said,) = [said for said in floor.teams.said if "Reminder" in said.text]
    assert (said.thread.team, said.thread.channel, said.thread.room) == (ENTRA[ACME], FINANCE, Room.CHANNEL)
