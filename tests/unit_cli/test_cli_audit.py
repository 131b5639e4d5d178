"""`countersign audit …` on a real log, on both databases."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pytest
import sqlalchemy as sa
import typer

from audit import ddl
from audit.checkpoint import Checkpointer
from audit.event import Event, Kind
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.cli_audit import moment
from bot.keys import make_keys


class Countersign(Protocol):
    def __call__(self, *words: str) -> Any: ...


START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def event(number: int, kind: Kind, status: str, tenant: str = "demo", approver: str | None = None) -> Event:
    return Event(
        kind=kind,
        tenant=tenant,
        occurred_at=START + timedelta(hours=number),
        status=status,
        actor_user_id="dana",
        actor_roles=("support_agent",),
        call_id="call-1",
        tool_name="refund.issue",
        tool_args={"order_id": "1042", "amount": "42.00", "currency": "USD"},
        hitl_approver=approver,
        cost_usd=Decimal("0.01"),
    )


@pytest.fixture
def log(home: Path, engine_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A refund that was asked for and done, and a checkpoint after it."""
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", engine_url)
    keys = make_keys(home / ".countersign/keys")
    engine = make_engine(engine_url)
    writer = Writer(engine)
    writer.run_blocking(ddl.create_all)
    store = AuditStore(lambda text: text)
    told = [event(0, Kind.TOOL_REQUESTED, "pending"), event(1, Kind.TOOL_EXECUTED, "executed", approver="ann,bob")]
    writer.run_blocking(lambda conn: store.append(conn, told))
    writer.read_blocking(Checkpointer(home / ".countersign/checkpoints.jsonl", keys.checkpoint).write)
    writer.close()
    engine.dispose()
    return engine_url


def add(url: str, told: Event) -> None:
    engine = make_engine(url)
    writer = Writer(engine)
    writer.run_blocking(lambda conn: AuditStore(lambda text: text).append(conn, [told]))
    writer.close()
    engine.dispose()


def forge(url: str) -> None:
    """Somebody who owns the database and has switched its guards off."""
    engine = sa.create_engine(url)
    with engine.begin() as conn:
        _drop_guards(conn)
        conn.exec_driver_sql("UPDATE agent_audit_log SET hitl_approver = 'mallory' WHERE seq = 2")
    engine.dispose()


def _drop_guards(conn: sa.Connection) -> None:
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("ALTER TABLE agent_audit_log DISABLE TRIGGER USER")
        return
    names = conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    for name in names:
        conn.exec_driver_sql(f"DROP TRIGGER {name}")


def test_a_log_in_which_nobody_asked_for_anything_says_so(
    engine_url: str, home: Path, countersign: Countersign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", engine_url)
    engine = make_engine(engine_url)
    writer = Writer(engine)
    writer.run_blocking(ddl.create_all)
    writer.close()
    engine.dispose()
    said = countersign("audit", "query")
    assert said.status == 1
    assert "Nobody has asked for anything yet" in said.err
    assert "--tenant" in countersign("audit", "query", "--tenant", "nobody").err


def test_a_log_that_holds(log: str, countersign: Countersign) -> None:
    said = countersign("audit", "verify")
    assert said.status == 0
    assert "2 rows hold." in said.out
    told = countersign("audit", "verify", "--json").json()
    assert (told["holds"], told["rows"], told["unproven"], told["breaks"]) == (True, 2, 0, [])


def test_a_forged_row_is_pointed_at(log: str, countersign: Countersign) -> None:
    forge(log)
    said = countersign("audit", "verify", "--json")
    assert said.status == 1
    assert {(at["tenant"], at["seq"]) for at in said.json()["breaks"]} == {("demo", 2)}
    assert "does not hold" in countersign("audit", "verify").out


def test_without_a_checkpoint_the_tail_is_called_unproven(log: str, home: Path, countersign: Countersign) -> None:
    (home / ".countersign/checkpoints.jsonl").unlink()
    said = countersign("audit", "verify")
    assert said.status == 0
    assert "tail unproven" in said.out


def test_a_checkpoint_under_another_key_does_not_count(log: str, home: Path, countersign: Countersign) -> None:
    make_keys(home / "others")
    said = countersign("audit", "verify", "--key", str(home / "others/checkpoint.pem.pub"), "--json")
    assert said.status == 1
    assert said.json()["bad_checkpoints"]


def test_who_approved_this_refund_is_one_question(log: str, countersign: Countersign) -> None:
    said = countersign("audit", "query", "--tool", "refund.issue", "--status", "executed")
    assert said.status == 0
    assert "ann,bob" in said.out
    [row] = countersign("audit", "query", "--who", "bob", "--json").json()
    assert (row["status"], row["tool_args"]["amount"], row["cost_usd"]) == ("executed", "42.00", "0.01000000")


def test_a_question_in_time(log: str, countersign: Countersign) -> None:
    rows = countersign("audit", "query", "--since", "2026-03-01T09:30:00Z", "--until", "2026-03-02", "--json").json()
    assert [row["seq"] for row in rows] == [2]
    said = countersign("audit", "query", "--since", "1h", "--json")
    assert (said.status, said.json()) == (1, [])


def test_for_a_spreadsheet(log: str, countersign: Countersign) -> None:
    rows = list(csv.DictReader(io.StringIO(countersign("audit", "query", "--format", "csv").out)))
    assert [row["seq"] for row in rows] == ["2", "1"]


def test_heads(log: str, countersign: Countersign) -> None:
    [at] = countersign("audit", "head", "--json").json()
    assert (at["tenant"], at["seq"], len(at["hash"])) == ("demo", 2, 64)
    assert at["hash"] in countersign("audit", "head").out


def test_an_export_proves_itself_and_a_changed_one_does_not(log: str, home: Path, countersign: Countersign) -> None:
    assert countersign("audit", "export", "--out", "log.jsonl", "--json").json() == {"file": "log.jsonl", "rows": 2}
    key = str(home / ".countersign/keys/checkpoint.pem.pub")
    said = countersign("audit", "verify", "--file", "log.jsonl", "--key", key)
    assert (said.status, "The export holds." in said.out) == (0, True)
    text = (home / "log.jsonl").read_text()
    (home / "log.jsonl").write_text(text.replace("42.00", "43.00"))
    said = countersign("audit", "verify", "--file", "log.jsonl", "--json")
    assert said.status == 1
    assert said.json()["breaks"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"export": 1}', "no json"])
def test_what_is_no_export_is_refused_in_a_sentence(home: Path, countersign: Countersign, text: str) -> None:
    (home / "x").write_text(text)
    said = countersign("audit", "verify", "--file", "x")
    assert said.status == 1
    assert "no export" in said.err


def test_two_organisations_are_not_mixed(log: str, countersign: Countersign) -> None:
    add(log, event(3, Kind.TOOL_REQUESTED, "pending", tenant="globex"))
    said = countersign("audit", "query")
    assert said.status == 2
    assert "demo, globex" in said.err
    assert len(countersign("audit", "query", "--tenant", "globex", "--json").json()) == 1
    assert countersign("audit", "query", "--tenant", "initech").status == 2


def test_looking_makes_no_database(home: Path, countersign: Countersign) -> None:
    for words in (("verify",), ("query",), ("head",), ("export",)):
        said = countersign("audit", *words)
        assert said.status == 1
        assert "There is no database at" in said.err
    assert list(home.iterdir()) == []


def test_an_empty_database_says_what_to_do(
    home: Path, engine_url: str, countersign: Countersign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", engine_url)
    engine = sa.create_engine(engine_url)
    engine.connect().close()
    engine.dispose()
    said = countersign("audit", "verify", "--json")
    assert said.status == 1
    assert "countersign migrate" in said.json()["error"]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "7", "7y", ""])
def test_a_time_that_is_none_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


def test_a_time_without_a_zone_is_utc() -> None:
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T10:00:00+01:00") == datetime(2026, 1, 31, 9, tzinfo=UTC)
