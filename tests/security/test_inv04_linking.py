"""Invariant 4, told apart from the start: nobody comes to act as somebody else by a link, whoever opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from bot.messages import ChatUser
from tests.kit.link_browser import text_of
from tests.kit.link_house import ACME, ANN, DANA, DANA_DEMO, DEMO, LinkHouse, Providers, link_house, providers

ANN_DEMO = ChatUser(DEMO, "acme-floor", "ann")


@pytest.fixture(scope="module")
def idps() -> Iterator[Providers]:
    with providers() as both:
        yield both


@pytest.fixture
async def house(idps: Providers, sqlite_url: str) -> AsyncIterator[LinkHouse]:
    async with link_house(sqlite_url, idps) as opened:
        yield opened


@pytest.fixture
async def slack_house(idps: Providers, sqlite_url: str) -> AsyncIterator[LinkHouse]:
    """Sign in with Slack is configured."""
    async with link_house(sqlite_url, idps, slack=True) as opened:
        yield opened


async def test_both_sides_proved_by_slack_and_the_company_bind(slack_house: LinkHouse) -> None:
    browser = slack_house.browser()
    page = await slack_house.prove(browser, await slack_house.link(DANA), "sub-dana", slack="U01DANA")
    assert page.url.path == "/link/confirm"
    assert await slack_house.links() == []
    done = await browser.press(page, {"answer": "yes"})
    assert "Linked" in text_of(done)
    assert await slack_house.links() == [("slack:T0ACME:U01DANA", "acme", "sub-dana")]
    (row,) = await slack_house.rows("SELECT status, actor_user_id, detail FROM agent_audit_log")
    assert (row.status, row.actor_user_id) == ("proved", "sub-dana")
    for key in ("slack", "T0ACME", "U01DANA", "sub-dana", slack_house.idps.acme.issuer):
        assert key in str(row.detail), key
    (told,) = slack_house.chats.to(DANA)
    assert "Dana Reyes" in told
    assert "unlink" in told


async def test_a_forwarded_link_binds_nothing_says_why_and_is_over(slack_house: LinkHouse) -> None:
    link = await slack_house.link(DANA)
    browser = slack_house.browser()
    page = await browser.press(await browser.open(link))
    page = await browser.log_in(page, "U03ANN")
    assert page.status_code == 403
    assert "somebody else's" in text_of(page)
    assert "Nothing was linked" in text_of(page)
    assert await slack_house.links() == []
    assert await slack_house.audit() == [("identity.refused", "other_chat_user")]
    assert "opened by somebody who is not you" in slack_house.chats.to(DANA)[0]
    # The link is over, for its owner as well: whoever passed it on gets no second try.
    again = await slack_house.browser().open(link)
    assert again.status_code == 410
    # Nor does the browser that was refused go on.
    assert (await browser.open("/link/confirm")).status_code == 403


async def test_the_same_user_id_in_another_workspace_is_somebody_else(slack_house: LinkHouse) -> None:
    browser = slack_house.browser()
    page = await browser.press(await browser.open(await slack_house.link(DANA)))
    page = await browser.log_in(page, "U01DANA-elsewhere")
    assert (page.status_code, await slack_house.refusals()) == (403, ["other_chat_team"])
    assert await slack_house.links() == []


async def test_without_slack_a_yes_alone_does_not_make_the_sender_of_a_link_somebody_else(house: LinkHouse) -> None:
    """Dana sends her link to Ann; Ann signs in and clicks through; Dana says yes to becoming Ann."""
    ann = house.browser()
    page = await house.prove(ann, await house.link(DANA_DEMO), "sub-ann")
    page = await ann.press(page, {"answer": "yes"})
    code = await house.say_yes(DANA_DEMO)
    assert len(code) == 9
    assert await house.links() == []
    # The code is in Dana's chat, the page that takes it in Ann's browser. In Dana's own it is worth nothing.
    dana = house.browser()
    for path in ("/link/code", "/link/confirm"):
        assert (await dana.open(path)).status_code == 403
    own = await house.prove(dana, await house.link(ANN_DEMO), "sub-dana")
    own = await dana.press(own, {"answer": "yes"})
    await house.say_yes(ANN_DEMO)
    wrong = await dana.press(own, {"code": code})
    assert "not the code" in text_of(wrong)
    assert await house.links() == []
    assert await house.refusals() == ["wrong_code"]
    # And the page said to Ann what it is about.
    assert "Did somebody give you the code?" in text_of(page)
    assert "Did somebody send you this link?" in text_of(await house.browser().open(await house.link(DANA_DEMO)))


async def test_the_code_is_typed_where_the_person_signed_in(house: LinkHouse) -> None:
    browser = house.browser()
    page = await house.prove(browser, await house.link(), "sub-dana")
    assert "asks the chat account too" in text_of(page)
    page = await browser.press(page, {"answer": "yes"})
    assert page.url.path == "/link/code"
    assert await house.links() == []
    early = await browser.press(page, {"code": "BCDF-GHJK"})
    assert "not the code" in text_of(early)
    code = await house.say_yes(DANA_DEMO)
    done = await browser.press(early, {"code": f" {code.lower()} "})
    assert "Linked" in text_of(done)
    assert await house.links() == [("demo:acme-floor:dana", "acme", "sub-dana")]
    # Said yes twice: no second code.
    assert "over" in (await house.say_yes(DANA_DEMO))


async def test_a_second_yes_tells_no_second_code(house: LinkHouse) -> None:
    browser = house.browser()
    await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
    assert len(await house.say_yes(DANA_DEMO)) == 9
    assert "yes before" in await house.say_yes(DANA_DEMO)


async def test_five_wrong_codes_end_it(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
    code = await house.say_yes(DANA_DEMO)
    for _ in range(4):
        page = await browser.press(page, {"code": "BBBBBBBB"})
        assert "not the code" in text_of(page)
    last = await browser.press(page, {"code": "BBBBBBBB"})
    assert last.status_code in (403, 410)
    over = await browser.press(page, {"code": code})
    assert over.status_code in (403, 410)
    assert await house.links() == []
    assert (await house.refusals())[:5] == ["wrong_code"] * 5


async def test_no_in_the_chat_binds_nothing(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
    _, _, confirmation = house.chats.asked[0]
    said = await house.pages.linking.confirm(ACME, DANA_DEMO, confirmation, False)
    assert "Nothing was linked" in said
    over = await browser.press(page, {"code": "BCDF-GHJK"})
    assert (over.status_code, await house.links()) == (410, [])
    assert (await house.refusals())[0] == "declined_in_chat"
    assert "over" in await house.say_yes(DANA_DEMO)


async def test_a_question_is_answered_by_the_account_it_was_put_to(house: LinkHouse) -> None:
    browser = house.browser()
    await browser.press(await house.prove(browser, await house.link(), "sub-dana"), {"answer": "yes"})
    _, _, confirmation = house.chats.asked[0]
    for somebody in (ANN_DEMO, ANN, ChatUser(DEMO, "acme-floor", "dana", "E1"), ChatUser(DEMO, "globex-floor", "dana")):
        said = await house.pages.linking.confirm(ACME, somebody, confirmation, True)
        assert "over" in said
        assert "**" not in said
    assert len(await house.say_yes(DANA_DEMO)) == 9


async def test_no_on_the_page_ends_the_link_and_its_owner_hears_of_it(house: LinkHouse) -> None:
    link = await house.link()
    browser = house.browser()
    page = await browser.press(await house.prove(browser, link, "sub-ann"), {"answer": "no"})
    assert "Nothing was linked" in text_of(page)
    assert (await house.links(), await house.refusals()) == ([], ["declined_on_page"])
    assert "said that it is not theirs" in house.chats.to(DANA_DEMO)[0]
    assert (await house.browser().open(link)).status_code == 410


async def test_an_account_of_somebody_else_stays_theirs(slack_house: LinkHouse) -> None:
    browser = slack_house.browser()
    page = await slack_house.prove(browser, await slack_house.link(DANA), "sub-dana", slack="U01DANA")
    await browser.press(page, {"answer": "yes"})
    other = slack_house.browser()
    page = await slack_house.prove(other, await slack_house.link(DANA), "sub-ann", slack="U01DANA")
    refused = await other.press(page, {"answer": "yes"})
    assert refused.status_code == 409
    assert "admin" in text_of(refused)
    assert await slack_house.links() == [("slack:T0ACME:U01DANA", "acme", "sub-dana")]
    assert (await slack_house.refusals()) == ["linked_to_other"]


async def test_linked_to_the_same_person_again_changes_nothing(slack_house: LinkHouse) -> None:
    for _ in range(2):
        browser = slack_house.browser()
        page = await slack_house.prove(browser, await slack_house.link(DANA), "sub-dana", slack="U01DANA")
        assert "Linked" in text_of(await browser.press(page, {"answer": "yes"}))
    assert await slack_house.audit() == [("identity.linked", "proved")]


async def test_the_other_accounts_of_a_person_hear_of_a_further_one(slack_house: LinkHouse) -> None:
    first = slack_house.browser()
    page = await first.press(await slack_house.prove(first, await slack_house.link(), "sub-dana"), {"answer": "yes"})
    await first.press(page, {"code": await slack_house.say_yes(DANA_DEMO)})
    second = slack_house.browser()
    page = await slack_house.prove(second, await slack_house.link(DANA), "sub-dana", slack="U01DANA")
    await second.press(page, {"answer": "yes"})
    told = slack_house.chats.to(DANA_DEMO)[-1]
    assert "further account was linked to you" in told
    assert "U01DANA" in told


async def test_a_chat_that_cannot_be_asked_binds_nothing(house: LinkHouse) -> None:
    browser = house.browser()
    page = await house.prove(browser, await house.link(), "sub-dana")
    house.chats.down = True
    answer = await browser.press(page, {"answer": "yes"})
    assert (answer.status_code, await house.refusals()) == (502, ["chat_silent"])
    assert (await browser.open("/link/code")).status_code == 410
    assert await house.links() == []


async def test_a_chat_that_hears_nothing_keeps_nobody_from_linking(slack_house: LinkHouse) -> None:
    browser = slack_house.browser()
    page = await slack_house.prove(browser, await slack_house.link(DANA), "sub-dana", slack="U01DANA")
    slack_house.chats.down = True
    assert "Linked" in text_of(await browser.press(page, {"answer": "yes"}))


async def test_the_page_names_both_and_draws_no_name_as_markup(house: LinkHouse) -> None:
    hostile = "<img src=x onerror=alert(1)>\"'{{7*7}}</bdi>"
    house.chats.names[DANA_DEMO] = hostile
    await house.rename("sub-dana", f"Dana {hostile}")
    browser = house.browser()
    page = await house.prove(browser, await house.link(), "sub-dana")
    said = text_of(page)
    assert hostile in page.text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&#39;", "'")
    assert "<img src=x" not in page.text
    for word in ("the demo chat", "acme-floor", "dana@acme.example", "sub-dana", "Acme GmbH"):
        assert word in said, word
    await browser.press(page, {"answer": "yes"})
    _, sentence, _ = house.chats.asked[0]
    assert "\\<img" in sentence
