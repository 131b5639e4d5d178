"""What somebody who is signed in to one organisation tries on the pages of another. Each is one route of the matrix."""

from __future__ import annotations

from typing import Any

from bot.identity import sessions
from policy.approval import Verb
from policy.model import TenantId
from tests.kit.border import NOBODY, READERS, ROW, Border
from tests.kit.two_tenants import ACME, BOTH, GLOBEX, WORD, subject


async def home(at: Border) -> None:
    for tenant in BOTH:
        answer = await at.ask((tenant, "dana"), "GET", "/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/requests")


async def board(at: Border) -> None:
    for sub in READERS:
        at.silent((await at.ask((GLOBEX, sub), "GET", "/requests")).text)
    for sub in ("dana", "ann"):
        assert at.held[ACME].headline in (await at.ask((ACME, sub), "GET", "/requests")).text
        assert at.held[GLOBEX].headline in (await at.ask((GLOBEX, sub), "GET", "/requests")).text


async def board_live(at: Border) -> None:
    theirs = (await at.ask((ACME, "dana"), "GET", "/requests/live?mark=")).text
    assert at.held[ACME].headline in theirs
    for mark in ("", "1.1", "999.9"):
        at.silent((await at.ask((GLOBEX, "ann"), "GET", f"/requests/live?mark={mark}")).text)


async def one_request(at: Border) -> None:
    await _one(at, "/requests/ID")


async def one_live(at: Border) -> None:
    await _one(at, "/requests/ID/live")


async def _one(at: Border, path: str) -> None:
    for sub in READERS:
        answer = await at.same((GLOBEX, sub), "GET", path, at.held[ACME].held_id, NOBODY)
        assert answer.status_code == 404
    mine = await at.ask((ACME, "ann"), "GET", path.replace("ID", at.held[ACME].held_id))
    assert (mine.status_code, at.held[ACME].headline in mine.text) == (200, True)


def press_form(at: Border, whose: TenantId, sub: str, verb: Verb = Verb.APPROVE) -> dict[str, str]:
    view = at.held[ACME]
    token = sessions.form_token(at.cookies[whose, sub])
    return {"csrf": token, "verb": verb, "revision": str(view.revision), "digest": view.digest, "text": "x"}


async def press(at: Border) -> None:
    path, view = "/requests/ID/press", at.held[ACME]
    for sub in READERS:
        for verb in Verb if sub == "ann" else (Verb.APPROVE, Verb.WITHDRAW):
            form = press_form(at, GLOBEX, sub, verb)
            await at.same((GLOBEX, sub), "POST", path, view.held_id, NOBODY, data=form)
            part: dict[str, Any] = {"data": form | {"on": "one"}, "headers": {"hx-request": "true"}}
            await at.same((GLOBEX, sub), "POST", path, view.held_id, NOBODY, **part)
    # A cookie of one with the form of the other's page.
    for cookie, page in ((GLOBEX, ACME), (ACME, GLOBEX)):
        answer = await at.ask(
            (cookie, "ann"), "POST", path.replace("ID", view.held_id), data=press_form(at, page, "ann")
        )
        assert answer.status_code == 403
    assert (await at.two.core.gateway.view(ACME, view.held_id)) == view


async def press_works(at: Border) -> None:
    path = f"/requests/{at.held[ACME].held_id}/press"
    answer = await at.ask((ACME, "ann"), "POST", path, data=press_form(at, ACME, "ann", Verb.REJECT))
    assert answer.status_code == 200
    after = await at.two.core.gateway.view(ACME, at.held[ACME].held_id)
    assert after is not None
    assert after.status == "rejected"


async def again(at: Border) -> None:
    for sub in READERS:
        form = {"csrf": sessions.form_token(at.cookies[GLOBEX, sub])}
        await at.same((GLOBEX, sub), "POST", "/requests/ID/again", at.held[ACME].held_id, NOBODY, data=form)
    assert len(await at.two.core.gateway.asked_by(ACME, subject("dana"))) == 1


async def again_works(at: Border) -> None:
    form = {"csrf": sessions.form_token(at.cookies[ACME, "dana"])}
    path = f"/requests/{at.held[ACME].held_id}/again"
    assert (await at.ask((ACME, "dana"), "POST", path, data=form)).status_code == 200
    assert len(await at.two.core.gateway.asked_by(ACME, subject("dana"))) == 2


async def log_table(at: Border) -> None:
    queries = ("", "?who=dana", f"?who={WORD[ACME]}", "?tool=refund.issue", "?before=999999", "?kind=kill.switched")
    for sub in READERS:
        for query in (*queries, f"?call={at.held[ACME].held_id}", "?tenant=acme", f"?who=Dana+{WORD[ACME]}"):
            answer = await at.ask((GLOBEX, sub), "GET", f"/audit{query}")
            at.silent(_without_typed(answer.text, query))
    # A row that acme alone has: in globex' table there is none of that kind.
    for tenant, rows in ((ACME, 1), (GLOBEX, 0)):
        page = (await at.ask((tenant, "aud"), "GET", "/audit?kind=kill.switched")).text
        assert len(set(ROW.findall(page))) == rows, (tenant, page)


def _without_typed(page: str, query: str) -> str:
    """What was typed stands in the form again: that is the reader's own."""
    typed = query.partition("=")[2].replace("+", " ")
    return page.replace(f'"{typed}"', '""').replace(query.removeprefix("?"), "") if typed else page


async def log_row(at: Border) -> None:
    rows = [len(await at.two.log(tenant)) for tenant in BOTH]
    for seq in range(1, max(rows) + 8):
        answer = await at.ask((GLOBEX, "aud"), "GET", f"/audit/{seq}")
        at.silent(answer.text, but=at.held[ACME].held_id)  # the row of a press keeps what the presser named
        assert answer.status_code == (200 if seq <= len(await at.two.log(GLOBEX)) else 404)
    assert (await at.ask((ACME, "aud"), "GET", "/audit/1")).status_code == 200


async def log_verify(at: Border) -> None:
    for sub in READERS:
        form = {"csrf": sessions.form_token(at.cookies[GLOBEX, sub]), "tenant": ACME}
        at.silent((await at.ask((GLOBEX, sub), "POST", "/audit/verify", data=form)).text)
    form = {"csrf": sessions.form_token(at.cookies[ACME, "aud"])}
    assert (await at.ask((ACME, "aud"), "POST", "/audit/verify", data=form)).status_code == 200


async def log_download(at: Border) -> None:
    for form in ("csv", "json", "jsonl"):
        for sub in READERS:
            for query in ("", "?tenant=acme", f"?call={at.held[ACME].held_id}"):
                taken = await at.ask((GLOBEX, sub), "GET", f"/audit/log.{form}{query}")
                at.silent(taken.text, but=at.held[ACME].held_id)  # what their own presses named
        mine = await at.ask((ACME, "aud"), "GET", f"/audit/log.{form}")
        assert (mine.status_code, at.held[ACME].held_id in mine.text) == (200, True)
        assert at.held[GLOBEX].held_id not in mine.text


async def stops(at: Border) -> None:
    for sub in READERS:
        answer = await at.ask((GLOBEX, sub), "GET", "/stops")
        at.silent(answer.text)
        assert answer.status_code == (200 if sub == "ada" else 403)
    assert f"because {WORD[ACME]}" in (await at.ask((ACME, "ada"), "GET", "/stops")).text


async def you(at: Border) -> None:
    for sub in READERS:
        at.silent((await at.ask((GLOBEX, sub), "GET", "/you")).text)
    assert WORD[ACME] in (await at.ask((ACME, "dana"), "GET", "/you")).text


async def no_page(at: Border) -> None:
    for path in ("/requests/ID/more", "/audit/ID/more"):
        assert (await at.same((GLOBEX, "aud"), "GET", path, at.held[ACME].held_id, NOBODY)).status_code == 404
