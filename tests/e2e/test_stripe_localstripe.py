"""refund.issue through the official SDK against localstripe, and against a line that breaks at the worst moment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from policy.model import Json, ToolName
from tests.rigs.localstripe_server import KEY, charge, intent, localstripe, refunds_of
from tests.unit_actions.shop import DEMO, Shop, open_shop
from tools.actions.stripe_payments import StripeAccount, StripePayments
from tools.business import payments
from tools.catalog import PaymentsBackend, ToolSettings, catalog
from tools.credentials import Credentials, Secret
from tools.spec import ActionError, Certainty

ARGS: dict[str, Json] = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "The parcel never came"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("localstripe")
    with localstripe(folder) as address:
        yield address


def settings(base: str, timeout_s: float = 20.0, key: str = KEY) -> ToolSettings:
    return ToolSettings(
        payments=PaymentsBackend.STRIPE,
        stripe_base=base,
        provider_timeout_s=timeout_s,
        credentials=Credentials(stripe_api_key=Secret("STRIPE_API_KEY", key)),
    )


@pytest.fixture
def shop(base: str, sqlite_url: str) -> Iterator[Shop]:
    with open_shop(sqlite_url, settings(base)) as opened:
        yield opened


def at(shop: Shop, base: str, timeout_s: float = 20.0, key: str = KEY) -> Shop:
    """The same shop with Stripe at another address."""
    return Shop(shop.business, catalog(settings(base, timeout_s, key), shop.business))


async def paid(shop: Shop, base: str, order_id: str = "1042", minor: int = 8400, currency: str = "USD") -> str:
    """Has the order's payment be a real charge at the server."""
    ref = await charge(base, minor, currency)
    await point(shop, order_id, ref)
    return ref


async def point(shop: Shop, order_id: str, ref: str) -> None:
    moved = update(payments).where(payments.c.tenant == DEMO, payments.c.order_id == order_id)
    await shop.business.write(lambda conn: conn.execute(moved.values(provider_ref=ref)).rowcount)


async def test_a_refund_is_made_once_and_shows_in_the_ledger(shop: Shop, base: str) -> None:
    ref = await paid(shop, base)
    resolved = await shop.resolve("refund.issue", ARGS)
    assert resolved.stable == {"payment": ref, "paid": "84.00", "currency": "USD", "customer_id": "C-1007"}
    done = await shop.call("refund.issue", ARGS)
    again = await shop.call("refund.issue", ARGS)  # the server ignores the key: our own check has to hold
    assert (done.reference, done.sentence) == (again.reference, again.sentence)
    assert done.sentence == f"Refunded 42.00 USD for order 1042 ({done.reference})."
    assert await refunds_of(base, ref) == [(4200, "c1")]
    ledger = await shop.call("ledger.read", {"order_id": "1042", "kind": "refund"})
    assert str(done.reference) in str(ledger.content)
    assert (await shop.look_up("refund.issue", ARGS)) == done
    assert await shop.look_up("refund.issue", ARGS, "other") is None


async def test_the_server_would_pay_back_more_but_we_do_not(shop: Shop, base: str) -> None:
    ref = await paid(shop, base)
    await shop.call("refund.issue", {**ARGS, "amount": "84.00"}, "a")
    for call in ("b", "c"):
        with pytest.raises(ActionError, match="nothing is left") as caught:
            await shop.call("refund.issue", {**ARGS, "amount": "0.01"}, call)
        assert caught.value.certainty is Certainty.NOT_DONE
    assert await refunds_of(base, ref) == [(8400, "a")]


async def test_more_refunds_than_one_page_are_all_counted(shop: Shop, base: str) -> None:
    ref = await paid(shop, base, minor=20000)
    client = StripePayments(StripeAccount(Secret("STRIPE_API_KEY", KEY), base))
    for call in range(12):
        await shop.call("refund.issue", {**ARGS, "amount": "10.00"}, f"page-{call}")
    row = await shop.resolve("refund.issue", {**ARGS, "amount": "80.00"}, "rest")
    assert row.reservation is not None
    assert str(row.reservation.available) == "80.00"
    with pytest.raises(ActionError, match=r"at most 80\.00 USD"):
        await shop.resolve("refund.issue", {**ARGS, "amount": "80.01"}, "rest")
    again = await shop.call("refund.issue", {**ARGS, "amount": "10.00"}, "page-0")
    assert again.reference is not None
    assert len(await refunds_of(base, ref)) == 12
    assert client.account.api_key.name in repr(client)
    assert KEY not in repr(client)


async def test_a_payment_intent_is_refunded_through_its_charge(shop: Shop, base: str) -> None:
    await point(shop, "1042", await intent(base, 8400, "USD"))
    done = await shop.call("refund.issue", ARGS)
    assert done.reference is not None
    await point(shop, "1042", await intent(base, 8400, "USD", confirm=False))
    with pytest.raises(ActionError, match="no payment behind"):
        await shop.resolve("refund.issue", ARGS, "unpaid")


async def test_what_was_paid_is_what_stripe_says_not_our_own_record(shop: Shop, base: str) -> None:
    await paid(shop, base, minor=5000)
    with pytest.raises(ActionError, match=r"at most 50\.00 USD"):
        await shop.resolve("refund.issue", {**ARGS, "amount": "84.00"})
    await paid(shop, base, currency="EUR")
    with pytest.raises(ActionError, match="paid in EUR"):
        await shop.resolve("refund.issue", ARGS)


async def test_a_key_that_stripe_refuses(shop: Shop, base: str) -> None:
    await paid(shop, base)
    with pytest.raises(ActionError, match="refused Countersign's key") as caught:
        await at(shop, base, key="pk_wrong").resolve("refund.issue", ARGS)
    assert caught.value.certainty is Certainty.NOT_DONE
    assert "pk_wrong" not in str(caught.value)


async def test_nobody_listens(shop: Shop, base: str) -> None:
    ref = await paid(shop, base)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    for attempt in (at(shop, dead).resolve("refund.issue", ARGS), at(shop, dead).call("refund.issue", ARGS)):
        with pytest.raises(ActionError) as caught:
            await attempt
        assert (caught.value.certainty, caught.value.retryable) == (Certainty.NOT_DONE, True)
    assert await refunds_of(base, ref) == []


@asynccontextmanager
async def broken_line(
    base: str, *, forward: bool, hang: bool, status: int | None = None, said: bytes = b""
) -> AsyncIterator[str]:
    """A proxy that passes everything but POST /v1/refunds.

    Of that, the answer is lost (`hang`: silence), or `status` with `said`. `forward`: the server still got it.
    """
    target = urlsplit(base)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(sizes[0].split(b":")[1])) if sizes else b""
            refund = head.startswith(b"POST /v1/refunds")
            answer = b""
            if forward or not refund:
                up_reader, up_writer = await asyncio.open_connection(target.hostname, target.port)
                up_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
                answer = await up_reader.read()
                up_writer.close()
            if refund and status is not None:
                answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(said), said)
            elif refund and hang:
                await reader.read()  # until the client gives up
            elif refund:
                answer = b""
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("hang", [True, False], ids=["silence", "dropped"])
@pytest.mark.parametrize("forward", [True, False], ids=["made", "not made"])
async def test_an_answer_that_is_lost_leaves_it_unknown_and_a_second_try_pays_once(
    shop: Shop, base: str, forward: bool, hang: bool
) -> None:
    ref = await paid(shop, base)
    async with broken_line(base, forward=forward, hang=hang) as line:
        with pytest.raises(ActionError) as caught:
            await at(shop, line, timeout_s=1.0).call("refund.issue", ARGS)
    assert caught.value.certainty is Certainty.UNKNOWN
    assert "not known whether" in str(caught.value)
    assert len(await refunds_of(base, ref)) == int(forward)
    found = await shop.look_up("refund.issue", ARGS)
    assert (found is not None) is forward
    done = await shop.call("refund.issue", ARGS)
    assert await refunds_of(base, ref) == [(4200, "c1")]
    if found is not None:
        assert found.reference == done.reference


STRIPE_SAYS = b'{"error": {"type": "invalid_request_error", "message": "No, and here is a card: 4242"}}'


@pytest.mark.parametrize(
    ("status", "certainty", "retryable"),
    [
        (500, Certainty.UNKNOWN, False),
        (503, Certainty.UNKNOWN, False),
        (409, Certainty.UNKNOWN, False),
        (429, Certainty.NOT_DONE, True),
        (401, Certainty.NOT_DONE, False),
        (403, Certainty.NOT_DONE, False),
        (400, Certainty.NOT_DONE, False),
        (402, Certainty.NOT_DONE, False),
        (404, Certainty.NOT_DONE, False),
    ],
)
async def test_what_an_error_answer_means(
    shop: Shop, base: str, status: int, certainty: Certainty, retryable: bool
) -> None:
    ref = await paid(shop, base)
    async with broken_line(base, forward=False, hang=False, status=status, said=STRIPE_SAYS) as line:
        with pytest.raises(ActionError) as caught:
            await at(shop, line).call("refund.issue", ARGS)
    assert (caught.value.certainty, caught.value.retryable) == (certainty, retryable)
    assert "4242" not in str(caught.value)
    assert await refunds_of(base, ref) == []


@pytest.mark.parametrize("said", [b"", b"{}", b"<html>Bad gateway</html>", b'{"id": 5'])
@pytest.mark.parametrize("status", [200, 400, 502])
async def test_an_answer_nobody_can_read_leaves_it_unknown(shop: Shop, base: str, status: int, said: bytes) -> None:
    await paid(shop, base)
    async with broken_line(base, forward=True, hang=False, status=status, said=said) as line:
        with pytest.raises(ActionError) as caught:
            await at(shop, line).call("refund.issue", ARGS)
    assert caught.value.certainty is Certainty.UNKNOWN
    assert await shop.look_up("refund.issue", ARGS) is not None


async def test_the_key_and_the_call_reach_the_provider(shop: Shop, base: str) -> None:
    ref = await paid(shop, base)
    seen: list[bytes] = []
    target = urlsplit(base)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(sizes[0].split(b":")[1])) if sizes else b""
        seen.append(head + body)
        up_reader, up_writer = await asyncio.open_connection(target.hostname, target.port)
        up_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
        writer.write(await up_reader.read())
        up_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        line = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await at(shop, line).call("refund.issue", ARGS)
    (post,) = [request for request in seen if request.startswith(b"POST /v1/refunds")]
    assert b"idempotency-key: key-demo-c1" in post.lower()
    assert b"metadata[call_id]=c1" in post
    assert await refunds_of(base, ref) == [(4200, "c1")]
    assert shop.tools[ToolName("refund.issue")].key_lifetime_s < 24 * 3600
