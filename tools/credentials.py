"""Per-tool secrets. Read by the settings, handed to one adapter each; no agent, log or repr ever shows one."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that prints as its name. `reveal` is for the adapter that sends it, and for nobody else."""

    name: str
    """What the setting is called (``STRIPE_API_KEY``), for error messages."""
    _value: str = field(repr=False)

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return f"<{self.name}>"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str, str]]:
        """A secret is never pickled into a queue or a cache."""
        raise TypeError(f"{self.name} is a secret and cannot be serialised.")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What each tool may use against the world. None: that backend is not configured."""

    stripe_api_key: Secret | None = None
    smtp_username: str | None = field(default=None, repr=False)
    smtp_password: Secret | None = None
    query_logins: tuple[tuple[str, Secret], ...] = ()
    """Tenant -> address of the read-only PostgreSQL login that db.query uses for it (row-level security)."""

    def query_login(self, tenant: str) -> Secret | None:
        """The read-only database login of `tenant`."""
        return dict(self.query_logins).get(tenant)
