"""Invariant 13 where people prove who they are: whatever is odd binds nothing, says why, and leaves a row."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from httpx2 import Response

from bot.identity.tables import SigninFlow, table
from bot.identity.tickets import TicketEnd
from bot.messages import ChatUser
from bot.web.browser import Site, own_path
from tests.kit.link_house import (
    ACME,
    ANN,
    DANA,
    DANA_DEMO,
    HTTP,
    Browser,
    LinkHouse,
    Providers,
    link_house,
    providers,
    text_of,
)

ANN_DEMO = ChatUser(DANA_DEMO.surface, DANA_DEMO.team, "ann")


@pytest.fixture(scope="module")
def idps() -> Iterator[Providers]:
    with providers() as both:
        yield both


@pytest.fixture
async def house(idps: Providers, sqlite_url: str) -> AsyncIterator[LinkHouse]:
    async with link_house(sqlite_url, idps, slack=True) as opened:
        yield opened


# -- links ---------------------------------------------------------------------------------------------


async def test_opening_a_link_consumes_nothing(house: LinkHouse) -> None:
    link = await house.link()
    for _ in range(3):
        for method in ("GET", "HEAD"):
            answer = await house.browser().client.request(method, link)
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers
    assert (await house.ticket(link)).ended is None
    assert await house.rows("SELECT * FROM signin_flow") == []
    assert await house.audit("") == []


async def test_a_link_counts_once(house: LinkHouse) -> None:
    link = await house.link(DANA)
    browser = house.browser()
    page = await house.prove(browser, link, "sub-dana", slack="U01DANA")
    start = await house.browser().open(link)  # a second page of it, open meanwhile
    assert "Linked" in text_of(await browser.press(page, {"answer": "yes"}))
    replayed = await house.browser().press(start)
    assert (replayed.status_code, await house.refusals()) == (410, ["link_replayed"])
    assert "used already" in text_of(replayed)
    opened = await house.browser().open(link)
    assert (opened.status_code, "used already" in text_of(opened)) == (410, True)


async def test_a_link_expires_after_ten_minutes_whatever_was_done_with_it(house: LinkHouse) -> None:
    link = await house.link(DANA)
    start = await house.browser().open(link)
    browser = house.browser()
    page = await house.prove(browser, link, "sub-dana", slack="U01DANA")
    house.later(timedelta(minutes=10))
    late = await house.browser().press(start)
    assert (late.status_code, "ten minutes" in text_of(late)) == (410, True)
    late = await browser.press(page, {"answer": "yes"})
    assert (late.status_code, await house.links()) == (410, [])
    assert await house.refusals() == ["link_expired", "link_expired"]


async def test_a_newer_link_ends_the_older_ones_of_that_account_alone(house: LinkHouse) -> None:
    old, anns = await house.link(DANA), await house.link(ANN)
    start = await house.browser().open(old)
    new = await house.link(DANA)
    answer = await house.browser().press(start)
    assert (answer.status_code, await house.refusals()) == (410, ["link_replaced"])
    for link in (new, anns):
        assert (await house.browser().open(link)).status_code == 200


async def test_a_link_nobody_made(house: LinkHouse) -> None:
    browser = house.browser()
    for secret in ("no-such-link", "x" * 5000, "%00", "..%2f..%2fetc", "%ff%fe"):
        answer = await browser.open(f"/link/{secret}")
        assert answer.status_code == 404, secret
    start = await browser.open(await house.link())
    answer = await browser.client.post("/link/guessed", headers={"origin": house.base_url})
    assert (answer.status_code, await house.refusals()) == (404, ["link_unknown"])
    assert start.status_code == 200


async def test_secrets_are_kept_as_hashes(house: LinkHouse) -> None:
    link = await house.link(DANA)
    browser = house.browser()
    await house.prove(browser, link, "sub-dana", slack="U01DANA")
    carried = [link.rpartition("/")[2], *(cookie.value or "" for cookie in browser.client.cookies.jar)]
    tables = ("link_ticket", "signin_flow", "confirmation", "web_session", "agent_audit_log")
    rows = [row for name in tables for row in await house.rows(f"SELECT * FROM {name}")]
    kept = " ".join(str(row) for row in rows)
    assert len([secret for secret in carried if len(secret) > 20]) >= 2
    assert not [secret for secret in carried if len(secret) > 20 and secret in kept]


async def test_of_two_browsers_that_race_for_one_link_one_wins(idps: Providers, engine_url: str) -> None:
    async with (
        link_house(engine_url, idps, slack=True) as one,
        link_house(engine_url, idps, slack=True, fresh=False) as two,
    ):
        link = await one.link(DANA)
        houses = (one, two, one, two)
        browsers = [house.browser() for house in houses]
        pages = [
            await house.prove(browser, link, sub, slack="U01DANA")
            for house, browser, sub in zip(houses, browsers, ("sub-dana", "sub-ann") * 2, strict=True)
        ]
        answers = await asyncio.gather(
            *(browser.press(page, {"answer": "yes"}) for browser, page in zip(browsers, pages, strict=True))
        )
        assert sorted(answer.status_code for answer in answers).count(200) == 1, [text_of(one) for one in answers]
        assert len(await one.links()) == 1
        assert [kind for kind, _ in await one.audit()].count("identity.linked") == 1
        assert set(await one.refusals()) <= {"raced", "link_replayed"}
        assert len(await one.refusals()) == 3


async def test_the_same_confirmation_pressed_many_times_binds_once(idps: Providers, engine_url: str) -> None:
    async with link_house(engine_url, idps, slack=True) as house:
        browser = house.browser()
        page = await house.prove(browser, await house.link(DANA), "sub-dana", slack="U01DANA")
        answers = await asyncio.gather(*(browser.press(page, {"answer": "yes"}) for _ in range(5)))
        assert sum("Linked" in text_of(answer) for answer in answers) == 1
        assert [kind for kind, _ in await house.audit()].count("identity.linked") == 1


async def test_a_code_typed_many_times_at_once_binds_once(idps: Providers, engine_url: str) -> None:
    async with link_house(engine_url, idps) as house:
        browser = house.browser()
        page = await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
        code = await house.say_yes(DANA_DEMO)
        answers = await asyncio.gather(*(browser.press(page, {"code": code}) for _ in range(5)))
        assert sum("Linked" in text_of(answer) for answer in answers) == 1
        assert await house.links() == [("demo:acme-floor:dana", "acme", "sub-dana")]


# -- browsers ------------------------------------------------------------------------------------------


async def test_the_answer_counts_in_the_browser_that_asked(house: LinkHouse) -> None:
    """Swapped browsers: what the provider sends back to one is worth nothing in another, nor to nobody."""
    first, second, bare = house.browser(), house.browser(), house.browser()
    stolen = await _callback(house, first, await house.link(DANA_DEMO), "sub-dana")
    assert (await bare.open(stolen)).status_code == 403
    await second.press(await second.open(await house.link(ANN_DEMO)))
    swapped = await second.open(stolen)
    assert (swapped.status_code, "another sign-in" in text_of(swapped)) == (403, True)
    assert await house.refusals() == ["no_flow", "state_mismatch"]
    # It harmed nobody: the browser that asked goes on.
    page = await first.open(stolen)
    assert page.url.path == "/link/confirm"
    # And an answer counts once, there too.
    assert (await first.open(stolen)).status_code == 409
    assert await house.links() == []


async def test_a_forged_callback_ends_nobodys_flow(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.press(await browser.open(await house.link()))
    for query in ("", "?error=access_denied", "?state=x&code=y", "?state=&code=y", "?code=a&code=b"):
        assert (await browser.client.get(f"/signin/callback{query}")).status_code == 403
    assert await house.refusals() == ["state_mismatch"] * 5
    assert (await browser.log_in(page, "sub-dana")).url.path == "/link/confirm"


async def test_an_answer_that_says_something_twice_is_refused(house: LinkHouse) -> None:
    browser = house.browser()
    back = await _callback(house, browser, await house.link(), "sub-dana")
    answer = await browser.open(re.sub(r"code=[^&]*", r"\g<0>&code=other", back))
    assert (answer.status_code, await house.refusals()) == (502, ["idp_error"])


async def test_the_provider_says_who_it_is_beside_its_answer(house: LinkHouse) -> None:
    browser = house.browser()
    back = await _callback(house, browser, await house.link(), "sub-dana")
    assert "iss=" in back
    answer = await browser.open(re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example", back))
    assert (answer.status_code, await house.refusals()) == (403, ["issuer_mismatch"])
    assert await house.links() == []


async def test_a_code_that_is_not_ours_is_refused(house: LinkHouse) -> None:
    browser = house.browser()
    back = await _callback(house, browser, await house.link(), "sub-dana")
    answer = await browser.open(re.sub(r"code=[^&]*", "code=stolen-elsewhere", back))
    assert (answer.status_code, await house.refusals()) == (502, ["idp_error"])
    # The flow is over, so the right code helps nobody now.
    assert (await browser.open(back)).status_code == 403


async def test_another_sign_ins_code_is_not_redeemed_here(house: LinkHouse) -> None:
    """Code injection: PKCE and nonce bind the code to the browser that asked for it."""
    victim, attacker = house.browser(), house.browser()
    theirs = await _callback(house, victim, await house.link(DANA_DEMO), "sub-ann")
    mine = await _callback(house, attacker, await house.link(ANN_DEMO), "sub-dana")
    code = re.search(r"code=([^&]*)", theirs)
    assert code is not None
    answer = await attacker.open(re.sub(r"code=[^&]*", f"code={code[1]}", mine))
    assert (answer.status_code, await house.refusals()) == (502, ["idp_error"])


async def test_a_cancelled_sign_in_says_what_to_do(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.deny(await browser.press(await browser.open(await house.link())))
    assert (page.status_code, await house.refusals()) == (403, ["idp_denied"])
    assert "assign you" in text_of(page)


async def test_a_form_counts_when_our_page_of_that_flow_sent_it(house: LinkHouse) -> None:
    link = await house.link(DANA)
    start = await house.browser().open(link)
    assert (await house.browser().press(start, origin="https://evil.example")).status_code == 403
    assert (await house.browser().press(start, origin="null")).status_code == 403
    assert (await house.browser().press(start, sec_fetch_site="cross-site")).status_code == 403
    browser, other = house.browser(), house.browser()
    page = await house.prove(browser, link, "sub-dana", slack="U01DANA")
    others = await house.prove(other, link, "sub-dana", slack="U01DANA")
    token = re.search(r'name="csrf" value="([^"]*)"', others.text)
    assert token is not None
    for typed in ({"answer": "yes", "csrf": ""}, {"answer": "yes", "csrf": token[1]}):
        assert (await browser.press(page, typed)).status_code == 403
    assert (await browser.press(page, {"answer": "yes"}, drop=("csrf",))).status_code == 403
    assert (await browser.press(page, {"answer": "yes"}, origin="https://evil.example")).status_code == 403
    bare = await house.browser().press(page, {"answer": "yes"})
    assert bare.status_code == 403
    assert await house.refusals() == ["forged_form"] * 7 + ["no_flow"]
    assert await house.links() == []
    assert "Linked" in text_of(await browser.press(page, {"answer": "yes"}))


# -- people --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sub", "reason", "said"),
    [("sub-unsent", "not_in_directory", "assign you"), ("sub-gone", "inactive", "left or are suspended")],
)
async def test_somebody_the_directory_did_not_send_or_took_back(
    house: LinkHouse, sub: str, reason: str, said: str
) -> None:
    browser = house.browser()
    page = await house.prove(browser, await house.link(), sub)
    assert (page.status_code, await house.refusals()) == (403, [reason])
    assert said in text_of(page)
    assert (await browser.open("/link/confirm")).status_code == 403
    signing_in = await _sign_in(house, house.browser(), sub)
    assert (signing_in.status_code, await house.refusals()) == (403, [reason] * 2)
    assert await house.rows("SELECT * FROM web_session") == []
    assert await house.rows("SELECT * FROM signin_seen") == []


@pytest.mark.parametrize("when", ["before the page", "before the yes"])
async def test_who_leaves_while_linking_is_not_linked(house: LinkHouse, when: str) -> None:
    browser = house.browser()
    page = await house.prove(browser, await house.link(DANA), "sub-dana", slack="U01DANA")
    await house.leaves("sub-dana")
    if when == "before the page":
        assert (await browser.open("/link/confirm")).status_code == 403
        return
    answer = await browser.press(page, {"answer": "yes"})
    assert (answer.status_code, await house.refusals()) == (403, ["inactive"])
    assert await house.links() == []


async def test_who_leaves_before_the_code_is_not_linked(idps: Providers, sqlite_url: str) -> None:
    async with link_house(sqlite_url, idps) as house:
        browser = house.browser()
        page = await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
        code = await house.say_yes(DANA_DEMO)
        await house.leaves("sub-dana")
        assert (await browser.press(page, {"code": code})).status_code == 403
        assert (await house.links(), await house.refusals()) == ([], ["inactive"])


async def test_an_unlinked_accounts_open_links_are_over(house: LinkHouse) -> None:
    link = await house.link(DANA_DEMO)
    await house.pages.commands.command_unlink(DANA_DEMO)
    assert (await house.ticket(link)).ended is TicketEnd.UNLINKED
    assert (await house.browser().open(link)).status_code == 410


async def test_a_flood_of_refusals_does_not_fill_the_log(house: LinkHouse) -> None:
    client = house.browser().client
    for _ in range(60):
        assert (await client.get("/signin/callback?code=x&state=y")).status_code == 403
    assert 20 <= len(await house.refusals()) <= 40
    house.later(timedelta(minutes=2))
    await client.get("/signin/callback?code=x&state=y")
    rows = await house.rows(
        "SELECT detail FROM agent_audit_log WHERE kind = 'identity.refused' ORDER BY seq DESC LIMIT 1"
    )
    assert "not_written_before" in str(rows[0].detail)


# -- the page's sign-in --------------------------------------------------------------------------------


async def test_signing_in_and_out(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.open("/mine?x=1")
    assert page.url.path == "/signin"
    home = await _log_in(house, browser, page, "sub-dana")
    assert (str(home.url), home.json()["sub"], home.json()["tenant"]) == (
        f"{house.base_url}/mine?x=1",
        "sub-dana",
        "acme",
    )
    here = await browser.open("/signin")
    assert "Dana Reyes" in text_of(here)
    assert (await browser.press(here, {"csrf": "wrong"})).status_code == 403
    out = await browser.press(here)
    assert "You are signed out" in text_of(out)
    assert "Sign out of Acme GmbH too" in text_of(out)
    assert house.idps.acme.issuer in out.text
    assert (await browser.open("/mine")).url.path == "/signin"
    assert await house.audit("session.") == [("session.started", "signed_in"), ("session.ended", "signed_out")]


async def test_cookies_cannot_be_planted_read_by_scripts_or_sent_by_other_sites(house: LinkHouse) -> None:
    browser = house.browser()
    start = await browser.open("/signin?tenant=acme")
    given: list[str] = []

    async def note(response: Response) -> None:
        given.extend(response.headers.get_list("set-cookie"))

    browser.client.event_hooks["response"].append(note)
    await _log_in(house, browser, start, "sub-dana")
    own = [cookie for cookie in given if "cs-" in cookie]
    assert {cookie.partition("=")[0] for cookie in own} == {"__Host-cs-flow", "__Host-cs-session", "__Host-cs-hint"}
    for cookie in own:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes, cookie
        assert not any(part.startswith("domain") for part in attributes), cookie
    (session,) = [cookie for cookie in own if cookie.startswith("__Host-cs-session")]
    assert len(session.partition("=")[2].partition(";")[0]) == 43


async def test_a_session_that_was_planted_is_not_the_one_that_is_signed_in(house: LinkHouse) -> None:
    browser = house.browser()
    planted = "p" * 43
    browser.client.cookies.set("__Host-cs-session", planted, domain="countersign.acme.example", path="/")
    await _sign_in(house, browser, "sub-dana")
    thief = house.browser()
    thief.client.cookies.set("__Host-cs-session", planted, domain="countersign.acme.example", path="/")
    assert (await thief.open("/mine")).url.path == "/signin"
    # Signing in again makes another one, and ends the first.
    first = _cookie(browser)
    await _sign_in(house, browser, "sub-dana", force=True)
    assert _cookie(browser) != first
    thief.client.cookies.set("__Host-cs-session", first, domain="countersign.acme.example", path="/")
    assert (await thief.open("/mine")).url.path == "/signin"
    assert ("session.ended", "replaced") in await house.audit("session.")


async def test_nobody_is_signed_in_as_somebody_else_by_a_foreign_answer(house: LinkHouse) -> None:
    """Login CSRF: the attacker's own finished sign-in, opened by the victim."""
    attacker, victim = house.browser(), house.browser()
    page = await attacker.press(await attacker.open("/signin?tenant=acme"))
    back = await _stop_at_callback(house, attacker, page, "sub-ann")
    assert (await victim.open(back)).status_code == 403
    await victim.press(await victim.open("/signin?tenant=acme"))
    assert (await victim.open(back)).status_code == 403
    assert (await victim.open("/mine")).url.path == "/signin"
    assert await house.refusals() == ["no_flow", "state_mismatch"]


async def test_a_page_signs_nobody_in_by_being_opened(house: LinkHouse) -> None:
    browser = house.browser()
    answer = await browser.client.get("/signin?tenant=acme")
    assert "set-cookie" not in answer.headers
    assert await house.rows("SELECT * FROM signin_flow") == []
    start = await browser.open("/signin?tenant=acme")
    assert (await browser.press(start, origin="https://evil.example")).status_code == 403


async def test_an_action_needs_the_sessions_own_form_token(house: LinkHouse) -> None:
    browser, other = house.browser(), house.browser()
    mine = (await _sign_in(house, browser, "sub-dana")).json()
    theirs = (await _sign_in(house, other, "sub-ann")).json()
    ours = {"origin": house.base_url}

    async def act(csrf: str, headers: dict[str, str]) -> int:
        return (await browser.client.post("/act", data={"csrf": csrf}, headers=headers)).status_code

    assert await act(mine["csrf"], ours) == 200
    assert await act(theirs["csrf"], ours) == 403
    assert await act("", ours) == 403
    assert await act(mine["csrf"], {}) == 403
    assert await act(mine["csrf"], {"origin": "https://evil.example"}) == 403
    assert await act(mine["csrf"], {**ours, "sec-fetch-site": "same-site"}) == 403


async def test_sessions_end_by_idleness_and_by_age(house: LinkHouse) -> None:
    idle, busy = house.browser(), house.browser()
    await _sign_in(house, idle, "sub-ann")
    await _sign_in(house, busy, "sub-dana")
    for _ in range(25):
        house.later(timedelta(minutes=20))
        assert (await busy.open("/mine")).url.path == "/mine"
    assert (await idle.open("/mine")).url.path == "/signin"
    for _ in range(6):
        house.later(timedelta(minutes=20))
        answer = await busy.open("/mine")
    assert answer.url.path == "/signin"


async def test_a_leavers_session_is_dead_at_once(house: LinkHouse) -> None:
    browser = house.browser()
    assert (await _sign_in(house, browser, "sub-dana")).json()["sub"] == "sub-dana"
    await house.leaves("sub-dana")
    assert (await browser.open("/mine")).url.path == "/signin"
    assert (await browser.client.post("/act", headers={"origin": house.base_url})).status_code == 401


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/signout",
        "/link/x",
        "http:/evil.example",
        "/ünicode",
        "x" * 600,
        "",
    ],
)
async def test_nobody_is_sent_elsewhere_after_signing_in(house: LinkHouse, to: str) -> None:
    assert own_path(to) is None
    browser = house.browser()
    start = await browser.client.get("/signin", params={"tenant": "acme", "back_to": to})
    assert 'name="back_to"' not in start.text
    home = await _log_in(house, browser, start, "sub-dana", {"back_to": to})
    assert str(home.url) == f"{house.base_url}/"
    again = await browser.client.get("/signin", params={"back_to": to})
    assert again.status_code == 200


async def test_pages_cannot_be_framed_kept_or_extended(house: LinkHouse) -> None:
    link = await house.link()
    browser = house.browser()
    confirm = await house.prove(browser, link, "sub-dana")
    gone = await browser.open("/link/unknown")
    pages = [await browser.open(path) for path in (link, "/signin", "/link/confirm")] + [confirm, gone]
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "default-src 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert not re.search(r"<script(?![^>]*src=\"/static/)|\bon\w+=|style=", page.text)


async def test_organisations_are_typed_never_listed(house: LinkHouse) -> None:
    browser = house.browser()
    for path in ("/signin", "/signin?tenant=nobody", "/signin?tenant="):
        said = (await browser.open(path)).text
        assert "Acme" not in said
        assert "Globex" not in said
    start = await browser.open("/signin")
    wrong = await browser.press(start, {"organisation": "<b>initech</b>"})
    assert (wrong.status_code, "<b>initech" in wrong.text, "Acme" in wrong.text) == (404, False, False)
    for word in ("acme", "ACME GMBH "):
        assert (await browser.press(start, {"organisation": word})).url.netloc != start.url.netloc


def test_no_cookie_travels_over_plain_http(tmp_path: Path) -> None:
    for address in (
        "http://countersign.acme.example",
        "http://10.0.0.4:8080",
        "ftp://x",
        "countersign",
        "https://h/path",
    ):
        with pytest.raises(ValueError, match=r"\."):
            Site(address)
    assert not Site(HTTP).secure
    assert Site("https://countersign.acme.example").secure


async def test_on_loopback_it_works_without_tls(idps: Providers, sqlite_url: str) -> None:
    async with link_house(sqlite_url, idps, base_url=HTTP) as house:
        browser = house.browser()
        assert (await _sign_in(house, browser, "sub-dana")).json()["sub"] == "sub-dana"
        assert "cs-session" in {cookie.name for cookie in browser.client.cookies.jar}


async def test_what_is_odd_is_a_page_not_an_error(house: LinkHouse) -> None:
    client = house.browser().client
    ours = {"origin": house.base_url}
    for method, path, more in (
        (
            "POST",
            "/signin",
            {"content": b"\xff\xfe", "headers": {**ours, "content-type": "application/x-www-form-urlencoded"}},
        ),
        ("POST", "/signin", {"json": {"organisation": "acme"}, "headers": ours}),
        ("POST", "/signin", {"data": {"organisation": "x" * 40_000}, "headers": ours}),
        ("POST", "/link/confirm", {"headers": ours}),
        ("POST", "/link/code", {"headers": ours}),
        ("GET", "/link/code", {}),
        ("GET", "/link/slack?state=1&code=2", {}),
        ("GET", "/signin/callback?state=" + "s" * 9000, {}),
        ("POST", "/signout", {"headers": ours}),
        ("POST", "/signout", {}),
    ):
        answer = await client.request(method, path, **more)
        assert answer.status_code in (200, 403), (path, answer.status_code)
        assert "<h1>" in answer.text
    for cookie in ("", "x" * 3000, "%00", '"', "a=b; __Host-cs-flow=c"):
        answer = await client.get("/link/confirm", headers={"cookie": f"__Host-cs-flow={cookie}"})
        assert answer.status_code == 403


async def test_a_flow_lasts_twenty_minutes(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.press(await browser.open("/signin?tenant=acme"))
    house.later(timedelta(minutes=20))
    late = await browser.log_in(page, "sub-dana")
    assert (late.status_code, await house.refusals()) == (403, ["no_flow"])
    flow = table(SigninFlow)
    assert (
        await house.writer.read(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(flow)).scalar()) == 1
    )


# -- helpers -------------------------------------------------------------------------------------------


async def _sign_in(house: LinkHouse, browser: Browser, sub: str, *, force: bool = False) -> Response:
    if force:
        start = await house.browser().open("/signin?tenant=acme")
        return await _after_log_in(house, browser, await browser.press(start), sub)
    return await _log_in(house, browser, await browser.open("/signin?tenant=acme"), sub)


async def _log_in(
    house: LinkHouse, browser: Browser, start: Response, sub: str, typed: dict[str, str] | None = None
) -> Response:
    organisation = {} if 'type="hidden" name="organisation"' in start.text else {"organisation": ACME}
    return await _after_log_in(house, browser, await browser.press(start, {**organisation, **(typed or {})}), sub)


async def _after_log_in(house: LinkHouse, browser: Browser, page: Response, sub: str) -> Response:
    # Who is signed in at the provider already is sent straight back.
    return page if str(page.url).startswith(house.base_url) else await browser.log_in(page, sub)


async def _callback(house: LinkHouse, browser: Browser, link: str, sub: str) -> str:
    """The address the provider sends the browser back to; nobody has opened it yet."""
    return await _stop_at_callback(house, browser, await browser.press(await browser.open(link)), sub)


async def _stop_at_callback(house: LinkHouse, browser: Browser, page: Response, sub: str) -> str:
    return await browser.log_in_until(page, sub, f"{house.base_url}/signin/callback")


def _cookie(browser: Browser) -> str:
    return next(cookie.value or "" for cookie in browser.client.cookies.jar if cookie.name == "__Host-cs-session")
