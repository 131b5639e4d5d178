"""localstripe as a process of its own: speaks Stripe's API, ignores idempotency keys, allows over-refunds."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import stripe

KEY = "sk_test_12345"


@contextmanager
def localstripe(folder: Path) -> Iterator[str]:
    """The address of a fresh server that ends with the block. It keeps its files in `folder`."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "localstripe", "--from-scratch", "--port", str(port)]
    with (folder / "localstripe.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            _await(f"http://127.0.0.1:{port}/v1/", server, folder / "localstripe.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


async def charge(base: str, minor: int, currency: str) -> str:
    """A card payment that went through; its charge id."""
    async with _Api(base) as api:
        method = await api.v1.payment_methods.create_async(
            {"type": "card", "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}}
        )
        made = await api.v1.charges.create_async({"amount": minor, "currency": currency.lower(), "source": method.id})
        return made.id


async def intent(base: str, minor: int, currency: str, *, confirm: bool = True) -> str:
    """A payment intent, paid unless `confirm` is false; its id."""
    async with _Api(base) as api:
        method = await api.v1.payment_methods.create_async(
            {"type": "card", "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}}
        )
        made = await api.v1.payment_intents.create_async(
            {"amount": minor, "currency": currency.lower(), "payment_method": method.id, "confirm": confirm}
        )
        return made.id


async def refunds_of(base: str, charge_id: str) -> list[tuple[int, str]]:
    """What the server itself lists: (minor units, call id) of each refund, oldest first."""
    async with _Api(base) as api:
        page = await api.v1.refunds.list_async({"charge": charge_id, "limit": 100})
        return [(refund.amount, str((refund.metadata or {})["call_id"])) for refund in reversed(page.data)]


class _Api:
    """An SDK client whose HTTP session ends with the block."""

    def __init__(self, base: str) -> None:
        self._session = aiohttp.ClientSession()
        self._api = stripe.StripeClient(
            KEY,
            base_addresses={"api": base},
            max_network_retries=0,
            http_client=stripe.AIOHTTPClient(session=self._session),
        )

    async def __aenter__(self) -> stripe.StripeClient:
        return self._api

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=1)  # noqa: S310  (our own address)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"localstripe did not start: {log.read_text()[-2000:]}")
