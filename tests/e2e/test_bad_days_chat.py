"""Slack on a bad day, and people who are none of ours: a proxy rewrites what Slack says of them and what it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import ANN, BOB, DANA, FINANCE, GENERAL, RITA, SALLY, SAM, Desk, labels, plain, read
from tests.rigs.local_slack import RATE_LIMITED, Fault, LocalSlack, SlackProxy, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Rule = Callable[[str, dict[str, Any]], Fault | None]


class MoodyProxy(SlackProxy):
    """`rule` says what happens to a call by its method and arguments; None: nothing unusual."""

    rule: Rule | None = None

    async def _handle(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        args = await request.json() if request.content_type == "application/json" else dict(await request.post())
        fault = self.rule(method, args) if self.rule is not None else None
        if fault is not None:
            self.faults.setdefault(method, []).insert(0, fault)
        return await super()._handle(request)


@dataclass(frozen=True)
class Office:
    desk: Desk
    home: Home
    service: Service
    proxy: MoodyProxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_office(home_template: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("moody")
    home = copy_home(home_template, folder / "home")
    for name in ("Sam Patel", "Rita Ray"):
        home.change_person(name, groups=["support"])
    async with LocalSlack.start("socket", folder) as slack:
        proxy = MoodyProxy(slack)
        async with proxy.serve(), serving(home, proxy.api_url) as service:
            yield Office(Desk(slack), home, service, proxy)


@pytest_asyncio.fixture(loop_scope="module")
async def office(whole_office: Office) -> AsyncIterator[Office]:
    yield whole_office
    whole_office.proxy.rule = None
    whole_office.proxy.users.clear()
    whole_office.proxy.faults.clear()


@pytest.mark.parametrize(
    ("n", "standing", "words", "status"),
    [
        (1, {"is_restricted": True}, "Guests of this workspace cannot use Countersign.", "guest"),
        (2, {"is_restricted": True, "is_ultra_restricted": True}, "Guests of this workspace", "guest"),
        (3, {"team_id": "T99", "is_stranger": True}, "members of this workspace only", "stranger"),
        (4, {"is_bot": True}, "acts for people, not for other bots", "bot"),
        (5, {"deleted": True}, "This chat account is deactivated.", "deactivated"),
    ],
)
async def test_who_is_no_member_is_refused_privately_and_recorded(
    office: Office, n: int, standing: dict[str, Any], words: str, status: str
) -> None:
    desk, home = office.desk, office.home
    await desk.ask(DANA, f"Refund order 1003, {n} dollars, a scratch")
    card = await desk.card(FINANCE, f"Refund {n}.00 USD for order 1003")
    office.proxy.users[SALLY] = standing
    before = len(await _refusals(home, status))
    dm = await desk.dm(SALLY)
    (*_, last) = await desk.slack.messages(dm) or [{"ts": "0"}]
    await desk.ask(SALLY, "Refund order 1042, 42 dollars, please")
    assert words in read(await desk.said(dm, "Nothing was done.", after=last["ts"]))
    await desk.command(SALLY, "whoami", words)
    await desk.press(card, SALLY, "Approve")
    await desk.private(FINANCE, SALLY, words)
    await desk.slack.say(GENERAL, SALLY, "<@U0BOT> refund order 1042, 42 dollars")

    async def recorded() -> bool:
        return len(await _refusals(home, status)) >= before + 3

    await until(recorded, "an audit row for each")
    pressed = home.rows("SELECT status FROM agent_audit_log WHERE kind='approval.pressed' ORDER BY seq DESC LIMIT 1")
    assert [row["status"] for row in pressed] == ["stranger"]
    assert home.refunds("1003") == []
    assert home.rows("SELECT 1 FROM agent_audit_log WHERE kind='turn.started' AND actor_user_id='sally'") == []
    office.proxy.users.clear()
    dm = await desk.dm(DANA)
    waiting = await desk.find(
        dm, lambda text, m: f"{n}.00 USD" in text and "Withdraw" in labels(m), "the summary", after=_before(card["ts"])
    )
    await desk.press(waiting, DANA, "Withdraw")
    await desk.find(FINANCE, lambda text, m: m["ts"] == card["ts"] and "Withdrawn" in text, "the end of it")


async def _refusals(home: Home, status: str) -> list[dict[str, Any]]:
    return home.rows(f"SELECT seq FROM agent_audit_log WHERE kind='identity.refused' AND status='{status}'")


def _before(ts: str) -> str:
    seconds, _, rest = ts.partition(".")
    return f"{int(seconds) - 2}.{rest}"


async def test_somebody_the_directory_does_not_know_is_told_what_to_ask_for(office: Office) -> None:
    desk, home = office.desk, office.home
    home.unlink("Sally Berg")
    dm = await desk.ask(SALLY, "Refund order 1042, 42 dollars")
    told = await desk.said(dm, "I do not know who you are")
    assert "Nothing was done." in read(told)
    assert labels(told) == ["Say who you are"]
    assert await _refusals(home, "unknown_person")


async def test_a_card_that_slack_refuses_is_told_and_posted_once_it_takes_it(office: Office) -> None:
    desk, home = office.desk, office.home
    office.proxy.rule = lambda method, args: (
        Fault({"ok": False, "error": "not_in_channel"})
        if method == "chat.postMessage" and args["channel"] == FINANCE
        else None
    )
    dm = await desk.ask(RITA, "Refund order 1042, 12 dollars, the parcel came late")
    told = read(await desk.said(dm, "I could not reach the approvers"))
    assert "I keep trying; nothing happens before they have seen it." in told
    office.proxy.rule = None
    card = await desk.card(FINANCE, "Refund 12.00 USD", 40)
    await desk.said(dm, "asked in #finance-approvals")
    await desk.press(card, ANN, "Approve")
    await desk.said(dm, "Refunded 12.00 USD for order 1042")
    cards = [
        m for m in await desk.slack.bot_messages(FINANCE) if "Refund 12.00 USD" in read(m) and "thread_ts" not in m
    ]
    assert (len([m for m in cards if m.get("subtype") != "ephemeral"]), home.refunds()) == (1, [1200])


async def test_slack_wants_less_and_gets_everything_once(office: Office) -> None:
    desk, home = office.desk, office.home
    left = {"chat.postMessage": 4, "chat.update": 3}

    def often(method: str, _args: dict[str, Any]) -> Fault | None:
        if left.get(method, 0) > 0:
            left[method] -= 1
            return RATE_LIMITED
        return None

    office.proxy.rule = often
    dm = await desk.ask(SAM, "Refund order 1031, 13 dollars, a pulled thread")
    card = await desk.card(FINANCE, "Refund 13.00 USD", 40)
    await desk.said(dm, "asked in #finance-approvals", 40)
    await desk.press(card, ANN, "Approve")
    await desk.said(dm, "Refunded 13.00 USD for order 1031", 40)
    assert sorted(home.refunds("1031")) == [1300, 4500]
    assert sum(left.values()) == 0
    answers = [m for m in await desk.slack.bot_messages(dm) if "asked in #finance-approvals" in read(m)]
    assert len(answers) == 1


async def test_a_card_whose_answer_was_lost_counts_once_wherever_it_is_pressed(office: Office) -> None:
    desk, home = office.desk, office.home
    lost = [Fault({}, 503, after=True)]
    office.proxy.rule = lambda method, args: (
        lost.pop() if lost and method == "chat.postMessage" and args["channel"] == FINANCE else None
    )
    dm = await desk.ask(SAM, "Refund order 1041, 14 dollars, a dent")
    first = await desk.card(FINANCE, "Refund 14.00 USD")
    second = await desk.find(
        FINANCE, lambda text, m: "Refund 14.00 USD" in text and m["ts"] > first["ts"], "the card that is known", 40
    )
    await desk.press(first, ANN, "Approve")
    await desk.press(second, BOB, "Approve")
    await desk.said(dm, "Refunded 14.00 USD for order 1041")
    for card in (first, second):
        await desk.find(
            FINANCE,
            lambda text, m, ts=card["ts"]: m["ts"] == ts and "Refunded 14.00 USD" in plain(text),  # type: ignore[misc]
            "both cards to say so",
        )
    assert home.refunds("1041") == [1400]
