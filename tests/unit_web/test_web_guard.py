"""Who may talk to the demo page: Host, Origin, token, cookie, and the headers on every answer."""

from __future__ import annotations

import pytest

from bot.web.guard import CSP
from tests.unit_web.conftest import HOST, TOKEN, Demo

ROOM = "/w/dana/dm"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost:8020", "127.0.0.1:8020.evil.example"]
)
async def test_another_host_name_is_refused_even_with_the_cookie(demo: Demo, host: str) -> None:
    client = await demo.let_in()
    answer = await client.get(ROOM, headers={"host": host})
    assert answer.status_code == 403
    assert "Dana" not in answer.text


@pytest.mark.parametrize("path", ["/", ROOM, ROOM + "/live", "/open?channel=dm:dana&root=1&as=dana", "/nowhere"])
async def test_nothing_is_shown_without_the_token(demo: Demo, path: str) -> None:
    answer = await demo.client().get(path)
    assert answer.status_code == 403
    assert "make demo" in answer.text
    assert "Dana" not in answer.text


@pytest.mark.parametrize("token", ["", "x", TOKEN + "x", TOKEN[:-1], "%ff", "é"])
async def test_a_wrong_token_gives_no_cookie(demo: Demo, token: str) -> None:
    answer = await demo.client().get("/", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_the_token_becomes_a_strict_cookie_that_is_not_the_token(demo: Demo) -> None:
    answer = await demo.client().get(f"/?token={TOKEN}")
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert TOKEN not in answer.text


async def test_with_the_cookie_the_page_opens(demo: Demo) -> None:
    client = await demo.let_in()
    answer = await client.get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert "Dana Reyes" in answer.text


async def test_cookies_of_other_programs_do_not_hide_ours(demo: Demo) -> None:
    client = await demo.let_in()
    ours = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    answer = await demo.client().get(ROOM, headers={"cookie": f'bad[1]={{"a":"b"}}; "; {ours}'})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8020", "http://127.0.0.1:8021", ""]
)
async def test_a_post_from_another_page_changes_nothing(demo: Demo, origin: str) -> None:
    client = await demo.let_in()
    answer = await client.post(ROOM + "/say", data={"text": "refund it"}, headers={"origin": origin})
    assert answer.status_code == 403
    assert demo.service.heard == []
    assert await demo.message_ids("dm:dana", "dana") == []


async def test_a_post_without_an_origin_changes_nothing(demo: Demo) -> None:
    client = await demo.let_in()
    del client.headers["origin"]
    answer = await client.post(ROOM + "/say", data={"text": "refund it"})
    assert answer.status_code == 403
    assert demo.service.heard == []


async def test_a_post_that_the_browser_calls_cross_site_changes_nothing(demo: Demo) -> None:
    client = await demo.let_in()
    answer = await client.post(ROOM + "/say", data={"text": "refund it"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert demo.service.heard == []


async def test_a_post_without_the_cookie_changes_nothing(demo: Demo) -> None:
    client = demo.client(origin=f"http://{HOST}")
    answer = await client.post(ROOM + "/say", data={"text": "refund it"})
    assert answer.status_code == 403
    assert demo.service.heard == []


@pytest.mark.parametrize("path", ["/", ROOM, "/static/app.css", "/nowhere", f"/?token={TOKEN}"])
async def test_every_answer_carries_the_policy(demo: Demo, path: str) -> None:
    for client in (demo.client(), await demo.let_in()):
        answer = await client.get(path)
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert "unsafe" not in CSP
    assert "http:" not in CSP


async def test_the_page_has_no_inline_script_style_or_foreign_address(demo: Demo) -> None:
    client = await demo.let_in()
    html = (await client.get(ROOM)).text
    assert "<script>" not in html
    assert "style=" not in html
    assert "javascript:" not in html
    assert " on" + "click" not in html
    assert "http://" not in html
    assert "https://" not in html


async def test_an_unknown_person_or_room_is_not_found_and_another_room_is_not_opened(demo: Demo) -> None:
    client = await demo.let_in()
    for path in ("/w/mallory/dm", "/w/dana/finance-approvals", "/w/dana/nowhere", "/w/dana/dm:ann"):
        assert (await client.get(path)).status_code == 404
