"""The auditor's day: one query answers who approved, and a row that was altered or removed shows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.service_process import Home, copy_home, serving
from tests.kit.slack_desk import ANN, BOB, DANA, FINANCE, Desk, labels, plain
from tests.rigs.local_slack import LocalSlack

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFERENCE = """
SELECT occurred_at, actor_user_id, tool_args->>'amount' AS amount, hitl_approver, status
FROM agent_audit_log WHERE tool_name = 'refund.issue' AND occurred_at >= '2026-01-01'
ORDER BY occurred_at DESC;
"""


@dataclass(frozen=True)
class Log:
    home: Home

    async def audit(self, *words: str) -> tuple[int, str]:
        ended = await self.home.cli("audit", *words)
        return ended.returncode, ended.stdout + ended.stderr

    def tampered(self, folder: Path, *statements: str) -> Log:
        """A copy whose file somebody with the disk in their hands has changed, triggers and all."""
        shutil.copytree(self.home.folder, folder)
        home = Home(folder)
        database = sqlite3.connect(home.database)
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            assert database.execute(statement).rowcount == 1
        database.commit()
        database.close()
        return Log(home)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def log(home_template: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Log]:
    """After a day's work: a refund that two people approved and one that was rejected."""
    folder = tmp_path_factory.mktemp("audited")
    home = copy_home(home_template, folder / "home")
    async with LocalSlack.start("socket", folder) as slack, serving(home, slack.api_url) as service:
        desk = Desk(slack)
        dm = await desk.ask(DANA, "Refund order 1017, 200 dollars, the sofa is broken")
        card = await desk.card(FINANCE, "Refund 200.00 USD for order 1017")
        await desk.press(card, ANN, "Approve")
        half = await desk.find(FINANCE, lambda text, _m: "1 of 2" in plain(text), "the first vote")
        await desk.press(half, BOB, "Approve")
        await desk.said(dm, "Refunded 200.00 USD for order 1017")
        await desk.ask(DANA, "Refund order 1042, 42 dollars, the parcel never came")
        other = await desk.find(
            FINANCE, lambda text, m: "Refund 42.00 USD" in text and "Reject" in labels(m), "the second card"
        )
        await desk.press_and_write(other, ANN, "Reject", "It was delivered")
        await desk.said(dm, "It was delivered")
        await service.stop()
    yield Log(home)


async def test_the_reference_query_answers_who_approved_this_refund(log: Log) -> None:
    rows = log.home.rows(REFERENCE.replace(":", r"\:"))
    told = [(row["actor_user_id"], row["amount"], row["hitl_approver"], row["status"]) for row in reversed(rows)]
    assert told == [
        ("dana", "200.00", None, "pending"),
        ("ann", "200.00", None, "counted"),
        ("bob", "200.00", None, "approved"),
        ("bob", "200.00", "ann,bob", "approved"),
        ("dana", "200.00", "ann,bob", "started"),
        ("dana", "200.00", "ann,bob", "executed"),
        ("dana", "42.00", None, "pending"),
        ("ann", "42.00", None, "rejected"),
        ("ann", "42.00", None, "rejected"),
    ]
    assert all(re.fullmatch(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", row["occurred_at"]) for row in rows)


async def test_the_chain_holds(log: Log) -> None:
    code, said = await log.audit("verify")
    assert code == 0, said
    assert re.search(r"\d+ rows hold\.", said)
    code, said = await log.audit("verify", "--json")
    report = json.loads(said)
    assert (code, report["holds"], report["unproven"], report["breaks"]) == (0, True, 0, [])


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("altered", "UPDATE agent_audit_log SET hitl_approver='bob' WHERE tenant_id='demo' AND seq={seq}"),
        ("removed", "DELETE FROM agent_audit_log WHERE tenant_id='demo' AND seq={seq}"),
        ("cut off", "DELETE FROM agent_audit_log WHERE tenant_id='demo' AND seq={last}"),
    ],
)
async def test_tampering_shows_and_where(log: Log, tmp_path: Path, what: str, statement: str) -> None:
    (row,) = log.home.rows(
        "SELECT seq FROM agent_audit_log WHERE tool_name='refund.issue' AND kind='tool.executed' AND tenant_id='demo'"
    )
    (last,) = log.home.rows("SELECT max(seq) AS seq FROM agent_audit_log WHERE tenant_id='demo'")
    bad = log.tampered(tmp_path / "bad", statement.format(seq=row["seq"], last=last["seq"]))
    code, said = await bad.audit("verify")
    assert code == 1, said
    assert "The log does not hold." in said
    code, said = await bad.audit("verify", "--json")
    where = {(at["tenant"], at["seq"]) for at in json.loads(said)["breaks"]}
    wanted = last["seq"] if what == "cut off" else row["seq"]
    assert ("demo", wanted) in where or ("demo", wanted + 1) in where, said


async def test_the_query_filters_and_its_three_forms(log: Log) -> None:
    code, table = await log.audit("query", "--who", "bob", "--since", "1d")
    assert code == 0, table
    assert "bob" in table
    code, told = await log.audit("query", "--tool", "refund.issue", "--status", "executed", "--format", "json")
    rows: list[dict[str, Any]] = json.loads(told)
    assert [(row["actor_user_id"], row["hitl_approver"], row["tool_args"]["amount"]) for row in rows] == [
        ("dana", "ann,bob", "200.00")
    ]
    code, told = await log.audit("query", "--tool", "refund.issue", "--status", "rejected", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(told)))
    assert {(line["kind"], line["actor_user_id"]) for line in lines} == {
        ("approval.pressed", "ann"),
        ("approval.decided", "ann"),
    }
    code, told = await log.audit("query", "--who", "nobody-at-all")
    assert code == 1, told
    code, told = await log.audit("query", "--since", "1d", "--until", "2026-01-01")
    assert code == 1, told
