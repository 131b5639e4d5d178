"""Many requests that wait, as rows: one that the door held for real, copied and sealed anew."""

from __future__ import annotations

import asyncio
import time

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.writer import Writer
from bot import store
from tests.kit.product import DEMO, Product
from tools import approvals, signing
from tools.approvals import HELD, HeldCall
from tools.integrity import MacKey

MAC = MacKey(b"m" * 32)


async def fill(product: Product, many: int) -> list[str]:
    """Hold one refund through the whole product (which must be launched), then copy it. Returns the copies' ids."""
    await product.write("dana", "Refund order 1042, please")
    deadline = time.monotonic() + 60
    while not (found := await product.writer.read(pending)):
        if time.monotonic() > deadline:
            raise TimeoutError("nothing was held")
        await asyncio.sleep(0.05)
    return await copies(product.writer, found, many, MAC)


async def copies(writer: Writer, found: HeldCall, many: int, mac: MacKey) -> list[str]:
    """`many` more of the same, as the door that has the key `mac` would have held them. Returns their ids."""
    made = [_copy(found, number, mac) for number in range(many)]
    turn = await writer.read(lambda conn: store.turn(conn, DEMO, found.turn_id))
    if turn is None:
        raise LookupError(found.turn_id)
    turns = [turn.model_copy(update={"turn_id": row.turn_id, "session_id": row.session_id}) for row in made]

    def insert(conn: Connection) -> None:
        if made:
            conn.execute(sa.insert(store.TURN), [row.model_dump() for row in turns])
            conn.execute(sa.insert(HELD), [row.model_dump() for row in made])

    await writer.run(insert)
    return [row.held_id for row in made]


def pending(conn: Connection) -> HeldCall | None:
    rows = approvals.select(conn, DEMO, HELD.c.tool == "refund.issue")
    return rows[0] if rows else None


def _copy(row: HeldCall, number: int, mac: MacKey) -> HeldCall:
    """In a turn and on a card of its own, and without a reservation: ten thousand refunds do not fit one order."""
    new = row.model_copy(
        update={
            "held_id": f"{row.held_id}-{number}",
            "call_id": f"{row.call_id}-{number}",
            "card_id": f"{row.card_id}-{number}",
            "turn_id": f"{row.turn_id}-{number}",
            "session_id": f"{row.session_id}-{number}",
            "nonce": f"{number:032x}",
            "resource": None,
        }
    )
    new.digest = signing.drawn_up(new).digest()
    new.mac = signing.seal(mac, new, ())
    return new
