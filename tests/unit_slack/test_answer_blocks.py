"""A model's answer in Slack: a line of sources, Slack's own thumbs, nothing of either below our own words."""

from __future__ import annotations

from bot.messages import ChatUser, Feedback, Room, Thread
from bot.ports import Answer, Ask, Source
from bot.slack.deliveries import SLACK, Here, feedback
from bot.slack.spoken import spoken
from policy.model import Json
from tests.unit_slack.block_kit import accept, shown, walk

READ = Answer(
    (
        Source("Order 1042", "Read by crm.read."),
        Source("Table orders", "Read by db.query."),
        Source("Customer C-1007", "Read by crm.read."),
    )
)
LINE = "Read by crm.read: Order 1042, Customer C-1007. Read by db.query: Table orders."


def test_sources_stand_in_one_small_line_and_thumbs_below() -> None:
    (sheet,) = spoken("It was **shipped**.", answer=READ)
    accept(sheet)
    assert [block["type"] for block in sheet.blocks] == ["section", "context"]
    assert [block["type"] for block in sheet.extra] == ["context_actions"]
    assert shown(sheet).endswith(LINE)
    assert sheet.text == "It was *shipped*."
    context = [node for node in walk(list(sheet.blocks)) if node.get("text") == LINE]
    assert [node["type"] for node in context] == ["plain_text"]


def test_without_sources_there_is_no_line_and_without_a_model_there_are_no_thumbs() -> None:
    (sheet,) = spoken("Hello.", answer=Answer())
    accept(sheet)
    assert [block["type"] for block in sheet.blocks] == ["section"]
    assert sheet.extra
    (own,) = spoken("The model cannot be reached.")
    assert (own.blocks, own.extra) == ((), ())


def test_a_long_answer_has_them_below_its_last_part_and_buttons_stay() -> None:
    sheets = spoken("word " * 3_000, (Ask("Ask again", "ask_again", "h1"),), READ)
    assert all((sheet.blocks, sheet.extra) == ((), ()) for sheet in sheets[:-1])
    accept(sheets[-1])
    assert [block["type"] for block in sheets[-1].blocks] == ["section", "context", "actions"]
    assert "".join(sheet.text for sheet in sheets).split() == ["word"] * 3_000


def test_as_many_sources_as_there_may_be_fit() -> None:
    many = Answer(tuple(Source(f"Customer {'9' * 32}{n}", f"Read by tool.number{n}.") for n in range(60)))
    accept(spoken("Hello.", answer=many)[-1])


def _thumb(value: str = "good", **more: Json) -> dict[str, Json]:
    return {
        "user": {"id": "U1", "team_id": "T1"},
        "channel": {"id": "D9"},
        "message": {"ts": "5.5"},
        "actions": [{"action_id": "cs.thumb", "value": value, "action_ts": "6.6"}],
        **more,
    }


HERE = Here("T1", "", "UBOT", lambda _team: False)


def test_a_thumb_is_read() -> None:
    ours = Feedback(
        ChatUser(SLACK, "T1", "U1"),
        Thread(SLACK, "T1", "D9", "D9", Room.DM),
        "action:slack:T1:U1:D9:5.5:cs.thumb:6.6",
        "5.5",
        good=True,
    )
    assert feedback(_thumb(), HERE) == ours
    assert not feedback(_thumb("bad"), HERE).good
    assert not feedback(_thumb("👍"), HERE).good
    threaded = feedback(_thumb(message={"ts": "5.5", "thread_ts": "4.4"}, channel={"id": "C9"}), HERE)
    assert threaded.thread == Thread(SLACK, "T1", "C9", "4.4", Room.CHANNEL)
    # Somebody of another workspace, in a shared channel, keeps their team.
    assert feedback(_thumb(user={"id": "U1", "team_id": "T2"}), HERE).who.team == "T2"
    assert feedback({}, HERE).who.user == ""
