"""`countersign serve` on PostgreSQL under a login that owns nothing: the main job runs, the log stays out of its reach.

The migration runs as the owner and lends the rights; everything after that, the shell's commands too, is the service's
login alone (invariant 10).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.kit.service_process import Home, Service, fill_shop, fresh_database, serving
from tests.kit.slack_desk import ANN, BOB, DANA, FINANCE, LEE, Desk, Message, plain, read
from tests.rigs.local_slack import LocalSlack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"
TO_THE_LOG = (
    "UPDATE agent_audit_log SET status = 'executed'",
    "DELETE FROM agent_audit_log WHERE seq = 1",
    "TRUNCATE agent_audit_log",
    "TRUNCATE audit_head",
    "DROP TABLE agent_audit_log",
    "DROP TRIGGER agent_audit_log_append_only ON agent_audit_log",
    "DROP FUNCTION audit_log_refuse() CASCADE",
    "ALTER TABLE agent_audit_log DISABLE TRIGGER ALL",
    "ALTER TABLE agent_audit_log OWNER TO CURRENT_USER",
    "ALTER TABLE audit_head DISABLE TRIGGER ALL",
    "UPDATE audit_head SET seq = 0",
    "DELETE FROM audit_head",
    "INSERT INTO audit_head (tenant_id, seq, hash) VALUES ('other', 0, 'x')",
    "CREATE TRIGGER own BEFORE INSERT ON agent_audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_refuse()",
    "SET session_replication_role = replica",
)


@dataclass(frozen=True)
class OneDatabase(Home):
    """A deployment whose shop is in the same PostgreSQL database."""

    @property
    def business_url(self) -> str:
        return self.url

    def environment(self, **more: str) -> dict[str, str]:
        return super().environment(COUNTERSIGN_BUSINESS_URL=self.url, **more)


@dataclass(frozen=True)
class Office:
    desk: Desk
    owner: Home
    home: Home
    """What the service and its operators have: the same files, the other login."""

    async def settled(self, card: Message, words: str) -> str:
        found = await self.desk.find(
            FINANCE, lambda text, m: m["ts"] == card["ts"] and words in plain(text), f"the card to say {words!r}"
        )
        return plain(read(found))

    async def shell(self, *words: str) -> str:
        """`countersign …` under the service's login."""
        ended = await self.home.cli(*words)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return plain(ended.stdout)


@pytest.fixture(scope="module")
def homes(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """The owner's and the service's. The owner has migrated, and named the service's login."""
    folder = tmp_path_factory.mktemp("role") / "home"
    with fresh_database(postgres_server) as url:
        role = f"service_{make_url(url).database}"
        with psycopg.connect(postgres_server, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        login = make_url(url).set(username=role).render_as_string(hide_password=False)
        owner, home = OneDatabase(folder, url), OneDatabase(folder, login)
        folder.mkdir(parents=True)
        owner.write_tenants()
        owner.write_policy()
        migrated = owner.run("migrate", "--service-role", role)
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        fill_shop(owner)
        home.hire()
        yield owner, home
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(homes: tuple[Home, Home], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with LocalSlack.start("socket", tmp_path_factory.mktemp("slack")) as slack:
        yield Office(Desk(slack), *homes)


def unhindered(service: Service) -> None:
    """Nothing it did needed a right that it has not, nor was it warned of having too many."""
    said = service.said()
    assert not re.search(r"permission denied|must be owner|InsufficientPrivilege|ProgrammingError", said), said
    assert "guards" not in said, said


async def test_the_main_job_a_crash_and_a_stop(office: Office) -> None:
    desk, home = office.desk, office.home
    async with serving(home, desk.slack.api_url) as service:
        dm = await desk.ask(DANA, ASK)
        card = await desk.card(FINANCE, "Refund 42.00 USD for order 1042")
        await desk.press(card, ANN, "Approve")
        await office.settled(card, "Refunded 42.00 USD")
        await desk.press(await desk.card(await desk.dm(LEE), "Send an e-mail to Ada Lindqvist"), LEE, "Approve")
        await desk.said(dm, "Refunded 42.00 USD for order 1042")
        waiting = await desk.ask(DANA, "Refund order 1017, 20 dollars, the sofa is scratched")
        left = await desk.card(FINANCE, "Refund 20.00 USD for order 1017")
        await service.kill9()
        unhindered(service)

    assert "Stopped" in await office.shell("kill", "tool", "refund.issue", "while", "we", "look")
    assert "1017" in await office.shell("pending")
    async with serving(home, desk.slack.api_url) as service:
        await desk.press(left, ANN, "Approve")
        await desk.private(FINANCE, ANN, "while we look")
        await office.shell("resume", "tool", "refund.issue")
        await desk.press(left, BOB, "Approve")
        await office.settled(left, "Refunded 20.00 USD")
        await desk.said(waiting, "Refunded 20.00 USD for order 1017")
        assert (home.refunds("1042"), home.refunds("1017")) == ([4200], [2000])
        assert await service.stop() == 0
        unhindered(service)
    assert [mail["recipient"] for mail in home.mails()] == ["ada.lindqvist@example.com"]
    executed = [actor for kind, _status, actor in home.audit() if kind == "tool.executed"]
    assert executed.count("dana") >= 3


async def test_raw_text_is_erased_by_command_and_by_age(office: Office, tmp_path: Path) -> None:
    desk, home = office.desk, office.home
    await office.shell("data", "erase", "--person", "dana")
    assert home.rows("SELECT 1 FROM agent_audit_log WHERE kind = 'data.erased' AND status = 'erased'")
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    async with serving(home, desk.slack.api_url) as service:
        dm = await desk.ask(DANA, "What did order 1042 cost?")
        await desk.said(dm, "84.00 USD")
        assert await service.stop() == 0
    ahead.write_text(str(3 * 24 * 3600))

    async def erased() -> bool:
        by_age = "SELECT 1 FROM agent_audit_log WHERE kind = 'data.erased' AND actor_user_id = 'retention'"
        return bool(home.rows(by_age))

    async with serving(home, desk.slack.api_url, ahead=ahead, COUNTERSIGN_RETENTION_DAYS="1") as service:
        await until(erased, "retention to erase what is old")
        assert await service.stop() == 0
        unhindered(service)


async def test_the_shell_reads_and_proves_under_the_login(office: Office) -> None:
    assert "rows hold." in await office.shell("audit", "verify")
    assert "refund.issue" in await office.shell("audit", "query", "--tool", "refund.issue", "--status", "executed")
    await office.shell("audit", "head")
    checked = await office.home.cli(
        "check", "--json", SLACK_BOT_TOKEN="xoxb-1", SLACK_API_URL=office.desk.slack.api_url
    )
    assert "database role" not in checked.stdout


async def test_the_login_can_do_nothing_to_the_log(office: Office) -> None:
    address = make_url(office.home.url).set(drivername="postgresql").render_as_string(hide_password=False)
    rows = len(office.home.rows("SELECT 1 FROM agent_audit_log"))
    assert rows > 20
    with psycopg.connect(address, autocommit=True) as conn:
        for statement in TO_THE_LOG:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            conn.execute(
                "INSERT INTO agent_audit_log SELECT (jsonb_populate_record(l, '{\"seq\": 100000}')).*"
                " FROM agent_audit_log l LIMIT 1"
            )
    assert len(office.home.rows("SELECT 1 FROM agent_audit_log")) == rows
    assert "rows hold." in await office.shell("audit", "verify")


async def test_under_the_owner_it_warns_once(office: Office) -> None:
    async with serving(office.owner, office.desk.slack.api_url) as service:
        assert await service.stop() == 0
        assert service.said().count("switch the guards of the audit log off") == 1
        assert "countersign migrate --service-role NAME" in service.said()
