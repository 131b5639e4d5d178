"""The product, read top to bottom: a message, a press, a command, and what each leads to.

Knows the order of questions: taken before? who is it? may they? is it safe? Then the queue. Knows no chat's
wire format, no model and no SQL beyond its own rows; decides nothing that `policy` or the gateway decides.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import assert_never

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.faults import StoreUnavailable
from bot import card_text, commands, intake, own_card, ratings, store, turn_log, welcome
from bot.cards import Card
from bot.identity.resolve import Refusal, RefusalReason, of_standing
from bot.intake import SeenBefore, Taken, TurnedAway
from bot.messages import AskAgain, ChatUser, Command, Feedback, Incoming, LinkAnswer, Press, Room, Thread
from bot.parts import Parts
from bot.ports import Ask, ChatSurface, Home, HomeLine, PressReply, Standing, SurfaceError
from bot.segments import TurnSegments
from bot.tell import Teller
from policy.approval import PressResult, Verb
from policy.guardrails import check_message
from policy.model import Principal
from tools.held import Blocked, Executed, Failed, Held, HeldView, PressRequest, TurnContext
from tools.strangers import Act

log = logging.getLogger("countersign.turn")

COMMAND_WORD = "/countersign"
NO_CHAT = "This chat is not connected to Countersign. Nothing was done."
ELSEWHERE = "Here I serve the members of this workspace. Nothing was done. Write to me in your own."
HOME_LINES = 20


@dataclass(frozen=True, slots=True)
class Turn:
    """Implements `bot.ports.Service`. `segments` is what the queue runs."""

    parts: Parts
    teller: Teller = field(init=False)
    segments: TurnSegments = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "teller", Teller(self.parts))
        object.__setattr__(self, "segments", TurnSegments(self.parts, self.teller))

    # --- a message ----------------------------------------------------------------------------------

    async def on_message(self, message: Incoming) -> None:
        """Take a message: once, from somebody known, unless a guardrail or the kill-switch stops it.

        Once it returns the message is durable, or its writer has been told that it was not taken.
        """
        surface = self.parts.surfaces.get(message.who.surface)
        if surface is None:
            log.error("a message came from %s, which is not connected", message.who.surface)
            return
        try:
            said = await self._take(surface, message)
        except StoreUnavailable as error:
            said = f"I could not note your message, so nothing was done with it. {error} Then send it again."
        if said:
            await self._whisper(surface, message.thread, message.who, said)

    async def _take(self, surface: ChatSurface, message: Incoming) -> str:
        """What its writer alone should read now; empty when the answer comes by itself."""
        keys = store.delivery_keys(message)
        if await self.parts.writer.read(lambda conn: store.seen(conn, keys)):
            return ""
        who = await self.parts.resolver.resolve(message.who, surface)
        if not isinstance(who, Refusal) and not self.parts.speaks_for(who.tenant, surface.name, message.thread.team):
            # Somebody known, in a thread of another organisation's team: nobody there (invariant 14).
            who = Refusal(RefusalReason.STRANGER, ELSEWHERE, who.tenant, who.subject)
        if isinstance(who, Refusal):
            return await self._refuse_message(surface, message, who)
        if message.text.split(maxsplit=1)[:1] == [COMMAND_WORD]:
            return await self._command_as_message(message, keys)
        link = await self._link(surface, message.thread)
        verdict = check_message(self.parts.policy(who.tenant).guardrails, message.text)
        taken = await self.parts.writer.run(lambda conn: intake.take(conn, self.parts, who, message, verdict, link))
        match taken:
            case SeenBefore():
                return ""
            case TurnedAway(sentence=sentence):
                return sentence
            case Taken(notice=notice):
                return notice
            case _:
                assert_never(taken)

    async def _refuse_message(self, surface: ChatSurface, message: Incoming, refusal: Refusal) -> str:
        if await welcome.turn_away(self.parts, message, refusal):
            asks = await welcome.invitation(self.parts.links, message.who, message.thread.channel, refusal)
            await self._whisper(surface, message.thread, message.who, refusal.sentence, asks)
        return ""

    async def _command_as_message(self, message: Incoming, keys: tuple[str, str]) -> str:
        tenant = self.parts.directory.tenant_of(message.who.surface, message.who.team)
        once = store.Once(keys, tenant, self.parts.clock())
        words = message.text.split(maxsplit=1)
        command = Command(message.who, message.thread, message.event_id, words[1] if len(words) > 1 else "")
        try:
            answer = await self._carry_out(command, once)
        except StoreUnavailable as error:
            return f"The command was not carried out. {error}"
        # Not before: a crash between the note and the kill would lose the kill. What switches has taken it by now.
        if once.first is None:
            await self.parts.writer.run(once.take)
        return answer if once.first else ""

    # --- a press ------------------------------------------------------------------------------------

    async def on_press(self, press: Press) -> PressReply:
        """Judge a press by who it is now; answered at once, what follows runs behind (invariants 4, 5)."""
        surface = self.parts.surfaces.get(press.who.surface)
        if surface is None:
            return PressReply(NO_CHAT)
        who = await self.parts.resolver.resolve(press.who, surface)
        tenant = self.parts.directory.tenant_of(press.who.surface, press.who.team)
        principal = None if isinstance(who, Refusal) else who
        shown_there = True
        try:
            if principal is not None and press.digest:
                shown_there = await self.teller.adopt(principal.tenant, press)
            request = await self._request(press, principal)
            outcome = await self.parts.gateway.countersign(tenant, principal, request)
        except StoreUnavailable as error:
            return PressReply(f"Your press could not be recorded, so it did not count. {error}")
        if isinstance(who, Refusal):
            return PressReply(who.sentence)
        return PressReply(outcome.sentence, await self._card(outcome.view, press, principal) if shown_there else None)

    async def _request(self, press: Press, who: Principal | None) -> PressRequest:
        revision, digest = press.revision, press.digest
        if press.verb is Verb.WITHDRAW and not digest and who is not None:
            # The button in the requester's thread: they take back the request whatever its latest version says.
            view = await self.parts.gateway.view(who.tenant, press.held_id)
            if view is not None:
                revision, digest = view.revision, view.digest
        return PressRequest(press.press_id, press.held_id, revision, digest, press.verb, press.text, str(press.who))

    async def _card(self, view: HeldView | None, press: Press, who: Principal | None) -> Card | None:
        """The card anew, for somebody who saw it or may decide it. An id alone, guessed or passed on, shows nothing.

        Without a digest it was no card that was pressed but a message in the requester's thread, which others may read.
        """
        if view is None or who is None or not press.digest:
            return None
        if press.digest != view.digest and not who.roles.intersection(view.approver_roles):
            return None
        try:
            return await self.teller.card_now(view)
        except StoreUnavailable:
            return None  # the press counts; the outbox draws the card

    async def on_ask_again(self, again: AskAgain) -> PressReply:
        """The requester wants an ended request held anew: looked up, judged and digested from scratch."""
        surface = self.parts.surfaces.get(again.who.surface)
        if surface is None:
            return PressReply(NO_CHAT)
        who = await self.parts.resolver.resolve(again.who, surface)
        try:
            if isinstance(who, Refusal):
                await welcome.note(self.parts, Act.PRESS, who, again.who, None)
                return PressReply(who.sentence)
            return PressReply(await self._hold_again(who, again))
        except StoreUnavailable as error:
            return PressReply(f"Nothing was asked again. {error}")

    async def _hold_again(self, who: Principal, again: AskAgain) -> str:
        view = await self.parts.gateway.view(who.tenant, again.held_id)
        if view is None or view.requester != who.subject:
            # A press that nothing follows from is a row all the same (invariant 5).
            refused = PressResult.UNKNOWN if view is None else PressResult.NOT_REQUESTER
            await self.parts.gateway.record([turn_log.asked_again(again, who, refused, self.parts.clock())])
        if view is None:
            return "There is no such request any more. Nothing was done; write to me again."
        call_id = self.parts.gateway.again_id(again.held_id, view.turn_id)
        token = self.parts.tokens.mint(who, view.tool, self.parts.clock(), jti=call_id)
        turn = TurnContext(who.tenant, view.turn_id, view.session_id, view.thread_link, view.asked)
        outcome = await self.parts.gateway.ask_again(turn, who, again.held_id, token)
        match outcome:
            case Held(view=held):
                return f"Asked again. {held.headline}: {card_text.status(held)}"
            case Executed(result=result):
                return result.sentence
            case Blocked(sentence=sentence) | Failed(sentence=sentence):
                return sentence
            case _:
                assert_never(outcome)

    async def on_link_answer(self, answer: LinkAnswer) -> PressReply:
        """A chat account's own word on a link that a browser asked for."""
        if self.parts.chat_word is None:
            return PressReply("Nobody is linked here: the people of this workspace stand in a file. Nothing was done.")
        try:
            return PressReply(await self.parts.chat_word.answered(answer.who, answer.confirmation_id, yes=answer.yes))
        except StoreUnavailable as error:
            return PressReply(f"Your answer could not be recorded, so nothing was linked. {error}")

    # --- a command ----------------------------------------------------------------------------------

    async def on_command(self, command: Command) -> str:
        """The private answer to `/countersign …`."""
        tenant = self.parts.directory.tenant_of(command.who.surface, command.who.team)
        try:
            return await self._carry_out(command, store.Once(store.command_keys(command), tenant, self.parts.clock()))
        except StoreUnavailable as error:
            return f"The command was not carried out. {error}"

    async def _carry_out(self, command: Command, once: store.Once) -> str:
        surface = self.parts.surfaces.get(command.who.surface)
        if surface is None:
            return NO_CHAT
        who = await self.parts.resolver.resolve(command.who, surface)
        about_links = await welcome.command(self.parts.links, who, command)
        if about_links is not None:
            return about_links
        if isinstance(who, Refusal):
            await welcome.note(self.parts, Act.MESSAGE, who, command.who, command.thread.session_id)
            return who.sentence
        return await commands.run(self.parts, who, command, once)

    # --- what a chat asks ---------------------------------------------------------------------------

    async def home(self, who: ChatUser) -> Home:
        """What waits for this person and what they asked for."""
        surface = self.parts.surfaces.get(who.surface)
        if surface is None:
            return Home(NO_CHAT, None, (), ())
        known = await self.parts.resolver.resolve(who, surface)
        if isinstance(known, Refusal):
            return Home(known.sentence, None, (), ())
        waiting = await self.parts.gateway.waiting_for(known)
        asked = await self.parts.gateway.asked_by(known.tenant, known.subject)
        kills = await self.parts.gateway.kills(known.tenant)
        return Home(
            greeting=f"Hello {known.display_name}. Write to me, or look here for what waits.",
            stopped="\n".join(card_text.stopped(kill) for kill in kills.active) or None,
            waiting_for_me=tuple(
                _line(view, f"{view.requester_name} asks. {card_text.status(view)}") for view in waiting
            )[:HOME_LINES],
            asked_by_me=tuple(_line(view, card_text.status(view)) for view in asked)[:HOME_LINES],
        )

    async def follows(self, thread: Thread) -> bool:
        tenant = self.parts.directory.tenant_of(thread.surface, thread.team)
        if tenant is None:
            return False
        return await self.parts.writer.read(lambda conn: store.follows(conn, tenant, thread.session_id))

    async def card_for(self, who: ChatUser, held_id: str) -> Card | None:
        """The card of a request as this person may use it; it is theirs to see if they asked or may decide."""
        surface = self.parts.surfaces.get(who.surface)
        known = None if surface is None else await self.parts.resolver.resolve(who, surface)
        if known is None or isinstance(known, Refusal):
            return None
        try:
            return await own_card.drawn_for(self.parts, known, held_id)
        except StoreUnavailable:
            return None  # the card that everybody sees stays

    # --- what a chat tells --------------------------------------------------------------------------

    async def on_feedback(self, feedback: Feedback) -> None:
        """A thumb is a row; it changes nothing that the bot may do."""
        surface = self.parts.surfaces.get(feedback.who.surface)
        if surface is None:
            return
        who = await self.parts.resolver.resolve(feedback.who, surface)
        if not isinstance(who, Refusal) and not self.parts.speaks_for(who.tenant, surface.name, feedback.thread.team):
            who = Refusal(RefusalReason.STRANGER, ELSEWHERE, who.tenant, who.subject)
        try:
            if isinstance(who, Refusal):
                await welcome.note(self.parts, Act.MESSAGE, who, feedback.who, feedback.thread.session_id)
            else:
                await ratings.keep(self.parts, who, feedback)
        except StoreUnavailable as error:
            log.error("%s: a rating could not be recorded: %s", surface.name, error)

    async def on_turned_away(self, who: ChatUser, standing: Standing, session_id: str | None) -> None:
        """The chat's gate let a delivery no further; who keeps trying is counted."""
        tenant = self.parts.directory.tenant_of(who.surface, who.team)
        refusal = of_standing(standing, tenant)
        if refusal is None:
            return
        try:
            await welcome.note(self.parts, Act.MESSAGE, refusal, who, session_id)
        except StoreUnavailable as error:
            log.error("%s: a refused delivery could not be recorded: %s", who.surface, error)

    async def on_account_changed(self, who: ChatUser, standing: Standing) -> None:
        """What hangs on the account ends with it (invariant 9); that the chat said so is a row in any case."""
        tenant = self.parts.directory.tenant_of(who.surface, who.team)
        now = self.parts.clock()

        def unit(conn: Connection) -> None:
            person = self.parts.directory.by_account(conn, who)
            told = Event(
                Kind.ACCOUNT_CHANGED,
                tenant,
                now,
                standing.value,
                actor_user_id=None if person is None else person.subject.sub,
                detail={"account": str(who)},
            )
            leavers = self.parts.leavers
            # A guest is refused at every decision; only who is gone takes what is theirs along.
            gone = standing is Standing.DEACTIVATED and tenant is not None
            ended = leavers.account_gone(conn, tenant, who) if gone and leavers and tenant else []
            self.parts.audit.append(conn, [told, *ended])

        await self.parts.writer.run(unit)

    # --- small things -------------------------------------------------------------------------------

    async def _link(self, surface: ChatSurface, thread: Thread) -> str | None:
        try:
            return await surface.link(thread)
        except SurfaceError:
            return None  # the card does without

    async def _whisper(
        self, surface: ChatSurface, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()
    ) -> None:
        try:
            if thread.room is Room.DM:
                await surface.say(thread, text, asks)
            else:
                await surface.whisper(thread, who, text, asks)
        except SurfaceError as error:
            log.error("%s: could not answer %s: %s", surface.name, who, error)


def _line(view: HeldView, status: str) -> HomeLine:
    return HomeLine(view.headline, status, view.thread_link)
