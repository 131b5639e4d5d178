"""Invariant 14 on the page: nothing of one organisation is seen, pressed, counted or taken away from another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.messages import ChatUser, Thread
from bot.ports import Home, Posted, Standing, SurfaceError
from bot.web.signed_in import WEB
from tests.kit.office_house import ACME, GLOBEX, OfficeHouse, guards, office_house, text_of
from tests.kit.provision import ISSUER
from tests.kit.quiet import at_rest
from tools.held import Scope, ScopeKind
from tools.stops import By

ACMES = ("Dana Reyes", "Ann Okafor", "Acme", "T0ACME", "acme", "order 1002")


PART = {"hx-request": "true"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[OfficeHouse]:
    async with office_house(tmp_path) as house:
        yield house


async def test_every_page_of_one_organisation_is_silent_about_the_other(house: OfficeHouse) -> None:
    (refund,) = await house.ask(text="Refund order 1002, 181.00 USD")
    ann = await house.sign_in("ann")
    await ann.press(refund, "approve")
    by = By("ada", "Ada Kim", ("admin",), "the tool refund.issue")
    await house.core.gateway.kill(ACME, Scope(ScopeKind.TOOL, "refund.issue"), by, "a reason of acme's")
    assert "181.00" in text_of(await ann.get("/requests"))
    rows = await house.rows("SELECT max(seq) AS last FROM agent_audit_log WHERE tenant_id = 'acme'")
    paths = [
        "/requests",
        "/requests/live",
        f"/requests/{refund.held_id}",
        f"/requests/{refund.held_id}/live",
        "/audit",
        "/audit?who=ann",
        "/audit?who=Ann+Okafor",
        "/audit?tool=refund.issue",
        f"/audit?call={refund.held_id}",
        *(f"/audit/{seq}" for seq in range(1, rows[0].last + 2)),
        "/audit/log.csv",
        "/audit/log.csv?who=ann",
        "/audit/log.json",
        "/audit/log.jsonl",
        "/stops",
        "/you",
    ]
    for sub in ("gina", "gus", "gada", "gaud"):
        theirs = await house.sign_in(sub, GLOBEX)
        for path in paths:
            answer = await theirs.get(path)
            for words in ACMES:
                # What they typed themselves comes back to them, and nothing else does.
                assert words not in answer.text.replace('value="Ann Okafor"', ""), (sub, path, words)


async def test_a_request_of_the_other_organisation_is_as_unknown_as_none(house: OfficeHouse) -> None:
    refund, mail = await house.ask()
    gus = await house.sign_in("gus", GLOBEX)
    for held in (refund, mail):
        for path in (f"/requests/{held.held_id}", f"/requests/{held.held_id}/live"):
            theirs, none = await gus.get(path), await gus.get(path.replace(held.held_id, "h_" + "0" * 16))
            assert (theirs.status_code, theirs.text) == (none.status_code, none.text)
            assert theirs.status_code == 404
        for verb in ("approve", "reject", "ask", "withdraw"):
            fields = {"revision": "1", "digest": held.digest, "verb": verb, "text": "because"}
            theirs = await gus.post(f"/requests/{held.held_id}/press", fields, **PART)
            none = await gus.post("/requests/h_0000000000000000/press", fields, **PART)
            assert theirs.status_code == none.status_code == 404
            assert _said(theirs.text) == _said(none.text)
        again = [await gus.post(f"/requests/{one}/again", None, **PART) for one in (held.held_id, "h_0")]
        assert [answer.status_code for answer in again] == [404, 404]
        assert _said(again[0].text) == _said(again[1].text)
        assert "There is no such request any more" in text_of(again[0])
        assert (await house.view(held.held_id)).votes == ()
    # The rows stand in the log of whoever pressed, and in no other.
    assert await house.audit("approval.pressed") == []
    assert {status for _, status, _ in await house.audit("approval.pressed", GLOBEX)} == {"unknown"}


async def test_the_chain_that_is_verified_is_ones_own(house: OfficeHouse) -> None:
    await house.ask()
    await house.ask("gina", GLOBEX)
    gaud, aud = await house.sign_in("gaud", GLOBEX), await house.sign_in("aud")
    # Without its triggers the head stays behind: a row that a turn still writes would be a break, and rightly.
    await at_rest(house.core.writer)
    with sa.create_engine(house.core.settings.database_url).begin() as conn:
        for name in guards(conn):
            conn.execute(sa.text(f"DROP TRIGGER {name}"))
        conn.execute(sa.text("UPDATE agent_audit_log SET status = 'x' WHERE tenant_id = 'acme' AND seq = 3"))
    theirs = text_of(await gaud.post("/audit/verify"))
    assert "The chain holds." in theirs, theirs[-600:]
    assert "acme" not in theirs
    ours = text_of(await aud.post("/audit/verify"))
    assert "The chain does not hold." in ours
    assert "globex" not in ours


async def test_a_session_opens_one_organisation(house: OfficeHouse) -> None:
    """The same subject at the same issuer, signed in to one organisation, is nobody in the other."""
    await house.sign_in("ann")
    surface = house.service.surfaces[WEB]
    ann = f"{ISSUER}|ann"
    assert await surface.standing(ChatUser(WEB, ACME, ann)) is Standing.MEMBER
    for stranger in (
        ChatUser(WEB, GLOBEX, ann),
        ChatUser(WEB, "nowhere", ann),
        ChatUser(WEB, "", ann),
        ChatUser(WEB, ACME, f"{ISSUER}|bob"),
        ChatUser(WEB, ACME, "ann"),
        ChatUser(WEB, ACME, f"https://other.example|{ISSUER}|ann"),
        ChatUser(WEB, ACME, f"{ISSUER}|"),
        ChatUser(WEB, ACME, ann, "E0"),
    ):
        assert await surface.standing(stranger) is Standing.STRANGER, stranger


async def test_a_session_that_is_over_is_a_stranger(house: OfficeHouse) -> None:
    await house.sign_in("ann")
    surface, ann = house.service.surfaces[WEB], ChatUser(WEB, ACME, f"{ISSUER}|ann")
    for change in (
        "ended_at = created_at, ended = 'left'",
        "ended_at = NULL, expires_at = '2020-01-01T00:00:00.000000Z'",
        "expires_at = '2999-01-01T00:00:00.000000Z', seen_at = '2020-01-01T00:00:00.000000Z'",
    ):
        await house.change(f"UPDATE web_session SET {change}")
        assert await surface.standing(ann) is Standing.STRANGER, change


async def test_nothing_is_ever_posted_to_the_page(house: OfficeHouse) -> None:
    surface = house.service.surfaces[WEB]
    ann = ChatUser(WEB, ACME, f"{ISSUER}|ann")
    thread = Thread(WEB, ACME, "c", "r")
    (refund, _) = await house.ask()
    card = await house.service.turn.teller.card_now(refund)
    attempts = (
        surface.say(thread, "x"),
        surface.whisper(thread, ann, "x"),
        surface.direct(ann, "x"),
        surface.begin(thread, ann),
        surface.post(ACME, "dm:ann", card),
        surface.update(Posted(WEB, ACME, "c", "1"), card),
        surface.show_home(ann, Home("", None, (), ())),
    )
    for attempt in attempts:
        with pytest.raises(SurfaceError) as told:
            await attempt
        assert told.value.gone
    # Ann is signed in while cards go out, and they go to her chat.
    await house.sign_in("ann")
    await house.ask()
    copies = await house.rows("SELECT surface FROM posted_card")
    assert {row.surface for row in copies} == {"slack"}


def _said(html: str) -> str:
    return html.partition("<hx-partial")[0]
