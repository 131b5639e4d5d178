"""The page of somebody with accounts in two chats: which are theirs, and which of them needs no link."""

from __future__ import annotations

from pathlib import Path

from tests.kit.two_chats import SLACK, TEAMS, oid, two_chats


async def test_an_account_that_needs_no_link_is_shown_as_what_it_is(sqlite_url: str, tmp_path: Path) -> None:
    async with two_chats(tmp_path / "floor", sqlite_url) as floor:
        page = await floor.page("ann", "/you")
        assert f"{oid('ann')} it is your company account itself" in page
        assert "U-ann" in page
        for chat in (TEAMS, SLACK):
            await floor.command("ann", chat, "unlink")
        page = await floor.page("ann", "/you")
        assert "None. Write /countersign link" in page
