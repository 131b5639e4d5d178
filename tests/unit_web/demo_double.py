"""A scripted upper layer for the demo page: the same cards and words as the service, none of its decisions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from bot.cards import Button, Card, Item, Quote, Tone
from bot.messages import AskAgain, ChatUser, Command, Feedback, Incoming, LinkAnswer, Press, Room, Thread
from bot.ports import Ask, Home, HomeLine, Person, Posted, PressReply, Standing
from bot.web.data import AuditLine, AuditPage, ChainCheck, MailLine, RefundLine, ServiceState
from bot.web.surface import DemoSurface
from bot.web.workspace import DEMO, TEAM
from policy.approval import Verb
from policy.model import Subject, TenantId
from tools.held import KillView
from tools.spec import Draft, Fact

ISSUER = "urn:countersign:directory"
NAMES = {
    "dana": "Dana Reyes",
    "sam": "Sam Patel",
    "ann": "Ann Okafor",
    "bob": "Bob Lindgren",
    "lee": "Lee Morgan",
    "sally": "Sally Berg",
    "ada": "Ada Kim",
    "aud": "Aud Novak",
    "rita": "Rita Ray",
}
BUTTONS = (
    Button(Verb.APPROVE, "Approve"),
    Button(Verb.REJECT, "Reject", "Why do you reject this? The requester will read it."),
    Button(Verb.ASK, "Ask requester", "What do you want to know?"),
)
DIGEST = hashlib.sha256(b"the call").hexdigest()
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


def people() -> tuple[Person, ...]:
    return tuple(
        Person(
            tenant=TenantId("demo"),
            subject=Subject(ISSUER, user),
            display_name=name,
            email=f"{user}@acme.example",
            active=True,
            groups=(),
            employee_number=str(1001 + at),
            accounts=(ChatUser(DEMO, TEAM, user),),
        )
        for at, (user, name) in enumerate(NAMES.items())
    )


def item(held_id: str = "h1", *, buttons: tuple[Button, ...] = BUTTONS, note: str = "") -> Item:
    return Item(
        held_id=held_id,
        revision=1,
        digest=DIGEST,
        tone=Tone.WAITING,
        headline="Refund 42.00 USD for order 1042 to Ada Lindqvist",
        status="Waiting for 1 person: finance_approver",
        facts=(
            Fact("Customer", "Ada Lindqvist, C-1007"),
            Fact("Paid", "84.00 USD"),
            Fact("Refunded before", "0.00 USD"),
            Fact("Left after this", "42.00 USD"),
            Fact("Last refund", "never", warning=bool(note)),
        ),
        quotes=(
            Quote("Dana Reyes asked", "Refund order 1042, 42 dollars, the parcel never came", untrusted=False),
            *((Quote("A customer wrote", note, untrusted=True),) if note else ()),
        ),
        draft=None,
        notes=("You were asked because refunds need a finance approver.", "Expires tomorrow at 14:02."),
        buttons=buttons,
    )


def mail_item(body: str = "Dear Ada,\n\nyour refund of 42.00 USD is on its way.\n\nKind regards\nDana") -> Item:
    return replace(
        item("h2"),
        headline="E-mail to Ada Lindqvist: Your refund is on its way",
        status="Waits for the refund, then for 1 person: support_lead",
        facts=(Fact("Recipient", "Ada Lindqvist, from the CRM"),),
        draft=Draft("ada.lindqvist@example.com", "Your refund is on its way", body),
        notes=("Is sent only if the refund takes effect.",),
    )


def card(*items: Item, title: str = "Approval needed: refund") -> Card:
    return Card(
        card_id="c1",
        title=title,
        requester="Dana Reyes",
        thread_link="/open?channel=dm%3Adana&root=dm%3Adana",
        mention=(f"{ISSUER}|ann", f"{ISSUER}|bob"),
        items=items or (item(),),
        summary="Dana Reyes asks to refund 42.00 USD for order 1042",
    )


@dataclass
class Trail:
    """`DemoData` over lists that a test can add to."""

    rows: list[AuditLine] = field(default_factory=list)
    sent: list[MailLine] = field(default_factory=list)
    refunded: list[RefundLine] = field(default_factory=list)
    waits: dict[str, int] = field(default_factory=dict)
    kills: tuple[KillView, ...] = ()
    broken: bool = False
    open: frozenset[str] = frozenset({"h1"})
    """What dana can still withdraw."""
    strangers: frozenset[str] = frozenset()
    """Whose accounts nobody is linked to."""

    def add(self, kind: str, status: str, *, who: str = "Dana Reyes", tool: str | None = "refund.issue") -> None:
        seq = len(self.rows) + 1
        row_hash = hashlib.sha256(str(seq).encode()).hexdigest()
        amount = "42.00 USD" if tool == "refund.issue" else None
        self.rows.insert(0, AuditLine(seq, datetime.now(UTC), who, kind, tool, amount, status, None, row_hash))

    async def mark(self) -> str:
        return f"{len(self.rows)}/{len(self.kills)}/{len(self.sent)}"

    async def state(self) -> ServiceState:
        return ServiceState("offline", offline=True, stopped=self.kills)

    async def waiting(self) -> Mapping[str, int]:
        return self.waits

    async def unlinked(self) -> frozenset[str]:
        return self.strangers

    async def withdrawable(self, user: str) -> frozenset[str]:
        return self.open if user == "dana" else frozenset()

    async def audit(self, newest: int) -> AuditPage:
        if self.broken:
            raise RuntimeError("no audit today")
        return AuditPage(len(self.rows), tuple(self.rows[:newest]))

    async def mails(self) -> tuple[MailLine, ...]:
        return tuple(reversed(self.sent))

    async def refunds(self) -> tuple[RefundLine, ...]:
        return tuple(reversed(self.refunded))

    async def verify(self) -> ChainCheck:
        return ChainCheck(
            True, f"{len(self.rows)} rows, each rebuilt from its columns; the last checkpoint is at row 1."
        )


@dataclass
class ScriptedService:
    """Answers a word with a reaction: "refund" holds a card, "slow" streams, anything else is echoed."""

    surface: DemoSurface
    trail: Trail
    heard: list[Incoming] = field(default_factory=list)
    presses: list[Press] = field(default_factory=list)
    agains: list[AskAgain] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    thumbs: list[Feedback] = field(default_factory=list)
    followed: set[str] = field(default_factory=set)
    card: Card = field(default_factory=card)
    asked_from: Thread | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    fails: Exception | None = None

    async def on_message(self, message: Incoming) -> None:
        if self.fails is not None:
            raise self.fails
        self.heard.append(message)
        self.followed.add(message.thread.session_id)
        task = asyncio.create_task(self._turn(message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _turn(self, message: Incoming) -> None:
        self.trail.add("turn.started", "started", tool=None)
        stream = await self.surface.begin(message.thread, message.who)
        if "refund" not in message.text.lower():
            await stream.add("You said: ")
            await stream.add(message.text)
            await stream.done(f"You said: **{message.text}**")
            return
        self.asked_from = message.thread
        self.trail.add("tool.requested", "held")
        self.trail.waits = {"ann": 1, "bob": 1}
        await self.surface.post(TEAM, "#finance-approvals", self.card)
        await stream.done(
            "I prepared this and asked for the countersignature:\n\n"
            "- **Refund 42.00 USD for order 1042**: waiting for finance_approver in #finance-approvals\n"
            "- E-mail to Ada Lindqvist: waits for the refund"
        )
        await self.surface.say(message.thread, "You can still take it back.", (Ask("Withdraw", "withdraw", "h1"),))

    async def on_press(self, press: Press) -> PressReply:
        self.presses.append(press)
        who = NAMES[press.who.user]
        self.trail.add("approval.pressed", press.verb.value, who=who)
        match press.verb:
            case Verb.APPROVE:
                self.trail.add("tool.executed", "executed", who=who)
                self.trail.refunded.append(
                    RefundLine(
                        "re_81", datetime.now(UTC), "1042", "Ada Lindqvist", Decimal("42.00"), "USD", "parcel lost"
                    )
                )
                return self._settled(
                    f"Approved by {who}, 14:03. Refunded, re_81", Tone.DONE, "Approved. The refund is on its way."
                )
            case Verb.REJECT:
                return self._settled(f"Rejected by {who}: {press.text}", Tone.REFUSED, "Rejected. Nothing was done.")
            case Verb.WITHDRAW:
                return self._settled(f"Withdrawn by {who}", Tone.REFUSED, "Withdrawn. Nothing was done.")
            case Verb.ASK:
                if self.asked_from is not None:
                    await self.surface.say(self.asked_from, f"{who} asks: {press.text}")
                return PressReply("Asked. Nothing was decided.", None)

    def _settled(self, status: str, tone: Tone, sentence: str) -> PressReply:
        self.trail.waits = {}
        items = tuple(replace(one, status=status, tone=tone, buttons=()) for one in self.card.items)
        self.card = replace(self.card, title="Settled", items=items)
        return PressReply(sentence, self.card)

    async def on_ask_again(self, again: AskAgain) -> PressReply:
        self.agains.append(again)
        return PressReply("Asked again.", None)

    async def on_link_answer(self, answer: LinkAnswer) -> PressReply:
        return PressReply("Linked." if answer.yes else "Not linked.")

    async def on_command(self, command: Command) -> str:
        self.commands.append(command)
        if command.text.startswith("kill"):
            self.trail.kills = (KillView("tool refund.issue", "Ada Kim", datetime.now(UTC), "the provider acts up"),)
        return f"You are **{NAMES[command.who.user]}**. You typed `{command.text}`."

    async def home(self, who: ChatUser) -> Home:
        waiting = (HomeLine("Refund 42.00 USD for order 1042 to Ada Lindqvist", "expires tomorrow 14:02", None),)
        return Home(f"Hello {NAMES[who.user]}", None, waiting if self.trail.waits.get(who.user) else (), ())

    async def on_account_changed(self, who: ChatUser, standing: Standing) -> None:
        raise AssertionError("the demo has no accounts that change")

    async def on_turned_away(self, who: ChatUser, standing: Standing, session_id: str | None) -> None:
        raise AssertionError("the demo has no gate that turns accounts away")

    async def on_feedback(self, feedback: Feedback) -> None:
        self.thumbs.append(feedback)

    async def card_for(self, who: ChatUser, held_id: str) -> Card | None:
        return self.card if any(one.held_id == held_id for one in self.card.items) else None

    async def follows(self, thread: Thread) -> bool:
        return thread.session_id in self.followed


def dm(user: str) -> Thread:
    return Thread(DEMO, TEAM, f"dm:{user}", f"dm:{user}", Room.DM)


def posted(channel: str, message_id: str) -> Posted:
    return Posted(DEMO, TEAM, channel, message_id)
