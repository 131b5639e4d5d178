"""The identity provider that other tests build on is a real one: discovery, log-in with PKCE, its people over SCIM."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import jwt
import psutil
import pytest

from bot import local_idp
from bot.local_idp import LocalIdpError, free_port
from tests.rigs.canaille_rig import Canaille, LoginRefused, canaille, start

CALLBACK = "http://127.0.0.1:9/signin/callback"


async def _metadata(client: httpx2.AsyncClient, rig: Canaille) -> dict[str, str]:
    told: dict[str, str] = (await client.get(f"{rig.issuer}/.well-known/openid-configuration")).json()
    return told


async def _code(client: httpx2.AsyncClient, rig: Canaille, user: str, password: str | None = None) -> tuple[str, str]:
    """A code for `user`, and the PKCE verifier that redeems it."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": rig.client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid profile email groups",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    endpoint = (await _metadata(client, rig))["authorization_endpoint"]
    back = await rig.login(client, f"{endpoint}?{urlencode(asked)}", user, password)
    told = parse_qs(urlsplit(back).query)
    assert back.startswith(CALLBACK)
    assert told["state"] == ["the-state"]
    assert told["iss"] == [rig.issuer]
    return told["code"][0], verifier


async def _redeem(client: httpx2.AsyncClient, rig: Canaille, code: str, verifier: str) -> httpx2.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": verifier}
    endpoint = (await _metadata(client, rig))["token_endpoint"]
    return await client.post(endpoint, data=form, auth=(rig.client_id, rig.client_secret))


async def test_discovery_names_an_issuer_that_can_be_trusted(idp: Canaille) -> None:
    async with httpx2.AsyncClient() as client:
        told = await _metadata(client, idp)
        assert told["issuer"] == idp.issuer
        assert "S256" in told["code_challenge_methods_supported"]
        keys = (await client.get(told["jwks_uri"])).json()["keys"]
        assert [key["kty"] for key in keys] == ["RSA"]
        assert all("d" not in key for key in keys)


async def test_a_person_logs_in_and_the_token_says_what_is_provisioned_as_external_id(idp: Canaille) -> None:
    dana = idp.people["dana"]
    async with httpx2.AsyncClient() as client:
        code, verifier = await _code(client, idp, "dana")
        told = (await _redeem(client, idp, code, verifier)).json()
        keys = jwt.PyJWKSet.from_dict((await client.get((await _metadata(client, idp))["jwks_uri"])).json())
    key = keys[jwt.get_unverified_header(told["id_token"])["kid"]]
    claims = jwt.decode(told["id_token"], key, algorithms=["RS256"], audience=idp.client_id, issuer=idp.issuer)
    assert claims["sub"] == dana.sub
    assert claims["nonce"] == "the-nonce"
    assert claims["email"] == "dana.reyes@acme.example"
    assert claims["groups"] == ["support"]


async def test_a_code_without_its_verifier_buys_nothing(idp: Canaille) -> None:
    async with httpx2.AsyncClient() as client:
        code, _ = await _code(client, idp, "sam")
        refused = await _redeem(client, idp, code, secrets.token_urlsafe(48))
    assert refused.status_code == 400
    assert refused.json()["error"] == "invalid_grant"


async def test_a_wrong_password_and_a_locked_account_get_no_code(idp: Canaille) -> None:
    async with httpx2.AsyncClient() as client:
        with pytest.raises(LoginRefused, match="Login failed"):
            await _code(client, idp, "bob", "not-his-password")
    await idp.deactivate("bob")
    try:
        async with httpx2.AsyncClient() as client:
            with pytest.raises(LoginRefused, match="locked"):
                await _code(client, idp, "bob")
    finally:
        await idp.activate("bob")


async def test_people_and_groups_are_listed_over_scim(idp: Canaille) -> None:
    token = idp.admin.scim_access_token()
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client:
        users = (await client.get(f"{idp.issuer}/scim/v2/Users")).json()["Resources"]
        groups = (await client.get(f"{idp.issuer}/scim/v2/Groups")).json()["Resources"]
    assert {user["id"]: user["userName"] for user in users} == {
        person.sub: person.user_name for person in idp.people.values()
    }
    approvers = next(group for group in groups if group["displayName"] == "finance-approvers")
    assert len(approvers["members"]) == 2


async def test_what_an_administrator_does_reaches_a_service_provider_that_nobody_here_wrote(tmp_path: Path) -> None:
    with _scim2_server(tmp_path) as (url, token):
        async with (
            start((CALLBACK,), (url, token)) as rig,
            httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client,
        ):

            async def users() -> dict[str, bool]:
                """externalId -> active."""
                told = (await client.get(f"{url}/Users")).json()["Resources"]
                return {user["externalId"]: user["active"] for user in told}

            async def members(name: str) -> set[str]:
                found = (await client.get(f"{url}/Groups", params={"filter": f'displayName eq "{name}"'})).json()
                listed = {member["value"] for member in found["Resources"][0].get("members", [])}
                told = (await client.get(f"{url}/Users")).json()["Resources"]
                return {user["userName"] for user in told if user["id"] in listed}

            subs = {name: person.sub for name, person in rig.people.items()}
            assert await users() == dict.fromkeys(subs.values(), True)
            assert await members("finance-approvers") == {"ann", "bob"}
            await rig.deactivate("bob")
            assert (await users())[subs["bob"]] is False
            await rig.remove_from_group("ann", "finance-approvers")
            assert await members("finance-approvers") == {"bob"}
            await rig.remove_from_group("dana", "support")
            assert await members("support") == set()
            await rig.add_to_group("sam", "support")
            assert await members("support") == {"sam"}
            await rig.delete("rita")
            assert subs["rita"] not in await users()


@contextlib.contextmanager
def _scim2_server(folder: Path) -> Iterator[tuple[str, str]]:
    """The command of that name, from the package: its address and a token."""
    port, token = free_port(), secrets.token_urlsafe(24)
    program = Path(sys.executable).with_name("scim2-server")
    with (folder / "scim2-server.log").open("wb") as log, subprocess.Popen(
        [program, "--port", str(port), "--bearer-token", token],
        stdout=log,
        stderr=log,
    ) as process:  # fmt: skip
        try:
            url, deadline = f"http://127.0.0.1:{port}/v2", time.monotonic() + 20
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    if httpx2.get(f"{url}/ServiceProviderConfig").status_code < 500:
                        break
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield url, token
        finally:
            process.kill()


async def test_keys_rotate(idp: Canaille) -> None:
    async def published() -> list[str]:
        async with httpx2.AsyncClient() as client:
            told = (await client.get((await _metadata(client, idp))["jwks_uri"])).json()["keys"]
        return [key["kid"] for key in told]

    [old] = await published()
    await idp.rotate_keys()
    new, still = await published()
    assert still == old
    await idp.rotate_keys(retire=True)
    [newest] = await published()
    assert newest not in {old, new}


async def test_a_push_that_nobody_takes_is_told() -> None:
    with pytest.raises(LocalIdpError, match="nothing was pushed"):
        async with start((CALLBACK,), ("http://127.0.0.1:9/scim/v2", "a-token")):
            pytest.fail("it started as if its people had arrived")


def test_it_does_not_outlive_a_killed_test() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time\nfrom tests.rigs.canaille_rig import canaille\n"
            "with canaille(('http://127.0.0.1:9/x',)) as rig:\n"
            "    print(rig.admin._process.pid, flush=True)\n    time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "Canaille outlived the process that started it"
        time.sleep(0.02)


def test_without_its_environment_it_says_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local_idp, "PYTHON", tmp_path / "python")
    with pytest.raises(LocalIdpError, match="make demo-idp"), canaille((CALLBACK,)):
        pytest.fail("it started without what it runs on")


def test_two_stand_side_by_side() -> None:
    with canaille((CALLBACK,)) as one, canaille((CALLBACK,)) as other:
        assert one.issuer != other.issuer
        assert {person.sub for person in one.people.values()}.isdisjoint(p.sub for p in other.people.values())
