"""Invariant 13 where people prove who they are: whatever is odd binds nothing, says why, and leaves a row."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from bot.identity.tickets import TicketEnd
from bot.messages import ChatUser
from tests.kit.link_browser import text_of
from tests.kit.link_house import ANN, DANA, DANA_DEMO, LinkHouse, Providers, link_house, providers
from tests.kit.link_steps import callback, sign_in

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
    stolen = await callback(house, first, await house.link(DANA_DEMO), "sub-dana")
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
    back = await callback(house, browser, await house.link(), "sub-dana")
    answer = await browser.open(re.sub(r"code=[^&]*", r"\g<0>&code=other", back))
    assert (answer.status_code, await house.refusals()) == (502, ["idp_error"])


async def test_the_provider_says_who_it_is_beside_its_answer(house: LinkHouse) -> None:
    browser = house.browser()
    back = await callback(house, browser, await house.link(), "sub-dana")
    assert "iss=" in back
    answer = await browser.open(re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example", back))
    assert (answer.status_code, await house.refusals()) == (403, ["issuer_mismatch"])
    assert await house.links() == []


async def test_a_code_that_is_not_ours_is_refused(house: LinkHouse) -> None:
    browser = house.browser()
    back = await callback(house, browser, await house.link(), "sub-dana")
    answer = await browser.open(re.sub(r"code=[^&]*", "code=stolen-elsewhere", back))
    assert (answer.status_code, await house.refusals()) == (502, ["idp_error"])
    # The flow is over, so the right code helps nobody now.
    assert (await browser.open(back)).status_code == 403


async def test_another_sign_ins_code_is_not_redeemed_here(house: LinkHouse) -> None:
    """Code injection: PKCE and nonce bind the code to the browser that asked for it."""
    victim, attacker = house.browser(), house.browser()
    theirs = await callback(house, victim, await house.link(DANA_DEMO), "sub-ann")
    mine = await callback(house, attacker, await house.link(ANN_DEMO), "sub-dana")
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
    signing_in = await sign_in(house, house.browser(), sub)
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
