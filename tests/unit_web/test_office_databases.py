"""Every page and button on both databases, with addresses and forms that nobody's browser would send."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from tests.kit.office_house import office_house, text_of

ODD = ("%00", "h_%00", quote("😀" * 300), "%ED%A0%80", "x" * 5000, "..%2f..", "'; DROP TABLE held_call; --", "%25")
NUMBERS = ("0", "-1", "9007199254740993", "9" * 30, "1%00")


async def test_odd_addresses_find_nothing_and_break_nothing(engine_url: str, tmp_path: Path) -> None:
    async with office_house(tmp_path, url=engine_url) as house:
        refund, _ = await house.ask()
        ann, aud, ada = [await house.sign_in(sub) for sub in ("ann", "aud", "ada")]
        for odd in ODD:
            assert (await ann.get(f"/requests/{odd}")).status_code == 404, odd
            assert (await ann.get(f"/requests/{odd}/live")).status_code == 404, odd
            for verb in ("approve", "withdraw"):
                fields = {"verb": verb, "revision": "1", "digest": "\x00", "text": "\x00"}
                assert (await ann.post(f"/requests/{odd}/press", fields)).status_code in (404, 405), odd
            assert (await ann.post(f"/requests/{odd}/again")).status_code in (404, 405), odd
            for name in ("who", "tool", "kind", "status", "call", "since", "until", "before"):
                answer = await aud.get(f"/audit?{name}={odd}")
                assert answer.status_code in (200, 422), (name, odd)
                assert (await aud.get(f"/audit/log.csv?{name}={odd}")).status_code in (200, 404), (name, odd)
            assert (await ann.get(f"/requests/live?mark={odd}")).status_code == 200
        for number in NUMBERS:
            assert (await aud.get(f"/audit/{number}")).status_code == 404, number
            assert (await aud.get(f"/audit?before={number}")).status_code == 200, number
        # And what is not odd works, there as here.
        assert refund.headline in text_of(await ann.get("/requests"))
        assert "refund.issue 1 0" in text_of(await ada.get("/stops"))
        assert "Approved." in text_of(await ann.press(refund, "approve"))
        assert "The chain holds." in text_of(await aud.post("/audit/verify"))
        assert json.loads((await aud.get("/audit/log.json?who=Ann+Okafor")).text)
        assert "UANN" in text_of(await ann.get("/you"))
