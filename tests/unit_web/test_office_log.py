"""The audit explorer, stops and oneself on the page: what each shows to whom, and how rows leave it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.export import verify_export
from audit.faults import StoreUnavailable
from bot.web import office_proof
from tests.kit.office_house import ACME, BASE, Browser, OfficeHouse, guards, office_house, text_of
from tests.kit.quiet import at_rest
from tools.held import Scope, ScopeKind
from tools.stops import By


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[OfficeHouse]:
    async with office_house(tmp_path) as house:
        yield house


async def _some_history(house: OfficeHouse) -> Browser:
    refund, _ = await house.ask()
    ann = await house.sign_in("ann")
    await ann.press(refund, "approve")

    async def done() -> bool:
        return bool(await house.audit("tool.executed"))

    await house.until(done)
    await at_rest(house.core.writer)
    return await house.sign_in("aud")


async def test_who_approved_this_refund_in_one_question(house: OfficeHouse) -> None:
    aud = await _some_history(house)
    for query in (
        "tool=refund.issue&kind=tool.executed",
        "who=ann&kind=tool.executed",
        "who=Ann+Okafor&status=executed",
    ):
        page = text_of(await aud.get(f"/audit?{query}"))
        assert "Dana Reyes refund.issue 42.00 USD executed Ann Okafor" in page, query
    assert "Dana Reyes refund.issue" not in text_of(await aud.get("/audit?who=bob"))
    assert "No row matches" in text_of(await aud.get("/audit?until=2020-01-01"))
    assert "No row matches" in text_of(await aud.get("/audit?since=2999-01-01"))
    assert "executed" in text_of(await aud.get("/audit?since=2020-01-01&until=9999-12-31"))


@pytest.mark.parametrize(
    "query", ["kind=tool.invented", "since=yesterday", "until=2026-13-01", "since=%00", "until=2026-01-01T00:00:00Z"]
)
async def test_what_cannot_be_meant_is_said(house: OfficeHouse, query: str) -> None:
    aud = await house.sign_in("aud")
    answer = await aud.get(f"/audit?{query}")
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        assert "“" in text_of(answer)
        assert (await aud.get(f"/audit/log.csv?{query}")).status_code == 404


async def test_older_rows_are_a_page_away_and_none_is_lost(house: OfficeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.web.office_audit.ROWS", 5)
    aud = await _some_history(house)
    seen: list[int] = []
    path = "/audit?"
    while path:
        page = await aud.get(path)
        here = [int(part.split('"')[0]) for part in page.text.split('href="/audit/')[1:] if part[0].isdigit()]
        assert len(here) <= 5
        seen += here
        older = page.text.partition("before=")[2].partition('"')[0]
        path = f"/audit?before={older}" if older else ""
    assert seen == list(range(seen[0], 0, -1))
    for odd in ("x", "-1", "9" * 40, ""):
        assert (await aud.get(f"/audit?before={odd}")).status_code == 200


async def test_a_row_shows_the_bytes_that_were_hashed(house: OfficeHouse) -> None:
    aud = await _some_history(house)
    (row,) = await house.rows("SELECT * FROM agent_audit_log WHERE kind = 'tool.executed'")
    page = text_of(await aud.get(f"/audit/{row.seq}"))
    for words in (row.canonical, row.prev_hash, row.row_hash, "The hash fits.", "countersigned by Ann Okafor"):
        assert words in page
    with sa.create_engine(house.core.settings.database_url).begin() as conn:
        for name in guards(conn):
            conn.execute(sa.text(f"DROP TRIGGER {name}"))
        conn.execute(
            sa.text("UPDATE agent_audit_log SET canonical = replace(canonical, '42.00', '24.00') WHERE seq = :seq"),
            {"seq": row.seq},
        )
    assert "The hash does not fit these bytes" in text_of(await aud.get(f"/audit/{row.seq}"))


async def test_the_chain_is_verified_with_a_button(house: OfficeHouse) -> None:
    aud = await _some_history(house)
    whole = await aud.post("/audit/verify")
    assert "The chain holds." in text_of(whole)
    assert "unproven" not in text_of(whole)
    part = await aud.post("/audit/verify", None, **{"hx-request": "true"})
    assert "<html" not in part.text
    with sa.create_engine(house.core.settings.database_url).begin() as conn:
        for name in guards(conn):
            conn.execute(sa.text(f"DROP TRIGGER {name}"))
        conn.execute(sa.text("UPDATE agent_audit_log SET actor_user_id = 'bob' WHERE kind = 'approval.decided'"))
    broken = text_of(await aud.post("/audit/verify"))
    assert "The chain does not hold." in broken
    assert "acme, row " in broken


async def test_downloads_are_the_rows_that_were_asked_for(house: OfficeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_proof, "STRETCH", 3)
    aud = await _some_history(house)
    total = len(await house.audit(""))
    table = await aud.get("/audit/log.csv")
    assert table.headers["content-disposition"].startswith('attachment; filename="countersign-audit-')
    assert table.headers["x-content-type-options"] == "nosniff"
    rows = list(csv.DictReader(io.StringIO(table.text)))
    # The download itself is the newest row.
    assert [int(row["seq"]) for row in rows] == list(range(total + 1, 0, -1))
    assert (rows[0]["kind"], rows[0]["actor_user_id"]) == ("command.run", "aud")
    found = json.loads((await aud.get("/audit/log.json?tool=refund.issue")).text)
    assert {row["tool_name"] for row in found} == {"refund.issue"}
    assert len(found) == len(await house.rows("SELECT 1 FROM agent_audit_log WHERE tool_name = 'refund.issue'"))
    assert json.loads((await aud.get("/audit/log.json?who=nobody")).text) == []
    assert len((await aud.get("/audit/log.csv?who=nobody")).text.splitlines()) == 1
    proof = await aud.get("/audit/log.jsonl")
    assert verify_export(iter(proof.text.splitlines()), house.core.keys.checkpoint.public_key()) == ()
    assert (await aud.get("/audit/log.exe")).status_code == 404
    taken = [row.detail for row in await house.rows("SELECT detail FROM agent_audit_log WHERE kind = 'command.run'")]
    assert len(taken) == 5
    assert "refund.issue" in str(taken[1])


async def test_nothing_leaves_where_it_cannot_be_recorded(house: OfficeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    aud = await _some_history(house)

    async def full(_events: object) -> None:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(type(house.core.gateway), "record", lambda _self, events: full(events))
    answer = await aud.get("/audit/log.csv")
    assert answer.status_code == 503
    assert "refund" not in answer.text


async def test_each_page_says_which_role_it_takes_and_notes_who_tried(house: OfficeHouse) -> None:
    await house.ask()
    tried = [("ann", "/audit"), ("ada", "/audit"), ("dana", "/audit/1"), ("lee", "/audit/log.csv"), ("aud", "/stops")]
    for sub, path in tried:
        browser = await house.sign_in(sub)
        answer = await browser.get(path)
        assert answer.status_code == 403
        assert f"This page is for the role {'admin' if path == '/stops' else 'auditor'}" in text_of(answer)
        assert "Refund" not in answer.text
    ann = await house.sign_in("ann")
    assert (await ann.post("/audit/verify")).status_code == 403
    refused = await house.audit("command.refused")
    assert refused == [("command.refused", "refused", sub) for sub in (*(sub for sub, _ in tried), "ann")]
    for _ in range(40):
        await ann.get("/audit")
    assert len(await house.audit("command.refused")) <= 2 * 20 + len(tried)


async def test_an_admin_sees_what_is_stopped_and_what_a_stop_would_reach(house: OfficeHouse) -> None:
    await house.ask()
    ada, ann = await house.sign_in("ada"), await house.sign_in("ann")
    calm = text_of(await ada.get("/stops"))
    assert "Nothing is stopped." in calm
    assert "Waiting for approval 2" in calm
    assert "refund.issue 1 0" in calm
    assert "--tenant acme" in calm
    by = By("ada", "Ada Kim", ("admin",), "the tool refund.issue")
    await house.core.gateway.kill(ACME, Scope(ScopeKind.TOOL, "refund.issue"), by, "wrong <b>amounts</b>")
    stopped = await ada.get("/stops")
    assert "Stopped: the tool refund.issue. By Ada Kim since" in text_of(stopped)
    assert "wrong <b>amounts</b>" in text_of(stopped)
    assert "<b>amounts" not in stopped.text
    hers = text_of(await ann.get("/requests"))
    assert "Stopped (the tool refund.issue) by Ada Kim" in hers
    assert "Approve" not in hers.replace("Approval", "").replace("Approving", "")
    assert not [form for form in stopped.text.split("<form")[1:] if "/signout" not in form.partition(">")[0]]


async def test_everybody_sees_whom_they_are_taken_for(house: OfficeHouse) -> None:
    ann = await house.sign_in("ann")
    page = text_of(await ann.get("/you"))
    for words in ("Ann Okafor", "ann@acme.example", "finance_approver", "refund.issue", "UANN", "T0ACME"):
        assert words in page
    assert "set by an operator (import)" in page
    assert "Audit log" not in page
    assert "Stops" not in page


async def test_signing_out_takes_the_forms_own_token(house: OfficeHouse) -> None:
    ann = await house.sign_in("ann")
    assert (await ann.client.post("/signout", data={"csrf": "no"}, headers={"origin": BASE})).status_code == 403
    assert (await ann.get("/you")).status_code == 200


async def test_the_database_being_away_is_said_on_the_page_that_stands(
    house: OfficeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await house.sign_in("ann")

    async def away(*_args: object, **_more: object) -> None:
        raise StoreUnavailable("The database does not answer.")

    monkeypatch.setattr("bot.web.signed_in.SignedInBrowsers.signed_in", away)
    part = await ann.poll()
    assert (part.status_code, part.headers["hx-retarget"]) == (503, "#notice")
    assert (await ann.get("/requests")).status_code == 503

    async def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("bot.web.signed_in.SignedInBrowsers.signed_in", broken)
    answer = await ann.get("/requests")
    assert answer.status_code == 500
    assert "secret" not in answer.text
