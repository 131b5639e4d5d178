"""What an invoke is answered with: the clicker's card, a sentence, or an error. Pure; knows no request and no SDK.

See https://learn.microsoft.com/adaptive-cards/authoring-cards/universal-action-model#response-format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bot.payload import Body, list_at, text_at
from bot.teams.elements import CONTENT_TYPE, rich, run
from policy.model import Json

MESSAGE: Final = "application/vnd.microsoft.activity.message"
ERROR: Final = "application/vnd.microsoft.error"


@dataclass(frozen=True, slots=True)
class Reply:
    """The HTTP answer to a delivery. `body` None: none."""

    status: int = 200
    body: Body | None = None


def sentence(text: str) -> Reply:
    """For the clicker alone, beside the card as it is."""
    return Reply(body={"statusCode": 200, "type": MESSAGE, "value": text})


def refused(status: int, code: str, text: str) -> Reply:
    """The card stays as it is. The transport's status is 200: the request itself was read."""
    return Reply(body={"statusCode": status, "type": ERROR, "value": {"code": code, "message": text}})


def card(drawn: Body, note: str = "") -> Reply:
    """The card as the clicker sees it from now on, `note` on top of it for them alone."""
    return Reply(body={"statusCode": 200, "type": CONTENT_TYPE, "value": noted(drawn, note) if note else drawn})


def noted(drawn: Body, note: str) -> Body:
    """`drawn` with a sentence on top. As plain text: it may name people, who choose their names."""
    block: Json = {
        "type": "Container",
        "style": "emphasis",
        "bleed": True,
        "items": [rich(run(note, bold=True))],
    }
    spoken = text_at(drawn, "speak")
    return {
        **drawn,
        "body": [block, *list_at(drawn, "body")],
        **({"speak": f"{note} {spoken}"} if spoken else {}),
    }
