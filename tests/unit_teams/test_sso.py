"""Single sign-on in Teams: whose token links whose account, and everything else that binds nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from bot.identity import tickets
from bot.identity.chat_signin import ChatSignIn
from bot.identity.issuers import Issuer, Preset
from bot.identity.links import How
from bot.identity.tenants import Team, Tenant, Tenants
from bot.messages import ChatUser
from bot.payload import at
from bot.ports import Ask
from bot.teams.replies import Reply
from bot.teams.sso import CARD, CONNECTION, TeamsSignIn
from policy.model import TenantId
from tests.kit import entra_tokens
from tests.kit.idp_keys import OTHER_RSA_KEY, Published, header, signed
from tests.kit.link_house import ACME, HTTPS, TEAMS, LinkHouse, Providers, database_of, link_house

TID = "8f2c1f9e-3a57-4d0e-9b61-5f0c2f6d7a10"
APP_ID = "5b8f0d6a-7c1e-4f5a-8d2b-3e9a1c4f6b20"
RESOURCE = f"api://botid-{APP_ID}"
ISSUER = Issuer("entra", Preset.ENTRA, f"https://login.microsoftonline.com/{TID}/v2.0", "web-app", None, tid=TID)
ENTRA = replace(ISSUER, subject_claim="oid")
DANA, ANN = ChatUser(TEAMS, TID, "sub-dana"), ChatUser(TEAMS, TID, "sub-ann")


@dataclass
class Desk:
    house: LinkHouse
    sign_in: TeamsSignIn

    async def card(self, who: ChatUser = DANA) -> dict[str, Any]:
        """The sign-in card that `who` got."""
        found = self.sign_in.attachment(who, (Ask("Say who you are", "open", HTTPS + await self.house.link(who)),))
        assert found is not None
        return found

    async def exchange(self, who: ChatUser = DANA, *, card: dict[str, Any] | None = None, token: str = "") -> Reply:
        shown = card or await self.card(who)
        value = {
            "id": at(shown, "content", "tokenExchangeResource", "id"),
            "connectionName": CONNECTION,
            "token": token or access_token(),
        }
        return await self.sign_in.answered(invoke(who, "signin/tokenExchange", value))


def invoke(who: ChatUser, name: str, value: Any) -> dict[str, Any]:
    return {
        "type": "invoke",
        "name": name,
        "from": {"id": f"29:{who.user}", "aadObjectId": who.user},
        "channelData": {"tenant": {"id": who.team}},
        "conversation": {"id": f"a:{who.user}", "conversationType": "personal", "tenantId": who.team},
        "value": value,
    }


def claims(**changes: Any) -> dict[str, Any]:
    return entra_tokens.claims(ENTRA.issuer, APP_ID, "sub-dana", TID, **changes)


def access_token(**changes: Any) -> str:
    return signed(header(), claims(**changes))


def served(issuer: Issuer = ENTRA) -> Tenants:
    week = timedelta(days=7)
    acme = Tenant(ACME, "Acme GmbH", issuer, (Team(TEAMS, TID),), None, week)
    other = Tenant(TenantId("globex"), "Globex", replace(issuer, name="other"), (Team(TEAMS, "other"),), None, week)
    made = {one.tenant: one for one in (acme, other)}
    teams = {(team.surface, team.team): one.tenant for one in made.values() for team in one.teams}
    return Tenants(MappingProxyType(made), {"entra": issuer}, MappingProxyType(teams))


async def opened(folder: Path, tenants: Tenants) -> AsyncIterator[Desk]:
    nobody = Providers(None, None)  # type: ignore[arg-type]
    async with link_house(database_of(folder), nobody, tenants=tenants) as house:
        chat = ChatSignIn(house.pages.linking, Published(), frozenset({APP_ID, RESOURCE}))
        yield Desk(house, TeamsSignIn(chat, RESOURCE, HTTPS))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async for one in opened(tmp_path, served()):
        yield one


async def test_teams_vouches_for_the_account_and_entra_for_the_person(desk: Desk) -> None:
    reply = await desk.exchange()
    assert reply.status == 200
    assert reply.body == {"id": at(reply.body, "id"), "connectionName": CONNECTION}
    link = await desk.house.link_of(DANA)
    assert link is not None
    assert (link.how, link.subject.issuer, link.subject.sub) == (How.TEAMS_SSO, ENTRA.issuer, "sub-dana")
    assert await desk.house.audit() == [("identity.linked", "teams_sso")]
    (said,) = desk.house.chats.to(DANA)
    assert "is linked to **Dana Reyes**" in said


async def test_the_card_asks_for_a_token_for_us_and_leads_to_the_page_where_there_is_none(desk: Desk) -> None:
    path = await desk.house.link(DANA)
    card: Any = desk.sign_in.attachment(DANA, (Ask("Say who you are", "open", HTTPS + path),))
    assert card["contentType"] == CARD
    content = card["content"]
    assert content["tokenExchangeResource"]["uri"] == RESOURCE
    assert content["buttons"] == [{"type": "signin", "title": "Say who you are", "value": HTTPS + path}]
    # What goes to Teams as an id opens no link.
    secret = path.rpartition("/")[2]
    assert secret not in content["tokenExchangeResource"]["id"]
    assert (await desk.house.ticket(path)).sha256 == content["tokenExchangeResource"]["id"]


async def test_every_open_client_answers_and_one_link_comes_of_it(desk: Desk) -> None:
    card = await desk.card()
    replies = await asyncio.gather(*(desk.exchange(card=card) for _ in range(4)))
    assert [reply.status for reply in replies] == [200] * 4
    assert await desk.house.audit() == [("identity.linked", "teams_sso")]
    assert len(desk.house.chats.to(DANA)) == 1


TOKENS: list[tuple[str, Callable[[], str], str]] = [
    ("none", lambda: "none", "not_a_token"),
    ("unsigned", lambda: signed({"alg": "none", "typ": "JWT"}, claims(), None), "alg_none"),
    ("shared secret", lambda: signed(header(alg="HS256"), claims(), b"secret"), "alg_symmetric"),
    ("another key", lambda: signed(header(), claims(), OTHER_RSA_KEY), "signature"),
    ("unknown key", lambda: signed(header(kid="rsa-9"), claims()), "key_unknown"),
    ("brings a key", lambda: signed(header(jku="https://evil.example/keys"), claims()), "jku"),
    ("another kind", lambda: signed(header(typ="pop"), claims()), "typ"),
    ("a sign-in's", lambda: access_token(nonce="n"), "typ"),
    ("version 1.0", lambda: access_token(iss=f"https://sts.windows.net/{TID}/"), "iss"),
    ("another tenant", lambda: access_token(tid="11111111-1111-4111-8111-111111111111"), "tid"),
    ("no tenant", lambda: access_token(tid=...), "tid"),
    ("for Graph", lambda: access_token(aud="00000003-0000-0000-c000-000000000000"), "aud"),
    ("for two", lambda: access_token(aud=[APP_ID, "web-app"]), "aud"),
    ("for the web app", lambda: access_token(aud="web-app"), "aud"),
    ("got by another app", lambda: access_token(azp="04b07795-8ddb-461a-bbee-02f9e1bf7b46"), "azp"),
    ("got by nobody", lambda: access_token(azp=...), "azp"),
    ("an application's own", lambda: access_token(scp=..., roles=["x"], idtyp="app"), "scope"),
    ("another scope", lambda: access_token(scp="access_as_user_not openid"), "scope"),
    ("expired", lambda: access_token(exp=int(datetime.now(UTC).timestamp()) - 61), "expired"),
    ("from the future", lambda: access_token(iat=int(datetime.now(UTC).timestamp()) + 90), "future"),
    ("a day old", lambda: access_token(iat=int(datetime.now(UTC).timestamp()) - 90_000), "stale"),
    ("nobody's", lambda: access_token(oid=...), "subject"),
]


@pytest.mark.parametrize(("token", "word"), [(make, word) for _, make, word in TOKENS], ids=[row[0] for row in TOKENS])
async def test_a_token_that_does_not_hold_binds_nothing(desk: Desk, token: Callable[[], str], word: str) -> None:
    reply = await desk.exchange(token=token())
    assert (reply.status, at(reply.body, "failureDetail")) == (412, "id_token")
    assert await desk.house.links() == []
    rows = await desk.house.rows("SELECT detail FROM agent_audit_log WHERE kind = 'identity.refused'")
    assert len(rows) == 1
    assert f'"token":"{word}"' in str(rows[0].detail).replace(" ", "").replace("'", '"')


async def test_for_our_address_is_for_us(desk: Desk) -> None:
    assert (await desk.exchange(token=access_token(aud=RESOURCE))).status == 200


async def test_somebody_elses_token_links_nobody(desk: Desk) -> None:
    """Dana's account, Ann's token: who got hold of a token does not become its person."""
    reply = await desk.exchange(DANA, token=access_token(oid="sub-ann"))
    assert (reply.status, at(reply.body, "failureDetail")) == (412, "other_chat_user")
    assert await desk.house.links() == []
    assert await desk.house.refusals() == ["other_chat_user"]


async def test_a_card_that_was_forwarded_links_nobody(desk: Desk) -> None:
    """Ann answers Dana's card with her own token."""
    card = await desk.card(DANA)
    reply = await desk.exchange(ANN, card=card, token=access_token(oid="sub-ann"))
    assert (reply.status, at(reply.body, "failureDetail")) == (412, "link_unknown")
    assert await desk.house.links() == []
    # Dana's own answer still counts.
    assert (await desk.exchange(DANA, card=card)).status == 200


async def test_a_card_counts_once_and_for_ten_minutes(desk: Desk) -> None:
    late = await desk.card()
    desk.house.later(tickets.LIFETIME)
    assert at((await desk.exchange(card=late)).body, "failureDetail") == "link_expired"
    old = await desk.card()
    new = await desk.card()
    assert at((await desk.exchange(card=old)).body, "failureDetail") == "link_replaced"
    assert (await desk.exchange(card=new)).status == 200
    await desk.house.pages.commands.command_unlink(DANA)
    assert at((await desk.exchange(card=new)).body, "failureDetail") == "link_replayed"
    assert await desk.house.links() == []


@pytest.mark.parametrize(("sub", "why"), [("sub-unsent", "not_in_directory"), ("sub-gone", "inactive")])
async def test_whom_the_directory_does_not_hold_is_not_linked(desk: Desk, sub: str, why: str) -> None:
    who = ChatUser(TEAMS, TID, sub)
    reply = await desk.exchange(who, token=access_token(oid=sub))
    assert (reply.status, at(reply.body, "failureDetail")) == (412, why)
    assert await desk.house.links() == []
    assert await desk.house.refusals() == [why]


async def test_an_account_of_another_organisation_is_none_of_this_one(desk: Desk) -> None:
    """The same object id in a tenant that is another's: the token says which tenant it is of."""
    stray = ChatUser(TEAMS, "other", "sub-dana")
    card = await desk.card(DANA)
    assert (await desk.exchange(stray, card=card)).status == 412
    nobody = ChatUser(TEAMS, "not-served", "sub-dana")
    assert (await desk.exchange(nobody, card=card)).status == 412
    assert await desk.house.links() == []
    assert await desk.house.refusals() == ["issuer_mismatch"] * 2


async def test_where_the_company_signs_in_elsewhere_the_page_proves_both_sides(tmp_path: Path) -> None:
    """Okta's people in Teams: Entra's word says whose chat account it is, and not who that is at Okta."""
    okta = Issuer("okta", Preset.OKTA, "https://acme.okta.com", "web-app")
    async for desk in opened(tmp_path, served(okta)):
        ask = Ask("Say who you are", "open", HTTPS + await desk.house.link(DANA))
        assert desk.sign_in.attachment(DANA, (ask,)) is None
        ticket = await desk.house.ticket(ask.held_id)
        card = {"content": {"tokenExchangeResource": {"id": ticket.sha256}}}
        assert (await desk.exchange(card=card)).status == 412
        assert await desk.house.links() == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        "token",
        {"id": "x"},
        {"id": "x" * 200, "connectionName": CONNECTION, "token": "t"},
        {"id": "x", "connectionName": "other", "token": "t"},
        {"id": ["x"], "connectionName": CONNECTION, "token": {"a": 1}},
    ],
)
async def test_what_is_no_answer_of_teams_binds_nothing(desk: Desk, value: Any) -> None:
    reply = await desk.sign_in.answered(invoke(DANA, "signin/tokenExchange", value))
    assert reply.status == 412
    assert len(str(at(reply.body, "id"))) <= 128
    assert await desk.house.rows("SELECT * FROM identity_link") == []


async def test_only_an_invitation_becomes_a_sign_in(desk: Desk) -> None:
    link = Ask("Say who you are", "open", HTTPS + await desk.house.link(DANA))
    assert desk.sign_in.attachment(DANA, ()) is None
    assert desk.sign_in.attachment(DANA, (replace(link, held_id="https://elsewhere.example/link/x"),)) is None
    assert desk.sign_in.attachment(DANA, (replace(link, action="withdraw"),)) is None
    assert desk.sign_in.attachment(DANA, (link, Ask("Withdraw", "withdraw", "h_1"))) is None


async def test_a_closed_window_is_no_fault_and_no_proof(desk: Desk) -> None:
    state = "signin/verifyState"
    assert (await desk.sign_in.answered(invoke(DANA, state, {"state": "CancelledByUser"}))).status == 200
    assert (await desk.sign_in.answered(invoke(DANA, state, {"state": "123456"}))).status == 412
    assert await desk.house.links() == []
    await desk.exchange()
    assert (await desk.sign_in.answered(invoke(DANA, state, {"state": ""}))).status == 200
    assert (await desk.sign_in.answered(invoke(ANN, state, {"state": ""}))).status == 412


async def test_what_teams_says_went_wrong_is_logged_in_known_words_alone(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for code in ("resourcematchfailed", "dana@acme.example"):
            failed = invoke(DANA, "signin/failure", {"code": code, "message": "dana@acme.example"})
            assert (await desk.sign_in.answered(failed)).status == 200
    assert "resourcematchfailed" in caplog.text
    assert "dana" not in caplog.text
