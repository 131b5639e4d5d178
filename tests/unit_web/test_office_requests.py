"""The page of requests over the real door: what one person sees, what a press leads to, what a browser must prove."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.ports import ModelAnswer, ModelRequest
from policy.approval import ApprovalStatus
from tests.kit.office_house import ACME, BASE, OfficeHouse, office_house, text_of
from tests.kit.scripted import calls, says


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[OfficeHouse]:
    async with office_house(tmp_path) as house:
        yield house


async def test_the_front_door_leads_to_ones_requests_and_without_a_sign_in_to_the_sign_in(house: OfficeHouse) -> None:
    nobody = house.browser()
    assert (await nobody.get("/")).headers["location"] == "/requests"
    for path in ("/requests", "/requests/h_1", "/audit", "/audit/3", "/audit/log.csv", "/stops", "/you"):
        answer = await nobody.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin?back_to=" + path.replace("/", "%2F"))
    dana = await house.sign_in("dana")
    answer = await dana.get("/requests")
    assert answer.status_code == 200
    assert "You have asked for nothing yet" in text_of(answer)
    assert "Waiting for you" not in text_of(answer)
    assert answer.headers["cache-control"] == "no-store"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", answer.text)


async def test_a_request_is_approved_on_the_page_and_the_chat_is_told(house: OfficeHouse) -> None:
    refund, mail = await house.ask()
    dana, ann = await house.sign_in("dana"), await house.sign_in("ann")
    hers = text_of(await dana.get("/requests"))
    assert "Refund 42.00 USD for order 1042" in hers
    assert "Waiting for a finance approver." in hers
    assert "Withdraw" in hers
    assert "Approve" not in hers
    page = await ann.get("/requests")
    card = text_of(page)
    for words in (refund.headline, "asked by Dana Reyes", "the parcel never came", "I prepared both.", "not verified"):
        assert words in card, words
    for fact in refund.facts:
        assert fact.label in card
        assert fact.value in card
    assert refund.digest in page.text
    assert mail.headline not in card
    answer = await ann.press(refund, "approve")
    assert answer.status_code == 200
    assert "Approved." in text_of(answer)
    assert (await house.view(refund.held_id)).settled_by == "Ann Okafor"

    async def done() -> bool:
        return "Refunded 42.00 USD" in text_of(await ann.get("/requests"))

    await house.until(done)
    settled = text_of(await ann.get("/requests"))
    assert "Settled lately" in settled
    assert "Approved by Ann Okafor (" in settled
    await house.until(lambda: _told(house, "Approved by Ann Okafor"))
    pressed = await house.rows(
        "SELECT actor_user_id, status, detail FROM agent_audit_log WHERE kind = 'approval.pressed'"
    )
    assert [(row.actor_user_id, row.status) for row in pressed] == [("ann", "approved")]
    assert "web:acme:https://idp.example|ann" in str(pressed[0].detail)


async def _told(house: OfficeHouse, words: str) -> bool:
    return any(words in item.status for item in house.chat.items())


async def test_a_late_press_says_who_was_first(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann, bob = await house.sign_in("ann"), await house.sign_in("bob")
    await ann.press(refund, "approve")
    late = await bob.press(refund, "reject", "too late, I think")
    assert "Already approved" in text_of(late)
    assert (await house.audit("approval.pressed")) == [
        ("approval.pressed", "approved", "ann"),
        ("approval.pressed", "late", "bob"),
    ]


async def test_the_draft_stands_whole_on_the_card(house: OfficeHouse) -> None:
    _, mail = await house.ask()
    lee = await house.sign_in("lee")
    page = text_of(await lee.get("/requests"))
    assert mail.draft is not None
    assert mail.draft.body in page
    assert mail.draft.to in page
    assert "runs only after" in page


async def test_a_rejection_needs_a_reason_and_the_requester_reads_it(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann, dana = await house.sign_in("ann"), await house.sign_in("dana")
    without = await ann.press(refund, "reject", "  ")
    assert without.status_code == 422
    assert "Say why" in text_of(without)
    assert await house.audit("approval.pressed") == []
    await ann.press(refund, "reject", "the parcel was delivered")
    assert "Rejected by Ann Okafor" in text_of(await dana.get("/requests"))
    assert "the parcel was delivered" in text_of(await dana.get("/requests"))


async def test_a_question_decides_nothing_and_arrives_in_the_thread(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann = await house.sign_in("ann")
    answer = await ann.press(refund, "ask", "which parcel?")
    assert "Nothing was decided" in text_of(answer)
    assert (await house.view(refund.held_id)).status is ApprovalStatus.PENDING

    async def asked() -> bool:
        return any("which parcel?" in said.text for said in house.chat.said)

    await house.until(asked)


async def test_the_requester_withdraws_and_asks_again(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    dana = await house.sign_in("dana")
    assert "Withdrawn" in text_of(await dana.press(refund, "withdraw"))
    ended = text_of(await dana.get("/requests"))
    assert "Withdrawn by Dana Reyes" in ended
    assert "Ask again" in ended
    again = await dana.post(f"/requests/{refund.held_id}/again")
    assert "Asked again. Refund 42.00 USD" in text_of(again)
    assert [view.status for view in await house.asked("dana") if view.tool == "refund.issue"] == [
        ApprovalStatus.PENDING,
        ApprovalStatus.WITHDRAWN,
    ]


async def test_one_of_two_names_the_first_and_waits_for_somebody_else(house: OfficeHouse) -> None:
    (refund,) = await house.ask(text="Refund order 1002, 181.00 USD")
    ann, bob = await house.sign_in("ann"), await house.sign_in("bob")
    assert "Counted: 1 of 2" in text_of(await ann.press(refund, "approve"))
    hers, his = text_of(await ann.get("/requests")), text_of(await bob.get("/requests"))
    assert "Countersigned by you, waiting for somebody else" in hers
    assert "Nothing waits for your countersignature" in hers
    assert "Waiting for you 1" in his
    for page in (hers, his):
        assert "1 of 2: Ann Okafor, " in page
    assert "Counted" not in text_of(await ann.press(refund, "approve"))
    assert len((await house.view(refund.held_id)).votes) == 1
    assert "Approved." in text_of(await bob.press(refund, "approve"))


async def test_the_live_part_comes_only_when_something_happened(house: OfficeHouse) -> None:
    ann = await house.sign_in("ann")
    page = await ann.get("/requests")
    found = re.search(r'name="mark" value="([^"]+)"', page.text)
    assert found
    assert (await ann.poll(f"/requests/live?mark={found[1]}")).status_code == 204
    await house.ask()
    news = await ann.poll(f"/requests/live?mark={found[1]}")
    assert news.status_code == 200
    assert "Refund 42.00 USD" in text_of(news)
    assert "<html" not in news.text


async def test_a_page_left_open_keeps_nobody_signed_in(house: OfficeHouse) -> None:
    ann = await house.sign_in("ann")
    seen = "SELECT seen_at FROM web_session WHERE sub = 'ann'"
    old = "strftime('%Y-%m-%dT%H:%M:%S', 'now', '-20 minutes') || '.000000Z'"
    await house.change(f"UPDATE web_session SET seen_at = {old} WHERE sub = 'ann'")
    before = await house.rows(seen)
    assert (await ann.poll()).status_code == 200
    assert await house.rows(seen) == before
    assert (await ann.get("/requests")).status_code == 200
    assert await house.rows(seen) != before


async def test_a_sign_in_that_ended_empties_the_open_page(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann = await house.sign_in("ann")
    old = "strftime('%Y-%m-%dT%H:%M:%S', 'now', '-31 minutes') || '.000000Z'"
    await house.change(f"UPDATE web_session SET seen_at = {old} WHERE sub = 'ann'")
    poll = await ann.poll()
    assert (poll.status_code, poll.headers["hx-retarget"]) == (401, "#main")
    assert "You are signed out" in text_of(poll)
    assert "Refund" not in poll.text
    press = await ann.client.post(
        f"/requests/{refund.held_id}/press",
        data={"csrf": ann.csrf, "verb": "approve", "revision": "1", "digest": refund.digest},
        headers={"origin": BASE, "hx-request": "true"},
    )
    assert press.status_code == 401
    assert (await house.view(refund.held_id)).votes == ()
    assert (await ann.get("/requests")).status_code == 303


async def test_a_form_that_our_page_did_not_send_does_nothing(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann, bob = await house.sign_in("ann"), await house.sign_in("bob")
    good = {"verb": "approve", "revision": str(refund.revision), "digest": refund.digest}
    path = f"/requests/{refund.held_id}/press"
    for fields, headers in (
        ({**good, "csrf": ""}, {}),
        ({**good, "csrf": bob.csrf}, {}),
        (good, {"origin": "https://evil.example"}),
        (good, {"origin": "null"}),
        (good, {"sec-fetch-site": "cross-site"}),
        (good, {"content-type": "text/plain"}),
    ):
        answer = await ann.post(path, fields, **headers)
        assert answer.status_code == 403, (fields, headers)
    again = f"/requests/{refund.held_id}/again"
    for url in (path, again, "/audit/verify"):
        assert (await ann.client.post(url, data=good, headers={"origin": BASE})).status_code == 403
        assert (await ann.get(url)).status_code in (404, 405)
    assert (await house.view(refund.held_id)).votes == ()
    assert await house.audit("approval.pressed") == []


async def test_what_the_form_says_is_judged_and_breaks_nothing(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann = await house.sign_in("ann")
    for fields in (
        {"verb": "pay", "revision": "1"},
        {"verb": "approve", "revision": "one"},
        {"verb": "approve"},
        {},
    ):
        answer = await ann.post(f"/requests/{refund.held_id}/press", fields)
        assert answer.status_code == 422
    for revision, digest in (("1", "0" * 64), ("99999999999999999999", refund.digest), ("-1", refund.digest)):
        answer = await ann.post(
            f"/requests/{refund.held_id}/press", {"verb": "approve", "revision": revision, "digest": digest}
        )
        assert answer.status_code == 200
        assert "Approved." not in text_of(answer)
    assert (await house.view(refund.held_id)).votes == ()
    assert len(await house.audit("approval.pressed")) == 3


async def test_who_has_no_role_is_told_so_and_shown_nothing(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    nora = await house.sign_in("nora")
    page = text_of(await nora.get("/requests"))
    assert "None of your groups has a role here" in page
    assert "Refund" not in page
    assert (await nora.get(f"/requests/{refund.held_id}")).status_code == 404
    assert "None of your groups" in text_of(await nora.press(refund, "approve"))
    assert (await house.view(refund.held_id)).votes == ()


async def test_one_request_stands_alone_for_who_may_see_it(house: OfficeHouse) -> None:
    refund, mail = await house.ask()
    for sub, status in (("dana", 200), ("ann", 200), ("lee", 404), ("aud", 404), ("ada", 404)):
        browser = await house.sign_in(sub)
        answer = await browser.get(f"/requests/{refund.held_id}")
        assert answer.status_code == status, sub
        assert ("Refund 42.00" in answer.text) == (status == 200)
    ann = await house.sign_in("ann")
    assert (await ann.get(f"/requests/{mail.held_id}")).status_code == 404
    alone = await ann.press(refund, "approve", on="one")
    assert "Approved." in text_of(alone)


async def test_words_of_strangers_are_text(tmp_path: Path) -> None:
    hostile = "</div><script>alert(1)</script><img src=x onerror=alert(2)> **bold** [x](javascript:alert(3)) {{ 7*7 }}"

    def script(request: ModelRequest) -> ModelAnswer:
        if "efund" not in getattr(request.messages[-1], "text", ""):
            return says("It waits.")
        return calls(("email_send", {"to": "C-1007", "subject": hostile[:80], "body": hostile}), text=hostile)

    async with office_house(tmp_path, script) as house:
        house.idp().patch(
            f"/Users/{house.idp().user('dana')}", {"op": "replace", "path": "displayName", "value": hostile}
        )
        (mail,) = await house.ask(text=f"Refund this {hostile}")
        lee, dana, aud = await house.sign_in("lee"), await house.sign_in("dana"), await house.sign_in("aud")
        pages = [
            await lee.get("/requests"),
            await lee.get(f"/requests/{mail.held_id}"),
            await dana.get("/requests"),
            await dana.get("/you"),
            await aud.get("/audit"),
        ]
        seqs = [row.seq for row in await house.rows(f"SELECT seq FROM agent_audit_log WHERE tenant_id = '{ACME}'")]
        pages += [await aud.get(f"/audit/{seq}") for seq in seqs]
        for page in pages:
            assert page.status_code == 200
            for markup in ("<script>alert", "<img src=x", "<b>bold", "<strong>bold", 'href="javascript:', " 49 "):
                assert markup not in page.text, markup
        assert hostile in html.unescape(pages[0].text)
