"""Named values from the environment, mounted files and countersign.yaml. Knows names, not what they are for.

A name is looked up as ``NAME``, then as the file that ``NAME_FILE`` names (a mounted secret), then in
countersign.yaml unless it is a secret. Everything that is wrong is noted, nothing stops at the first fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from policy.document import Findings, meant, parse
from tools.credentials import Secret

Word = TypeVar("Word", bound=StrEnum)

MAX_SECRET_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Name:
    """One public setting. `key` is its name in countersign.yaml; None: never written there."""

    env: str
    help: str
    key: str | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the settings, and the mend. Never holds a value that may be secret."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where} {self.what} {self.mend}"


class SettingsError(Exception):
    """The settings cannot be used. Carries everything that is wrong with them."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


@dataclass(slots=True)
class Source:
    """Where values are read from, and what was found wrong on the way."""

    environ: Mapping[str, str] = field(repr=False)
    names: tuple[Name, ...]
    gone: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Names that counted in an earlier version: what became of them, and the mend."""
    written: dict[str, str] = field(default_factory=dict, repr=False)
    """What countersign.yaml says: key -> text."""
    faults: list[Fault] = field(default_factory=list)

    def wrong(self, where: str, what: str, mend: str) -> None:
        self.faults.append(Fault(where, what, mend))

    def read_file(self, path: Path) -> None:
        """Takes in countersign.yaml: one ``key: value`` a line, no secrets."""
        text = self._text(path, "COUNTERSIGN_CONFIG")
        if text is None:
            return
        findings = Findings()
        root = parse(path.name, text, findings)
        if root is not None:
            keys = {name.key: name for name in self.names if name.key is not None}
            secret = {name.env.lower(): name for name in self.names if name.secret}
            for key, value in root.entries().items():
                if key in secret:
                    env = secret[key].env
                    value.wrong("is a secret and does not belong here.", f"Set {env}, or {env}_FILE to a mounted file.")
                elif (was := self.gone.get(f"COUNTERSIGN_{key.upper()}")) is not None:
                    value.wrong(*was)
                elif key not in keys:
                    value.wrong("is not a known key.", meant(key, list(keys), "Remove it, or write one of"))
                elif (found := value.text()) is not None:
                    self.written[key] = found
        self.faults += [Fault(f"{e.file}:{e.line}: {e.key}:", e.what, e.mend) for e in findings.errors]

    def unknown(self) -> None:
        """Notes names that look like ours but are not: a typing error must not be a silent default."""
        known = [form for name in self.names for form in (name.env, f"{name.env}_FILE")]
        for env in sorted(self.environ):
            if (was := self.gone.get(env.removesuffix("_FILE"))) is not None:
                self.wrong(env, *was)
            elif env.startswith("COUNTERSIGN_") and env not in known:
                self.wrong(env, "is not a setting of Countersign.", meant(env, known[::2], "Unset it. There are"))

    def text(self, env: str) -> str | None:
        """The value of `env`; unset and empty are the same."""
        name = next(name for name in self.names if name.env == env)
        direct, mounted = self.environ.get(env, "").strip(), self.environ.get(f"{env}_FILE", "").strip()
        if direct and mounted:
            self.wrong(env, f"is set, and {env}_FILE is too.", "Unset one of them.")
            return None
        if mounted:
            found = self._text(Path(mounted), f"{env}_FILE")
            if found is not None and not found.strip():
                self.wrong(f"{env}_FILE", f"names {mounted}, which is empty.", f"Write the value of {env} into it.")
            return found.strip() or None if found is not None else None
        if direct:
            return direct
        return self.written.get(name.key) if name.key is not None else None

    def secret(self, env: str, prefix: str = "") -> Secret | None:
        """A value that prints as its name. `prefix` tells a token from its neighbour."""
        value = self.text(env)
        if value is None:
            return None
        if not value.startswith(prefix):
            self.wrong(env, f"does not start with {prefix}.", "It may have been mixed up with another token: check it.")
        return Secret(env, value)

    def url(self, env: str, schemes: tuple[str, ...] = ("https", "http")) -> str | None:
        """An address with a host, without a trailing slash."""
        value = self.text(env)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            sound = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound:
            self.wrong(env, "is not an address.", f"Write it like {schemes[0]}://name.example.")
            return None
        return value.rstrip("/")

    def path(self, env: str, default: Path) -> Path:
        value = self.text(env)
        return default if value is None else Path(value).expanduser()

    def word(self, env: str, words: type[Word], default: Word) -> Word:
        """One word of a closed set."""
        value = self.text(env)
        if value is None:
            return default
        for word in words:
            if word.value == value:
                return word
        self.wrong(env, f"is '{value}', which it cannot be.", f"Write one of: {', '.join(words)}.")
        return default

    def port(self, env: str, default: int) -> int:
        value = self.text(env)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and int(value) <= 65535):
            self.wrong(env, f"is '{value}', not a port.", "Write a number from 0 to 65535 (0: any free one).")
            return default
        return int(value)

    def number(self, env: str, default: int, *, most: int) -> int:
        """A whole number from 0 to `most`."""
        value = self.text(env)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) <= most):
            self.wrong(env, f"is '{value}', which it cannot be.", f"Write a whole number from 0 to {most}.")
            return default
        return int(value)

    def together(self, *envs: str) -> bool:
        """Whether all of `envs` are set; some without the others is a fault."""
        absent = [env for env in envs if self.text(env) is None]
        if absent and len(absent) < len(envs):
            there = next(env for env in envs if env not in absent)
            self.wrong(" and ".join(absent), f"is missing, while {there} is set.", "Set both or neither.")
        return not absent

    def _text(self, path: Path, env: str) -> str | None:
        try:
            if path.stat().st_size > MAX_SECRET_BYTES:
                self.wrong(env, f"names {path}, which is too large to be meant.", "Check the path.")
                return None
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            self.wrong(env, f"names {path}, which is not UTF-8 text.", "Check the path.")
        except OSError as error:
            why = (error.strerror or "unreadable").lower()
            self.wrong(env, f"names {path}, which cannot be read ({why}).", "Check the path and its rights.")
        return None
