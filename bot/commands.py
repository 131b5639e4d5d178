"""`/countersign …`: words in, one private answer out. Knows the grammar and who may; changes nothing itself.

The same words work as a message. What changes something, or was refused, is an audit row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never

from audit.event import Event, Kind
from bot import card_text
from bot.cards import Tone
from bot.identity.link_words import account, plain
from bot.messages import ChatUser, Command
from bot.parts import ADMIN, Parts
from bot.store import Once
from policy.model import Principal, ToolName
from tools.held import HeldView, KillReport, Scope, ScopeKind
from tools.stops import By

HELP = """**What you can say to me**
Just write what you need, e.g. "Refund order 1042, 42 dollars, the parcel never came". What cannot be taken back waits \
for the people who have to approve it.

**Commands**
- `/countersign whoami`: who I think you are, and what you may ask for
- `/countersign pending`: what waits for you, and what you asked for
- `/countersign status`: whether anything is stopped
- `/countersign link`, `/countersign unlink`: say who you are, or take it back
- `/countersign help`: this text

**For admins**
- `/countersign kill all REASON`: stop everything in this organisation
- `/countersign kill tool NAME REASON`, e.g. `kill tool refund.issue wrong amounts`
- `/countersign kill user @NAME REASON`
- `/countersign unlink @NAME`: somebody's chat accounts are nobody's from then on
- `/countersign kill`: changes nothing, shows what a kill would stop
- `/countersign resume all | tool NAME | user @NAME`: nothing runs by itself; what was stopped needs a fresh press"""
SEE_HELP = "`/countersign help` shows how."
REPEATED = "This command came twice and has been carried out before. Nothing was changed again."
PENDING_LINES = 15


class Plain(StrEnum):
    """Commands without arguments, for anyone."""

    HELP = "help"
    WHOAMI = "whoami"
    PENDING = "pending"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Target:
    """What a kill or resume names, as typed. `word` empty for ``all``."""

    kind: ScopeKind
    word: str = ""


@dataclass(frozen=True, slots=True)
class Kill:
    """`target` None: show only."""

    target: Target | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    target: Target


@dataclass(frozen=True, slots=True)
class Unclear:
    """Not a command. `sentence` says what is missing."""

    sentence: str


Parsed: TypeAlias = Plain | Kill | Resume | Unclear


def parse(text: str) -> Parsed:
    """What `text`, everything after ``/countersign``, means. Total."""
    words = text.split()
    if not words:
        return Plain.HELP
    verb, rest = words[0].lower(), words[1:]
    if verb in tuple(Plain):
        return Plain(verb)
    if verb == "kill":
        return _kill(rest)
    if verb == "resume":
        target, left = _target(rest)
        if target is None or left:
            return Unclear(f"Say what to resume: `resume all`, `resume tool NAME` or `resume user @NAME`. {SEE_HELP}")
        return Resume(target)
    return Unclear(f"I do not know the command “{verb[:40]}”.")


def _kill(rest: Sequence[str]) -> Kill | Unclear:
    if not rest:
        return Kill(None)
    target, reason = _target(rest)
    if target is None:
        return Unclear(
            f"Say what to stop: `kill all REASON`, `kill tool NAME REASON` or `kill user @NAME REASON`. {SEE_HELP}"
        )
    if not reason:
        return Unclear(
            "Nothing was stopped yet: give a reason after it, which the people whose requests are stopped will read. "
            f"{SEE_HELP}"
        )
    return Kill(target, " ".join(reason))


def _target(words: Sequence[str]) -> tuple[Target | None, Sequence[str]]:
    match [word.lower() for word in words[:2]]:
        case ["all", *_]:
            return Target(ScopeKind.TENANT), words[1:]
        case ["tool", _]:
            return Target(ScopeKind.TOOL, words[1].lower()), words[2:]
        case ["user", _]:
            return _user(words[1:])
        case _:
            return None, ()


def _user(words: Sequence[str]) -> tuple[Target, Sequence[str]]:
    """One word, or a name in quotes: ``@dana``, ``<@U123>``, ``"Dana Reyes"``."""
    first = words[0]
    if first[0] in '"“' and not (len(first) > 1 and first[-1] in '"”'):
        for end, word in enumerate(words[1:], 2):
            if word[-1] in '"”':
                return Target(ScopeKind.USER, " ".join(words[:end]).strip('"“”')), words[end:]
    return Target(ScopeKind.USER, first.strip('"“”')), words[1:]


async def run(parts: Parts, who: Principal, command: Command, once: Once) -> str:
    """Carry out `command` for `who`. What it switches, it switches once for this delivery.

    Raises:
        StoreUnavailable: nothing was changed, or it could not be read.
    """
    parsed = parse(command.text)
    match parsed:
        case Unclear(sentence=sentence):
            return sentence if sentence.endswith(SEE_HELP) else f"{sentence}\n\n{HELP}"
        case Plain():
            return await _plain(parts, who, parsed)
        case Kill() | Resume():
            if ADMIN not in who.roles:
                return await _refuse(parts, who, command, parsed)
            return await _kill_or_resume(parts, who, command, parsed, once)
        case _:
            assert_never(parsed)


async def _plain(parts: Parts, who: Principal, word: Plain) -> str:
    match word:
        case Plain.HELP:
            return HELP
        case Plain.WHOAMI:
            return await _whoami(parts, who)
        case Plain.PENDING:
            return await _pending(parts, who)
        case Plain.STATUS:
            return _status(await parts.gateway.kills(who.tenant), ADMIN in who.roles)
        case _:
            assert_never(word)


async def _whoami(parts: Parts, who: Principal) -> str:
    policy = parts.policy(who.tenant)
    tools = sorted(policy.roles.tools_of(who.roles))
    approves = sorted(
        rule.tool
        for rule in policy.tools.values()
        if any(who.roles & set(roles) for roles in rule.gate.approver_roles.values())
    )
    lines = [
        f"You are **{who.display_name}** ({who.subject.sub}) of the organisation {who.tenant}.",
        f"Roles: {', '.join(sorted(who.roles))}.",
        f"You may ask for: {', '.join(tools) or 'nothing, your roles name no tool'}.",
    ]
    if approves:
        lines.append(f"You may approve, for others: {', '.join(approves)}.")
    person = await parts.book.by_subject(who.tenant, who.subject)
    accounts = () if person is None else person.accounts
    if len(accounts) > 1:  # one person wherever they write: nobody approves their own request from another chat
        lines.append("All of these accounts are you:")
        lines += [f"- {plain(account(one))}{_unlinked(parts, one, who)}" for one in accounts]
    return "\n".join(lines)


def _unlinked(parts: Parts, one: ChatUser, who: Principal) -> str:
    return " (your company account itself)" if parts.directory.implied(one) == who.subject else ""


async def _pending(parts: Parts, who: Principal) -> str:
    waiting = await parts.gateway.waiting_for(who)
    asked = [view for view in await parts.gateway.asked_by(who.tenant, who.subject) if not _over(view)]
    return "\n".join(
        [
            "**Waiting for you**",
            *(_lines([(view, f"{view.requester_name} asks") for view in waiting]) or ["Nothing."]),
            "**Asked by you**",
            *(_lines([(view, card_text.status(view)) for view in asked]) or ["Nothing is open."]),
        ]
    )


def _over(view: HeldView) -> bool:
    return card_text.tone(view) not in (Tone.WAITING, Tone.STOPPED, Tone.TROUBLE)


def _lines(views: Sequence[tuple[HeldView, str]]) -> list[str]:
    shown = [
        f"- {view.headline}. {_sentence(note)}"
        + (f" [Open the thread]({view.thread_link})" if view.thread_link else "")
        for view, note in views[:PENDING_LINES]
    ]
    return [*shown, f"… and {len(views) - PENDING_LINES} more."] if len(views) > PENDING_LINES else shown


def _sentence(note: str) -> str:
    return note if note.endswith((".", "!", "?")) else f"{note}."


def _status(report: KillReport, named: bool) -> str:
    """`named`: with what others asked for, which is for admins."""
    lines = [card_text.stopped(kill) for kill in report.active] or ["Nothing is stopped."]
    if not named:
        lines.append(f"Waiting for approval: {report.pending}.")
        lines += [f"Under way, too late to stop: {len(report.in_flight)}."] if report.in_flight else []
        return "\n".join(lines)
    return "\n".join([*lines, *_counts(report)])


def _counts(report: KillReport) -> list[str]:
    lines = [f"Waiting for approval: {report.pending}."]
    if report.in_flight:
        lines.append("Under way, too late to stop:")
        lines.extend(f"- {view.headline}" for view in report.in_flight)
    return lines


async def _refuse(parts: Parts, who: Principal, command: Command, parsed: Kill | Resume) -> str:
    word = "kill" if isinstance(parsed, Kill) else "resume"
    await parts.gateway.record([_event(parts, who, command, Kind.COMMAND_REFUSED, "refused", word)])
    return f"Only people with the role {ADMIN} can {word}. Nothing was changed; that you tried is in the audit trail."


async def _kill_or_resume(parts: Parts, who: Principal, command: Command, parsed: Kill | Resume, once: Once) -> str:
    if isinstance(parsed, Kill) and parsed.target is None:
        return await _preview(parts, who)
    target = parsed.target
    if target is None:
        return HELP
    scope = await _scope(parts, who, command.who, target)
    if isinstance(scope, str):
        return scope
    found, label = scope
    by = By(who.subject.sub, who.display_name, tuple(sorted(who.roles)), label)
    if isinstance(parsed, Kill):
        report = await parts.gateway.kill(who.tenant, found, by, parsed.reason, once=once.take)
        if not once.first:
            return REPEATED
        lines = [f"Stopped: {label}. Nothing new starts from this moment."]
        if report.reopened:
            lines.append(f"Approved but not started, waiting again for a fresh press: {report.reopened}.")
        return "\n".join([*lines, *_counts(report), f"Lift it with `/countersign resume {_typed(target)}`."])
    report = await parts.gateway.resume(who.tenant, found, by, once=once.take)
    if not once.first:
        return REPEATED
    left = [card_text.stopped(kill) for kill in report.active]
    lines = [f"Resumed: {label}. Nothing runs by itself; what was stopped needs a fresh press."]
    return "\n".join([*lines, *(["Still stopped:", *left] if left else [])])


async def _preview(parts: Parts, who: Principal) -> str:
    by = By(who.subject.sub, who.display_name)
    report = await parts.gateway.kill(who.tenant, Scope(ScopeKind.TENANT), by, "", dry_run=True)
    return "\n".join(
        [
            "Nothing was stopped. `/countersign kill all REASON` would stop everything in this organisation:",
            *_counts(report),
            *(card_text.stopped(kill) for kill in report.active),
            "Narrower: `kill tool NAME REASON`, `kill user @NAME REASON`.",
        ]
    )


async def _scope(parts: Parts, who: Principal, asker: ChatUser, target: Target) -> tuple[Scope, str] | str:
    """The scope and what to call it; or a sentence when it names nothing."""
    match target.kind:
        case ScopeKind.ALL | ScopeKind.TENANT:
            return Scope(ScopeKind.TENANT), "everything in this organisation"
        case ScopeKind.TOOL:
            name = ToolName(target.word)
            if name not in parts.catalog and name not in parts.policy(who.tenant).tools:
                known = ", ".join(sorted(parts.catalog))
                return f"There is no tool {target.word}. Nothing was changed. The tools are: {known}."
            return Scope(ScopeKind.TOOL, name), f"the tool {name}"
        case ScopeKind.USER:
            return await _person(parts, who, asker, target.word)
        case _:
            assert_never(target.kind)


async def _person(parts: Parts, who: Principal, asker: ChatUser, word: str) -> tuple[Scope, str] | str:
    """The one person `word` names: a chat mention, the directory's subject, or their name.

    In this order, each only where those before name nobody: people choose their own names, so that a name must not
    stand beside an account or a subject. A mention means the account alone.
    """
    name = word.strip("<>").lstrip("@").partition("|")[0].casefold()
    people = await parts.book.people(who.tenant)
    first = [
        person
        for person in people
        if any(one.surface == asker.surface and one.user.casefold() == name for one in person.accounts)
    ]
    if not word.startswith("<@"):
        first = first or [person for person in people if name == person.subject.sub.casefold()]
        first = first or [person for person in people if name == person.display_name.casefold()]
        first = first or [person for person in people if name in person.display_name.casefold().split()]
    if len(first) != 1:
        why = "Nobody is" if not first else f"{len(first)} people are"
        return f"{why} called {word[:60]}. Nothing was changed; mention the person, or use their name in the directory."
    return Scope(ScopeKind.USER, str(first[0].subject)), first[0].display_name


def _typed(target: Target) -> str:
    return "all" if target.kind in (ScopeKind.ALL, ScopeKind.TENANT) else f"{target.kind.value} {target.word}"


def _event(parts: Parts, who: Principal, command: Command, kind: Kind, status: str, word: str) -> Event:
    return Event(
        kind=kind,
        tenant=who.tenant,
        occurred_at=parts.clock(),
        status=status,
        actor_user_id=who.subject.sub,
        actor_roles=tuple(sorted(who.roles)),
        session_id=command.thread.session_id,
        detail={"command": word, "account": str(command.who)},
    )
