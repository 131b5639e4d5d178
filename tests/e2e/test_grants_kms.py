"""The key-encryption key in AWS KMS (moto's server): what it opens, for whom, and what its faults look like."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bot.identity.grants import GrantAway
from bot.identity.kms import KmsKeys
from bot.identity.sealing import Bound, KeyAway, SealBroken, Sealer
from bot.identity.wrapping import Wrapping
from bot.keys import GRANTS, KeysError
from policy.model import Subject, TenantId
from tests.kit.grant_house import ACME, ADA, Idp, replica

REGION = "eu-central-1"
MINE = Bound(TenantId("acme"), Subject("https://idp.example", "ada"))
OTHERS = Bound(TenantId("globex"), Subject("https://idp.example", "ada"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture
def aws(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """KMS as the service finds it: by AWS's own environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return boto3.client("kms", region_name=REGION)


def new_key(aws: Any) -> str:
    return str(aws.create_key()["KeyMetadata"]["Arn"])


def test_what_was_sealed_opens_for_whom_it_was_sealed(aws: Any) -> None:
    arn = new_key(aws)
    sealer = Sealer(KmsKeys(arn))
    vessel = sealer.vessel(MINE)
    sealed = vessel.seal(1, "refresh-token")
    assert vessel.kek_id == sealer.current() == arn
    assert sealer.opened(MINE, arn, vessel.wrapped).unseal(1, sealed) == "refresh-token"
    with pytest.raises(SealBroken):
        sealer.opened(OTHERS, arn, vessel.wrapped)


def test_the_data_key_is_never_seen_at_rest(aws: Any) -> None:
    key, keys = secrets.token_bytes(32), KmsKeys(new_key(aws))
    kek, wrapped = keys.wrap(key, MINE.to_key())
    assert key not in wrapped
    assert keys.unwrap(kek, wrapped, MINE.to_key()) == key
    with pytest.raises(SealBroken):
        keys.unwrap(kek, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), MINE.to_key())


def test_whose_it_is_does_not_stand_in_cloudtrail(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encryption context is logged in the open."""
    said: list[dict[str, Any]] = []
    make = boto3.client

    def spied(*args: Any, **more: Any) -> Any:
        client = make(*args, **more)
        client.meta.events.register("provide-client-params.kms.Encrypt", lambda params, **_: said.append(params))
        return client

    monkeypatch.setattr(boto3, "client", spied)
    KmsKeys(new_key(aws)).wrap(b"k" * 32, MINE.to_key())
    (asked,) = said
    assert len(asked["EncryptionContext"]["countersign:grant"]) == 64
    assert "ada" not in str(asked["EncryptionContext"])
    assert "acme" not in str(asked["EncryptionContext"])


def test_what_the_file_wrapped_still_opens_and_moves_to_kms(aws: Any, tmp_path: Path) -> None:
    before = Wrapping(tmp_path).open()
    old = Sealer(before).vessel(MINE)
    sealed = old.seal(1, "refresh-token")
    arn = new_key(aws)
    sealer = Sealer(Wrapping(tmp_path, kms=arn).open())
    opened = sealer.opened(MINE, old.kek_id, old.wrapped)
    moved = sealer.rewrapped(opened)
    assert moved.kek_id == arn
    (tmp_path / GRANTS).unlink()
    alone = Sealer(Wrapping(tmp_path, kms=arn).open())
    assert alone.opened(MINE, arn, moved.wrapped).unseal(1, sealed) == "refresh-token"
    with pytest.raises(KeyAway, match="Put the file back"):
        alone.opened(MINE, old.kek_id, old.wrapped)
    assert not (tmp_path / GRANTS).exists(), "a key file that nothing needs is not made"


@pytest.mark.parametrize("how", ["unknown", "silent"])
def test_a_key_that_cannot_be_used_is_away_and_nothing_is_broken(
    aws: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = new_key(aws)
    kek, wrapped = KmsKeys(arn).wrap(b"k" * 32, MINE.to_key())
    if how == "unknown":
        kek = arn[:-12] + "000000000000"
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    keys = KmsKeys(kek)
    with pytest.raises(KeyAway, match="AWS credentials"):
        keys.unwrap(kek, wrapped, MINE.to_key())
    with pytest.raises(KeyAway):
        keys.wrap(b"k" * 32, MINE.to_key())


async def test_a_sign_in_is_kept_under_kms_and_outlives_its_silence(
    aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, url = new_key(aws), f"sqlite:///{tmp_path / 'db'}"
    idp = Idp()
    with replica(url, tmp_path) as by_file:
        await by_file.sign_in()
    with replica(url, tmp_path, fresh=False, kms=arn) as by_kms:
        assert await by_kms.grants.rewrap() == 1
        assert by_kms.rows("SELECT kek_id FROM sealed_grant") == [(arn,)]
        assert (await by_kms.grants.use(ACME, ADA, idp)).access_token == "at-1"
    with monkeypatch.context() as silent:
        silent.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
        with replica(url, tmp_path, fresh=False, kms=arn) as away, pytest.raises(GrantAway, match="Tell an admin"):
            await away.grants.use(ACME, ADA, idp)
    with replica(url, tmp_path, fresh=False, kms=arn) as back:
        assert (await back.grants.use(ACME, ADA, idp)).access_token == "at-2"


@pytest.mark.parametrize(
    "arn", ["", "alias/grants", "arn:aws:kms:eu-central-1:123456789012:alias/grants", "arn:aws:s3:::x"]
)
def test_only_a_key_is_a_key(arn: str) -> None:
    with pytest.raises(KeysError, match="COUNTERSIGN_GRANTS_KMS"):
        KmsKeys(arn)
