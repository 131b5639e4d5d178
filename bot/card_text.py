"""The words of cards, requests and settlements, from held calls as the gateway shows them.

Knows the read model and plain English; knows no chat, no markup beyond a quotation, no clock and no database.
Written to be read aloud by an approver: who asks, what exactly happens, why you, until when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import assert_never

from bot.cards import Button, Card, Item, Quote, Tone
from policy.approval import ApprovalStatus, Verb
from policy.model import RoleName, Subject
from policy.places import channel_of
from tools.held import EffectState, HeldView, KillView

APPROVE = Button(Verb.APPROVE, "Approve")
REJECT = Button(Verb.REJECT, "Reject", "Why do you reject it? The requester is told.")
ASK = Button(Verb.ASK, "Ask requester", "What do you want to know? Asking decides nothing.")
WITHDRAW_LABEL = "Withdraw"
WITHDRAW = Button(Verb.WITHDRAW, WITHDRAW_LABEL)
ASK_AGAIN_LABEL = "Ask again"
STEERED = "(looks written to steer an AI agent)"
"""Ends an exposure in which somebody seems to give the agent orders."""
CHATS = {"slack": "Slack", "teams": "Microsoft Teams", "demo": "the demo chat"}
"""What chats are called."""
MOST_SOURCES = 4
"""How many of the sources that an agent has read a card names."""


def card(views: Sequence[HeldView], *, link: str | None = None, mention: Sequence[Subject] = ()) -> Card:
    """The card of every call of one answer that has the same approvers. `views` is not empty, all of one card."""
    first = views[0]
    pending = [view for view in views if view.status is ApprovalStatus.PENDING]
    return Card(
        card_id=first.card_id,
        title=_title(views, pending),
        requester=first.requester_name,
        thread_link=link or first.thread_link,
        mention=tuple(str(subject) for subject in mention) if pending else (),
        items=tuple(item(view) for view in views),
        summary=_summary(views, pending),
        asker=str(first.requester) if pending else "",
    )


def item(view: HeldView) -> Item:
    """One held call on a card."""
    return Item(
        held_id=view.held_id,
        revision=view.revision,
        digest=view.digest,
        tone=tone(view),
        headline=view.headline,
        status=status(view),
        facts=view.facts,
        quotes=_quotes(view),
        draft=view.draft,
        notes=_notes(view),
        buttons=_buttons(view),
    )


def tone(view: HeldView) -> Tone:
    match view.status:
        case ApprovalStatus.PENDING:
            return Tone.WAITING if view.stopped is None else Tone.STOPPED
        case ApprovalStatus.APPROVED:
            return _effect_tone(view.effect)
        case ApprovalStatus.REJECTED | ApprovalStatus.EXPIRED | ApprovalStatus.VOIDED | ApprovalStatus.WITHDRAWN:
            return Tone.REFUSED
        case _:
            assert_never(view.status)


def _effect_tone(effect: EffectState) -> Tone:
    match effect:
        case EffectState.DONE:
            return Tone.DONE
        case EffectState.FAILED | EffectState.IN_DOUBT:
            return Tone.TROUBLE
        case EffectState.NONE | EffectState.WAITING | EffectState.QUEUED | EffectState.STARTED:
            return Tone.WAITING
        case _:
            assert_never(effect)


def status(view: HeldView) -> str:
    """Where the call stands, in one or two sentences."""
    match view.status:
        case ApprovalStatus.PENDING:
            return _pending(view)
        case ApprovalStatus.APPROVED:
            return f"Approved by {approvers(view)}. {_effect(view)}"
        case ApprovalStatus.REJECTED:
            return f"Rejected by {_settled(view)}: {_sentence(view.reason)} Nothing was done."
        case ApprovalStatus.WITHDRAWN:
            return f"Withdrawn by {_settled(view)}. Nothing was done."
        case ApprovalStatus.EXPIRED:
            return f"Expired {moment(view.settled_at or view.expires_at)}. Nobody decided in time; nothing was done."
        case ApprovalStatus.VOIDED:
            return f"Cancelled{_at(view.settled_at)}. {_sentence(view.reason)}{_nothing_done(view.reason)}"
        case _:
            assert_never(view.status)


def _pending(view: HeldView) -> str:
    if view.stopped is not None:
        return f"{stopped(view.stopped)} Nothing can be approved until an admin resumes it."
    if view.votes:
        have = ", ".join(f"{vote.name}, {clock(vote.at)}" for vote in view.votes)
        missing = view.needed - len(view.votes)
        more = "One more person has" if missing == 1 else f"{missing} more people have"
        return f"{len(view.votes)} of {view.needed}: {have}. {more} to approve it."
    return f"Waiting for {approvers_wanted(view)}."


def _effect(view: HeldView) -> str:
    match view.effect:
        case EffectState.DONE:
            return _with_reference(view)
        case EffectState.FAILED:
            return f"It failed: {_sentence(view.reason)}"
        case EffectState.IN_DOUBT:
            return (
                f"Nobody can say whether it happened: {_sentence(view.reason)} "
                "It will not be tried again by itself; an admin has to look."
            )
        case EffectState.WAITING:
            return f"It runs after: {'; '.join(view.waits_for)}."
        case EffectState.NONE | EffectState.QUEUED | EffectState.STARTED:
            return "It is being carried out."
        case _:
            assert_never(view.effect)


def _with_reference(view: HeldView) -> str:
    result = _sentence(view.result or "Done")
    if view.reference is None or view.reference in result or "@" in view.reference:  # a mail's id helps nobody here
        return result
    return f"{result} Reference: {view.reference}."


def stopped(kill: KillView) -> str:
    """By whom, since when, why."""
    return f"Stopped ({kill.scope}) by {kill.by} since {moment(kill.since)}: {_sentence(kill.reason)}"


def approvers_wanted(view: HeldView) -> str:
    """Whose approval it waits for: "a finance approver", "2 different people, each a finance approver"."""
    roles = _any_of([role_words(role) for role in view.approver_roles])
    return roles if view.needed == 1 else f"{view.needed} different people, each {roles}"


def approvers(view: HeldView) -> str:
    return _all_of([f"{vote.name} ({clock(vote.at)})" for vote in view.votes]) or view.settled_by or "nobody"


def role_words(role: RoleName) -> str:
    """``finance_approver`` -> "a finance approver"."""
    words = role.replace("_", " ")
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"


def moment(at: datetime) -> str:
    """A day and a time that mean the same to everybody."""
    return f"{at.day} {at:%b %H:%M} UTC"


def clock(at: datetime) -> str:
    return f"{at:%H:%M} UTC"


# --- what the requester reads -----------------------------------------------------------------------


def waiting_summary(views: Sequence[HeldView], *, named: bool) -> str:
    """In the thread: what waits for whom. `named`: with customers and amounts (nobody else reads along)."""
    lines = ["This needs somebody's approval before anything happens:"]
    for view in views:
        what = view.headline if named else view.title
        after = f" It runs only after: {'; '.join(view.waits_for)}." if view.waits_for and named else ""
        asked = " and ".join(place(one) for one in view.destinations)
        lines.append(
            f"- **{what}**: waits for {approvers_wanted(view)}, asked {asked}, until {moment(view.expires_at)}.{after}"
        )
    return "\n".join(lines)


def outcome(view: HeldView) -> str:
    """For the model: a held call was settled. Facts only; the model says it in its own words."""
    return f"{view.headline} ({view.tool}): {status(view)}"


def question(view: HeldView, by: str, text: str) -> str:
    """For the requester: an approver wants to know something."""
    return (
        f"{by} has a question before deciding on **{view.headline}**:\n\n{quoted(text)}\n\n"
        f"Nothing is decided yet. Please answer {by} directly, for instance in a channel that you share. What "
        "you write to me does not decide it, and I do not pass it on."
    )


def reminder(view: HeldView) -> str:
    return f"Reminder: {view.headline} still waits for {approvers_wanted(view)}, until {moment(view.expires_at)}."


def in_doubt(view: HeldView) -> str:
    return (
        f"Please look at this: **{view.headline}**, approved by {approvers(view)}. Nobody can say whether it happened: "
        f"{_sentence(view.reason)} It will not be tried again by itself. Look at the provider, then say on the server "
        f'what you saw: `countersign doubt settle {view.held_id} "what you saw" --done`, or `--not-done`.'
    )


def unreachable(view: HeldView) -> str:
    """For the requester, once: the card could not be posted yet."""
    return (
        f"I could not reach the approvers of **{view.headline}** yet. I keep trying; nothing happens before they have "
        "seen it."
    )


def partly(view: HeldView, missed: Sequence[str]) -> str:
    """For the requester, once: some approvers have the card, others do not. `missed`: where not, as `place` says."""
    return (
        f"Approvers of **{view.headline}** have been asked, but not everywhere: {_all_of(missed)} I could not post it "
        "yet. I keep trying where there is somebody; it counts from wherever it is decided."
    )


def could_not_post(view: HeldView) -> str:
    """Given up after a day. What the rows say counts; only who looks at a chat may not know it."""
    if view.status is not ApprovalStatus.PENDING:
        return (
            f"For a whole day I could not bring every card of **{view.headline}** up to date. Whatever a card still "
            f"shows, this is how it stands: {status(view)}"
        )
    return (
        f"I could not reach all approvers of **{view.headline}** for a whole day. Nothing was done. Where no card "
        "stands nobody was asked: an admin has to check the channel; then withdraw it and ask me again."
    )


def quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


# --- parts ------------------------------------------------------------------------------------------


def _title(views: Sequence[HeldView], pending: Sequence[HeldView]) -> str:
    if not pending:
        return f"Settled: {_all_of(_unique(view.title for view in views)).lower()}"
    if all(view.stopped is not None for view in pending):
        return f"Stopped: {_all_of(_unique(view.title for view in pending)).lower()}"
    return f"Approval needed: {_all_of(_unique(view.title for view in pending)).lower()}"


def _summary(views: Sequence[HeldView], pending: Sequence[HeldView]) -> str:
    if pending:
        return f"{views[0].requester_name} asks for approval: {'; '.join(view.headline for view in pending)}."
    return "; ".join(f"{view.headline}: {status(view)}" for view in views)


def _quotes(view: HeldView) -> tuple[Quote, ...]:
    quotes = [Quote(f"{view.requester_name} asked", view.asked, untrusted=False)]
    if view.prose.strip():
        quotes.append(Quote("Written by the AI", view.prose, untrusted=True))
    return tuple(quotes)


def _notes(view: HeldView) -> tuple[str, ...]:
    notes: list[str] = []
    if view.status is ApprovalStatus.PENDING:
        notes.append(f"Why you were asked: {_sentence(view.why)}")
    if view.exposures:
        notes.append(
            f"Before this, the AI had read text by strangers: {_sources(view.exposures)}. "
            "Check that the request follows from the requester's own words."
        )
    if view.status is ApprovalStatus.PENDING:
        if view.waits_for:
            notes.append(
                f"It runs only after: {'; '.join(view.waits_for)}. If that does not happen, this is cancelled too."
            )
        notes.append(f"Expires {moment(view.expires_at)}. Until it is approved, nothing happens.")
    return tuple(notes)


def _sources(exposures: Sequence[str]) -> str:
    """Each once, what looks like an attack first; a long conversation does not make a long card."""
    ranked = sorted(_unique(map(_source, exposures)), key=lambda source: not source.endswith(STEERED))
    more = len(ranked) - MOST_SOURCES
    return ", ".join(ranked[:MOST_SOURCES]) + (f" and {more} more" if more > 0 else "")


def _source(exposure: str) -> str:
    """As people know it: ``crm_read order 1042`` -> "order 1042 in crm.read"; ``crm_read`` -> "what crm.read found"."""
    wire = re.match(r"([a-z]+)_([a-z_]+)(?: ([a-z]+ [A-Z0-9-]+))?", exposure)
    if wire is None:
        return exposure
    tool, rest = f"{wire[1]}.{wire[2]}", exposure[wire.end() :]
    return f"{wire[3]} in {tool}{rest}" if wire[3] else f"what {tool} found{rest}"


def _buttons(view: HeldView) -> tuple[Button, ...]:
    if view.status is not ApprovalStatus.PENDING:
        return ()
    return (APPROVE, REJECT, ASK) if view.stopped is None else (REJECT, ASK)


def _settled(view: HeldView) -> str:
    by = view.settled_by or "Countersign"
    return by if view.settled_at is None else f"{by}, {clock(view.settled_at)}"


def _at(at: datetime | None) -> str:
    return "" if at is None else f" {moment(at)}"


def _nothing_done(reason: str | None) -> str:
    return "" if reason is not None and "othing was " in reason else " Nothing was done."


def _sentence(text: str | None) -> str:
    """`text` ending in a full stop, so that sentences can follow each other."""
    words = (text or "no reason was given").strip()
    return words if words.endswith((".", "!", "?")) else f"{words}."


def place(destination: str, chat: str | None = None) -> str:
    """Where a card goes: "in #finance-approvals (Slack)". `chat`: the one that is meant, if none is named."""
    found = channel_of(destination)
    where = chat if found is None else found.chat or chat
    called = f" ({CHATS.get(where, where)})" if where is not None else ""
    if found is None:
        return f"by direct message{called}"
    # An id says nothing to people.
    return f"in {found.name}{called}" if found.name.startswith("#") else f"in a conversation{called}"


def _any_of(words: Sequence[str]) -> str:
    return " or ".join(words)


def _all_of(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
