"""Our Slack adapter on a running local-slack, with a recording `Service` above it. For tests of the adapter alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from bot.cards import Button, Card, Item, Quote, Tone
from bot.messages import AskAgain, ChatUser, Command, Feedback, Incoming, LinkAnswer, Press, SurfaceName, Thread
from bot.ports import Home, HomeLine, Person, PressReply, Standing
from bot.slack.events import SlackEvents
from bot.slack.surface import SlackSurface
from policy.approval import Verb
from policy.model import Subject, TenantId
from tests.rigs.local_slack import APP_TOKEN, BOT_TOKEN, PEOPLE, SIGNING_SECRET, TEAM, LocalSlack, SlackProxy, until
from tools.spec import Draft, Fact

SLACK = SurfaceName("slack")
ISSUER = "urn:countersign:directory"


def person(user: str) -> ChatUser:
    return ChatUser(SLACK, TEAM, user)


class People:
    """A `bot.ports.Book` of the people in local-slack; the subject is the Slack user id."""

    async def by_account(self, who: ChatUser) -> Person | None:
        return await self.by_subject(TenantId("demo"), Subject(ISSUER, who.user)) if who.team == TEAM else None

    async def by_subject(self, tenant: TenantId, subject: Subject) -> Person | None:
        name = PEOPLE.get(subject.sub)
        if name is None:
            return None
        return Person(tenant, subject, name, None, True, (), None, (person(subject.sub),))

    async def people(self, tenant: TenantId) -> tuple[Person, ...]:
        found = [await self.by_subject(tenant, Subject(ISSUER, user)) for user in PEOPLE]
        return tuple(one for one in found if one is not None)

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return TenantId("demo") if (surface, team) == (SLACK, TEAM) else None


@dataclass
class RecordingService:
    """Stands for `bot.turn`: writes down what it was told and gives canned answers."""

    surface: SlackSurface | None = None
    messages: list[Incoming] = field(default_factory=list)
    presses: list[Press] = field(default_factory=list)
    again: list[AskAgain] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    link_answers: list[LinkAnswer] = field(default_factory=list)
    homes: list[ChatUser] = field(default_factory=list)
    changed: list[tuple[ChatUser, Standing]] = field(default_factory=list)
    turned_away: list[tuple[ChatUser, Standing, str | None]] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    taking_part: set[str] = field(default_factory=set)
    """Roots of the threads in which the bot takes part."""
    reply: PressReply = field(default_factory=lambda: PressReply("Counted."))
    broken: bool = False
    slow_s: float = 0

    async def _bad_day(self) -> None:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.broken:
            raise OSError("database is locked: card number 4111 1111 1111 1111")

    async def on_message(self, message: Incoming) -> None:
        await self._bad_day()
        if any(known.message_id == message.message_id for known in self.messages):
            return
        self.messages.append(message)
        self.taking_part.add(message.thread.root)
        if self.surface is not None:
            await self.surface.say(message.thread, f"heard: {message.text}")

    async def on_press(self, press: Press) -> PressReply:
        await self._bad_day()
        self.presses.append(press)
        return self.reply

    async def on_ask_again(self, again: AskAgain) -> PressReply:
        self.again.append(again)
        return PressReply("Asked again.")

    async def on_link_answer(self, answer: LinkAnswer) -> PressReply:
        self.link_answers.append(answer)
        return PressReply("Linked.")

    async def on_command(self, command: Command) -> str:
        await self._bad_day()
        self.commands.append(command)
        return f"**status** of {command.text}"

    async def home(self, who: ChatUser) -> Home:
        self.homes.append(who)
        line = HomeLine(
            "Refund 42.00 USD for order 1042", "Waiting for Finance", "https://acme.slack.com/archives/C1/p1"
        )
        return Home("Good day, Dana", None, (line,), ())

    async def on_account_changed(self, who: ChatUser, standing: Standing) -> None:
        self.changed.append((who, standing))

    async def on_turned_away(self, who: ChatUser, standing: Standing, session_id: str | None) -> None:
        self.turned_away.append((who, standing, session_id))

    async def on_feedback(self, feedback: Feedback) -> None:
        await self._bad_day()
        self.feedback.append(feedback)

    async def card_for(self, who: ChatUser, held_id: str) -> Card | None:
        return self.reply.card

    async def follows(self, thread: Thread) -> bool:
        return thread.root in self.taking_part


@dataclass
class House:
    slack: LocalSlack
    proxy: SlackProxy
    service: RecordingService
    surface: SlackSurface
    events: SlackEvents
    base: str = ""
    """Address of our HTTP endpoint; empty in Socket Mode."""


@contextlib.asynccontextmanager
async def slack_house(mode: str, folder: Path, *, streaming: bool = False) -> AsyncIterator[House]:
    """`mode`: ``socket`` or ``events``, as local-slack calls them."""
    listening = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    url = f"{base}/slack/events" if mode == "events" else None
    try:
        async with (
            LocalSlack.start(mode, folder, url) as slack,
            SlackProxy(slack, streaming=streaming).serve() as proxy,
        ):
            surface = SlackSurface(BOT_TOKEN, book=People(), api_url=proxy.api_url, stream_every_s=0, timeout_s=1)
            service = RecordingService(surface)
            secrets = {"signing_secret": SIGNING_SECRET} if url else {"app_token": APP_TOKEN}
            events = SlackEvents(service, surface, **secrets)
            async with _listening(events, slack, listening if url else None):
                yield House(slack, proxy, service, surface, events, base if url else "")
    finally:
        listening.close()


@contextlib.asynccontextmanager
async def _listening(events: SlackEvents, slack: LocalSlack, at: socket.socket | None) -> AsyncIterator[None]:
    if at is None:
        await events.connect()
        await until(slack.connected, "Socket Mode")
        try:
            yield
        finally:
            await events.close()
        return
    config = uvicorn.Config(Starlette(routes=events.routes()), log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
    serving = asyncio.create_task(server.serve(sockets=[at]))
    try:
        yield
    finally:
        await events.close()
        server.should_exit = True
        await serving


def a_card(*, body: str = "Dear Ada,\nyour refund is on its way.", tone: Tone = Tone.WAITING, items: int = 1) -> Card:
    """An approval card such as `bot.card_text` composes."""
    waiting = tone is Tone.WAITING
    buttons = (
        Button(Verb.APPROVE, "Approve"),
        Button(Verb.REJECT, "Reject", "Why?"),
        Button(Verb.ASK, "Ask requester", "What do you want to know?"),
        Button(Verb.WITHDRAW, "Withdraw"),
    )
    made = tuple(
        Item(
            held_id=f"held{number}",
            revision=1,
            digest="d" * 64,
            tone=tone,
            headline=f"Refund 42.00 USD for order {1041 + number} to Ada Lindqvist",
            status="Waiting for 1 person: Finance" if waiting else "Approved by Ann Okafor, 14:03 UTC. Refunded, re_81",
            facts=(
                Fact("Paid", "84.00 USD"),
                Fact("Refunded before", "0.00 USD"),
                Fact("Left", "84.00 USD", warning=True),
            ),
            quotes=(
                Quote("Dana Reyes asked", "Refund order 1042, the parcel *never* came <!channel>", untrusted=False),
            ),
            draft=Draft("ada@example.com", "Your refund", body),
            notes=("It expires at 2026-11-23T14:02:00Z.",),
            buttons=buttons if waiting else (),
        )
        for number in range(1, items + 1)
    )
    return Card(
        card_id="card1",
        title="Approval needed: refund" if waiting else "Settled: refund",
        requester="Dana Reyes",
        thread_link="https://acme.slack.com/archives/C1/p1",
        mention=(f"{ISSUER}|U03ANN",),
        items=made,
        summary="Dana Reyes asks to refund 42.00 USD for order 1042.",
    )
