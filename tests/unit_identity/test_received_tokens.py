"""What comes back from an authorization server is used only if it is what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bot.identity.downstream import Client, Downstream, DownstreamKind, SubjectToken
from bot.identity.entra_obo import EntraOnBehalfOf
from bot.identity.exchange import ACCESS_TOKEN, TokenExchange
from bot.identity.id_jag import ID_JAG, IdentityAssertion
from bot.identity.idp_http import Answer, Form, JsonObject
from bot.identity.minting import ACTOR, Ask, Assertions, DownstreamToken, ExchangeRefused, Fault, Proof, TokenMinter
from bot.identity.token_endpoint import HttpTokenEndpoints
from bot.identity.tokens import AUDIENCE, CallTokens
from policy.model import Principal, Subject, TenantId, ToolName
from tools.credentials import Secret
from tools.ports import TokenRefused

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
API, SERVER, IDP = "https://orders.example", "https://as.orders.example", "https://idp.acme.example"
KEY = Ed25519PrivateKey.generate()
DANA = Principal(TenantId("acme"), Subject(IDP, "dana"), "Dana", frozenset(), None)
TARGET = Downstream(
    name="orders",
    kind=DownstreamKind.RFC8693,
    at=Client("https://idp.acme.example/token", "app", Secret("orders", "s")),
    audience=API,
    tools={},
    subject=SubjectToken.ACCESS_TOKEN,
    redeem_at=Client(f"{SERVER}/token", "app-there"),
    redeem_audience=SERVER,
)
ASK = Ask(DANA, ToolName("refund.issue"), "c", TARGET, ("orders.refund",), Proof("at", "id"), NOW)
ASSERTIONS = Assertions(CallTokens(KEY, issuer="https://cs.acme.example"))


def claims(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {
        "iss": SERVER,
        "sub": "dana",
        "aud": API,
        "scope": "orders.refund",
        "exp": int(NOW.timestamp()) + 300,
        "act": {"sub": "app"},
    }
    return {name: value for name, value in (made | changes).items() if value is not ...}


def signed(typ: str = "at+jwt", **changes: object) -> str:
    return jwt.encode(claims(**changes), KEY, algorithm="EdDSA", headers={"typ": typ})


def answer(token: str | None = None, **changes: object) -> dict[str, object]:
    made: dict[str, object] = {
        "access_token": signed() if token is None else token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "orders.refund",
    }
    return {name: value for name, value in (made | changes).items() if value is not ...}


@dataclass
class Says:
    """A token endpoint that says what the test tells it to."""

    answers: list[JsonObject]
    asked: list[Mapping[str, str]] = field(default_factory=list)

    async def ask(self, client: Client, form: Form, *, in_body: bool = False) -> JsonObject:
        self.asked.append({**form, "_at": client.token_endpoint})
        return self.answers.pop(0)


async def exchanged(said: JsonObject, ask: Ask = ASK) -> DownstreamToken:
    return await TokenExchange(Says([said]), ASSERTIONS).downstream(ask)


async def refused(minter: TokenMinter, ask: Ask = ASK) -> Fault:
    with pytest.raises(ExchangeRefused) as refusal:
        await minter.downstream(ask)
    assert "s3cret" not in str(refusal.value)
    return refusal.value.fault


async def test_what_was_asked_for_is_used() -> None:
    got = await exchanged(answer())
    assert (got.scopes, got.actor, got.expires_at) == (("orders.refund",), "app", NOW + timedelta(seconds=300))
    assert got.token not in repr(got)


@pytest.mark.parametrize(
    "said",
    [
        answer(scope=...),
        answer(expires_in=...),
        answer(signed(aud=[API])),
        answer(signed(scope=..., scp=["orders.refund"])),
        answer(signed(act=...)),
        answer(signed(act={"sub": ACTOR})),
        answer(token_type="bearer"),
        answer("an-opaque-token"),
        answer(issued_token_type="urn:ietf:params:oauth:token-type:jwt"),
    ],
    ids=str,
)
async def test_what_servers_leave_out_or_spell_otherwise(said: JsonObject) -> None:
    assert (await exchanged(said)).scopes == ("orders.refund",)


WRONG: list[tuple[Fault, dict[str, object]]] = [
    (Fault.SCOPE, answer(scope="orders.refund orders.delete")),
    (Fault.SCOPE, answer(scope="orders.read")),
    (Fault.SCOPE, answer(scope="")),
    (Fault.SCOPE, answer(scope=7)),
    (Fault.SCOPE, answer(signed(scope="orders.refund admin"))),
    (Fault.SCOPE, answer(signed(scope=..., scp=["orders.refund", "admin"]))),
    (Fault.SCOPE, answer(signed(scp="admin"), scope=...)),
    (Fault.SCOPE, answer(signed(scope=[1]))),
    (Fault.AUDIENCE, answer(signed(aud="https://payroll.example"))),
    (Fault.AUDIENCE, answer(signed(aud=[API, "https://payroll.example"]))),
    (Fault.AUDIENCE, answer(signed(aud=...))),
    (Fault.SUBJECT, answer(signed(sub="ann"))),
    (Fault.SUBJECT, answer(signed(sub=...))),
    (Fault.SUBJECT, answer(signed(sub="app"))),
    (Fault.ACTOR, answer(signed(act={"sub": "somebody"}))),
    (Fault.ACTOR, answer(signed(act="app"))),
    (Fault.ACTOR, answer(signed(act={}))),
    (Fault.LIFETIME, answer(expires_in=86_400)),
    (Fault.LIFETIME, answer(expires_in=0)),
    (Fault.LIFETIME, answer(expires_in=True)),
    (Fault.LIFETIME, answer(expires_in="300")),
    (Fault.LIFETIME, answer(signed(exp=int(NOW.timestamp()) + 86_400))),
    (Fault.LIFETIME, answer(signed(exp=int(NOW.timestamp()) - 60))),
    (Fault.LIFETIME, answer(signed(exp=...))),
    (Fault.LIFETIME, answer(signed(exp="soon"))),
    (Fault.LIFETIME, answer("an-opaque-token", expires_in=...)),
    (Fault.ANSWER, answer(issued_token_type=...)),
    (Fault.ANSWER, answer(issued_token_type="urn:ietf:params:oauth:token-type:refresh_token")),
    (Fault.ANSWER, answer(token_type="N_A")),
    (Fault.ANSWER, answer(token_type=...)),
    (Fault.ANSWER, answer(token_type="mac")),
    (Fault.ANSWER, answer(access_token=...)),
    (Fault.ANSWER, answer(access_token=["a"])),
    (Fault.ANSWER, answer("")),
    (Fault.ANSWER, answer("a\r\nX-Admin: yes")),
    (Fault.ANSWER, answer("é")),
    (Fault.ANSWER, answer("a" * 20_000)),
]


@pytest.mark.parametrize(("fault", "said"), WRONG, ids=[f"{fault}-{at}" for at, (fault, _) in enumerate(WRONG)])
async def test_what_was_not_asked_for_is_refused(fault: Fault, said: JsonObject) -> None:
    assert await refused(TokenExchange(Says([said]), ASSERTIONS)) is fault


async def test_where_the_agent_has_to_be_named_it_is() -> None:
    strict = replace(ASK, downstream=replace(TARGET, actor=True))
    says = Says([answer(signed(act={"sub": ACTOR}))])
    assert (await TokenExchange(says, ASSERTIONS).downstream(strict)).actor == ACTOR
    assert says.asked[0]["actor_token_type"].endswith(":jwt")
    for said in (answer(signed(act=...)), answer("an-opaque-token")):
        assert await refused(TokenExchange(Says([said]), ASSERTIONS), strict) is Fault.ACTOR


async def test_what_is_sent_names_one_api_and_no_more_than_the_tool_needs() -> None:
    says = Says([answer()])
    await TokenExchange(says, ASSERTIONS).downstream(replace(ASK, downstream=replace(TARGET, resource=API)))
    (sent,) = says.asked
    assert (sent["audience"], sent["resource"], sent["scope"]) == (API, API, "orders.refund")
    assert (sent["subject_token"], sent["requested_token_type"]) == ("at", ACCESS_TOKEN)
    assert "actor_token" not in sent


async def test_an_assertion_of_ours_is_for_one_server_and_opens_no_door_here() -> None:
    tokens = CallTokens(KEY, issuer="https://cs.acme.example")
    for token in (ASSERTIONS.subject(DANA, SERVER, NOW), ASSERTIONS.actor(SERVER, NOW)):
        said = jwt.decode(token, options={"verify_signature": False})
        assert (said["iss"], said["aud"]) == ("https://cs.acme.example", SERVER)
        assert said["exp"] - said["iat"] <= 300
        assert AUDIENCE not in str(said["aud"])
        with pytest.raises(TokenRefused):
            tokens.verify(token, tool=ToolName("refund.issue"), now=NOW)


@pytest.mark.parametrize(
    "minter", [TokenExchange(Says([]), ASSERTIONS), EntraOnBehalfOf(Says([])), IdentityAssertion(Says([]))]
)
async def test_without_a_sign_in_nobody_is_asked(minter: TokenMinter) -> None:
    assert await refused(minter, replace(ASK, proof=Proof())) is Fault.INTERACTION


async def test_on_behalf_of_asks_as_microsoft_documents_it() -> None:
    obo = replace(
        ASK,
        downstream=replace(TARGET, kind=DownstreamKind.ENTRA_OBO, subject_claim="oid"),
        scopes=(f"{API}/orders.refund",),
    )
    says = Says(
        [answer(signed(oid="dana", sub="pairwise", scope=..., scp="orders.refund"), scope=f"{API}/orders.refund")]
    )
    got = await EntraOnBehalfOf(says).downstream(obo)
    assert got.scopes == (f"{API}/orders.refund",)
    assert says.asked[0]["requested_token_use"] == "on_behalf_of"
    for wrong in (signed(oid="ann", scope=...), signed(oid="dana", scope=..., scp="orders.refund Mail.Read")):
        assert await refused(EntraOnBehalfOf(Says([answer(wrong)])), obo) in (Fault.SUBJECT, Fault.SCOPE)


# -- identity assertions --------------------------------------------------------------------------------------------


def assertion(typ: str = "oauth-id-jag+jwt", **changes: object) -> dict[str, object]:
    token = signed(typ, **({"iss": IDP, "aud": SERVER, "client_id": "app-there", "act": ...} | changes))
    return {"access_token": token, "issued_token_type": ID_JAG, "token_type": "N_A", "expires_in": 300}


async def test_an_assertion_is_carried_to_the_apis_own_server() -> None:
    says = Says([assertion(), answer(signed(act={"sub": "app-there"}))])
    assert (await IdentityAssertion(says).downstream(ASK)).actor == "app-there"
    first, second = says.asked
    assert (first["requested_token_type"], first["audience"], first["subject_token"]) == (ID_JAG, SERVER, "id")
    assert second["_at"] == f"{SERVER}/token"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.ANSWER, assertion() | {"token_type": "Bearer"}),
        (Fault.ANSWER, assertion() | {"issued_token_type": ACCESS_TOKEN}),
        (Fault.ANSWER, assertion() | {"access_token": "opaque"}),
        (Fault.ANSWER, assertion() | {"access_token": None}),
        (Fault.ANSWER, assertion("JWT")),
        (Fault.AUDIENCE, assertion(aud="https://elsewhere.example")),
        (Fault.AUDIENCE, assertion(aud=[SERVER, "https://elsewhere.example"])),
        (Fault.AUDIENCE, assertion(client_id="another")),
        (Fault.SUBJECT, assertion(sub="ann")),
        (Fault.SUBJECT, assertion(iss="https://other.example")),
        (Fault.SCOPE, assertion(scope="orders.refund admin")),
        (Fault.LIFETIME, assertion(exp=int(NOW.timestamp()) + 3600)),
        (Fault.LIFETIME, assertion(exp=int(NOW.timestamp()) - 60)),
        (Fault.LIFETIME, assertion(exp=...)),
    ],
)
async def test_an_assertion_that_is_not_right_is_carried_to_nobody(fault: Fault, said: JsonObject) -> None:
    says = Says([said])
    assert await refused(IdentityAssertion(says)) is fault
    assert len(says.asked) == 1


# -- refusals -------------------------------------------------------------------------------------------------------


class Post:
    """The network, saying one thing."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.headers: Mapping[str, str] = {}
        self.form: Form = {}

    async def post(self, url: str, form: Form, headers: Mapping[str, str] | None = None) -> Answer:
        self.form, self.headers = form, headers or {}
        return self.answer


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault.INTERACTION, 400, {"error": "interaction_required"}),
        (Fault.INTERACTION, 400, {"error": "invalid_grant", "claims": "{}"}),
        (Fault.INTERACTION, 400, {"error": "invalid_grant"}),
        (Fault.INTERACTION, 400, {"error": "consent_required"}),
        (Fault.INTERACTION, 400, {"error": "invalid_request", "suberror": "basic_action"}),
        (Fault.CLIENT, 401, {"error": "invalid_client"}),
        (Fault.SCOPE, 400, {"error": "invalid_target"}),
        (Fault.SCOPE, 400, {"error": "invalid_scope"}),
        (Fault.UNREACHABLE, 503, {}),
        (Fault.REFUSED, 400, {"error": "s3cret words of theirs"}),
        (Fault.REFUSED, 200, {"error": ["x"]}),
        (Fault.REFUSED, 201, {"access_token": "x"}),
    ],
)
async def test_what_a_refusal_means(fault: Fault, status: int, body: dict[str, object]) -> None:
    endpoints = HttpTokenEndpoints(Post(Answer(status, body)))  # type: ignore[arg-type]
    assert await refused(TokenExchange(endpoints, ASSERTIONS)) is fault


async def test_a_secret_goes_where_the_server_reads_it() -> None:
    post = Post(Answer(200, answer()))
    endpoints = HttpTokenEndpoints(post)  # type: ignore[arg-type]
    client = Client("https://x/token", "a:b", Secret("x", "s/c"))
    await endpoints.ask(client, {"a": "b"})
    assert post.headers["Authorization"].startswith("Basic ")
    assert "client_secret" not in post.form
    await endpoints.ask(client, {"a": "b"}, in_body=True)
    assert (post.form["client_id"], post.form["client_secret"], dict(post.headers)) == ("a:b", "s/c", {})
    await endpoints.ask(replace(client, secret=None), {"a": "b"})
    assert (post.form["client_id"], dict(post.headers)) == ("a:b", {})
