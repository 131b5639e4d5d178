"""The client side of signing in over real HTTP: what is sent, what is believed, and what people are told."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.identity.discovery import LIFETIME_S, RETRY_S, STALE_S, Discovery, DiscoveryFailed, Metadata, read_metadata
from bot.identity.idp_http import IdpHttp, safe_address
from bot.identity.issuers import Issuer, Preset
from bot.identity.oidc import (
    OidcClient,
    OidcError,
    OidcFault,
    challenge_of,
    check_response_issuer,
    slack_issuer,
)
from tests.kit.idp_keys import ISSUER
from tests.kit.idp_server import IdpServer, idp_server
from tools.credentials import Secret

WELL_KNOWN = "/.well-known/openid-configuration"
CALLBACK = "https://bot.example/signin/callback"
TOKENS = {
    "id_token": "a.b.c",
    "access_token": "at-1",
    "refresh_token": "rt-1",
    "token_type": "Bearer",
    "expires_in": 300,
}
SECRET = Secret("client secret of acme", "s3cr:et/+ä")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    idp: IdpServer
    client: OidcClient
    clock: Clock

    @property
    def issuer(self) -> Issuer:
        return dataclasses.replace(self.idp.issuer, client_secret=SECRET)

    async def redeem(self, issuer: Issuer | None = None) -> OidcError:
        """What people are told when a code is not redeemed."""
        with pytest.raises(OidcError) as refused:
            await self.client.redeem(issuer or self.issuer, code="c-1", redirect_uri=CALLBACK, code_verifier="v" * 43)
        said = str(refused.value)
        assert "Nothing was done." in said
        for internal in ("127.0.0.1", "s3cr", "c-1", "rt-1", "countersign-app", "vvvv", "Traceback", "oops"):
            assert internal not in said
        return refused.value


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with idp_server() as idp:
        http, clock = IdpHttp(), Clock()
        idp.says("/token", TOKENS)
        try:
            yield House(idp, OidcClient(http, Discovery(http, clock)), clock)
        finally:
            await http.close()


# --- discovery --------------------------------------------------------------------------------------


async def test_what_a_provider_says_of_itself_is_read_once_an_hour(house: House) -> None:
    meta = await house.client.discover(house.issuer)
    assert meta.authorization_endpoint == f"{house.idp.base}/authorize"
    assert meta.end_session_endpoint is None
    assert meta.auth_methods == ("client_secret_basic",)
    assert not meta.iss_in_response
    assert await house.client.discover(house.issuer) is meta
    assert house.idp.asked[WELL_KNOWN] == 1
    house.clock.now += LIFETIME_S
    await house.client.discover(house.issuer)
    assert house.idp.asked[WELL_KNOWN] == 2


async def test_a_silent_provider_is_remembered_for_a_day(house: House) -> None:
    meta = await house.client.discover(house.issuer)
    house.idp.says(WELL_KNOWN, status=500)
    house.clock.now += LIFETIME_S
    assert await house.client.discover(house.issuer) is meta
    house.clock.now += STALE_S
    with pytest.raises(OidcError, match="Try again in a few minutes") as silent:
        await house.client.discover(house.issuer)
    assert silent.value.fault is OidcFault.METADATA
    house.idp.says(WELL_KNOWN, house.idp.metadata())
    house.clock.now += RETRY_S
    assert await house.client.discover(house.issuer) == meta


DOCUMENTS: dict[str, tuple[dict[str, object], str]] = {
    "another issuer": ({"issuer": "https://id.evil.example"}, "of another issuer"),
    "a slash too many": ({"issuer": ISSUER.issuer + "/"}, "of another issuer"),
    "Entra's template": ({"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}, "of another issuer"),
    "no issuer": ({"issuer": ...}, "of another issuer"),
    "no TLS": ({"token_endpoint": "http://id.acme.example/token"}, "no usable token_endpoint"),
    "this machine": ({"token_endpoint": "http://127.0.0.1/token"}, "no usable token_endpoint"),
    "another scheme": ({"authorization_endpoint": "javascript:alert(1)"}, "no usable authorization_endpoint"),
    "no host": ({"jwks_uri": "https:///jwks"}, "no usable jwks_uri"),
    "an address without end": ({"jwks_uri": "https://id.acme.example/" + "a" * 2000}, "no usable jwks_uri"),
    "an address with a line end": ({"jwks_uri": "https://id.acme.example/\nX"}, "no usable jwks_uri"),
    "an address with a space": ({"jwks_uri": "https://id.acme.example/ X"}, "no usable jwks_uri"),
    "a login in the address": ({"token_endpoint": "https://u:p@id.acme.example/t"}, "no usable token_endpoint"),
    "a fragment": ({"token_endpoint": "https://id.acme.example/t#x"}, "no usable token_endpoint"),
    "a port that is none": ({"token_endpoint": "https://id.acme.example:99999/t"}, "no usable token_endpoint"),
    "no endpoint": ({"token_endpoint": ...}, "no usable token_endpoint"),
    "plain PKCE alone": ({"code_challenge_methods_supported": ["plain"]}, "PKCE with S256"),
    "HS256 alone": ({"id_token_signing_alg_values_supported": ["HS256"]}, "none of the algorithms"),
}


def document(**changes: object) -> dict[str, object]:
    return IdpServer("https://id.acme.example").metadata(**changes)


def test_a_good_document_holds() -> None:
    """Else every refusal below might be for the wrong reason."""
    said = document(
        end_session_endpoint="https://id.acme.example/end", authorization_response_iss_parameter_supported=True
    )
    meta = read_metadata(said, ISSUER)
    assert (meta.end_session_endpoint, meta.iss_in_response) == ("https://id.acme.example/end", True)
    assert read_metadata(document(code_challenge_methods_supported=...), ISSUER).issuer == ISSUER.issuer
    odd = document(end_session_endpoint="http://id.acme.example/end", token_endpoint_auth_methods_supported=7)
    assert read_metadata(odd, ISSUER).end_session_endpoint is None
    assert read_metadata(odd, ISSUER).auth_methods == ("client_secret_basic",)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_cannot_be_trusted_is_refused(name: str) -> None:
    changes, why = DOCUMENTS[name]
    with pytest.raises(DiscoveryFailed, match=why):
        read_metadata(document(**changes), ISSUER)


def test_plain_http_is_for_this_machine_alone_and_only_where_the_issuer_is_there_too() -> None:
    assert safe_address("http://127.0.0.1:80/x", loopback=True)
    assert safe_address("http://localhost/x", loopback=True)
    assert not safe_address("http://localhost/x", loopback=False)
    assert not safe_address("http://localhost.evil.example/x", loopback=True)
    assert not safe_address("http://127.0.0.1@evil.example/x", loopback=True)
    assert not safe_address("https://[::1", loopback=True)


# --- the browser's way there and back ---------------------------------------------------------------


async def test_the_browser_is_sent_with_everything_that_binds_the_answer(house: House) -> None:
    meta = await house.client.discover(house.issuer)
    url = house.client.authorize_url(
        meta,
        house.issuer,
        redirect_uri=CALLBACK,
        state="st&te",
        nonce="n-1",
        code_challenge=challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        prompt="login",
        login_hint="dana@acme.example",
        more={"team": "T0ACME", "state": "overwritten"},
    )
    assert url.startswith(f"{house.idp.base}/authorize?")
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": ["countersign-app"],
        "redirect_uri": [CALLBACK],
        "scope": ["openid profile email"],
        "state": ["st&te"],
        "nonce": ["n-1"],
        # The example of RFC 7636, appendix B.
        "code_challenge": ["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
        "code_challenge_method": ["S256"],
        "prompt": ["login"],
        "login_hint": ["dana@acme.example"],
        "team": ["T0ACME"],
    }
    assert "s3cr" not in url


async def test_an_endpoint_with_a_query_keeps_it(house: House) -> None:
    meta = Metadata("i", "https://a.b/auth?p=policy", "https://a.b/t", "https://a.b/j", "https://a.b/end?x=1")
    url = house.client.authorize_url(
        meta, house.issuer, redirect_uri=CALLBACK, state="s", nonce="n", code_challenge="c"
    )
    assert url.startswith("https://a.b/auth?p=policy&response_type=code&")
    ends = house.client.end_session_url(
        meta, house.issuer, post_logout_redirect_uri=CALLBACK, state="s", id_token_hint="a.b.c"
    )
    assert ends is not None
    assert parse_qs(urlsplit(ends).query) == {
        "x": ["1"],
        "client_id": ["countersign-app"],
        "post_logout_redirect_uri": [CALLBACK],
        "state": ["s"],
        "id_token_hint": ["a.b.c"],
    }
    nowhere = dataclasses.replace(meta, end_session_endpoint=None)
    assert house.client.end_session_url(nowhere, house.issuer, post_logout_redirect_uri=CALLBACK) is None


def test_the_answer_is_of_the_provider_the_browser_was_sent_to() -> None:
    meta = Metadata("https://id.acme.example", "a", "t", "j")
    told = dataclasses.replace(meta, iss_in_response=True)
    check_response_issuer(meta, None)
    check_response_issuer(meta, "https://id.acme.example")
    check_response_issuer(told, "https://id.acme.example")
    for metadata, iss in (
        (meta, "https://id.evil.example"),
        (told, None),
        (told, ""),
        (meta, "https://id.acme.exämple"),
    ):
        with pytest.raises(OidcError, match="Close this page") as mixed_up:
            check_response_issuer(metadata, iss)
        assert mixed_up.value.fault is OidcFault.ISSUER


# --- codes and refresh tokens -----------------------------------------------------------------------


async def test_a_code_is_redeemed_with_its_verifier_and_the_clients_secret(house: House) -> None:
    got = await house.client.redeem(house.issuer, code="c-1", redirect_uri=CALLBACK, code_verifier="v" * 43)
    assert (got.id_token, got.access_token, got.refresh_token, got.expires_in) == ("a.b.c", "at-1", "rt-1", 300)
    assert house.idp.forms == [
        {"grant_type": "authorization_code", "code": "c-1", "redirect_uri": CALLBACK, "code_verifier": "v" * 43}
    ]
    [sent] = house.idp.authorizations
    assert sent is not None
    # Form-encoded before they are joined: RFC 6749, 2.3.1.
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"countersign-app:s3cr%3Aet%2F%2B%C3%A4"
    for secret in ("a.b.c", "at-1", "rt-1"):
        assert secret not in repr(got)


@pytest.mark.parametrize(
    ("methods", "secret", "form"),
    [
        (["client_secret_post"], SECRET, {"client_id": "countersign-app", "client_secret": "s3cr:et/+ä"}),
        (["client_secret_post", "none"], None, {"client_id": "countersign-app"}),
    ],
)
async def test_a_client_proves_itself_as_the_provider_asks(
    house: House, methods: list[str], secret: Secret | None, form: dict[str, str]
) -> None:
    house.idp.says(WELL_KNOWN, house.idp.metadata(token_endpoint_auth_methods_supported=methods))
    issuer = dataclasses.replace(house.issuer, client_secret=secret)
    await house.client.redeem(issuer, code="c-1", redirect_uri=CALLBACK, code_verifier="v" * 43)
    assert house.idp.authorizations == [None]
    [sent] = house.idp.forms
    assert {name: value for name, value in sent.items() if name.startswith("client")} == form


async def test_a_provider_that_takes_no_secret_is_not_sent_it(house: House) -> None:
    house.idp.says(WELL_KNOWN, house.idp.metadata(token_endpoint_auth_methods_supported=["private_key_jwt"]))
    refused = await house.redeem()
    assert refused.fault is OidcFault.METADATA
    assert "public client" in str(refused)
    assert "/token" not in house.idp.asked


ANSWERS: dict[str, tuple[Callable[[IdpServer], None], OidcFault, str]] = {
    "a spent code": (
        lambda idp: idp.says("/token", {"error": "invalid_grant", "error_description": "oops rt-1"}, status=400),
        OidcFault.GRANT,
        "has expired or was used before. Nothing was done. Start again from the chat.",
    ),
    "another client": (
        lambda idp: idp.says("/token", {"error": "invalid_client"}, status=401),
        OidcFault.CLIENT,
        "An admin has to mend them in tenants.yaml",
    ),
    "Slack's no": (
        lambda idp: idp.says("/token", {"ok": False, "error": "invalid_code"}),
        OidcFault.GRANT,
        "Start again from the chat",
    ),
    "Slack's no to the secret": (
        lambda idp: idp.says("/token", {"ok": False, "error": "bad_client_secret"}),
        OidcFault.CLIENT,
        "client id or secret",
    ),
    "Slack's no without a word": (
        lambda idp: idp.says("/token", {**TOKENS, "ok": False}),
        OidcFault.REFUSED,
        "said no",
    ),
    "an error beside tokens": (lambda idp: idp.says("/token", {**TOKENS, "error": "x"}), OidcFault.REFUSED, "said no"),
    "an error that is no word": (
        lambda idp: idp.says("/token", {"error": {"oops": 1}}, status=400),
        OidcFault.REFUSED,
        "said no",
    ),
    "a page": (lambda idp: idp.says("/token", b"<html>oops</html>"), OidcFault.UNREACHABLE, "did not answer in JSON"),
    "a page that says no": (lambda idp: idp.says("/token", b"oops", status=403), OidcFault.REFUSED, "said no"),
    "its own failure": (lambda idp: idp.says("/token", b"oops", status=502), OidcFault.UNREACHABLE, "said no"),
    "a list": (lambda idp: idp.says("/token", ["oops"]), OidcFault.UNREACHABLE, "JSON object"),
    "somewhere else": (
        lambda idp: idp.says("/token", status=307, headers={"Location": "/elsewhere"}),
        OidcFault.UNREACHABLE,
        "redirect",
    ),
    "no ID token": (lambda idp: idp.says("/token", {**TOKENS, "id_token": None}), OidcFault.ANSWER, "cannot be used"),
    "an ID token without end": (
        lambda idp: idp.says("/token", {**TOKENS, "id_token": "a" * 20000}),
        OidcFault.ANSWER,
        "cannot be used",
    ),
    "no access token": (lambda idp: idp.says("/token", {**TOKENS, "access_token": ""}), OidcFault.ANSWER, "cannot be"),
    "a token of another type": (
        lambda idp: idp.says("/token", {**TOKENS, "token_type": "mac"}),
        OidcFault.ANSWER,
        "cannot be used",
    ),
    "nothing known": (lambda idp: idp.says(WELL_KNOWN, status=404), OidcFault.METADATA, "cannot be used"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_whatever_the_provider_answers_people_get_a_sentence(house: House, name: str) -> None:
    arrange, fault, sentence = ANSWERS[name]
    arrange(house.idp)
    refused = await house.redeem()
    assert refused.fault is fault
    assert sentence in str(refused)
    assert "/elsewhere" not in house.idp.asked


async def test_a_provider_that_is_silent_is_given_up_with_a_sentence(house: House) -> None:
    house.idp.says("/token", TOKENS, hang_s=60)
    patient, http = IdpHttp(), IdpHttp(timeout_s=0.5)
    client = OidcClient(http, Discovery(patient))
    with pytest.raises(OidcError, match="in time. Nothing was done. Try again in a few minutes") as silent:
        await client.refresh(house.issuer, "rt-0")
    assert silent.value.fault is OidcFault.UNREACHABLE
    await http.close()
    await patient.close()


async def test_a_refresh_token_brings_new_ones(house: House) -> None:
    got = await house.client.refresh(house.issuer, "rt-0")
    assert (got.access_token, got.refresh_token, got.id_token) == ("at-1", "rt-1", "a.b.c")
    assert house.idp.forms == [{"grant_type": "refresh_token", "refresh_token": "rt-0"}]
    house.idp.says("/token", {"access_token": "at-2", "token_type": "bearer", "expires_in": "soon"})
    got = await house.client.refresh(house.issuer, "rt-0")
    assert (got.refresh_token, got.id_token, got.expires_in) == (None, None, None)
    assert "at-2" not in repr(got)
    house.idp.says("/token", {"error": "invalid_grant"}, status=400)
    with pytest.raises(OidcError) as spent:
        await house.client.refresh(house.issuer, "rt-0")
    assert spent.value.fault is OidcFault.GRANT


# --- Sign in with Slack -----------------------------------------------------------------------------


def test_slack_is_an_issuer_of_its_own() -> None:
    slack = slack_issuer("111.222", Secret("SLACK_CLIENT_SECRET", "x"))
    assert (slack.preset, slack.issuer, slack.algorithms) == (Preset.SLACK, "https://slack.com", ("RS256",))
    assert slack.discovery_url == "https://slack.com/.well-known/openid-configuration"
    assert slack.subject_claim == "sub"


async def test_slack_is_asked_where_its_document_says(house: House) -> None:
    slack = slack_issuer("111.222", Secret("SLACK_CLIENT_SECRET", "x"), house.idp.base)
    house.idp.says(
        WELL_KNOWN,
        # As Slack publishes it, but for the host: no word of PKCE.
        house.idp.metadata(
            token_endpoint=f"{house.idp.base}/api/openid.connect.token",
            code_challenge_methods_supported=...,
            token_endpoint_auth_methods_supported=["client_secret_post", "client_secret_basic"],
        ),
    )
    house.idp.says("/api/openid.connect.token", {"ok": True, **TOKENS})
    got = await house.client.redeem(slack, code="c-1", redirect_uri=CALLBACK, code_verifier="v" * 43)
    assert got.id_token == "a.b.c"
