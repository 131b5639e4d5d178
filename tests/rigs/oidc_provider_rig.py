"""oidc-provider (npm) as a subprocess on loopback: accounts, clients, rotating keys, and a browser to log in with.

Knows how it starts and ends, and its two development pages (log in, consent) as a browser would see them.

    with oidc_provider(clients=[client("app", redirect)], accounts={"dana": {"email": "dana@acme.example"}}) as rig:
        with rig.browser() as browser:
            code = browser.log_in(authorize_url, "dana")["code"]
"""

from __future__ import annotations

import html
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

from tests.rigs.aimock_rig import node

RIGS = Path(__file__).parent
SCRIPT = RIGS / "oidc_provider.mjs"
INSTALLED = RIGS / "node_modules" / "oidc-provider" / "package.json"
READY_SECONDS = 30
STEPS = 12

_ACTION = re.compile(r'<form[^>]*\baction="([^"]*)"')
_PROMPT = re.compile(r'name="prompt" value="(\w+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


def client(client_id: str, *redirect_uris: str, secret: str | None = "rig-secret", **more: Any) -> dict[str, Any]:
    """A client as oidc-provider registers it. No secret: a public one."""
    made: dict[str, Any] = {
        "client_id": client_id,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
        **more,
    }
    return made | ({"client_secret": secret} if secret else {})


class Browser:
    """Somebody's browser: keeps cookies, follows redirects, fills in forms."""

    def __init__(self) -> None:
        self._client = httpx2.Client(timeout=20)

    def close(self) -> None:
        self._client.close()

    def log_in(self, authorize_url: str, login: str) -> Mapping[str, str]:
        """What the provider hands to the redirect address after `login` has logged in and consented."""
        target = f"{urlsplit(authorize_url).scheme}://{urlsplit(authorize_url).netloc}"
        response = self._client.get(authorize_url)
        for _ in range(STEPS):
            if response.is_redirect:
                there = urljoin(str(response.url), response.headers["location"])
                if not there.startswith(target):
                    return {name: values[0] for name, values in parse_qs(urlsplit(there).query).items()}
                response = self._client.get(there)
                continue
            action, prompt = _ACTION.search(response.text), _PROMPT.search(response.text)
            if action is None or prompt is None:
                raise AssertionError(f"no page to go on with ({response.status_code}): {response.text[:500]}")
            form = {"prompt": prompt[1]} | ({"login": login, "password": "any"} if prompt[1] == "login" else {})
            response = self._client.post(html.unescape(action[1]), data=form)
        raise AssertionError("the log-in does not end")

    def log_out(self, end_session_url: str) -> None:
        """Signs out at the provider, which tells every client over the back channel."""
        page = self._client.get(end_session_url)
        action = _ACTION.search(page.text)
        if action is None:
            raise AssertionError(f"no page to sign out on ({page.status_code}): {page.text[:500]}")
        self._client.post(html.unescape(action[1]), data=dict(_HIDDEN.findall(page.text)) | {"logout": "yes"})


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """A running oidc-provider."""

    issuer: str

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        browser = Browser()
        try:
            yield browser
        finally:
            browser.close()

    def rotate(self, *, retire: bool = False) -> list[str]:
        """A new key signs from now on. The ones before stay published, unless they are retired."""
        answer = httpx2.post(f"{self.issuer}/_rig/rotate", json={"retire": retire}, timeout=20)
        return list(answer.raise_for_status().json()["kids"])

    def events(self) -> list[dict[str, Any]]:
        return list(httpx2.get(f"{self.issuer}/_rig/events", timeout=20).raise_for_status().json())


def installed() -> bool:
    return node() is not None and INSTALLED.exists()


@contextmanager
def oidc_provider(
    *, clients: Sequence[Mapping[str, Any]], accounts: Mapping[str, Mapping[str, Any]], **more: Any
) -> Iterator[OidcProvider]:
    """Starts oidc-provider on a free port and ends it, whatever happens. `more` reaches the script as it is."""
    program = node()
    if program is None or not installed():
        raise FileNotFoundError(
            "oidc-provider is not installed. Run: cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts"
        )
    given = json.dumps({"clients": list(clients), "accounts": dict(accounts), **more})
    process = subprocess.Popen(
        [program, str(SCRIPT), given],
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield OidcProvider(_issuer(process))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def _issuer(process: subprocess.Popen[bytes]) -> str:
    """What it prints once it listens."""
    assert process.stdout is not None
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        line = process.stdout.readline() if ready else b""
        if line.startswith(b"{"):
            return str(json.loads(line)["issuer"])
        if process.poll() is not None:
            raise RuntimeError(f"oidc-provider did not start (exit {process.returncode})")
    raise TimeoutError(f"oidc-provider did not answer within {READY_SECONDS} s")
