"""A deterministic stand-in for a language model, for the demo and the tests. It is no AI, and says so.

Reads patterns (`offline_reading`), looks records up, proposes calls through the same door as any model, and reports
what came back. Knows no right and no approval: the door decides about it as about every model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from bot.agent import offline_answers as say
from bot.agent import offline_wishes as wishes
from bot.agent.offline_intents import Intent, Topic
from bot.agent.offline_memory import Memory, remember
from bot.agent.offline_reading import follow, read
from bot.agent.offline_records import Do, Need, Say, Step, Waits, Wish
from bot.ports import ModelAnswer, ModelRequest, OnText, Stop, ToolCall, Usage

NAME = "offline"
_MOST_CALLS = 10
"""In one answer: the loop hands no more than twelve to the door."""
_SKIP = re.compile(
    r"\b(?:without (?:\w+ ){0,3}approv\w+|(?:skip|bypass|no|don't need|ignore) (?:\w+ ){0,3}(?:approvals?|rules|"
    r"checks?)|"
    r"approve it yourself|already approved|pre-?approved)\b",
    re.IGNORECASE,
)


class Offline:
    """Implements `bot.ports.Model`. Stateless: everything it knows stands in the request."""

    @property
    def name(self) -> str:
        return NAME

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        text, wanted = decide(request)
        calls = tuple(
            ToolCall(id=f"off_{len(request.messages)}_{n}", name=name, arguments=arguments)
            for n, (name, arguments) in enumerate(wanted)
        )
        if on_text is not None and text:
            await on_text(text)
        usage = Usage(_tokens(request), max(1, len(text) // 4))
        return ModelAnswer(text, calls, usage, NAME, Stop.TOOLS if calls else Stop.END)


def decide(request: ModelRequest) -> tuple[str, list[Wish]]:
    """The next text and calls of this conversation. Always the same for the same request; never both empty."""
    memory = remember(request.messages)
    if memory.events:
        return "\n\n".join(dict.fromkeys(say.event(text) for text in memory.events)), []
    scene = wishes.Scene(
        memory=memory,
        offered=frozenset(tool.name for tool in request.tools),
        today=_today(request.system),
        requester=_requester(request.system),
    )
    intents = _understood(memory, scene.today)
    if not intents:
        return f"I did not understand that, so I did nothing. {say.STAND_IN}\n\n{say.able(scene.offered)}", []
    steps = [wishes.step(intent, intents, scene) for intent in intents]
    wanted = _fresh([step.wish for step in steps if isinstance(step, Need)], scene)
    wanted = wanted or _fresh([step.wish for step in steps if isinstance(step, Do)], scene)
    if wanted:
        return "", wanted
    return _told(steps, memory) or wishes.talk(Topic.HELP, scene), []


def _told(steps: Sequence[Step], memory: Memory) -> str:
    """One answer out of what became of each wish; what waits stands together, questions come last."""
    held = [step.made for step in steps if isinstance(step, Waits)]
    texts = list(dict.fromkeys(step.text for step in steps if isinstance(step, Say) and step.text))
    texts.sort(key=lambda text: text.endswith("?"))
    if held:
        asked = " ".join(text for _, text in memory.asked)
        skip = " No approval can be skipped." if _SKIP.search(asked) else ""
        texts.insert(0, say.held(held, say.names_in(memory)) + skip)
    return "\n\n".join(texts)


def _understood(memory: Memory, today: date | None) -> tuple[Intent, ...]:
    """What is wanted now. An answer to the stand-in's own question completes what was asked before."""
    if not memory.asked:
        return ()
    intents = read(memory.asked[0][1], today)
    for question, reply in memory.asked[1:]:
        intents = follow(intents, reply, question, today) if intents else read(reply, today)
    return intents


def _fresh(wanted: Sequence[Wish], scene: wishes.Scene) -> list[Wish]:
    """Calls not made yet, each once: what was answered is not asked again, so this always comes to an end."""
    found: list[Wish] = []
    for name, arguments in wanted:
        made = any(one.call.name == name and one.given == arguments for one in scene.memory.now)
        if name in scene.offered and not made and (name, arguments) not in found:
            found.append((name, arguments))
    return found[:_MOST_CALLS]


def _today(system: str) -> date | None:
    found = re.search(r"Today is ([0-9]{4}-[0-9]{2}-[0-9]{2})\.", system)
    try:
        return date.fromisoformat(found[1]) if found is not None else None
    except ValueError:
        return None


def _requester(system: str) -> str:
    """Whose name stands under a mail."""
    found = re.search(r"You act as (.+?) \(roles:", system)
    return found[1] if found is not None else "Customer care"


def _tokens(request: ModelRequest) -> int:
    return len(request.system) // 4 + sum(len(str(message)) for message in request.messages) // 4
