"""The key-encryption key in AWS KMS, which never shows it. The only importer of boto3; knows no row.

Whose a data key is goes along, digested, as the encryption context: KMS opens it for nobody else.
See https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html.
"""

from __future__ import annotations

import hashlib
import re
from typing import Protocol, TypedDict, cast

from bot.identity.sealing import KeyAway, KeyEncryption, SealBroken
from bot.keys import KeysError

ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):kms:([a-z0-9-]+):([0-9]{12}):key/[A-Za-z0-9-]{1,64}", re.ASCII)
"""Of a key, not of an alias: what wrapped a row must be the same key tomorrow."""
NEEDS = 'It needs boto3: pip install "countersign[aws-kms]".'

_NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_CONTEXT = "countersign:grant"
_CONNECT_S, _READ_S, _ATTEMPTS = 3, 5, 3


class _Wrapped(TypedDict):
    KeyId: str
    CiphertextBlob: bytes


class _Opened(TypedDict):
    Plaintext: bytes


class _Client(Protocol):
    """What is asked of boto3's KMS client, which ships no types."""

    def encrypt(self, *, KeyId: str, Plaintext: bytes, EncryptionContext: dict[str, str]) -> _Wrapped: ...  # noqa: N803

    def decrypt(self, *, KeyId: str, CiphertextBlob: bytes, EncryptionContext: dict[str, str]) -> _Opened: ...  # noqa: N803


class KmsKeys:
    """`bot.identity.sealing.KeyEncryption` over AWS KMS. Credentials and endpoint are found as AWS's own tools do."""

    def __init__(self, arn: str, older: KeyEncryption | None = None) -> None:
        """`older`: what wrapped data keys before, and still opens them until `countersign keys rewrap` has run.

        Raises:
            KeysError: `arn` names no key, or boto3 is not installed.
        """
        named = ARN.fullmatch(arn)
        if named is None:
            raise KeysError(
                f"COUNTERSIGN_GRANTS_KMS names no key. Write its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID. {NEEDS}"
            )
        self._arn = arn
        self._older = older
        self._client = _client(named.group(2))

    def current(self) -> str:
        return self._arn

    def wrap(self, data_key: bytes, bound: bytes) -> tuple[str, bytes]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            told = self._client.encrypt(KeyId=self._arn, Plaintext=data_key, EncryptionContext=_context(bound))
        except (BotoCoreError, ClientError) as error:
            raise self._away(self._arn, error) from error
        # By the name it was asked for: KMS may answer with another spelling of the same key.
        return self._arn, told["CiphertextBlob"]

    def unwrap(self, kek_id: str, wrapped: bytes, bound: bytes) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        if ARN.fullmatch(kek_id) is None:
            if self._older is None:
                raise KeyAway(
                    f"The key {kek_id} that a stored sign-in needs is in no key file here. Put the file back."
                )
            return self._older.unwrap(kek_id, wrapped, bound)
        try:
            return self._client.decrypt(KeyId=kek_id, CiphertextBlob=wrapped, EncryptionContext=_context(bound))[
                "Plaintext"
            ]
        except ClientError as error:
            if _code(error) in _NOT_OURS:
                raise SealBroken("A stored sign-in does not open.") from error
            raise self._away(kek_id, error) from error
        except BotoCoreError as error:
            raise self._away(kek_id, error) from error

    def _away(self, arn: str, error: Exception) -> KeyAway:
        why = _code(error) or type(error).__name__
        return KeyAway(
            f"AWS KMS did not use the key {arn} ({why}). Check the service's AWS credentials and the key's policy."
        )


def _context(bound: bytes) -> dict[str, str]:
    # As a digest: contexts stand in CloudTrail in the open, and whose grant it is is personal data.
    return {_CONTEXT: hashlib.sha256(bound).hexdigest()}


def _code(error: Exception) -> str:
    told = getattr(error, "response", None)
    return str(told.get("Error", {}).get("Code", "")) if isinstance(told, dict) else ""


def _client(region: str) -> _Client:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise KeysError(f"COUNTERSIGN_GRANTS_KMS is set. {NEEDS}") from error
    limits = Config(
        connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"max_attempts": _ATTEMPTS, "mode": "standard"}
    )
    return cast("_Client", boto3.client("kms", region_name=region, config=limits))
