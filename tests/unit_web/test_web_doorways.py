"""The page beside an identity provider: whose account nobody is linked to yet, and the other pages to open."""

from __future__ import annotations

import httpx2

from bot.web.data import Doorway
from bot.web.demo import demo_app
from tests.unit_web.conftest import HOST, TOKEN, Demo, text_of


async def test_who_is_not_linked_yet_is_marked(demo: Demo) -> None:
    client = await demo.let_in()
    assert "not linked" not in (await client.get("/w/ann/dm")).text
    demo.trail.strangers = frozenset({"dana"})
    people = text_of((await client.get("/w/ann/dm")).text)
    assert "Support agent not linked" in people
    assert people.count("not linked") == 1


async def test_other_pages_open_in_a_tab_of_their_own_and_tell_nothing_of_this_one(demo: Demo) -> None:
    plain = await demo.let_in()
    assert "Elsewhere" not in (await plain.get("/w/ann/dm")).text
    door = Doorway("Acme's <provider>", "http://127.0.0.1:9/", "Everybody's password is secret")
    app = demo_app(
        service=demo.service, surface=demo.surface, data=demo.trail, token=TOKEN, hosts=(HOST,), doorways=(door,)
    )
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        await client.get(f"/?token={TOKEN}")
        page = (await client.get("/w/ann/dm")).text
    assert '<a href="http://127.0.0.1:9/" target="_blank" rel="noopener">Acme&#39;s &lt;provider&gt;' in page
    assert "Everybody&#39;s password is secret" in page
