"""Sealed refresh tokens: bound to one person, used by one at a time, replaced and ended. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

from audit import ddl
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity.grants import LEASE, GrantAway, Grants, NoGrant
from bot.identity.oidc import OidcError, OidcFault, Refreshed
from bot.identity.sealing import Bound, FileKeys, KeyAway, SealBroken, Sealer, add_key, kek_id, open_or_make
from bot.identity.tables import SealedGrant, table
from bot.keys import GRANTS, KeysError
from policy.model import Subject, TenantId
from policy.pii import redact

ACME, OTHER = TenantId("acme"), TenantId("other")
ADA, BOB = Subject("https://idp.acme.example", "ada"), Subject("https://idp.acme.example", "bob")
GRANT = table(SealedGrant)


@dataclass
class Idp:
    """Rotates refresh tokens, and takes the second use of one for a theft, as RFC 9700 asks."""

    live: str = "rt-0"
    spent: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    async def __call__(self, token: str) -> Refreshed:
        self.asked.append(token)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if token != self.live:
                self.live = "revoked"
                raise OidcError(OidcFault.GRANT, "spent")
            self.spent.append(token)
            self.live = f"rt-{len(self.spent)}"
            said = self.live
            await asyncio.sleep(0.01)
            return Refreshed(f"at-{len(self.spent)}", said, f"id-{len(self.spent)}")
        finally:
            self.at_once -= 1


@dataclass
class Clock:
    now: datetime = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Replica:
    grants: Grants
    writer: Writer
    clock: Clock

    async def sign_in(self, token: str = "rt-0", tenant: TenantId = ACME, subject: Subject = ADA) -> None:
        vessel = await self.grants.prepare(tenant, subject)

        def unit(conn: sa.Connection) -> None:
            AuditStore(redact).append(conn, self.grants.store(conn, vessel, token, self.clock()))

        await self.writer.run(unit)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.writer.read_blocking(lambda conn: [tuple(row) for row in conn.execute(sa.text(query))])

    def audit(self) -> list[tuple[object, ...]]:
        return self.rows("SELECT kind, status, actor_user_id, tenant_id FROM agent_audit_log ORDER BY tenant_id, seq")

    def write(self, statement: sa.Update) -> None:
        self.writer.run_blocking(lambda conn: conn.execute(statement).rowcount)


@contextmanager
def replica(url: str, keys: Path, *, fresh: bool = True, patience: float = 5.0) -> Iterator[Replica]:
    engine = make_engine(url)
    if fresh:
        with engine.begin() as conn:
            SQLModel.metadata.create_all(conn)
            ddl.create_all(conn)
    writer, clock = Writer(engine), Clock()
    try:
        yield Replica(
            Grants(writer, AuditStore(redact), Sealer(open_or_make(keys)), clock, patience=patience), writer, clock
        )
    finally:
        writer.close()
        engine.dispose()


@pytest.fixture
def one(engine_url: str, tmp_path: Path) -> Iterator[Replica]:
    with replica(engine_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def local(sqlite_url: str, tmp_path: Path) -> Iterator[Replica]:
    with replica(sqlite_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def two(engine_url: str, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    with replica(engine_url, tmp_path) as first, replica(engine_url, tmp_path, fresh=False) as second:
        yield first, second


# -- stored and used -----------------------------------------------------------------------------------------------


async def test_each_use_takes_the_token_that_came_last(one: Replica) -> None:
    idp = Idp()
    await one.sign_in()
    for number in (1, 2, 3):
        assert (await one.grants.use(ACME, ADA, idp)).access_token == f"at-{number}"
    assert idp.asked == ["rt-0", "rt-1", "rt-2"]
    assert one.rows("SELECT generation, lease FROM sealed_grant") == [(4, None)]
    assert one.audit() == [("grant.stored", "stored", "ada", "acme")]


async def test_a_provider_that_does_not_rotate(local: Replica) -> None:
    async def steady(token: str) -> Refreshed:
        assert token == "rt-0"
        return Refreshed("at")

    await local.sign_in()
    for _ in range(3):
        await local.grants.use(ACME, ADA, steady)


async def test_no_token_lies_open_anywhere_in_the_database(local: Replica, tmp_path: Path) -> None:
    await local.sign_in("very-secret-refresh-token")
    local.writer.close()
    for path in tmp_path.glob("countersign.sqlite*"):
        assert b"very-secret-refresh-token" not in path.read_bytes()
    assert "very-secret" not in repr(await local.grants.prepare(ACME, ADA))


async def test_nobody_signed_in(local: Replica) -> None:
    with pytest.raises(NoGrant):
        await local.grants.use(ACME, ADA, Idp())
    await local.sign_in()
    for tenant, subject in ((ACME, BOB), (OTHER, ADA)):
        with pytest.raises(NoGrant):
            await local.grants.use(tenant, subject, Idp())


async def test_a_new_sign_in_takes_the_place_of_what_ended(one: Replica) -> None:
    await one.sign_in("stale")
    with pytest.raises(NoGrant):
        await one.grants.use(ACME, ADA, Idp())
    await one.sign_in("rt-0")
    assert (await one.grants.use(ACME, ADA, Idp())).access_token == "at-1"


# -- two replicas --------------------------------------------------------------------------------------------------


async def test_two_replicas_that_refresh_at_once_take_turns(two: tuple[Replica, Replica]) -> None:
    """An IdP that rotates revokes everything when one token comes twice: twenty calls, and nothing is revoked."""
    idp = Idp()
    await two[0].sign_in()
    got = await asyncio.gather(*(two[number % 2].grants.use(ACME, ADA, idp) for number in range(20)))
    assert sorted(one.access_token for one in got) == sorted(f"at-{number}" for number in range(1, 21))
    assert idp.most == 1
    assert len(set(idp.asked)) == 20
    assert two[0].rows("SELECT generation, ended_at FROM sealed_grant") == [(21, None)]


async def test_two_people_do_not_wait_for_each_other(two: tuple[Replica, Replica]) -> None:
    reached = asyncio.Event()
    done = asyncio.Event()

    async def slow(token: str) -> Refreshed:
        reached.set()
        await done.wait()
        return Refreshed("slow")

    await two[0].sign_in(subject=ADA)
    await two[0].sign_in(subject=BOB)
    waiting = asyncio.create_task(two[0].grants.use(ACME, ADA, slow))
    await reached.wait()
    assert (await two[1].grants.use(ACME, BOB, Idp())).access_token == "at-1"
    done.set()
    await waiting


async def test_a_replica_that_died_holding_it_is_waited_for_and_then_passed(engine_url: str, tmp_path: Path) -> None:
    with replica(engine_url, tmp_path, patience=0.1) as one:
        await one.sign_in()
        one.write(sa.update(GRANT).values(lease="the dead", lease_until=one.clock.now + LEASE))
        with pytest.raises(GrantAway, match="under way"):
            await one.grants.use(ACME, ADA, Idp())
        one.clock.now += LEASE
        assert (await one.grants.use(ACME, ADA, Idp())).access_token == "at-1"


async def test_one_token_used_twice_ends_the_grant(two: tuple[Replica, Replica]) -> None:
    """The first replica's lease runs out while it asks; the second goes on from the same token."""
    first, second = two
    steady_answers = {"n": 0}
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(token: str) -> Refreshed:
        reached.set()
        await go.wait()
        return Refreshed("late", "rt-late")

    async def fast(token: str) -> Refreshed:
        steady_answers["n"] += 1
        return Refreshed("quick", "rt-quick")

    await first.sign_in()
    waiting = asyncio.create_task(first.grants.use(ACME, ADA, slow))
    await reached.wait()
    second.clock.now += LEASE + timedelta(seconds=1)
    assert (await second.grants.use(ACME, ADA, fast)).access_token == "quick"
    go.set()
    with pytest.raises(NoGrant):
        await waiting
    assert [row[:2] for row in first.audit()] == [("grant.stored", "stored"), ("grant.ended", "reused")]
    with pytest.raises(NoGrant):
        await second.grants.use(ACME, ADA, fast)
    assert steady_answers["n"] == 1, "nobody asks again with what has ended"


@pytest.mark.parametrize("tidy", [True, False])
async def test_a_leaver_gets_nothing_for_what_was_under_way(two: tuple[Replica, Replica], tidy: bool) -> None:
    """`tidy`: ended by the grants themselves; else by whoever only marks the row, with our lease still in it."""
    first, second = two
    reached, go = asyncio.Event(), asyncio.Event()

    async def slow(token: str) -> Refreshed:
        reached.set()
        await go.wait()
        return Refreshed("late", "rt-1")

    await first.sign_in()
    waiting = asyncio.create_task(first.grants.use(ACME, ADA, slow))
    await reached.wait()
    if tidy:
        events = await second.writer.run(lambda conn: second.grants.end(conn, ACME, ADA, "left", second.clock()))
        assert [event.status for event in events] == ["left"]
    else:
        second.write(sa.update(GRANT).values(ended_at=second.clock.now, ended="left", sealed="", wrapped_key=""))
    go.set()
    with pytest.raises(NoGrant):
        await waiting
    assert first.rows("SELECT sealed, wrapped_key, ended FROM sealed_grant") == [("", "", "left")]


# -- what the IdP says -----------------------------------------------------------------------------------------------


async def test_a_refused_token_ends_the_grant_once_and_is_not_tried_again(one: Replica) -> None:
    idp = Idp()
    await one.sign_in("an-older-one")
    outcomes = await asyncio.gather(*(one.grants.use(ACME, ADA, idp) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, NoGrant) for outcome in outcomes)
    assert idp.asked == ["an-older-one"], "no storm"
    assert one.audit()[1:] == [("grant.ended", "refused", "ada", "acme")]
    assert one.rows("SELECT sealed, wrapped_key FROM sealed_grant") == [("", "")]


@pytest.mark.parametrize("fault", [fault for fault in OidcFault if fault is not OidcFault.GRANT])
async def test_an_idp_that_is_away_ends_nothing(local: Replica, fault: OidcFault) -> None:
    async def away(token: str) -> Refreshed:
        raise OidcError(fault, "Not now.")

    await local.sign_in()
    with pytest.raises(GrantAway, match=r"^Not now\.$"):
        await local.grants.use(ACME, ADA, away)
    assert (await local.grants.use(ACME, ADA, Idp())).access_token == "at-1"


async def test_what_breaks_off_lets_go(local: Replica) -> None:
    async def broken(token: str) -> Refreshed:
        raise RuntimeError

    await local.sign_in()
    with pytest.raises(RuntimeError):
        await local.grants.use(ACME, ADA, broken)
    assert (await local.grants.use(ACME, ADA, Idp())).access_token == "at-1"


async def test_who_gives_up_waiting_loses_no_token(local: Replica) -> None:
    """The action's time is over while the IdP has already replaced the token: the new one is kept all the same."""
    idp, reached = Idp(), asyncio.Event()

    async def ask(token: str) -> Refreshed:
        reached.set()
        await asyncio.sleep(0.05)
        return await idp(token)

    await local.sign_in()
    waiting = asyncio.create_task(local.grants.use(ACME, ADA, ask))
    await reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await local.grants.use(ACME, ADA, idp)).access_token == "at-2"
    assert idp.asked == ["rt-0", "rt-1"]


# -- rows that were moved or altered -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("tenant", "subject"), [(OTHER, ADA), (ACME, BOB), (ACME, Subject("https://x", "ada"))])
async def test_a_row_copied_to_somebody_else_does_not_open(one: Replica, tenant: TenantId, subject: Subject) -> None:
    await one.sign_in()
    await one.sign_in("rt-theirs", tenant, subject)
    mine = {"tenant": ACME, "issuer": ADA.issuer, "sub": ADA.sub}
    copied = ("kek_id", "wrapped_key", "sealed", "token_sha256", "generation")

    def copy(conn: sa.Connection) -> None:
        row = conn.execute(sa.select(GRANT).where(*[GRANT.c[name] == value for name, value in mine.items()])).one()
        theirs = (GRANT.c.tenant == tenant, GRANT.c.issuer == subject.issuer, GRANT.c.sub == subject.sub)
        conn.execute(sa.update(GRANT).where(*theirs).values(**{name: row._mapping[name] for name in copied}))

    one.writer.run_blocking(copy)
    idp = Idp()
    with pytest.raises(NoGrant):
        await one.grants.use(tenant, subject, idp)
    assert idp.asked == []
    assert ("grant.ended", "broken", subject.sub, tenant) in one.audit()
    assert (await one.grants.use(ACME, ADA, idp)).access_token == "at-1", "the owner's still opens"


async def test_an_older_generation_does_not_open(local: Replica) -> None:
    """Somebody puts yesterday's row back and leaves the counter, or moves the counter along with it."""
    idp = Idp()
    await local.sign_in()
    (old,) = local.rows("SELECT sealed, token_sha256, generation FROM sealed_grant")
    await local.grants.use(ACME, ADA, idp)
    local.write(sa.update(GRANT).values(sealed=old[0], token_sha256=old[1]))
    with pytest.raises(NoGrant):
        await local.grants.use(ACME, ADA, idp)
    assert idp.asked == ["rt-0"]

    idp = Idp()
    await local.sign_in()
    (old,) = local.rows("SELECT sealed, token_sha256, generation FROM sealed_grant")
    await local.grants.use(ACME, ADA, idp)
    local.write(sa.update(GRANT).values(sealed=old[0], token_sha256=old[1], generation=old[2]))
    with pytest.raises(NoGrant):
        await local.grants.use(ACME, ADA, idp)
    assert local.audit()[-1][:2] == ("grant.ended", "refused"), "the IdP knows it for spent"


@pytest.mark.parametrize("column", ["sealed", "wrapped_key", "token_sha256"])
async def test_an_altered_row_does_not_open(local: Replica, column: str) -> None:
    await local.sign_in()
    ((value,),) = local.rows(f"SELECT {column} FROM sealed_grant")
    for changed in (f"{str(value)[:-6]}AAAAAA", "", "!"):
        await local.sign_in()
        local.write(sa.update(GRANT).values({column: changed}))
        with pytest.raises(NoGrant):
            await local.grants.use(ACME, ADA, Idp())


# -- the key-encryption key ----------------------------------------------------------------------------------------


async def test_a_new_key_encryption_key(one: Replica, tmp_path: Path) -> None:
    await one.sign_in(subject=ADA)
    await one.sign_in(subject=BOB)
    before = one.rows("SELECT kek_id, sealed FROM sealed_grant ORDER BY sub")
    new = add_key(tmp_path / GRANTS)
    idp = Idp()
    await one.grants.use(ACME, ADA, idp)
    assert await one.grants.rewrap() == 2
    after = one.rows("SELECT kek_id, sealed FROM sealed_grant ORDER BY sub")
    assert {row[0] for row in before} == {row[0] for row in before} != {row[0] for row in after}
    assert {row[0] for row in after} == {new}
    assert before[1][1] == after[1][1], "what is sealed is not touched"
    assert await one.grants.rewrap() == 0
    (tmp_path / GRANTS).write_text((tmp_path / GRANTS).read_text().splitlines()[0])
    await one.grants.use(ACME, ADA, idp)


async def test_a_key_that_is_missing_ends_nothing(local: Replica, tmp_path: Path) -> None:
    await local.sign_in()
    kept = (tmp_path / GRANTS).read_text()
    (tmp_path / GRANTS).write_text("ab" * 32)
    with pytest.raises(GrantAway, match="Tell an admin"):
        await local.grants.use(ACME, ADA, Idp())
    with pytest.raises(KeyAway):
        await local.grants.rewrap()
    (tmp_path / GRANTS).write_text(kept)
    assert (await local.grants.use(ACME, ADA, Idp())).access_token == "at-1"


def test_a_key_file_that_goes_wrong_keeps_the_keys_before_it(tmp_path: Path) -> None:
    keys = open_or_make(tmp_path)
    kek, wrapped = keys.wrap(b"k" * 32, b"x")
    (tmp_path / GRANTS).write_text("zz")
    assert keys.unwrap(kek, wrapped, b"x") == b"k" * 32
    with pytest.raises(SealBroken):
        keys.unwrap(kek, wrapped, b"y")
    for wrong in ("", "zz", "00", "é", "00" * 31):
        (tmp_path / GRANTS).write_text(wrong)
        with pytest.raises(KeysError, match="64 hex digits"):
            FileKeys(tmp_path / GRANTS)
    with pytest.raises(KeysError, match="cannot be read"):
        open_or_make(tmp_path, tmp_path / "elsewhere")


def test_the_key_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    assert open_or_make(tmp_path).current() == open_or_make(tmp_path).current()
    assert (tmp_path / GRANTS).stat().st_mode & 0o777 == 0o600
    add_key(tmp_path / GRANTS)
    assert (tmp_path / GRANTS).stat().st_mode & 0o777 == 0o600


def test_two_new_keys_at_once_are_both_kept(tmp_path: Path) -> None:
    first = open_or_make(tmp_path).current()
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: add_key(tmp_path / GRANTS), range(8)))
    lines = (tmp_path / GRANTS).read_text().split()
    assert {kek_id(bytes.fromhex(line)) for line in lines} == made | {first}
    (tmp_path / GRANTS).write_text("zz")
    with pytest.raises(KeysError):
        add_key(tmp_path / GRANTS)


def test_names_do_not_run_into_each_other() -> None:
    texts = [
        Bound(TenantId(tenant), Subject(issuer, sub)).to_key()
        for tenant, issuer, sub in (("a", "b", "c"), ("a|b", "", "c"), ("a", "b|c", ""), ("a", '","', "c"))
    ]
    assert len(set(texts)) == 4
