"""Sealed refresh tokens: rows that were moved or altered do not open, and their keys change. On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.identity.grants import GrantAway, NoGrant
from bot.identity.sealing import Bound, FileKeys, KeyAway, SealBroken, add_key, kek_id, open_or_make
from bot.keys import GRANTS, KeysError
from policy.model import Subject, TenantId
from tests.kit.grant_house import ACME, ADA, BOB, GRANT, OTHER, Idp, Replica, replica


@pytest.fixture
def one(engine_url: str, tmp_path: Path) -> Iterator[Replica]:
    with replica(engine_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def local(sqlite_url: str, tmp_path: Path) -> Iterator[Replica]:
    with replica(sqlite_url, tmp_path) as opened:
        yield opened


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
