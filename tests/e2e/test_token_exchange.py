"""A downstream API gets the person's own token, downscoped to the tool, from a real OpenID Connect server.

Days after the request, too; and where the sign-in has ended meanwhile, the card says who can help.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.engine import Connection

from audit.event import Event
from audit.faults import StoreUnavailable
from audit.store import AuditStore
from bot import card_text
from bot.identity.downstream import Client, Downstream, SubjectToken
from bot.identity.elsewhere import Elsewhere, elsewhere
from bot.identity.tenants import Tenant, Tenants
from bot.identity.wrapping import Wrapping
from bot.keys import KeysError
from policy.approval import ApprovalStatus
from policy.model import Subject
from policy.pii import redact
from tests.kit.door import DEMO
from tests.kit.downstream import (
    BASE_URL,
    ORDERS,
    OTHER,
    REFUND,
    Downstreams,
    approved,
    downstreams,
    provider,
    read,
)
from tests.kit.downstream import orders as orders_at
from tests.rigs.oidc_provider_rig import OidcProvider, installed
from tools.credentials import Secret
from tools.held import EffectState
from tools.spec import ActionError, Certainty, SignInAgain

pytestmark = pytest.mark.skipif(
    not installed() and os.environ.get("CI") != "true",
    reason="oidc-provider: run `make test`, or `cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts`",
)


@pytest.fixture(scope="module")
def rig() -> Iterator[OidcProvider]:
    with provider(step_up=["sam"]) as running:
        yield running


@pytest.fixture
async def local(
    sqlite_url: str, tmp_path: Path, rig: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Downstreams]:
    async with downstreams(sqlite_url, tmp_path, rig, monkeypatch) as opened:
        yield opened


# -- at the gateway ------------------------------------------------------------------------------------------------


async def test_days_later_the_api_gets_the_requesters_own_token(
    engine_url: str, tmp_path: Path, rig: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with downstreams(engine_url, tmp_path, rig, monkeypatch) as at:
        await at.sign_in("dana")
        view = await approved(at)
        ended = await at.house.execute(view)
        assert (ended.status, ended.effect, ended.reference) == (ApprovalStatus.APPROVED, EffectState.DONE, "r-1")
        (claims,) = at.api.done
        assert (claims["sub"], claims["aud"], claims["scope"]) == ("dana", ORDERS, "orders.refund")
        assert claims["act"] == {"sub": "app"}
        assert claims["exp"] - claims["iat"] <= 300
        assert at.api.refused == []
        rows = at.house.audit("kind", "status", "actor_user_id", "detail", where="kind LIKE 'grant.%'")
        assert [row[:3] for row in rows] == [("grant.stored", "stored", "dana"), ("grant.exchanged", "issued", "dana")]
        assert all(word in str(rows[1][3]) for word in ("orders.refund", ORDERS, "rfc8693", "call"))


async def test_no_token_of_anybody_is_written_anywhere(local: Downstreams, tmp_path: Path) -> None:
    refresh_token = await local.sign_in()
    bearer = await local.bearer()
    await local.house.execute(await approved(local))
    local.house.writer.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert refresh_token.encode() not in content
            assert bearer.encode() not in content


async def test_a_sign_in_that_has_expired_meanwhile(
    engine_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done, and the card says who has to do what, and where."""
    with provider(refresh_ttl=1) as rig:
        async with downstreams(engine_url, tmp_path, rig, monkeypatch) as at:
            token = await at.sign_in()
            await expired(rig, token)
            view = await approved(at)
            ended = await at.house.execute(view)
            assert ended.effect is EffectState.FAILED
            assert at.api.done == []
            assert at.api.refused == []
            for said in (card_text.item(ended).status, card_text.outcome(ended)):
                assert "sign in again" in said
                assert f"{BASE_URL}/signin" in said
                assert "Nothing was done" in said
            rows = at.house.audit("kind", "status", where="kind LIKE 'grant.%' OR kind LIKE 'tool.%'")
            assert rows[-3:] == [("tool.started", "started"), ("grant.ended", "refused"), ("tool.failed", "failed")]
            await at.sign_in()
            again = await at.house.again(ended)
            assert again.call_id, "and then it can be asked again"


async def expired(rig: OidcProvider, token: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    async with httpx2.AsyncClient(auth=("app", "rig-secret")) as http:
        while (await http.post(f"{rig.issuer}/token/introspection", data={"token": token})).json()["active"]:
            assert time.monotonic() < end, "the provider's refresh token does not expire"
            await asyncio.sleep(0.05)


async def test_who_never_signed_in(local: Downstreams) -> None:
    ended = await local.house.execute(await approved(local))
    assert ended.effect is EffectState.FAILED
    assert "sign in again" in card_text.item(ended).status
    assert local.api.done == []


async def test_who_left_meanwhile_is_acted_for_by_nobody(local: Downstreams) -> None:
    await local.sign_in()
    view = await approved(local)

    def leave(conn: Any) -> None:
        events = local.grants.end(conn, local.who().tenant, local.subject(), "left", local.house.clock())
        local.house.door.audit.append(conn, events)

    await local.house.writer.run(leave)
    ended = await local.house.execute(view)
    assert ended.effect is EffectState.FAILED
    assert local.api.done == []


# -- refresh tokens that rotate -------------------------------------------------------------------------------------


async def test_two_replicas_at_once_at_a_provider_that_punishes_reuse(
    postgres_url: str, tmp_path: Path, rig: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(downstreams(postgres_url, tmp_path, rig, monkeypatch))
        two = await stack.enter_async_context(
            downstreams(postgres_url, tmp_path, rig, monkeypatch, executor="two", fresh=False)
        )
        await one.sign_in()
        got = await asyncio.gather(*((one, two)[number % 2].bearer() for number in range(8)))
        assert len(set(got)) == 8
        assert all(read(token)["sub"] == "dana" for token in got)
        assert await one.bearer(), "and the grant is still alive"


async def test_a_stolen_refresh_token_ends_the_grant(local: Downstreams) -> None:
    """Somebody uses a token that was replaced: the provider revokes everything, and so do we, once."""
    stolen = await local.sign_in()
    assert await local.bearer()
    async with httpx2.AsyncClient(auth=("app", "rig-secret")) as http:
        form = {"grant_type": "refresh_token", "refresh_token": stolen}
        answer = await http.post(f"{local.rig.issuer}/token", data=form)
    assert answer.json()["error"] == "invalid_grant"
    before = len(local.rig.events())
    for _ in range(3):
        with pytest.raises(SignInAgain, match=f"sign in again at {BASE_URL}/signin"):
            await local.bearer()
    assert len(local.rig.events()) == before + 1, "asked once more, and then never again"
    assert local.house.audit("status", where="kind='grant.ended'") == [("refused",)]


# -- who may, and what for -------------------------------------------------------------------------------------------


async def test_a_tool_without_rights_of_its_own_gets_no_token(local: Downstreams) -> None:
    await local.sign_in()
    before = len(local.rig.events())
    for tool, name in (("email.send", "orders"), ("refund.issue", "payroll")):
        with pytest.raises(ActionError) as refused:
            await local.bearer(tool=tool, name=name)
        assert refused.value.certainty is Certainty.NOT_DONE
        assert not isinstance(refused.value, SignInAgain)
    assert len(local.rig.events()) == before, "nobody was asked"


async def test_another_tenants_person_at_this_tenants_api(local: Downstreams) -> None:
    """Same provider, same subject: what one organisation set up is not there for the other (invariant 14)."""
    await local.sign_in("dana")
    dana = replace(local.who(), tenant=OTHER)
    with pytest.raises(ActionError, match="your organisation has not set it up"):
        await local.users.bearer(dana, "orders", REFUND, "c")
    local.configured["orders"] = orders_at(local.rig)
    both = replace(local.users, organisation=lambda _: local.users.organisation(local.who().tenant))
    with pytest.raises(SignInAgain):
        await both.bearer(dana, "orders", REFUND, "c")


async def test_scopes_that_the_server_does_not_give(local: Downstreams) -> None:
    await local.sign_in()
    local.configured["orders"] = orders_at(local.rig, tools={REFUND: ("orders.delete",)})
    with pytest.raises(ActionError, match="does not give the rights this needs"):
        await local.bearer()
    local.configured["orders"] = orders_at(local.rig, audience="https://nowhere.example")
    with pytest.raises(ActionError, match="does not give the rights this needs"):
        await local.bearer()
    assert local.house.audit("status", where="kind='grant.exchanged'") == [("scope",), ("scope",)]


async def test_a_client_secret_that_is_wrong(local: Downstreams) -> None:
    await local.sign_in()
    local.configured["orders"] = orders_at(
        local.rig, at=Client(f"{local.rig.issuer}/token", "app", Secret("orders", "another"))
    )
    with pytest.raises(ActionError, match="client id or secret"):
        await local.bearer()


async def test_a_server_that_is_away_is_asked_again_later(local: Downstreams) -> None:
    await local.sign_in()
    local.configured["orders"] = orders_at(local.rig, at=Client("http://127.0.0.1:9/token", "app", None))
    with pytest.raises(ActionError, match="could not be reached") as refused:
        await local.bearer()
    assert (refused.value.certainty, refused.value.retryable) == (Certainty.NOT_DONE, True)


async def test_put_together_as_the_service_does_it(local: Downstreams, tmp_path: Path, rig: OidcProvider) -> None:
    """The same grant, opened by the parts that a service makes from its settings."""
    await local.sign_in()
    tenant = Tenant(DEMO, "Demo", local.issuer, (), None, timedelta(days=7))
    house, audit = local.house, local.house.door.audit

    def made(downstreams: dict[str, Downstream], key_file: Path | None = None) -> Elsewhere | None:
        tenants = Tenants({DEMO: replace(tenant, downstreams=downstreams)}, {}, {})
        wrapping = Wrapping(tmp_path, key_file)
        return elsewhere(tenants, house.tokens, house.writer, audit, wrapping, lambda: datetime.now(UTC))

    assert made({}) is None
    with pytest.raises(KeysError):
        made(local.configured, tmp_path / "not-there")
    parts = made(local.configured)
    assert parts is not None
    try:
        assert read(await parts.users.bearer(local.who(), "orders", REFUND, "c"))["sub"] == "dana"
        with pytest.raises(ActionError, match="has not set it up"):
            await parts.users.bearer(replace(local.who(), tenant=OTHER), "orders", REFUND, "c")
    finally:
        await parts.close()


@pytest.mark.parametrize("subject", [SubjectToken.ACCESS_TOKEN, SubjectToken.ID_TOKEN])
async def test_somebody_elses_sign_in_under_ones_own_name(local: Downstreams, subject: SubjectToken) -> None:
    """A mix-up upstream of us: what comes back is ann's, and is not used in dana's name."""
    token = await local.sign_in("ann")
    vessel = await local.grants.prepare(DEMO, local.subject("dana"))

    def unit(conn: Connection) -> None:
        local.house.door.audit.append(conn, local.grants.store(conn, vessel, token, local.house.clock()))

    await local.house.writer.run(unit)
    local.configured["orders"] = orders_at(local.rig, subject=subject)
    with pytest.raises(ActionError, match="somebody else's") as refused:
        await local.bearer("dana")
    assert refused.value.certainty is Certainty.NOT_DONE
    # An ID token says whose it is before anybody is asked; an access token is the server's alone to read.
    rows = [] if subject is SubjectToken.ID_TOKEN else [("subject",)]
    assert local.house.audit("status", where="kind='grant.exchanged'") == rows


async def test_who_another_provider_knows(local: Downstreams) -> None:
    await local.sign_in()
    foreign = replace(local.who(), subject=Subject("https://idp.other.example", "dana"))
    with pytest.raises(ActionError, match="not known by your organisation's sign-in"):
        await local.users.bearer(foreign, "orders", REFUND, "c")


async def test_no_token_leaves_without_its_row(local: Downstreams) -> None:
    """Invariant 6: what cannot be written down is not handed out, and nothing was done with it."""
    await local.sign_in()

    class Full(AuditStore):
        def append(self, conn: Connection, events: Sequence[Event]) -> None:
            raise StoreUnavailable("The disk is full.")

    silent = replace(local.users, audit=Full(redact))
    with pytest.raises(ActionError, match="audit log cannot be written") as refused:
        await silent.bearer(local.who(), "orders", REFUND, "c")
    assert (refused.value.certainty, refused.value.retryable) == (Certainty.NOT_DONE, True)
