"""What the connector says no with, in words for people, and what each means."""

from __future__ import annotations

import pytest

from bot.teams.refusals import Answered, refused
from policy.model import Json


def error(code: str, message: str = "") -> Json:
    return {"error": {"code": code, "message": message}}


@pytest.mark.parametrize(
    ("status", "body", "gone", "left"),
    [
        (404, error("ActivityNotFoundInConversation"), True, False),
        (404, error("ConversationNotFound"), True, True),
        (403, error("BotNotInConversationRoster"), True, True),
        (403, error("ConversationBlockedByUser"), True, True),
        (404, {"error": "ConversationNotFound"}, True, True),
        (404, {"code": "ConversationNotFound"}, True, True),
        (403, error("BotDisabledByAdmin"), False, False),
        (403, error("NotEnoughPermissions"), False, False),
        (404, error("MemberNotFoundInConversation"), False, False),
        (403, None, False, False),
        (500, error("ServiceError"), False, False),
    ],
)
def test_what_is_gone(status: int, body: Json, gone: bool, left: bool) -> None:
    found = refused(Answered(status, body))
    assert (found.gone, found.left, found.status) == (gone, left, status)
    assert str(found).endswith("Nothing was posted.")


def test_a_404_without_a_code_is_of_the_message_that_was_named() -> None:
    assert refused(Answered(404, None), of_message=True).gone
    assert not refused(Answered(404, None)).gone
    assert not refused(Answered(404, error("MemberNotFoundInConversation")), of_message=True).gone


@pytest.mark.parametrize("code", ["", "4111 1111 1111 1111", "<b>x</b>", "a" * 65, "Grüße", "x\ny"])
def test_only_a_word_is_a_code(code: str) -> None:
    found = refused(Answered(400, error(code, "secret words")))
    assert found.code == ""
    assert "HTTP 400" in str(found)
    assert "secret" not in str(found)


def test_a_reader_who_stops_a_stream() -> None:
    told = error("ContentStreamNotAllowed", "Content stream was canceled by user.")
    assert refused(Answered(403, told)).cancelled
    assert not refused(Answered(403, error("ContentStreamNotAllowed", "Content stream is not allowed"))).cancelled
    assert not refused(Answered(403, error("Other", "canceled"))).cancelled


def test_when_to_come_back_counts_where_it_may_be_tried_again() -> None:
    assert refused(Answered(429, None, 3.0)).retry_after_s == 3.0
    assert refused(Answered(400, None, 3.0)).retry_after_s is None
