"""A request's card as one person may use it: with the buttons that would do something for them, and no others.

Knows which button belongs to which press; whether a press would count is the door's to say.
"""

from __future__ import annotations

from dataclasses import replace

from bot import card_text
from bot.cards import Card
from bot.parts import Parts
from policy.model import Principal

BUTTONS = (card_text.APPROVE, card_text.REJECT, card_text.ASK, card_text.WITHDRAW)


async def drawn_for(parts: Parts, who: Principal, held_id: str) -> Card | None:
    """None: there is no such request, or `who` neither asked for it nor may decide it (invariant 14).

    The buttons are no authority: a press is judged as it comes, whatever was drawn.
    """
    calls = await parts.gateway.open_to(who, held_id)
    if not calls:
        return None
    first = calls[0].view
    asked = await parts.holders(first.tenant, first.approver_roles)
    card = card_text.card(
        [call.view for call in calls], mention=[one.subject for one in asked if one.subject != first.requester]
    )
    items = (
        replace(item, buttons=tuple(button for button in BUTTONS if button.verb in call.verbs))
        for item, call in zip(card.items, calls, strict=True)
    )
    return replace(card, items=tuple(items))
