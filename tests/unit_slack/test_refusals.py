"""What an error of Slack's means for whoever wanted to post: gone for good, or tried again."""

from __future__ import annotations

import pytest

from bot.slack.calls import Refused


@pytest.mark.parametrize("code", ["user_disabled", "user_not_found", "users_not_found", "channel_not_found"])
def test_nobody_reads_there_any_more_so_another_chat_is_tried(code: str) -> None:
    assert Refused("conversations.open", code).gone


@pytest.mark.parametrize("code", ["ratelimited", "internal_error", "invalid_auth", "not_in_channel"])
def test_what_may_pass_is_tried_again(code: str) -> None:
    assert not Refused("chat.postMessage", code).gone
