"""The log leaving the page: downloads as they are asked for, and whether the chain holds. Of one organisation alone.

Downloads are streamed, a stretch of rows at a time; that somebody took rows away is a row itself.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from audit import checkpoint, export, query
from audit.checkpoint import Checkpointer, CheckpointError
from audit.event import Kind
from audit.faults import StoreUnavailable
from audit.query import Filter, Row
from audit.verify import verify
from audit.writer import Writer
from bot.web.office_audit import HERE, known_person, refuse, wanted_of
from bot.web.office_paper import asks_in_part, nobody_here, nothing_here, page, part
from bot.web.office_visitor import AUDITOR, Reception, Visitor, said
from policy.model import TenantId

STRETCH: Final = 1_000
"""Rows read at a time: what a download holds in memory."""
TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/jsonl"}


@dataclass(frozen=True, slots=True)
class Check:
    """What the verifier found. `sentences` are for people, the worst first."""

    intact: bool
    sentences: tuple[str, ...]


class Prover:
    """Holds one organisation's chain against its hashes and the signed checkpoints."""

    def __init__(self, writer: Writer, checkpoints: Path, key: Ed25519PrivateKey) -> None:
        self._writer = writer
        self._path = checkpoints
        self._key = key
        self._checkpointer = Checkpointer(checkpoints, key)
        self._alone = asyncio.Lock()

    async def check(self, tenant: TenantId) -> Check:
        # One at a time: it reads the whole chain, and whoever presses twice learns nothing more.
        async with self._alone:
            return await anyio.to_thread.run_sync(functools.partial(self._check, tenant))

    def last_signed(self, tenant: TenantId) -> str | None:
        """The last checkpoint of `tenant`, for the head of an export."""
        if not self._path.exists():
            return None
        return export.last_checkpoint(self._path, tenant, self._key.public_key())

    def export(self, tenant: TenantId) -> Iterator[str]:
        signed = self.last_signed(tenant)
        for line in export.export_jsonl(self._writer.engine, tenant, signed):
            yield f"{line}\n"

    def _check(self, tenant: TenantId) -> Check:
        """Against a checkpoint of this very moment too, so that the end is proven as well."""
        try:
            self._writer.read_blocking(self._checkpointer.write)
            lines = checkpoint.read(self._path, self._key.public_key())
            report = verify(self._writer.engine, lines, tenant=tenant)
        except (CheckpointError, StoreUnavailable) as error:
            return Check(False, (str(error),))
        if report.holds:
            return Check(True, (f"{report.rows:,} rows, nothing altered or removed.", *report.sentences()))
        return Check(False, report.sentences())


@dataclass(frozen=True, slots=True)
class ProofPages:
    reception: Reception
    prover: Prover
    streams: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    """Downloads at once: they read for long, and requests in chats go on beside them."""

    async def verify(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            await self.reception.browsers.site.form(request)
            return nobody_here(request, self.reception.browsers.to_signin(request))
        await self.reception.browsers.form(request, visitor.signed)
        if not visitor.audits:
            return await refuse(self.reception, visitor, HERE, AUDITOR)
        found = await self.prover.check(visitor.tenant)
        if asks_in_part(request):
            return HTMLResponse(part("check.html", check=found))
        return page("checked.html", visitor, HERE, check=found)

    async def download(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return nobody_here(request, self.reception.browsers.to_signin(request))
        if not visitor.audits:
            return await refuse(self.reception, visitor, HERE, AUDITOR)
        form = request.path_params["form"]
        wanted = wanted_of(request.query_params)
        if form not in TYPES or wanted.wrong:
            return nothing_here()
        parts = self.reception.parts
        asked = {name: word for name, word in wanted.typed.items() if word} if form != "jsonl" else {}
        event = said(visitor, Kind.COMMAND_RUN, "run", parts.clock(), command=f"audit {form}", asked=dict(asked))
        # Before the first byte leaves; where it cannot be written nothing leaves.
        await parts.gateway.record([event])
        name = f"countersign-audit-{parts.clock():%Y%m%d-%H%M%S}.{form}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        if form == "jsonl":
            return StreamingResponse(self.prover.export(visitor.tenant), media_type=TYPES[form], headers=headers)
        meant = await parts.writer.read(lambda conn: known_person(conn, parts, visitor, wanted.filter))
        body = self._rows(visitor, meant, form)
        return StreamingResponse(body, media_type=TYPES[form], headers=headers)

    async def _rows(self, visitor: Visitor, wanted: Filter, form: str) -> AsyncIterator[str]:
        async with self.streams:
            begun = False
            async for rows in self._stretches(visitor.tenant, wanted):
                yield _csv(rows, begun) if form == "csv" else _json(rows, begun)
                begun = True
            if form == "json":
                yield "\n]\n"

    async def _stretches(self, tenant: TenantId, wanted: Filter) -> AsyncIterator[tuple[Row, ...]]:
        """At least one, empty where nothing matches. Newest first: rows written meanwhile are left out."""
        before: int | None = None
        while True:

            def unit(conn: Connection, before: int | None = before) -> query.Page:
                return query.query(conn, tenant, wanted, before=before, limit=STRETCH)

            found = await self.reception.parts.writer.read(unit)
            yield found.rows
            before = found.before
            if before is None:
                return


def _csv(rows: tuple[Row, ...], begun: bool) -> str:
    text = export.as_csv(rows)
    return text.partition("\r\n")[2] if begun else text


def _json(rows: tuple[Row, ...], begun: bool) -> str:
    """A stretch of one array, whose last bracket comes at the end."""
    inner = export.as_json(rows)[1:-1].strip("\n")
    return f"{',' if begun else '['}\n{inner}" if inner else ("" if begun else "[")
