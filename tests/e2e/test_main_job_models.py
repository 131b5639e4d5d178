"""The first journey with real model traffic: Claude, OpenAI Responses and OpenAI Chat Completions against aimock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.kit.service_process import Home, Service, serving
from tests.kit.slack_desk import ANN, DANA, FINANCE, LEE, Desk, plain, read
from tests.rigs.aimock_rig import Aimock
from tests.rigs.local_slack import LocalSlack

ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"


@dataclass(frozen=True)
class Office:
    desk: Desk
    home: Home
    service: Service
    model: str


@pytest.fixture(params=["anthropic:claude-sonnet-5-5", "openai:gpt-6.1-sol", "openai-chat:our-own"])
async def office(request: pytest.FixtureRequest, home: Home, tmp_path: Path, aimock: Aimock) -> AsyncIterator[Office]:
    model: str = request.param
    home.write_policy(model)
    access: dict[str, Any] = (
        {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": aimock.base}
        if model.startswith("anthropic")
        else {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": aimock.openai}
    )
    async with LocalSlack.start("socket", tmp_path) as slack, serving(home, slack.api_url, **access) as service:
        yield Office(Desk(slack), home, service, model.partition(":")[2])


async def test_the_journey_with_a_model_and_a_model_that_is_down(office: Office, aimock: Aimock) -> None:
    desk, home = office.desk, office.home
    dm = await desk.ask(DANA, ASK)
    card, lees = await desk.card(FINANCE, "Refund 42.00 USD for order 1042"), await desk.dm(LEE)
    assert "Written by the AI (not checked)" in plain(read(card))
    mail = await desk.card(lees, "Send an e-mail to Ada Lindqvist")
    assert "your parcel never came, and we are sorry." in read(mail)
    await desk.said(dm, "Nothing has been paid or sent yet.")
    await desk.said(dm, "asked in #finance-approvals")

    await desk.press(card, ANN, "Approve")
    await desk.said(dm, "The refund of 42.00 USD for order 1042 has been paid.")
    assert home.mails() == []
    await desk.press(mail, LEE, "Approve")
    await desk.said(dm, "The mail to Ada Lindqvist has been sent.")
    assert home.refunds() == [4200]
    assert [sent["subject"] for sent in home.mails()] == ["Your refund for order 1042"]
    asked = {str(entry["body"].get("model")) for entry in aimock.journal()}
    assert asked == {office.model}
    turns = home.rows("SELECT model, cost_usd FROM agent_audit_log WHERE kind='turn.finished' ORDER BY seq")
    assert {row["model"] for row in turns} == {office.model}
    assert sum(Decimal(str(row["cost_usd"])) for row in turns) > 0

    # A bad day of the model: said plainly, and the thread goes on.
    await desk.slack.say(dm, DANA, "overload me")
    told = read(await desk.said(dm, "overloaded or has a fault"))
    assert "Write to me again" in told
    for word in ("Traceback", "529", "Overloaded"):
        assert word not in told
    await desk.slack.say(dm, DANA, "hello")
    await desk.said(dm, "Hello. What can I do for you?")
