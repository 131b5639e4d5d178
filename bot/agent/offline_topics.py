"""What can be talked about without a tool: greetings, help, how a request stands. Knows words alone."""

from __future__ import annotations

import re

from bot.agent.offline_intents import Topic


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


_WHOLE = {
    Topic.HELP: _pattern(
        r"^\W*(?:help\b.{0,20}|what (?:else )?can (?:you|i) do.{0,30}|who are you|what are you|commands)\W*$",
        r"^\W*(?:are you (?:an? )?(?:ai|bot|human|robot|person)|how do(?:es)? (?:this|you) work)\W*$",
    ),
    Topic.HELLO: _pattern(
        r"^\W*(?:hi|hello|hey|howdy|good (?:morning|day|afternoon|evening)|how are you)\b"
        r"(?:[ ,]+(?:there|bot|countersign|team|all|everyone))?\W*$"
    ),
    Topic.THANKS: _pattern(
        r"^\W*(?:(?:ok(?:ay)?|great|perfect|super|cool|nice)\W+)?(?:thanks|thank you|thx|cheers)\b"
        r"(?! (?:mail|note|ada|the)\b)(?: (?:so much|a lot|very much|again|for .{0,30}))?\W*$",
        r"^\W*(?:great|perfect|good job|well done|ok|okay|bye|goodbye)\W*$",
    ),
    Topic.NEVER_MIND: _pattern(
        r"^\W*(?:never ?mind|forget (?:it|that)|no|nope|stop|cancel|leave it|don't|do not|nothing|none)"
        r"(?:\W+(?:thanks|thank you|it|that|please))*\W*$"
    ),
}
_REQUESTS = {
    Topic.WITHDRAW: _pattern(
        r"\b(?:withdraw|retract|cancel|stop|take back)\b.{0,30}\b(?:refunds?|requests?|mails?|e-?mails?|approvals?)\b",
        r"^(?:withdraw|retract)\b",
    ),
    Topic.APPROVE: _pattern(r"^(?:approve|reject|countersign|sign off|release)\b"),
    Topic.PENDING: _pattern(
        r"\b(?:what(?:'s| is)|anything|who is) (?:still )?(?:waiting|pending)\b",
        r"\bhow (?:does|do|did) (?:it|that|they|things|the refund|my request) (?:stand|go|look)\b",
        r"\bany (?:news|update|progress)\b",
        r"^(?:is|was|has|did|are|have)\b.{0,40}\b(?:approved?|decided?|countersigned|gone through|signed|paid out)"
        r"(?: it| that)?(?: yet| already)?\W*$",
        r"\b(?:status|state) of (?:my|the|that|this) (?:refunds?|requests?|mails?|e-?mails?)\b",
        r"\bwhat (?:happened|became) (?:to|with|of) (?:my|the|that|it)\b",
        r"\bdid (?:it|that|they) (?:go|work|happen)\b",
        r"^(?:my )?(?:pending|open) (?:requests?|approvals?)\W*$",
    ),
}


def whole(text: str) -> Topic | None:
    """The topic that a whole message is about."""
    return next((topic for topic, pattern in _WHOLE.items() if pattern.search(text)), None)


def about_requests(part: str) -> Topic | None:
    """What a clause wants to know of, or to do with, requests that wait."""
    return next((topic for topic, pattern in _REQUESTS.items() if pattern.search(part)), None)
