"""What an operator sets, read once and then frozen. Their names are `setting_names`'; opens no connection.

Names are DESIGN section 4's. Each may also be given as NAME_FILE; values without a secret may stand in
countersign.yaml (COUNTERSIGN_CONFIG, default ./countersign.yaml where it exists).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from bot.environment import Fault, SettingsError, Source
from bot.setting_names import GONE, NAMES
from tools.credentials import Credentials, Secret

__all__ = ["NAMES", "Fault", "PersonKey", "Settings", "SettingsError", "for_demo", "look", "read"]


class PersonKey(StrEnum):
    """What tells two people apart (invariant 4)."""

    SUBJECT = "subject"
    EMPLOYEE_NUMBER = "employee_number"
    """Where people hold two accounts. Who has no number can decide nothing."""


class SmtpSecurity(StrEnum):
    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"
    """Only for a relay on this machine or a test."""


@dataclass(frozen=True, slots=True)
class Slack:
    """The app. Socket Mode with `app_token`, events over HTTP with `signing_secret`."""

    bot_token: Secret | None
    """Of the one workspace. None: it is installed in several, with `client_id` and `client_secret`, which are set."""
    app_token: Secret | None
    signing_secret: Secret | None
    api_url: str | None
    client_id: str | None = None
    client_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Teams:
    app_id: str
    app_password: Secret
    tenant_id: str
    """The Entra tenant in which the bot is registered: its own token comes from there."""
    openid_metadata_url: str | None
    login_url: str | None = None
    service_urls: tuple[str, ...] = ()
    """Addresses beside Microsoft's own to which the bot's token may go."""
    sso_resource: str | None = None
    """The Application ID URI for which Teams gets people's tokens. None: accounts are linked at the page alone."""


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """One provider. No key: a server of one's own that asks for none."""

    api_key: Secret | None
    base_url: str | None


@dataclass(frozen=True, slots=True)
class Langfuse:
    public_key: str
    secret_key: Secret
    base_url: str | None


@dataclass(frozen=True, slots=True)
class Otlp:
    endpoint: str
    headers: Secret | None


@dataclass(frozen=True, slots=True)
class Smtp:
    host: str
    port: int
    security: SmtpSecurity
    sender: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator set. Parts that are None are not configured, and their SDKs stay unimported."""

    database_url: str = field(repr=False)
    business_url: str = field(repr=False)
    data_dir: Path
    keys_dir: Path
    grants_key: Path | None
    grants_kms: str | None
    """The key in AWS KMS that wraps instead of a file's."""
    policy_dir: Path
    tenants: Path
    directory: Path | None
    """A file of people: the demo's alone. Elsewhere people come from the IdP over SCIM."""
    person_key: PersonKey
    retention_days: int
    """0: raw text is kept until somebody erases it."""
    base_url: str | None
    host: str
    port: int
    slack: Slack | None
    teams: Teams | None
    anthropic: ModelAccess | None
    openai: ModelAccess | None
    langfuse: Langfuse | None
    otlp: Otlp | None
    service_name: str
    smtp: Smtp | None
    stripe_api_base: str | None
    credentials: Credentials

    @property
    def checkpoints(self) -> Path:
        """Where signed checkpoints are appended: outside the database (invariant 10)."""
        return self.data_dir / "checkpoints.jsonl"


def read(environ: Mapping[str, str], *, file_here: bool = True) -> Settings:
    """The settings that `environ` and countersign.yaml state. `file_here`: also one that lies where we are.

    Raises:
        SettingsError: with everything that is wrong, each with its mend.
    """
    settings, faults = look(environ, file_here=file_here)
    if faults:
        raise SettingsError(faults)
    return settings


def for_demo(environ: Mapping[str, str], home: Path) -> Settings:
    """The demo's settings: SQLite and keys below `home`, nothing that leads out of this machine.

    Raises:
        SettingsError: COUNTERSIGN_POLICY_DIR, the one setting that counts here, is wrong.
    """
    policy = {name: environ[name] for name in ("COUNTERSIGN_POLICY_DIR",) if name in environ}
    spec = importlib.util.find_spec("bot")
    people = Path(spec.origin).parent / "web/demo/directory.yaml" if spec and spec.origin else Path("directory.yaml")
    here = {"COUNTERSIGN_DATA_DIR": str(home)}
    return replace(read(here | policy, file_here=False), directory=people)


def look(environ: Mapping[str, str], *, file_here: bool = True) -> tuple[Settings, tuple[Fault, ...]]:
    """What `read` would say, and all that is wrong with it: for `countersign check`, which goes on regardless."""
    source = Source(environ, NAMES, GONE)
    config = source.path("COUNTERSIGN_CONFIG", Path("countersign.yaml"))
    if environ.get("COUNTERSIGN_CONFIG") or (file_here and config.exists()):
        source.read_file(config)
    source.unknown()
    data_dir = source.path("COUNTERSIGN_DATA_DIR", Path(".countersign")).absolute()
    settings = Settings(
        database_url=_database(source, "COUNTERSIGN_DATABASE_URL", data_dir / "countersign.sqlite"),
        business_url=_database(source, "COUNTERSIGN_BUSINESS_URL", data_dir / "business.sqlite"),
        data_dir=data_dir,
        keys_dir=source.path("COUNTERSIGN_KEYS_DIR", data_dir / "keys").absolute(),
        grants_key=Path(named).absolute() if (named := source.text("COUNTERSIGN_GRANTS_KEY_FILE")) else None,
        grants_kms=_kms(source),
        policy_dir=source.path("COUNTERSIGN_POLICY_DIR", default_policy_dir()).absolute(),
        tenants=source.path("COUNTERSIGN_TENANTS", Path("tenants.yaml")).absolute(),
        directory=None,
        person_key=source.word("COUNTERSIGN_PERSON_KEY", PersonKey, PersonKey.SUBJECT),
        retention_days=source.number("COUNTERSIGN_RETENTION_DAYS", 90, most=36_500),
        base_url=source.url("COUNTERSIGN_BASE_URL"),
        host=source.text("COUNTERSIGN_HOST") or "127.0.0.1",
        port=source.port("COUNTERSIGN_PORT", 8080),
        slack=_slack(source),
        teams=_teams(source),
        anthropic=_model(source, "ANTHROPIC"),
        openai=_model(source, "OPENAI"),
        langfuse=_langfuse(source),
        otlp=_otlp(source),
        service_name=source.text("OTEL_SERVICE_NAME") or "countersign",
        smtp=_smtp(source),
        stripe_api_base=source.url("STRIPE_API_BASE"),
        credentials=Credentials(
            stripe_api_key=source.secret("STRIPE_API_KEY"),
            smtp_username=source.text("SMTP_USERNAME"),
            smtp_password=source.secret("SMTP_PASSWORD"),
            query_logins=_query_logins(source),
        ),
    )
    return settings, tuple(dict.fromkeys(source.faults))


def default_policy_dir() -> Path:
    """The policy files that came with Countersign."""
    spec = importlib.util.find_spec("policy")
    if spec is None or spec.origin is None:
        raise SettingsError((Fault("policy", "is not installed.", "Install Countersign again."),))
    return Path(spec.origin).parent


def _kms(source: Source) -> str | None:
    arn = source.text("COUNTERSIGN_GRANTS_KMS")
    if arn is not None and not arn.startswith("arn:aws"):
        source.wrong("COUNTERSIGN_GRANTS_KMS", "names no key.", "Write its ARN: arn:aws:kms:REGION:ACCOUNT:key/ID.")
        return None
    return arn


def _query_logins(source: Source) -> tuple[tuple[str, Secret], ...]:
    """Tenant -> its read-only login. A login two tenants share would let one read the other's rows."""
    env = "COUNTERSIGN_QUERY_LOGINS"
    found: dict[str, str] = {}
    for part in (source.text(env) or "").split():
        tenant, equals, address = part.partition("=")
        if not (tenant and equals and address.startswith(("postgresql://", "postgres://"))):
            source.wrong(env, "has a part that is no login.", "Write TENANT=postgresql://USER:PASSWORD@HOST/DATABASE.")
        elif tenant in found or address in found.values():
            source.wrong(env, f"names {tenant}, or its login, twice.", "Give every organisation one login of its own.")
        else:
            found[tenant] = address
    return tuple((tenant, Secret(env, address)) for tenant, address in found.items())


def _database(source: Source, env: str, default: Path) -> str:
    value = source.text(env)
    if value is None:
        return f"sqlite:///{default}"
    scheme = value.partition(":")[0].partition("+")[0]
    if scheme not in ("sqlite", "postgresql", "postgres"):
        source.wrong(env, "names neither SQLite nor PostgreSQL.", "Write sqlite:///PATH or postgresql://HOST/NAME.")
    return value


def _slack(source: Source) -> Slack | None:
    bot = source.secret("SLACK_BOT_TOKEN", "xoxb-")
    app = source.secret("SLACK_APP_TOKEN", "xapp-")
    signing = source.secret("SLACK_SIGNING_SECRET")
    api_url = source.url("SLACK_API_URL")
    several = source.together("SLACK_CLIENT_ID", "SLACK_CLIENT_SECRET")
    client_id = source.text("SLACK_CLIENT_ID") if several else None
    client_secret = source.secret("SLACK_CLIENT_SECRET") if several else None
    if bot is None and not several:
        if app is not None or signing is not None:
            source.wrong(
                "SLACK_BOT_TOKEN",
                "is missing.",
                "Copy it from your Slack app, OAuth & Permissions; "
                "for several workspaces set SLACK_CLIENT_ID and SLACK_CLIENT_SECRET instead.",
            )
        return None
    if bot is None and source.text("COUNTERSIGN_BASE_URL") is None:
        where = "Set it to where browsers reach this service: Slack sends them back there after an installation."
        source.wrong("COUNTERSIGN_BASE_URL", "is missing.", where)
    if app is None and signing is None:
        source.wrong(
            "SLACK_APP_TOKEN",
            "is missing, and SLACK_SIGNING_SECRET too.",
            "Set the first for Socket Mode, or the second for events over HTTP.",
        )
    return Slack(bot, app, signing, api_url, client_id, client_secret)


def _may_carry_a_token(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, scheme = parts.hostname, parts.scheme
    except ValueError:
        return False
    return bool(host) and (scheme == "https" or (scheme == "http" and host in ("127.0.0.1", "localhost", "::1")))


_TEAMS_BESIDE = ("TEAMS_OPENID_METADATA_URL", "TEAMS_LOGIN_URL", "TEAMS_SERVICE_URLS", "TEAMS_SSO_RESOURCE")
"""What means nothing without a bot."""


def _teams(source: Source) -> Teams | None:
    metadata, login = source.url("TEAMS_OPENID_METADATA_URL"), source.url("TEAMS_LOGIN_URL")
    more = tuple((source.text("TEAMS_SERVICE_URLS") or "").split())
    for url in more:
        if not _may_carry_a_token(url):
            mend = "Write https://HOST/PATH; http counts on this machine alone, as http://127.0.0.1:PORT."
            source.wrong("TEAMS_SERVICE_URLS", "has a part to which no token may go.", mend)
    resource = source.text("TEAMS_SSO_RESOURCE")
    bot = ("TEAMS_APP_ID", "TEAMS_APP_PASSWORD", "TEAMS_TENANT_ID")
    if not source.together(*bot):
        beside = next((env for env in _TEAMS_BESIDE if source.text(env) is not None), None)
        if beside is not None and all(source.text(env) is None for env in bot):
            mend = "Set it with TEAMS_APP_PASSWORD and TEAMS_TENANT_ID, or remove the other."
            source.wrong("TEAMS_APP_ID", f"is missing, while {beside} is set.", mend)
        return None
    password = source.secret("TEAMS_APP_PASSWORD")
    app_id, tenant = source.text("TEAMS_APP_ID"), source.text("TEAMS_TENANT_ID")
    if app_id is None or tenant is None or password is None:
        return None
    if resource is not None and not (resource.startswith("api://") and app_id.lower() in resource.lower()):
        source.wrong(
            "TEAMS_SSO_RESOURCE",
            "is not this app's.",
            f"Copy the Application ID URI from the app registration, Expose an API: api://botid-{app_id}.",
        )
    return Teams(app_id, password, tenant, metadata, login, more, resource)


def _model(source: Source, provider: str) -> ModelAccess | None:
    key, base_url = source.secret(f"{provider}_API_KEY"), source.url(f"{provider}_BASE_URL")
    return None if key is None and base_url is None else ModelAccess(key, base_url)


def _langfuse(source: Source) -> Langfuse | None:
    address, older = source.url("LANGFUSE_BASE_URL"), source.url("LANGFUSE_HOST")
    if not source.together("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
        return None
    public, secret = source.text("LANGFUSE_PUBLIC_KEY"), source.secret("LANGFUSE_SECRET_KEY")
    if public is None or secret is None:
        return None
    return Langfuse(public, secret, address or older)


def _otlp(source: Source) -> Otlp | None:
    endpoint = source.url("OTEL_EXPORTER_OTLP_ENDPOINT")
    headers = source.secret("OTEL_EXPORTER_OTLP_HEADERS")
    return None if endpoint is None else Otlp(endpoint, headers)


def _smtp(source: Source) -> Smtp | None:
    port = source.port("SMTP_PORT", 587)
    security = source.word("SMTP_SECURITY", SmtpSecurity, SmtpSecurity.STARTTLS)
    if not source.together("SMTP_HOST", "SMTP_FROM"):
        return None
    source.together("SMTP_USERNAME", "SMTP_PASSWORD")
    host, sender = source.text("SMTP_HOST"), source.text("SMTP_FROM")
    return None if host is None or sender is None else Smtp(host, port, security, sender)
