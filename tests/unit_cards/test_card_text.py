"""What cards say, read as an approver would: who asks, what happens, why you, until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot import card_text
from bot.cards import Tone
from policy.approval import ApprovalStatus, Verb
from policy.model import RoleName, Subject, TenantId, ToolName
from tools.held import EffectState, HeldView, KillView, VoteView
from tools.spec import Draft, Fact

ANN = VoteView("Ann Okafor", Subject("urn:d", "ann"), datetime(2026, 11, 22, 14, 2, tzinfo=UTC))
BOB = VoteView("Bob Lindgren", Subject("urn:d", "bob"), datetime(2026, 11, 22, 14, 9, tzinfo=UTC))
LATER = datetime(2026, 11, 22, 14, 10, tzinfo=UTC)

REFUND = HeldView(
    held_id="h1",
    tenant=TenantId("demo"),
    card_id="c1",
    turn_id="t1",
    session_id="s1",
    thread_link="https://chat/thread",
    tool=ToolName("refund.issue"),
    title="Refund",
    requester=Subject("urn:d", "dana"),
    requester_name="Dana Reyes",
    asked="Refund order 1042, 42 dollars, the parcel never came",
    prose="",
    exposures=(),
    arguments={"order_id": "1042", "amount": "42.00", "currency": "USD"},
    headline="Refund 42.00 USD for order 1042 to Ada Lindqvist",
    facts=(Fact("Paid", "84.00 USD"), Fact("Refunded before", "0.00 USD"), Fact("Left", "84.00 USD")),
    draft=None,
    status=ApprovalStatus.PENDING,
    effect=EffectState.NONE,
    revision=1,
    digest="d" * 64,
    approver_roles=(RoleName("finance_approver"),),
    destinations=("#finance-approvals",),
    needed=1,
    votes=(),
    why="refund.issue cannot be taken back",
    waits_for=(),
    created_at=datetime(2026, 11, 22, 14, 0, tzinfo=UTC),
    expires_at=datetime(2026, 11, 23, 14, 0, tzinfo=UTC),
    settled_at=None,
    settled_by=None,
    reason=None,
    result=None,
    reference=None,
    stopped=None,
)
MAIL = replace(
    REFUND,
    held_id="h2",
    title="E-mail",
    tool=ToolName("email.send"),
    headline="E-mail to ada@example.com: Your refund",
    facts=(),
    draft=Draft("ada@example.com", "Your refund", "line\n" * 6000),
    waits_for=(REFUND.headline,),
)


def test_a_pending_refund_says_all_that_the_approver_needs() -> None:
    card = card_text.card([REFUND], mention=[ANN.subject])
    (item,) = card.items
    assert card.title == "Approval needed: refund"
    assert card.thread_link == "https://chat/thread"
    assert card.mention == ("urn:d|ann",)
    assert card.asker == "urn:d|dana"
    assert item.tone is Tone.WAITING
    assert item.headline == "Refund 42.00 USD for order 1042 to Ada Lindqvist"
    assert item.status == "Waiting for a finance approver."
    assert [fact.label for fact in item.facts] == ["Paid", "Refunded before", "Left"]
    assert [(quote.label, quote.text, quote.untrusted) for quote in item.quotes] == [
        ("Dana Reyes asked", "Refund order 1042, 42 dollars, the parcel never came", False)
    ]
    assert item.notes == (
        "Why you were asked: refund.issue cannot be taken back.",
        "Expires 23 Nov 14:00 UTC. Until it is approved, nothing happens.",
    )
    assert [button.verb for button in item.buttons] == [Verb.APPROVE, Verb.REJECT, Verb.ASK]
    assert "Why" in (item.buttons[1].asks_text or "")


def test_between_two_approvals_the_card_names_the_first() -> None:
    view = replace(REFUND, needed=2, votes=(ANN,))
    assert card_text.status(view) == "1 of 2: Ann Okafor, 14:02 UTC. One more person has to approve it."
    assert card_text.status(replace(view, votes=())) == "Waiting for 2 different people, each a finance approver."


def test_the_whole_draft_is_on_the_card() -> None:
    assert card_text.item(MAIL).draft == MAIL.draft
    assert len(MAIL.draft.body if MAIL.draft else "") == 30_000


def test_a_mail_that_announces_a_refund_says_what_it_waits_for() -> None:
    notes = " ".join(card_text.item(MAIL).notes)
    assert "It runs only after: Refund 42.00 USD for order 1042 to Ada Lindqvist." in notes
    assert "cancelled too" in notes


def test_words_of_the_ai_and_of_strangers_are_labelled() -> None:
    view = replace(REFUND, prose="The customer sounds upset.", exposures=("customer note C-1012",))
    item = card_text.item(view)
    assert item.quotes[1].label == "Written by the AI"
    assert item.quotes[1].untrusted
    assert any("text by strangers: customer note C-1012" in note for note in item.notes)


def test_what_the_ai_read_is_named_once_and_what_looks_like_an_attack_first() -> None:
    steered = "crm_read customer C-1013 (looks written to steer an AI agent)"
    read = ("crm_read order 1042", "crm_read", "crm_read order 1042", "db_query", steered, "crm_read order 1043")
    notes = " ".join(card_text.item(replace(REFUND, exposures=read)).notes)
    assert (
        "text by strangers: customer C-1013 in crm.read (looks written to steer an AI agent), "
        "order 1042 in crm.read, what crm.read found, what db.query found and 1 more. Check"
    ) in notes


@pytest.mark.parametrize(
    ("view", "tone", "words"),
    [
        (
            replace(REFUND, status=ApprovalStatus.APPROVED, effect=EffectState.QUEUED, votes=(ANN, BOB)),
            Tone.WAITING,
            "Approved by Ann Okafor (14:02 UTC) and Bob Lindgren (14:09 UTC). It is being carried out.",
        ),
        (
            replace(
                REFUND,
                status=ApprovalStatus.APPROVED,
                effect=EffectState.DONE,
                votes=(ANN,),
                result="42.00 USD refunded",
                reference="re_81",
            ),
            Tone.DONE,
            "Approved by Ann Okafor (14:02 UTC). 42.00 USD refunded. Reference: re_81.",
        ),
        (
            replace(
                REFUND,
                status=ApprovalStatus.APPROVED,
                effect=EffectState.FAILED,
                votes=(ANN,),
                reason="The card expired",
            ),
            Tone.TROUBLE,
            "Approved by Ann Okafor (14:02 UTC). It failed: The card expired.",
        ),
        (
            replace(
                REFUND, status=ApprovalStatus.APPROVED, effect=EffectState.IN_DOUBT, votes=(ANN,), reason="No answer."
            ),
            Tone.TROUBLE,
            (
                "Approved by Ann Okafor (14:02 UTC). Nobody can say whether it happened: No answer. "
                "It will not be tried again by itself; an admin has to look."
            ),
        ),
        (
            replace(MAIL, status=ApprovalStatus.APPROVED, effect=EffectState.WAITING, votes=(ANN,)),
            Tone.WAITING,
            "Approved by Ann Okafor (14:02 UTC). It runs after: Refund 42.00 USD for order 1042 to Ada Lindqvist.",
        ),
        (
            replace(
                REFUND,
                status=ApprovalStatus.REJECTED,
                settled_by="Ann Okafor",
                settled_at=LATER,
                reason="wrong order",
            ),
            Tone.REFUSED,
            "Rejected by Ann Okafor, 14:10 UTC: wrong order. Nothing was done.",
        ),
        (
            replace(REFUND, status=ApprovalStatus.WITHDRAWN, settled_by="Dana Reyes", settled_at=LATER),
            Tone.REFUSED,
            "Withdrawn by Dana Reyes, 14:10 UTC. Nothing was done.",
        ),
        (
            replace(REFUND, status=ApprovalStatus.EXPIRED, settled_at=LATER),
            Tone.REFUSED,
            "Expired 22 Nov 14:10 UTC. Nobody decided in time; nothing was done.",
        ),
        (
            replace(MAIL, status=ApprovalStatus.VOIDED, settled_at=LATER, reason="The refund was rejected"),
            Tone.REFUSED,
            "Cancelled 22 Nov 14:10 UTC. The refund was rejected. Nothing was done.",
        ),
    ],
)
def test_a_settled_card_says_who_when_and_what_came_of_it(view: HeldView, tone: Tone, words: str) -> None:
    item = card_text.item(view)
    assert (item.tone, item.status) == (tone, words)
    assert item.buttons == ()
    assert not any("Expires" in note or "Why you" in note for note in item.notes)


def test_a_stopped_card_says_by_whom_since_when_why_and_offers_no_approve() -> None:
    kill = KillView("tool refund.issue", "Ada Kim", LATER, "audit finding")
    item = card_text.item(replace(REFUND, stopped=kill))
    assert item.tone is Tone.STOPPED
    assert item.status.startswith("Stopped (tool refund.issue) by Ada Kim since 22 Nov 14:10 UTC: audit finding.")
    assert [button.verb for button in item.buttons] == [Verb.REJECT, Verb.ASK]


def test_one_card_carries_the_calls_of_one_answer_and_tells_them_apart() -> None:
    card = card_text.card([REFUND, MAIL])
    assert card.title == "Approval needed: refund and e-mail"
    assert [item.held_id for item in card.items] == ["h1", "h2"]
    assert card.summary.startswith("Dana Reyes asks for approval: Refund 42.00 USD")
    half = card_text.card([replace(REFUND, status=ApprovalStatus.REJECTED), MAIL])
    assert half.title == "Approval needed: e-mail"


def test_a_settled_card_mentions_nobody() -> None:
    card = card_text.card([replace(REFUND, status=ApprovalStatus.REJECTED, reason="no")], mention=[ANN.subject])
    assert card.mention == ()
    assert card.asker == ""
    assert card.title == "Settled: refund"


def test_in_a_channel_the_summary_names_no_customer_and_no_amount() -> None:
    assert "Lindqvist" in card_text.waiting_summary([REFUND], named=True)
    said = card_text.waiting_summary([REFUND, MAIL], named=False)
    assert "Lindqvist" not in said
    assert "42.00" not in said
    assert "**Refund**: waits for a finance approver, asked in #finance-approvals" in said


def test_a_question_is_quoted_and_names_who_asks() -> None:
    said = card_text.question(REFUND, "Ann Okafor", "Which parcel?\n# Heading")
    assert said.startswith("Ann Okafor has a question before deciding")
    assert "> Which parcel?\n> # Heading" in said
    assert "does not decide" in said
