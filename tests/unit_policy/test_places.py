"""How places for cards are written in tools.yaml, and in which chat each is meant."""

from __future__ import annotations

import pytest

from policy.places import Channel, channel_of, is_place, name_in


@pytest.mark.parametrize(
    "written",
    [
        "dm",
        "#finance-approvals",
        "slack:#finance-approvals",
        "teams:#finance-approvals",
        "teams:#Finance approvals",
        "teams:#Finance/Approvals of finance",
        "teams:#f",
        "teams:19:0a1b_C-d.e@thread.tacv2",
        "#Finanzfreigaben-ä",
    ],
)
def test_a_place_is_dm_or_a_channel_in_every_chat_or_in_one(written: str) -> None:
    assert is_place(written)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "finance",
        "DM",
        "dm:U01",
        "#",
        "#two words",
        "slack:#two words",
        "#a,#b",
        "teams:#a,#b",
        "teams:# a",
        "teams:#a ",
        "teams:#a\nb",
        "teams:finance",
        "demo:#finance",
        "web:#finance",
        "teams:dm",
        "19:0a1b@thread.tacv2",
        "slack:19:0a1b@thread.tacv2",
        "teams:19:0a1b",
        "teams:19:0a1b@thread.tacv2;messageid=1",
        "slack:teams:#a",
        "#a\n",
        "teams:#" + "a" * 200,
    ],
)
def test_anything_else_is_no_place(written: str) -> None:
    assert not is_place(written)


def test_a_channel_is_meant_everywhere_or_in_one_chat() -> None:
    assert channel_of("dm") is None
    assert channel_of("#fin") == Channel("#fin")
    assert channel_of("teams:#Fin Ance/Two") == Channel("#Fin Ance/Two", "teams")
    assert [name_in("#fin", chat) for chat in ("slack", "teams", "demo")] == ["#fin"] * 3
    assert [name_in("slack:#fin", chat) for chat in ("slack", "teams", "demo")] == ["#fin", None, None]
    assert name_in("dm", "slack") is None


def test_an_id_is_meant_in_teams_alone() -> None:
    place = "teams:19:0a1b@thread.tacv2"
    assert (name_in(place, "teams"), name_in(place, "slack")) == ("19:0a1b@thread.tacv2", None)
