"""Invariant 14 where organisations share a process: a provider that hangs keeps no other's people from signing in."""

from __future__ import annotations

import asyncio

from bot.identity.idp_http import AT_ONCE, IdpHttp, IdpSilent
from tests.kit.idp_server import idp_server


async def test_a_provider_that_hangs_takes_no_other_providers_connections() -> None:
    async with idp_server() as hostile, idp_server() as honest:
        hostile.says("/token", {}, hang_s=3)
        http = IdpHttp(timeout_s=2)
        asking = [asyncio.create_task(http.post(f"{hostile.base}/token", {"code": "x"})) for _ in range(60)]
        try:
            await asyncio.wait_for(hostile.reached.wait(), 10)
            found = await http.get(f"{honest.base}/.well-known/openid-configuration")
            assert found["issuer"] == honest.base
            assert not any(one.done() for one in asking)
        finally:
            given = await asyncio.gather(*asking, return_exceptions=True)
            await http.close()
        assert all(isinstance(one, IdpSilent) for one in given)
        # Some get a turn in the moment in which the first ones give up.
        assert AT_ONCE <= hostile.asked["/token"] <= 2 * AT_ONCE
