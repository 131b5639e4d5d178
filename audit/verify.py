"""Holds the log against its own hashes and against signed checkpoints, and says where it breaks.

Trusts neither the database nor its triggers: bytes are rebuilt from the columns. Knows nothing of how rows came about.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection, Engine

from audit.chain import genesis
from audit.checkpoint import BadLine, Checkpoint, Line
from audit.faults import spoken
from audit.rows import Stretch
from audit.scan import Break, What, scan

PROCESSES = min(4, os.cpu_count() or 1)
WORTH_A_PROCESS = 50_000
"""Rows below which starting another process costs more than it saves."""
_ASK = 500


@dataclass(frozen=True, slots=True)
class Chain:
    """One tenant's chain as it was found. `proven`: the last row that a checkpoint vouches for, 0 if none."""

    tenant: str
    rows: int
    head: str
    proven: int
    proven_at: datetime | None

    @property
    def unproven(self) -> int:
        """Rows at the end that somebody with the database could have removed or rewritten unseen."""
        return max(self.rows - self.proven, 0)


@dataclass(frozen=True, slots=True)
class Report:
    """What the verifier found. It `holds` if nothing breaks; read `unproven` beside it."""

    chains: tuple[Chain, ...]
    breaks: tuple[Break, ...]
    bad_lines: tuple[BadLine, ...]

    @property
    def holds(self) -> bool:
        return not self.breaks and not self.bad_lines

    @property
    def rows(self) -> int:
        return sum(chain.rows for chain in self.chains)

    @property
    def unproven(self) -> int:
        return sum(chain.unproven for chain in self.chains)

    def sentences(self) -> tuple[str, ...]:
        """The report for people, the worst first."""
        found = [f"{item.tenant}, row {item.seq}: {item.why}" for item in self.breaks]
        found += [f"Line {line.number} of the checkpoint file {line.why}." for line in self.bad_lines]
        for chain in self.chains:
            if chain.proven_at is not None:
                found.append(
                    f"{chain.tenant}: rows 1 to {chain.proven} are proven, checkpoint of {_time(chain.proven_at)}."
                )
            if chain.unproven:
                found.append(f"{chain.tenant}: tail unproven: no checkpoint covers the last {chain.unproven} rows.")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the tables say of one tenant. `head_seq` -1: there is no head row."""

    tenant: str
    count: int
    low: int
    high: int
    head_seq: int
    head_hash: str


def verify(
    engine: Engine, checkpoints: Iterable[Line] = (), *, processes: int = PROCESSES, tenant: str | None = None
) -> Report:
    """Checks every row that is in the log when this begins; rows appended meanwhile are left for the next time.

    `checkpoints`: what `audit.checkpoint.read` yields. Without them the tail is unproven. `tenant`: its chain alone,
    and nothing of the others is said.

    Raises:
        StoreUnavailable: the database cannot be read.
        CheckpointError: the checkpoint file cannot be read.
    """
    lines = list(checkpoints)
    signed = [line for line in lines if isinstance(line, Checkpoint) and tenant in (None, line.tenant)]
    with spoken(), _at_one_moment(engine) as conn:
        found, breaks = _survey(conn)
        if tenant is not None:
            found = [item for item in found if item.tenant == tenant]
            breaks = [item for item in breaks if item.tenant == tenant]
        conn.rollback()  # rows up to here never change: nothing has to stay open while they are read
        breaks += _scan_all(address_of(engine), [Stretch(item.tenant, 1, item.high) for item in found], processes)
        breaks += _check_heads(conn, found)
        proofs, failed = _hold_against(conn, found, signed)
    chains = tuple(
        Chain(item.tenant, item.count, item.head_hash, *_proof(proofs.get(item.tenant))) for item in found if item.count
    )
    bad = tuple(line for line in lines if isinstance(line, BadLine))
    return Report(chains, tuple(sorted(breaks + failed, key=lambda item: (item.tenant, item.seq))), bad)


def address_of(engine: Engine) -> str:
    """The engine's database as `audit.rows.open_source` wants it."""
    if engine.dialect.name == "sqlite":
        return f"sqlite:{engine.url.database}"
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _at_one_moment(engine: Engine) -> Connection:
    """A connection whose statements of one transaction all see the same rows: SQLite's do so by themselves."""
    conn = engine.connect()
    if engine.dialect.name == "postgresql":
        # Else heads are read as of one moment and rows as of a later one: growth would look like tampering.
        return conn.execution_options(isolation_level="REPEATABLE READ")
    return conn


def _survey(conn: Connection) -> tuple[list[_Found], list[Break]]:
    """One consistent look at both tables."""
    heads = {row[0]: (row[1], row[2]) for row in conn.exec_driver_sql("SELECT tenant_id, seq, hash FROM audit_head")}
    found: list[_Found] = []
    breaks: list[Break] = []
    for tenant, count, low, high in conn.exec_driver_sql(
        "SELECT tenant_id, count(*), min(seq), max(seq) FROM agent_audit_log GROUP BY tenant_id"
    ):
        if not isinstance(tenant, str) or not isinstance(low, int) or not isinstance(high, int) or low < 1:
            breaks.append(
                Break(
                    str(tenant),
                    0,
                    What.STRAY,
                    f"{count} rows carry a tenant or a number that Countersign never writes.",
                )
            )
            continue
        seq, hashed = heads.pop(tenant, (-1, ""))
        found.append(_Found(tenant, count, low, high, seq, hashed))
    found += [_Found(str(tenant), 0, 0, 0, seq, hashed) for tenant, (seq, hashed) in heads.items()]
    return sorted(found, key=lambda item: item.tenant), breaks


def _check_heads(conn: Connection, found: Sequence[_Found]) -> list[Break]:
    breaks: list[Break] = []
    for item in found:
        if item.head_seq == -1:
            breaks.append(Break(item.tenant, item.high, What.HEAD, "The head of this chain was removed."))
        elif item.head_seq > item.high:
            lost = f"The chain ended with row {item.head_seq}; what follows row {item.high} was removed."
            breaks.append(Break(item.tenant, item.high + 1, What.TRUNCATED, lost))
        elif item.head_seq < item.high:
            more = f"The head says the chain ends with row {item.head_seq}, but there are rows up to {item.high}."
            breaks.append(Break(item.tenant, item.head_seq + 1, What.HEAD, more))
        elif item.head_hash != (_hashes(conn, item.tenant, [item.high]).get(item.high) or genesis(item.tenant)):
            breaks.append(Break(item.tenant, item.high, What.HEAD, "The head is not the hash of the last row."))
    return breaks


def _hold_against(
    conn: Connection, found: Sequence[_Found], signed: Sequence[Checkpoint]
) -> tuple[dict[str, Checkpoint], list[Break]]:
    """The last checkpoint of each tenant that its chain agrees with, and where chain and checkpoints part."""
    high = {item.tenant: item.high for item in found}
    by_tenant: dict[str, list[Checkpoint]] = {}
    for item in signed:
        by_tenant.setdefault(item.tenant, []).append(item)
    proofs: dict[str, Checkpoint] = {}
    breaks: list[Break] = []
    for tenant, items in by_tenant.items():
        items.sort(key=lambda item: (item.seq, item.time))
        held = [item for item in items if item.seq <= high.get(tenant, 0)]
        hashes = _hashes(conn, tenant, [item.seq for item in held])
        for item in held:
            if hashes.get(item.seq) == item.head:
                proofs[tenant] = item
                continue
            since = proofs[tenant].seq + 1 if tenant in proofs else 1
            why = f"Rows {since} to {item.seq} are not those that the checkpoint of {_time(item.time)} signed."
            breaks.append(Break(tenant, since, What.REWRITTEN, why))
            break
        if len(held) < len(items):
            last, end = items[-1], high.get(tenant, 0)
            why = f"A checkpoint signed row {last.seq}; what follows row {end} was removed."
            breaks.append(Break(tenant, end + 1, What.TRUNCATED, why))
    return proofs, breaks


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _proof(item: Checkpoint | None) -> tuple[int, datetime | None]:
    return (0, None) if item is None else (item.seq, item.time)


def _hashes(conn: Connection, tenant: str, seqs: Sequence[int]) -> dict[int, str]:
    mark = "%s" if conn.dialect.name == "postgresql" else "?"
    found: dict[int, str] = {}
    for start in range(0, len(seqs), _ASK):
        part = seqs[start : start + _ASK]
        query = (
            f"SELECT seq, row_hash FROM agent_audit_log WHERE tenant_id = {mark}"  # noqa: S608  placeholders only
            f" AND seq IN ({', '.join([mark] * len(part))})"
        )
        found.update({row[0]: row[1] for row in conn.exec_driver_sql(query, (tenant, *part))})
    return found


def _scan_all(address: str, chains: Sequence[Stretch], processes: int) -> list[Break]:
    """Scans in this process and, where there is enough to do, in others beside it."""
    total = sum(chain.last for chain in chains)
    shares = _shares(chains, max(1, min(processes, total // WORTH_A_PROCESS)))
    helpers = [(share, _start(address, share)) for share in shares[1:]]
    try:
        breaks = scan(address, shares[0])
        for share, helper in helpers:
            breaks += _finish(address, share, helper)
        return breaks
    finally:
        for _, helper in helpers:
            _end(helper)


def _shares(chains: Sequence[Stretch], parts: int) -> list[list[Stretch]]:
    """`chains` cut into `parts` lists of about the same number of rows."""
    size = max(1, -(-sum(chain.last for chain in chains) // parts))
    shares: list[list[Stretch]] = [[]]
    room = size
    for chain in chains:
        first = 1
        while first <= chain.last:
            if room == 0:
                shares.append([])
                room = size
            last = min(chain.last, first + room - 1)
            shares[-1].append(Stretch(chain.tenant, first, last))
            room -= last - first + 1
            first = last + 1
    return shares


def _start(address: str, share: Sequence[Stretch]) -> subprocess.Popen[str] | None:
    job = {"address": address, "stretches": [{"tenant": s.tenant, "first": s.first, "last": s.last} for s in share]}
    home = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile("w+") as question:  # it may hold a password, so it is no argument
        json.dump(job, question)
        question.seek(0)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "audit.scan"],
                stdin=question,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError:
            return None


def _finish(address: str, share: Sequence[Stretch], helper: subprocess.Popen[str] | None) -> list[Break]:
    """The helper's breaks; where it could not run, its share is scanned here."""
    if helper is None:
        return scan(address, share)
    answer, _ = helper.communicate()
    if helper.returncode != 0:
        return scan(address, share)
    return [Break(item["tenant"], item["seq"], What(item["what"]), item["why"]) for item in json.loads(answer)]


def _end(helper: subprocess.Popen[str] | None) -> None:
    """Leaves no process behind when the scan here failed."""
    if helper is not None and helper.poll() is None:
        helper.kill()
        helper.communicate()
