"""Invariants 3, 4, 5, 7, 8 and 14 behind Teams' activities, with the real turn, door and audit above them.

Each press is an ``adaptiveCard/action`` invoke as Teams sends it, of somebody the gate has verified; each is one row,
and only what may have an effect has one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bot.cards import Item
from bot.identity.directory import DirectoryFile
from bot.messages import Room, Thread
from bot.teams.action import ASK_AGAIN, PRESS, REFRESH, WITHDRAW, action_data
from bot.teams.activities import TeamsActivities
from bot.teams.deliveries import TEAMS
from bot.teams.whereabouts import Whereabouts
from policy.approval import Verb
from policy.model import TenantId
from tests.kit import product as kit
from tests.kit.product import DEMO, Product
from tests.kit.scripted import RecordedChat, refund_and_mail
from tests.kit.teams_bodies import GROUP, OTHER_TENANT, TENANT, Body, execute, group, invoke, personal

ASK = "Refund order 1042, 42 dollars, the parcel never came"
CARD_TYPE = "application/vnd.microsoft.card.adaptive"
MESSAGE_TYPE = "application/vnd.microsoft.activity.message"
STAFF = ("dana", "sam", "ann", "bob", "lee", "sally", "ada", "aud", "rita")
CHAT = "a:{}"


def oid(who: str) -> str:
    """Their aadObjectId."""
    return f"aaaaaaaa-0000-4000-8000-{(STAFF.index(who) if who in STAFF else 99):012d}"


@dataclass
class TeamsChat(RecordedChat):
    welcomed: list[Thread] = field(default_factory=list)

    async def room(self, thread: Thread) -> Room:
        return thread.room

    async def welcome(self, thread: Thread) -> None:
        self.welcomed.append(thread)


@dataclass
class Teams:
    product: Product
    activities: TeamsActivities

    async def deliver(self, body: Body) -> Any:
        response = await self.activities.deliver(json.loads(json.dumps(body)))
        assert response.status_code == 200, bytes(response.body)
        return json.loads(bytes(response.body)) if response.body else None

    async def write(self, who: str, text: str, message_id: str = "1", **more: Any) -> None:
        where = {"conversation": CHAT.format(who), "account": f"29:{who}", "person": oid(who)}
        await self.deliver(personal(text, **{**where, "id": message_id, **more}))

    async def press(self, who: str, item: Item, verb: Verb = Verb.APPROVE, *, id: str, **more: Any) -> Any:  # noqa: A002
        return await self.deliver(press(who, item, verb, id=id, **more))

    async def asked(self) -> Item:
        await self.write("dana", ASK)
        return await self.product.item("Refund")

    async def rows(self, kind: str) -> list[tuple[str, str | None]]:
        return [(status, actor) for name, status, actor in await self.product.audit() if name == kind]


House: TypeAlias = Callable[..., AbstractAsyncContextManager[Teams]]


def press(who: str, item: Item, verb: Verb = Verb.APPROVE, *, id: str, text: str = "", **forged: Any) -> Body:  # noqa: A002
    data: dict[str, Any] = dict(
        action_data(PRESS, item.held_id, revision=item.revision, digest=item.digest, verb=verb)  # type: ignore[arg-type]
    )
    value = execute({**data, "input": "text_0", "text_0": text, **forged}, verb=verb.value)
    return invoke(value, where=group(account=f"29:{who}", person=oid(who)), id=id)


@pytest.fixture
def house(engine_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """The demo's people, with accounts in Teams."""
    told = (kit.ROOT / "bot" / "web" / "demo" / "directory.yaml").read_text("utf-8")
    told = told.replace("surface: demo, team: demo", f"surface: teams, team: {TENANT}")
    for who in STAFF:
        told = told.replace(f"user: {who}}}", f"user: {oid(who)}}}")
    listed = tmp_path / "directory.yaml"
    listed.write_text(told, "utf-8")
    monkeypatch.setattr(kit, "SURFACE", TEAMS)
    monkeypatch.setattr(kit, "DirectoryFile", lambda _demo: DirectoryFile(listed))
    monkeypatch.setattr(kit, "RecordedChat", lambda: TeamsChat(name=TEAMS))

    @asynccontextmanager
    async def opened(launch: bool = True) -> AsyncIterator[Teams]:
        business = f"sqlite:///{tmp_path / 'business.sqlite'}"
        async with kit.running(engine_url, business, refund_and_mail, launch=launch) as made:
            parts = made.parts

            def tenant_of(team: str) -> TenantId | None:
                return parts.directory.tenant_of(TEAMS, team)

            where = Whereabouts(parts.writer, parts.audit, tenant_of, parts.clock)
            assert isinstance(made.chat, TeamsChat)
            # What is asked here is what a press leads to, on however busy a machine.
            activities = TeamsActivities(made.turn, made.chat, where, answer_within_s=30)
            yield Teams(made, activities)
            await activities.close()

    return opened


@pytest.fixture
async def teams(house: House) -> AsyncIterator[Teams]:
    async with house() as made:
        yield made


async def test_inv07_what_was_acknowledged_before_a_crash_is_done_after_it(house: House) -> None:
    """The first replica acknowledges and does nothing more; Teams never delivers again."""
    async with house(launch=False) as dies:
        await dies.write("dana", ASK)
        assert dies.product.model.asked == 0
    async with house() as lives:
        item = await lives.product.item("Refund")
        await lives.write("dana", ASK)
        await lives.product.quiet()
        assert len(await lives.rows("turn.started")) == 1
        assert (await lives.press("ann", item, id="f:1"))["type"] == CARD_TYPE


async def test_inv07_a_message_that_teams_delivers_again_is_one_turn(teams: Teams) -> None:
    await asyncio.gather(*(teams.write("dana", ASK) for _ in range(3)))
    await teams.product.item("Refund")
    await teams.product.quiet()
    await teams.write("dana", ASK)
    await teams.product.quiet()
    assert len(await teams.rows("turn.started")) == 1
    assert [status for status, _ in await teams.rows("tool.requested")].count("held") <= 2


async def test_inv05_a_double_press_is_two_rows_and_one_vote(teams: Teams) -> None:
    item = await teams.asked()
    both = [press("ann", item, id="f:1"), press("ann", item, id="f:1"), press("ann", item, id="f:2")]
    answers = await asyncio.gather(*map(teams.deliver, both))
    assert all(one["type"] == CARD_TYPE for one in answers)
    await teams.product.status("Refund", "Refunded 42.00 USD")
    pressed = await teams.rows("approval.pressed")
    assert [one for one in pressed if one[0] == "approved"] == [("approved", "ann")]
    assert len(pressed) == 3
    assert {one[0] for one in pressed} <= {"approved", "duplicate", "late"}
    assert await teams.product.refunds() == ["4200"]


async def test_inv05_a_late_press_is_a_row_and_no_effect(teams: Teams) -> None:
    item = await teams.asked()
    await teams.press("ann", item, Verb.REJECT, id="f:1", text="wrong order")
    told = await teams.press("bob", item, id="f:2")
    assert (await teams.rows("approval.pressed"))[-1] == ("late", "bob")
    assert told["type"] == CARD_TYPE
    assert "wrong order" in json.dumps(told)
    await teams.product.quiet()
    assert await teams.product.refunds() == []


async def test_inv04_nobody_approves_their_own_request(teams: Teams) -> None:
    item = await teams.asked()
    told = await teams.press("dana", item, id="f:1")
    assert (await teams.rows("approval.pressed")) == [("own_request", "dana")]
    await teams.product.quiet()
    assert await teams.product.refunds() == []
    titles = json.dumps(told)
    assert '"title": "Approve"' not in titles


@pytest.mark.parametrize("who", ["rita", "lee", "aud"])
async def test_inv04_a_group_member_who_may_not_decide_only_leaves_a_row(teams: Teams, who: str) -> None:
    item = await teams.asked()
    told = await teams.press(who, item, id="f:1")
    assert (await teams.rows("approval.pressed")) == [("not_approver", who)]
    await teams.product.quiet()
    assert await teams.product.refunds() == []
    assert '"title": "Approve"' not in json.dumps(told)


async def test_inv05_an_unknown_accounts_press_is_a_row_that_shows_them_nothing(teams: Teams) -> None:
    item = await teams.asked()
    told = await teams.press("stranger", item, id="f:1")
    assert len(await teams.rows("approval.pressed")) == 1
    assert told["type"] == MESSAGE_TYPE
    for secret in (item.headline, "1042", item.digest):
        assert secret not in json.dumps(told)


async def test_inv03_a_press_for_something_else_than_was_shown_is_stale(teams: Teams) -> None:
    item = await teams.asked()
    other: tuple[dict[str, Any], ...] = ({"digest": "0" * 64}, {"rev": item.revision + 1})
    for number, forged in enumerate(other):
        await teams.press("ann", item, id=f"f:{number}", **forged)
    assert {status for status, _ in await teams.rows("approval.pressed")} == {"stale"}
    await teams.product.quiet()
    assert await teams.product.refunds() == []


async def test_inv14_a_guessed_request_shows_nothing_and_is_a_row(teams: Teams) -> None:
    item = await teams.asked()
    told = await teams.press("ann", item, id="f:1", held="h_000000000000000000000000")
    assert told["type"] == MESSAGE_TYPE
    assert len(await teams.rows("approval.pressed")) == 1
    refreshed = await teams.deliver(
        invoke(
            execute(dict(action_data(REFRESH, item.held_id)), verb="refresh", trigger="automatic"),  # type: ignore[arg-type]
            where=group(account="29:rita", person=oid("rita")),
        )
    )
    assert refreshed["statusCode"] == 404
    assert item.headline not in json.dumps(refreshed)


async def test_inv14_the_same_conversation_in_another_tenant_decides_nothing(teams: Teams) -> None:
    item = await teams.asked()
    body = press("ann", item, id="f:1")
    body["conversation"]["tenantId"] = OTHER_TENANT
    body["channelData"]["tenant"]["id"] = OTHER_TENANT
    told = await teams.deliver(body)
    assert told["type"] == MESSAGE_TYPE
    assert item.headline not in json.dumps(told)
    await teams.product.quiet()
    assert await teams.product.refunds() == []
    assert body["conversation"]["id"] == GROUP


async def test_the_approver_sees_their_buttons_and_the_requester_theirs(teams: Teams) -> None:
    item = await teams.asked()
    shown = {}
    for who in ("ann", "dana"):
        value = execute(dict(action_data(REFRESH, item.held_id)), verb="refresh", trigger="automatic")  # type: ignore[arg-type]
        shown[who] = json.dumps(await teams.deliver(invoke(value, where=group(account=f"29:{who}", person=oid(who)))))
    assert '"title": "Approve"' in shown["ann"]
    assert '"title": "Approve"' not in shown["dana"]
    assert '"verb": "withdraw"' in shown["dana"]
    assert '"verb": "withdraw"' not in shown["ann"]


async def test_the_requester_takes_it_back(teams: Teams) -> None:
    item = await teams.asked()
    data = action_data(WITHDRAW, item.held_id, revision=item.revision, digest=item.digest, verb=Verb.WITHDRAW)
    dana = group(account="29:dana", person=oid("dana"))
    told = await teams.deliver(invoke(execute(dict(data)), where=dana))  # type: ignore[arg-type]
    assert (await teams.rows("approval.pressed")) == [("withdrawn", "dana")]
    assert told["type"] == CARD_TYPE
    again = await teams.deliver(
        invoke(execute(dict(action_data(ASK_AGAIN, item.held_id))), where=dana, id="f:again")  # type: ignore[arg-type]
    )
    assert again["type"] == MESSAGE_TYPE


async def test_inv08_a_kill_by_message_that_comes_twice_switches_once(teams: Teams) -> None:
    for _ in range(2):
        await teams.write("ada", "kill tool refund.issue wrong amounts", message_id="7")
    assert len(await teams.rows("kill.switched")) == 1
    await teams.write("ada", "resume tool refund.issue", message_id="8")
    await teams.write("ada", "kill tool refund.issue wrong amounts", message_id="7")
    assert len(await teams.rows("kill.switched")) == 1, "an old delivery stops nothing anew"


async def test_inv08_a_kill_by_somebody_else_is_refused_to_them_alone(teams: Teams) -> None:
    await teams.deliver(group("kill all because I can", account="29:dana", person=oid("dana")))
    await teams.activities.close()
    assert (await teams.rows("kill.switched")) == []
    assert (await teams.rows("command.refused")) == [("refused", "dana")]
    [told] = teams.product.chat.said
    assert told.only_for == oid("dana")


async def test_the_organisation_is_the_tenants(teams: Teams) -> None:
    """The house of these tests: what the others rely on."""
    assert teams.product.parts.directory.tenant_of(TEAMS, TENANT) == DEMO
    assert teams.product.parts.directory.tenant_of(TEAMS, OTHER_TENANT) is None
