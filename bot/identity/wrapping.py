"""Which key-encryption keys this deployment has: a file's, or a KMS's with the file's behind it. Opens no row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.identity.sealing import FileKeys, KeyEncryption, open_or_make
from bot.keys import GRANTS
from bot.settings import Settings


@dataclass(frozen=True, slots=True)
class Wrapping:
    """Where the keys are. Nothing is read or made before `open`: where nothing is sealed, no key is needed."""

    folder: Path
    file: Path | None = None
    """COUNTERSIGN_GRANTS_KEY_FILE; None: ``grants.key`` in `folder`."""
    kms: str | None = None
    """COUNTERSIGN_GRANTS_KMS: wraps from now on. A key file that is there goes on opening what it wrapped."""

    @property
    def path(self) -> Path:
        return self.file or self.folder / GRANTS

    def open(self) -> KeyEncryption:
        """The keys.

        Raises:
            KeysError: they cannot be used.
        """
        if self.kms is None:
            return open_or_make(self.folder, self.file)
        from bot.identity.kms import KmsKeys

        return KmsKeys(self.kms, FileKeys(self.path) if self.path.exists() else None)


def wrapping_of(settings: Settings) -> Wrapping:
    return Wrapping(settings.keys_dir, settings.grants_key, settings.grants_kms)
