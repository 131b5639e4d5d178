"""What a test does on the pages of `link_house` again and again: sign in, link, stop half-way. Knows no assertion."""

from __future__ import annotations

from httpx2 import Response

from tests.kit.link_browser import Browser
from tests.kit.link_house import ACME, LinkHouse


async def sign_in(house: LinkHouse, browser: Browser, sub: str, *, force: bool = False) -> Response:
    if force:
        start = await house.browser().open("/signin?tenant=acme")
        return await after_log_in(house, browser, await browser.press(start), sub)
    return await log_in(house, browser, await browser.open("/signin?tenant=acme"), sub)


async def log_in(
    house: LinkHouse, browser: Browser, start: Response, sub: str, typed: dict[str, str] | None = None
) -> Response:
    organisation = {} if 'type="hidden" name="organisation"' in start.text else {"organisation": ACME}
    return await after_log_in(house, browser, await browser.press(start, {**organisation, **(typed or {})}), sub)


async def after_log_in(house: LinkHouse, browser: Browser, page: Response, sub: str) -> Response:
    # Who is signed in at the provider already is sent straight back.
    return page if str(page.url).startswith(house.base_url) else await browser.log_in(page, sub)


async def callback(house: LinkHouse, browser: Browser, link: str, sub: str) -> str:
    """The address the provider sends the browser back to; nobody has opened it yet."""
    return await stop_at_callback(house, browser, await browser.press(await browser.open(link)), sub)


async def stop_at_callback(house: LinkHouse, browser: Browser, page: Response, sub: str) -> str:
    return await browser.log_in_until(page, sub, f"{house.base_url}/signin/callback")


def session_cookie(browser: Browser) -> str:
    return next(cookie.value or "" for cookie in browser.client.cookies.jar if cookie.name == "__Host-cs-session")
