"""What a button of ours that was pressed means to the service. Pure; the presser is who the activity is from."""

from __future__ import annotations

from bot.messages import AskAgain, LinkAnswer, Press
from bot.payload import Body, text_at
from bot.teams.action import AskedAgain, LinkAnswered, Pressed
from bot.teams.deliveries import conversation_of, delivery_id, sender


def press(body: Body, said: Pressed) -> Press:
    return Press(
        who=sender(body),
        press_id=f"press:{delivery_id(body)}",
        held_id=said.held_id,
        revision=said.revision,
        digest=said.digest,
        verb=said.verb,
        text=said.text,
        channel=conversation_of(body),
        message_id=text_at(body, "replyToId"),
    )


def ask_again(body: Body, said: AskedAgain) -> AskAgain:
    return AskAgain(sender(body), f"again:{delivery_id(body)}", said.held_id)


def link_answer(body: Body, said: LinkAnswered) -> LinkAnswer:
    return LinkAnswer(sender(body), f"link:{delivery_id(body)}", said.confirmation_id, said.yes)
