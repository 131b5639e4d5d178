"""Cards in a real browser, by the library that Microsoft publishes for drawing them: what is read is what was written.

Teams' own clients cannot be had; this is their renderer's public form, without Teams' colours.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, sync_playwright

from bot.cards import Card, Quote, Tone
from bot.ports import Home, HomeLine
from bot.teams.adaptive import draw
from bot.teams.elements import Sheet
from bot.teams.home_card import draw_home, draw_welcome
from bot.teams.plain import unshown
from bot.visible import visible
from tests.rigs.slack_house import a_card
from tests.unit_teams.adaptive_kit import elements
from tools.spec import Draft, Fact

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
RIGS = Path(__file__).parents[1] / "rigs"
LIBRARY = RIGS / "node_modules/adaptivecards/dist/adaptivecards.min.js"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PAGE = """<!doctype html><html lang="en"><title>Card</title><main id="card"></main></html>"""
DRAW = """card => {
  const drawn = new AdaptiveCards.AdaptiveCard();
  drawn.hostConfig = new AdaptiveCards.HostConfig({actions: {maxActions: 6}, supportsInteractivity: true});
  const context = new AdaptiveCards.SerializationContext(AdaptiveCards.Versions.v1_5);
  drawn.parse(card, context);
  const place = document.getElementById("card");
  place.replaceChildren(drawn.render());
  const said = [];
  for (let n = 0; n < context.eventCount; n++) said.push(context.getEventAt(n).message);
  const boxes = [...place.querySelectorAll(".ac-richTextBlock")];
  return {
    faults: said,
    runs: [...place.querySelectorAll(".ac-textRun")].filter(run => !run.closest("label")).map(run => run.innerText),
    tooWide: boxes.filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText.slice(0, 60)),
    active: [...place.querySelectorAll("a[href], script, img, iframe")].map(found => found.outerHTML.slice(0, 80)),
  };
}"""

PIECES = [
    *(
        "<at>Ann Okafor</at>",
        "{{DATE(2026-01-01T00:00:00Z, LONG)}}",
        "{{TIME(2026-01-01T00:00:00Z)}}",
        "[a](https://b.c)",
    ),
    *("**x**", "&amp;", "&lt;b&gt;", "<script>alert(1)</script>", "<img src=x>", "```", "x" * 90, "\r\n", "  ", "\n\n"),
    *'\u202e\x00\u200b\u200c\u00a0\u0301\u2028\n\r\t 🙂éΩم𝔘a1<{\\"',
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    missing = next((str(path) for path in (CHROMIUM, LIBRARY) if not path.exists()), None)
    if missing is not None:
        why = f"{missing} is missing: make rigs, apt-get install chromium"
        if os.environ.get("CI") == "true" and "adaptivecards" in (RIGS / "package.json").read_text():
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        opened = browser.new_page(viewport={"width": 640, "height": 900})
        opened.set_content(PAGE)
        opened.add_script_tag(path=LIBRARY)
        yield opened
        browser.close()


def hostile(seed: int) -> Card:
    """A card in which everything that somebody wrote is an attack."""
    chance = random.Random(seed)

    def text(most: int) -> str:
        return "".join(chance.choices(PIECES, k=chance.randint(1, most)))

    item = dataclasses.replace(
        a_card().items[0],
        headline=text(6),
        status=text(10),
        facts=(Fact(text(3), text(20), warning=True), Fact("Paid", "84.00 USD")),
        quotes=(Quote("A customer wrote", text(80), untrusted=True),),
        draft=Draft(text(3), text(10), text(chance.choice([10, 3_000]))),
        notes=(text(30),),
        tone=chance.choice(list(Tone)),
    )
    return dataclasses.replace(a_card(), items=(item,), requester=text(3), title=text(5), thread_link=None)


def assert_reads_as_written(page: Page, sheet: Sheet) -> None:
    read = page.evaluate(DRAW, sheet.card)
    assert read["faults"] == []
    assert read["tooWide"] == []
    written = [unshown(str(run["text"])) for run in elements(sheet, "TextRun")]
    same = [unshown(run) for run in read["runs"]] == written
    assert same, sheet.summary
    assert len(read["active"]) == len([run for run in elements(sheet, "TextRun") if "selectAction" in run])


@pytest.mark.parametrize("seed", range(10))
def test_what_a_browser_shows_is_what_was_written(page: Page, seed: int) -> None:
    drawing = draw(hostile(seed))
    for sheet in (*drawing.sheets, *drawing.pages):
        assert_reads_as_written(page, sheet)


def test_a_date_function_in_a_draft_stays_what_it_is(page: Page) -> None:
    """The library replaces these even in plain text: an approver would sign another text than they see."""
    body = "Pay on {{DATE(2017-02-14T06:08:39Z, LONG)}} at {{TIME(2017-02-14T06:08:39Z)}}"
    (sheet,) = draw(a_card(body=body)).sheets
    read = page.evaluate(DRAW, sheet.card)
    assert body in map(unshown, read["runs"])


@pytest.mark.parametrize("width", [640, 360])
@pytest.mark.parametrize("what", ["waiting", "settled", "two", "home", "welcome"])
def test_cards_can_be_used_without_seeing_them(page: Page, what: str, width: int) -> None:
    line = HomeLine("Refund 42.00 USD", "Waiting for a finance approver.", "https://teams.microsoft.com/l/message/x")
    sheets = {
        "waiting": draw(a_card()).sheets[0],
        "settled": draw(a_card(tone=Tone.DONE)).sheets[0],
        "two": draw(a_card(items=2)).sheets[0],
        "home": draw_home(Home("Hello Ann", "Stopped by Eve.", (line,), (line,))),
        "welcome": draw_welcome(personal=True),
    }
    page.set_viewport_size({"width": width, "height": 900})
    read = page.evaluate(DRAW, sheets[what].card)
    assert read["faults"] == []
    assert read["tooWide"] == []
    # Colours are the chat's own, and so is the page around a card.
    rules = {"rules": {name: {"enabled": False} for name in ("color-contrast", "page-has-heading-one", "region")}}
    found = Axe().run(page, context="#card", options=rules).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []


def test_the_reason_is_typed_on_the_card_and_approve_asks_for_none(page: Page) -> None:
    (sheet,) = draw(a_card()).sheets
    page.evaluate(DRAW, sheet.card)
    page.evaluate(
        """() => { window.said = [];
          AdaptiveCards.AdaptiveCard.onExecuteAction = action => window.said.push([action.verb, action.data]); }"""
    )
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("textbox").fill("It was sent twice.")
    page.get_by_role("button", name="Reject").click()
    said = page.evaluate("() => window.said")
    assert [(verb, data["verb"], data.get("text_0", "")) for verb, data in said] == [
        ("press", "approve", ""),
        ("press", "reject", "It was sent twice."),
    ]


def test_the_page_tells_when_text_differs(page: Page) -> None:
    """The comparison above can fail: a text drawn without care is shown as another."""
    body = "{{DATE(2017-02-14T06:08:39Z, LONG)}}  two"
    assert visible(body) == body
    careless = {
        "type": "AdaptiveCard",
        "version": "1.5",
        "body": [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": body}]}],
    }
    read = page.evaluate(DRAW, careless)
    assert read["runs"] != [body]
