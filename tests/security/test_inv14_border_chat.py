"""Invariant 14 in the chats: whatever a chat hands on, with ids of another organisation in it.

Every method of the service and every command is tried; one that this file does not name fails the test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from sqlalchemy.engine import Connection

from bot import welcome
from bot.commands import Plain
from bot.core import utc_now
from bot.identity import confirmations, flows
from bot.identity.flows import Purpose, Step
from bot.messages import AskAgain, Command, Feedback, Incoming, LinkAnswer, Press, Room, Thread
from bot.ports import Service, Standing
from policy.approval import ApprovalStatus, Verb
from tests.kit.two_tenants import ACME, BOTH, GLOBEX, SLACK, TEAM, WORD, Two, chat, dm, other, subject
from tools.held import HeldView

NOBODY = "h_000000000000000000000000"
EVERYBODY = ("dana", "ann", "ada", "lee", "aud")


@dataclass
class Chats:
    """Dana of either organisation has asked for the same refund, in a message with the same ids."""

    two: Two
    acme: HeldView
    globex: HeldView
    ended: HeldView
    """Acme's too: it was rejected, so it can be asked for again."""

    def silent(self, text: str, *said: str) -> None:
        """Nothing of acme's, but for what the asker said."""
        words = (WORD[ACME], self.acme.held_id, self.acme.card_id, self.acme.digest, self.ended.held_id, TEAM[ACME])
        shown = [word for word in words if word in text and not any(word in one for one in said)]
        assert not shown, f"of acme's: {shown}\n{text[:2000]}"


async def chats_of(two: Two) -> Chats:
    for tenant in BOTH:
        await two.write(tenant, "dana", n="the-same-message")
    acme, globex = await two.pending(ACME), await two.pending(GLOBEX)
    assert acme.held_id != globex.held_id
    ended = await two.refund(ACME, "5.00", "1017")
    assert "Rejected" in (await two.press(ACME, "ann", ended, Verb.REJECT, f"no {WORD[ACME]}")).sentence
    return Chats(two, acme, globex, ended)


# -- the probes -------------------------------------------------------------------------------------------------------


async def on_message(at: Chats) -> None:
    """Of one in the other's thread (a shared channel): not taken, and nothing is said there."""
    before = at.two.wall.heard(ACME)
    there = Thread(SLACK, TEAM[ACME], "C-both", "5.5", Room.SHARED)
    words = "What do you know about order 1042?"
    await at.two.turn.on_message(Incoming(chat(GLOBEX, "dana"), there, "x1", "ev-x1", words))
    turns = await at.two.rows("SELECT tenant, team FROM turn")
    assert ("globex", TEAM[ACME]) not in turns
    said = at.two.wall.heard(ACME).removeprefix(before)
    assert WORD[GLOBEX] not in said
    # The same words, ids and thread at home.
    here = replace(there, team=TEAM[GLOBEX])
    await at.two.turn.on_message(Incoming(chat(GLOBEX, "dana"), here, "x2", "ev-x2", words))
    await at.two.until(lambda: WORD[GLOBEX] in at.two.wall.heard_by(here))
    at.silent(at.two.wall.heard(GLOBEX))


async def on_press(at: Chats) -> None:
    for sub in EVERYBODY:
        for verb in Verb:
            for message in ("", "1"):
                told = []
                for held_id in (at.acme.held_id, NOBODY):
                    name = at.two.next("press")
                    press = Press(chat(GLOBEX, sub), name, held_id, 1, at.acme.digest, verb, "x", "#finance", message)
                    told.append(await at.two.turn.on_press(press))
                assert told[0] == told[1]
                assert told[0].card is None
                at.silent(told[0].sentence)
    copies = "SELECT count(*) FROM posted_card WHERE team = 'T0GLOBEX' AND tenant = 'acme'"
    assert await at.two.rows(copies) == [(0,)]
    # A delivery id that acme has used is a new one here.
    used = (await at.two.rows("SELECT press_id FROM press WHERE tenant = 'acme'"))[0][0]
    reply = await at.two.press(GLOBEX, "ann", at.globex, Verb.ASK, "how?", press_id=used)
    assert "Your question goes to" in reply.sentence
    assert WORD[GLOBEX] in str(reply.card)
    at.silent(str(reply))


async def on_ask_again(at: Chats) -> None:
    for sub in EVERYBODY:
        told = [
            await at.two.turn.on_ask_again(AskAgain(chat(GLOBEX, sub), "a", one)) for one in (at.ended.held_id, NOBODY)
        ]
        assert told[0] == told[1]
        at.silent(told[0].sentence)
    assert "Asked again" in (await at.two.again(ACME, "dana", at.ended.held_id)).sentence


async def on_link_answer(at: Chats) -> None:
    """Acme's question, answered by the account of the same name in globex' team."""
    question = await at.two.core.writer.run(lambda conn: _question(conn))
    for yes in (True, False):
        told = [
            await at.two.turn.on_link_answer(LinkAnswer(chat(GLOBEX, "newcomer"), "l", one, yes))
            for one in (question, "nobody-asked")
        ]
        assert told[0] == told[1]
        at.silent(told[0].sentence)
    assert "Your code is" in (await at.two.answer(ACME, "newcomer", question)).sentence


def _question(conn: Connection) -> str:
    now = utc_now()
    cookie = flows.start(conn, ACME, Purpose.LINK, Step.CODE, now)
    flow = flows.of_cookie(conn, cookie, now)
    assert flow is not None
    return confirmations.ask(conn, flow, chat(ACME, "newcomer"), subject("sam"), now)


async def home(at: Chats) -> None:
    for sub in EVERYBODY:
        at.silent(str(await at.two.turn.home(chat(GLOBEX, sub))))
        assert WORD[GLOBEX] not in str(await at.two.turn.home(chat(ACME, sub)))
    for tenant in BOTH:
        shown = await at.two.turn.home(chat(tenant, "ann"))
        assert [WORD[tenant] in line.headline for line in shown.waiting_for_me] == [True] * len(shown.waiting_for_me)
        assert shown.waiting_for_me


async def follows(at: Chats) -> None:
    there = Thread(SLACK, TEAM[ACME], "C-support", "9.9", Room.CHANNEL)
    await at.two.turn.on_message(
        Incoming(chat(ACME, "dana"), there, "9.9", "ev-9", "What do you know about order 1042?")
    )
    assert await at.two.turn.follows(there)
    assert not await at.two.turn.follows(replace(there, team=TEAM[GLOBEX]))


async def card_for(at: Chats) -> None:
    """Acme's request, asked for by everybody in globex: as if there were none."""
    for sub in EVERYBODY:
        for held_id in (at.acme.held_id, at.ended.held_id, NOBODY):
            assert await at.two.turn.card_for(chat(GLOBEX, sub), held_id) is None
        # The same people in acme's team are not those of globex.
        assert await at.two.turn.card_for(replace(chat(GLOBEX, sub), team=TEAM[ACME]), at.globex.held_id) is None
    for tenant, mine in ((ACME, at.acme), (GLOBEX, at.globex)):
        shown = await at.two.turn.card_for(chat(tenant, "ann"), mine.held_id)
        assert shown is not None
        assert WORD[tenant] in str(shown)
        assert WORD[other(tenant)] not in str(shown)


async def on_feedback(at: Chats) -> None:
    """A thumb by globex on what was said in acme's thread: a row at home, nothing over there."""
    await at.two.quiet()
    before = await at.two.state(ACME)
    there = Feedback(chat(GLOBEX, "dana"), dm(ACME, "dana"), "f1", "1", good=False, reason=WORD[GLOBEX])
    await at.two.turn.on_feedback(there)
    assert await at.two.state(ACME) == before
    assert not [row for row in await at.two.log(GLOBEX, kinds="answer.%") if WORD[GLOBEX] in str(row)]
    # One delivery id in both: each is a thumb of its own.
    for tenant in BOTH:
        for _ in range(2):
            mine = Feedback(chat(tenant, "dana"), dm(tenant, "dana"), "f2", "1", good=True, reason=WORD[tenant])
            await at.two.turn.on_feedback(mine)
        assert [row[1] for row in await at.two.log(tenant, kinds="answer.%")] == ["good"]
        kept = "SELECT content FROM transcript WHERE tenant = :t AND step = 'remark'"
        (remark,) = await at.two.rows(kept, t=tenant)
        assert WORD[tenant] in str(remark)


async def on_turned_away(at: Chats) -> None:
    """What globex' gate refuses stands in globex' chain; a team that is nobody's, in nobody's."""
    await at.two.quiet()
    before = await at.two.state(ACME)
    guest = replace(chat(GLOBEX, "guest"), user="U-guest")
    await at.two.turn.on_turned_away(guest, Standing.GUEST, dm(ACME, "dana").session_id)
    await at.two.turn.on_turned_away(replace(guest, team="T0NOBODY"), Standing.STRANGER, None)
    assert await at.two.state(ACME) == before
    refused = await at.two.log(GLOBEX, kinds="identity.refused")
    assert [row[1] for row in refused if str(guest) in str(row)] == ["guest"]


async def on_account_changed(at: Chats) -> None:
    """The account of the same name, deleted in globex."""
    await at.two.quiet()
    before = await at.two.state(ACME)
    await at.two.turn.on_account_changed(chat(GLOBEX, "dana"), Standing.DEACTIVATED)
    assert await at.two.state(ACME) == before
    here = await at.two.core.gateway.view(GLOBEX, at.globex.held_id)
    assert here is not None
    assert here.status is ApprovalStatus.VOIDED
    assert await at.two.core.book.by_account(chat(GLOBEX, "dana")) is None


async def on_command(at: Chats) -> None:
    await _all_commands(at)


Probe: TypeAlias = Callable[[Chats], Awaitable[None]]
MATRIX: dict[str, Probe] = {
    "home": home,
    "on_press": on_press,
    "on_ask_again": on_ask_again,
    "on_link_answer": on_link_answer,
    "follows": follows,
    "on_message": on_message,
    "on_command": on_command,
    "card_for": card_for,
    "on_feedback": on_feedback,
    "on_turned_away": on_turned_away,
    "on_account_changed": on_account_changed,
}


async def test_no_chat_of_one_organisation_reaches_into_another(two_anywhere: Two) -> None:
    handed_on = {name for name in vars(Service) if not name.startswith("_")}
    assert handed_on == set(MATRIX), "the service takes something of which this matrix does not say what it does"
    at = await chats_of(two_anywhere)
    for name, probe in MATRIX.items():
        try:
            await probe(at)
        except AssertionError as error:
            error.add_note(f"at {name}")
            raise
    for tenant in BOTH:
        assert WORD[other(tenant)] not in str(await two_anywhere.log(tenant))
        assert WORD[other(tenant)] not in two_anywhere.wall.heard(tenant)


# -- commands ---------------------------------------------------------------------------------------------------------

READS = ("help", "whoami", "pending", "status", "kill", "kill nobody", "resume")
SWITCHES = (
    ("kill all because {word}", "resume all"),
    ("kill tool refund.issue because {word}", "resume tool refund.issue"),
    ("kill user <@U-dana> because {word}", "resume user <@U-dana>"),
    ("kill user dana because {word}", "resume user dana"),
)
LINKS = ("link", "unlink")


def test_every_command_is_tried() -> None:
    tried = {words.split()[0] for words in (*READS, *LINKS, *(one for pair in SWITCHES for one in pair))}
    known = {*Plain, "kill", "resume", welcome.LINK, welcome.UNLINK, welcome.WHOAMI}
    assert known == tried, "a command of which this file does not say what it does at the border"


async def _all_commands(at: Chats) -> None:
    two = at.two
    for sub in EVERYBODY:
        for words in READS:
            at.silent(await two.command(GLOBEX, sub, words))
    for kill, resume in SWITCHES:
        await two.quiet()
        before = await two.state(ACME)
        # One delivery id in both: each is carried out where it was said.
        said = await two.command(GLOBEX, "ada", kill.format(word=WORD[GLOBEX]), n=f"the-same {kill}")
        assert said.startswith("Stopped:"), said
        at.silent(said)
        assert "Nothing is stopped" in await two.command(ACME, "ada", "status")
        assert not (await two.command(ACME, "dana", "pending")).count("Stopped")
        assert await two.state(ACME) == before
        mine = await two.command(ACME, "ada", kill.format(word=WORD[ACME]), n=f"the-same {kill}")
        assert mine.startswith("Stopped:"), mine
        at.silent(await two.command(GLOBEX, "ada", "status"))
        # Nobody lifts the other's.
        assert "Still stopped" not in await two.command(GLOBEX, "ada", resume)
        assert f"because {WORD[ACME]}" in await two.command(ACME, "ada", "status")
        assert "Nothing is stopped" in await two.command(GLOBEX, "ada", "status")
        assert "Resumed" in await two.command(ACME, "ada", resume)
    await _unlinking(at)


async def _unlinking(at: Chats) -> None:
    two, links = at.two, "SELECT * FROM identity_link WHERE tenant = 'acme' ORDER BY account"
    before = await two.rows(links)
    for words in (f"slack:{TEAM[ACME]}:U-lee", "slack:T0NOBODY:U-lee"):
        said = await two.command(GLOBEX, "ada", f"unlink {words}")
        assert said.replace(words, "IT") == (
            "Nobody is called IT. Nothing was changed; mention the person, or use their subject."
        )
    assert "No longer linked" in await two.command(GLOBEX, "ada", "unlink @U-lee")
    assert "linked to nobody" in await two.command(GLOBEX, "aud", "unlink")
    assert await two.rows(links) == before
    assert WORD[ACME] in await two.command(ACME, "lee", "whoami")
    for sub in ("lee", "aud"):
        said = await two.command(GLOBEX, sub, "link")
        assert "Say who you are" in said
        at.silent(said)
    tickets = await two.rows("SELECT tenant, team FROM link_ticket WHERE ended_at IS NULL")
    assert set(tickets) == {("globex", TEAM[GLOBEX])}
    # An admin of one who is nobody in the other's team.
    command = Command(
        replace(chat(GLOBEX, "ada"), team=TEAM[ACME], user="U-stranger"), dm(ACME, "ada"), "z", "kill all x"
    )
    assert "Stopped:" not in await two.turn.on_command(command)
    assert "Nothing is stopped" in await two.command(ACME, "ada", "status")
