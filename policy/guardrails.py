"""Text -> verdict, what a turn has been exposed to, and when a person is locked out.

Knows the rules of guardrails.yaml; knows no model, chat, clock or table. Total and linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

import re2

from policy import pii
from policy.guard_rules import Action, Guard, Guardrails, KillSwitch
from policy.model import ToolName
from policy.normalise import disguises, fold
from policy.patterns import PATTERNS, Confidence, Pattern

__all__ = [
    "Action",
    "Verdict",
    "check_answer",
    "check_call",
    "check_message",
    "check_tool_output",
    "exposed",
    "locked_until",
    "redact",
    "tokens",
]

redact = pii.redact
"""Masks card numbers, SSNs and secrets; leaves recipients, orders and amounts readable. The audit's redactor."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard says of one text."""

    action: Action
    text: str
    """What may go on: the text itself, or with the sensitive parts masked. Empty when refused."""
    rules: tuple[str, ...] = ()
    """Names of the rules that matched, for the audit."""
    sentence: str = ""
    """For the person: what was noticed and what was not done. Empty for PASS."""

    @property
    def stops(self) -> bool:
        """Nothing goes on."""
        return self.action in (Action.REFUSE, Action.KILL)

    @property
    def counts(self) -> bool:
        """Counts towards the lockout."""
        return self.action is Action.KILL


_SEVERITY = {action: rank for rank, action in enumerate(Action)}

_KILLED = (
    "This reads like an attempt to overrule my instructions, so I did not pass it on and nothing was done. "
    "If you meant something else, please put it in other words."
)
_TOO_LONG = "Your message is longer than {most} tokens, so I did not read it. Please send a shorter one."
_HANDOUT = "I do not hand out card numbers, social security numbers or secrets, so nothing was done."
_MASKED = "Your message held {what}; I masked it before going on. Please do not send such data in a chat."
_HELD = "Your message holds {what}, so I did not go on. Please remove it and send the message again."
_WORDS = {pii.Pii.CARD: "a card number", pii.Pii.SSN: "a social security number", pii.Pii.SECRET: "a secret"}


def check_message(rules: Guardrails, text: str) -> Verdict:
    """What a person typed, before any model or tool cost (invariant 12)."""
    guards = rules.input_guards
    if tokens(text) > guards.max_input_tokens:
        return Verdict(Action.REFUSE, "", ("size.max_input_tokens",), _TOO_LONG.format(most=guards.max_input_tokens))
    folded = fold(text)
    attack = _injection(guards.injection, text, folded)
    handout = _handout(guards.pii_exfil, text, folded)
    data = _sensitive(guards.pii_exfil.action, text)
    return _worst(attack, handout, data)


def check_tool_output(rules: Guardrails, text: str) -> Verdict:
    """What a tool returned: words of strangers. Attacks in it are flagged, never held against the reader."""
    found = _matches(text, fold(text), rules.input_guards.injection.patterns, from_tool=True)
    names = tuple(sorted(found))
    flagged = Verdict(Action.FLAG, text, names, "Part of this was written to steer an AI agent.") if names else None
    return _worst(flagged, _sensitive(rules.output_guards.pii_redaction.action, text))


def check_answer(rules: Guardrails, text: str) -> Verdict:
    """What the agent is about to say."""
    return _sensitive(rules.output_guards.pii_redaction.action, text)


def check_call(rules: Guardrails, tool: ToolName, offered: frozenset[ToolName]) -> Verdict:
    """A call the model asks for: only tools that were offered for this person may be called."""
    if tool in offered:
        return Verdict(Action.PASS, "")
    sentence = f"{tool} was not offered for this request, so it was not called."
    return Verdict(rules.output_guards.tool_scope.action, "", ("scope.tool",), sentence)


def exposed(so_far: tuple[str, ...], source: str, verdict: Verdict) -> tuple[str, ...]:
    """What a turn has been exposed to after it read `source`: for cards, each source once.

    A source in which an attack was noticed says so. Call it for every text a stranger wrote.
    """
    noticed = any(not rule.startswith("pii.") for rule in verdict.rules)
    line = f"{source} (looks written to steer an AI agent)" if noticed else source
    return so_far if line in so_far else (*(one for one in so_far if one != source), line)


def tokens(text: str) -> int:
    """A cheap estimate that errs upwards: four ASCII characters, or less than two others, to a token."""
    if text.isascii():
        return len(text) // 4 + 1
    return len(text.encode("utf-8", "surrogatepass")) // 3 + 1


def locked_until(hits: Sequence[datetime], rules: KillSwitch, now: datetime) -> datetime | None:
    """Until when a person with these kill verdicts is locked out; None: not, or no longer.

    `on_repeated_injection` hits within `lockout_minutes` lock for as long, counted from the last of them.
    """
    span = timedelta(minutes=rules.lockout_minutes)
    times = sorted(hits)
    need = max(1, rules.on_repeated_injection)
    until: datetime | None = None
    for last in range(need - 1, len(times)):
        if times[last] - times[last - need + 1] <= span:
            until = times[last] + span
    return until if until is not None and until > now else None


# --- verdicts -------------------------------------------------------------------------------------------


def _worst(*verdicts: Verdict | None) -> Verdict:
    """One verdict out of several: the strictest action, everybody's rules, the text all of them let on."""
    some = [verdict for verdict in verdicts if verdict is not None]
    worst = max(some, key=lambda verdict: _SEVERITY[verdict.action])
    rules = tuple(dict.fromkeys(rule for verdict in some for rule in verdict.rules))
    return Verdict(worst.action, worst.text, rules, worst.sentence)


_ENOUGH_HINTS = 3
"""That many different hints in one message are as clear as one clear sign."""


def _injection(guard: Guard, text: str, folded: str) -> Verdict | None:
    found = _matches(text, folded, guard.patterns)
    if not found:
        return None
    names = tuple(sorted(found))
    clear = Confidence.CLEAR in found.values() or len(found) >= _ENOUGH_HINTS
    if guard.action is Action.FLAG or not clear:
        return Verdict(Action.FLAG, text, names, "Part of this message looks written to steer an AI agent.")
    return Verdict(guard.action, "", names, _KILLED)


_NUMBERS_OF_PEOPLE = (
    r"(?:card numbers?|credit cards?|ssns?|social security numbers?|cvvs?|cvc codes?|card details|pins|passwords?|"
    r"bank account numbers?)"
)
_PEOPLE = r"(?:customers?|users?|employees?|clients?|accounts?|people|staff)"
_HANDOUTS = (
    rf"\b(?:list|show|give|export|dump|send|print|tell|share|get|pull|fetch|provide|display|reveal)\b(?: \w+){{0,5}} "
    rf"{_NUMBERS_OF_PEOPLE}\b(?: \w+){{0,3}} (?:of|for|from) (?:all|every|each|our|the) (?:\w+ )?{_PEOPLE}\b"
    rf"|\b(?:all|every|each)(?: \w+){{0,2}} {_PEOPLE}(?:'s|s'|')? (?:\w+ )?{_NUMBERS_OF_PEOPLE}\b"
)


def _handout(guard: Guard, text: str, folded: str) -> Verdict | None:
    """A request for such data in bulk. There is nothing to mask in it, so redact refuses."""
    if not _handouts(guard.patterns).search(folded):
        return None
    if guard.action is Action.FLAG:
        return Verdict(Action.FLAG, text, ("exfil.bulk",), _HANDOUT)
    action = Action.REFUSE if guard.action is Action.REDACT else guard.action
    return Verdict(action, "", ("exfil.bulk",), _HANDOUT)


def _sensitive(action: Action, text: str) -> Verdict:
    found = pii.find(text)
    if not found:
        return Verdict(Action.PASS, text)
    kinds = sorted({finding.kind for finding in found})
    what = " and ".join(_WORDS[kind] for kind in kinds)
    names = tuple(kind.value for kind in kinds)
    match action:
        case Action.REDACT:
            return Verdict(action, pii.redact(text), names, _MASKED.format(what=what))
        case Action.REFUSE | Action.KILL:
            return Verdict(action, "", names, _HELD.format(what=what))
        case Action.FLAG | Action.PASS:
            return Verdict(Action.FLAG, text, names, f"The text holds {what}.")


# --- matching -------------------------------------------------------------------------------------------


class _Automaton(Protocol):
    def Match(self, text: bytes) -> list[int] | None: ...  # noqa: N802


class _Searcher(Protocol):
    def search(self, text: str) -> object | None: ...


_QUOTED = re.compile(r"\"[^\"\n]{1,120}\"|(?<!\w)'[^'\n]{1,120}'(?!\w)|`[^`\n]{1,120}`")
_ABOUT = re.compile(
    r"\b(?:phrase|string|term|words?|text|message|prompts? such as|ticket|incident|review|slide|deck|translat\w+|faq|"
    r"entry|docs?|documentation|example|means?|meaning|summari[sz]e|minutes|report|flagged|blocked|false positive|"
    r"attackers?|training|awareness|test list|guardrails?|scanner|detect\w*|called|wrote|said|contain(?:s|ed)|asked)\b"
)
_GLUE = "\n\x1f\n"


def _matches(text: str, folded: str, own: tuple[str, ...], *, from_tool: bool = False) -> dict[str, Confidence]:
    """Rules that match `text` in any reading, each with its confidence."""
    scanned = _scan(_GLUE.join([folded, *disguises(text, folded)]), own, from_tool)
    if scanned and not from_tool and _QUOTED.search(folded):
        outside = _QUOTED.sub(" ", folded)
        if _ABOUT.search(outside) and not _scan(_GLUE.join([outside, *disguises(outside, outside)]), own, from_tool):
            return {}
    return scanned


def _scan(text: str, own: tuple[str, ...], from_tool: bool) -> dict[str, Confidence]:
    data = text.encode("utf-8", "replace")
    found: dict[str, Confidence] = {}
    for automaton, patterns in _automata(own):
        for index in automaton.Match(data) or ():
            pattern = patterns[index]
            if from_tool or not pattern.tool_only:
                found[pattern.rule] = pattern.confidence
    return found


_BESIDE = 4


@lru_cache(maxsize=8)
def _automata(own: tuple[str, ...]) -> tuple[tuple[_Automaton, tuple[Pattern, ...]], ...]:
    """All patterns in a few automata.

    One for all would be slower on text it has not seen: patterns that allow for words in between multiply
    each other's states. So those stand together in small groups, the rest by family.
    """
    groups: dict[str, list[Pattern]] = {}
    between = [pattern for pattern in PATTERNS if "{0," in pattern.regex]
    for number, pattern in enumerate(sorted(between, key=lambda one: len(one.regex))):
        groups.setdefault(f"between {number % (len(between) // _BESIDE + 1)}", []).append(pattern)
    for pattern in PATTERNS:
        if pattern not in between:
            groups.setdefault(pattern.rule.partition(".")[0], []).append(pattern)
    if own:
        groups["own"] = [Pattern("own.injection", Confidence.CLEAR, regex) for regex in own]
    return tuple((_automaton(group), tuple(group)) for group in groups.values())


def _automaton(patterns: Sequence[Pattern]) -> _Automaton:
    """`max_mem` is generous: an automaton that runs out of memory matches nothing."""
    options = re2.Options()
    options.max_mem = 64 << 20
    options.log_errors = False
    together = re2.Set.SearchSet(options)
    for pattern in patterns:
        together.Add(pattern.regex)
    together.Compile()
    automaton: _Automaton = together
    return automaton


@lru_cache(maxsize=8)
def _handouts(own: tuple[str, ...]) -> _Searcher:
    searcher: _Searcher = re2.compile("|".join(f"(?:{regex})" for regex in (_HANDOUTS, *own)))
    return searcher
