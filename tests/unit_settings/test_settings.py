"""Settings: one reading, every fault at once, no secret in sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.environment import Fault
from bot.settings import NAMES, PersonKey, SettingsError, SmtpSecurity, read

SLACK = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def faults(environ: dict[str, str]) -> tuple[Fault, ...]:
    with pytest.raises(SettingsError) as refused:
        read(environ)
    return refused.value.faults


def test_nothing_has_to_be_set(tmp_path: Path) -> None:
    settings = read({})
    assert settings.database_url == f"sqlite:///{tmp_path}/.countersign/countersign.sqlite"
    assert settings.keys_dir == tmp_path / ".countersign/keys"
    assert (settings.policy_dir / "roles.yaml").exists()
    assert settings.person_key is PersonKey.SUBJECT
    assert (settings.slack, settings.anthropic, settings.openai, settings.langfuse, settings.otlp) == (None,) * 5


def test_everything_can_be_set() -> None:
    settings = read(
        SLACK
        | {
            "SLACK_API_URL": "http://127.0.0.1:3800/api/",
            "ANTHROPIC_API_KEY": "k1",
            "OPENAI_BASE_URL": "http://vllm:8000/v1",
            "LANGFUSE_PUBLIC_KEY": "pk",
            "LANGFUSE_SECRET_KEY": "sk",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318",
            "STRIPE_API_KEY": "sk_test",
            "SMTP_HOST": "mail",
            "SMTP_FROM": "bot@acme.example",
            "SMTP_SECURITY": "tls",
            "COUNTERSIGN_PERSON_KEY": "employee_number",
            "COUNTERSIGN_PORT": "0",
            "COUNTERSIGN_DATABASE_URL": "postgresql://u:p@db/cs",
        }
    )
    assert settings.slack is not None
    assert settings.slack.api_url == "http://127.0.0.1:3800/api"
    assert settings.slack.bot_token is not None
    assert settings.slack.bot_token.reveal() == "xoxb-1"
    assert settings.openai is not None
    assert settings.openai.api_key is None
    assert settings.smtp is not None
    assert settings.smtp.security is SmtpSecurity.TLS
    assert settings.credentials.stripe_api_key is not None
    assert (settings.person_key, settings.port) == (PersonKey.EMPLOYEE_NUMBER, 0)


@pytest.mark.parametrize("name", [name.env for name in NAMES if name.env != "COUNTERSIGN_CONFIG"])
def test_every_name_is_read_from_a_mounted_file(tmp_path: Path, name: str) -> None:
    """An unreadable mounted file is noticed for every public name, so each is looked for."""
    assert f"{name}_FILE" in {fault.where for fault in faults({f"{name}_FILE": str(tmp_path / "absent")})}


def test_a_mounted_secret_loses_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("xoxb-2\n")
    settings = read({"SLACK_BOT_TOKEN_FILE": str(tmp_path / "token"), "SLACK_SIGNING_SECRET": "s"})
    assert settings.slack is not None
    assert settings.slack.bot_token is not None
    assert settings.slack.bot_token.reveal() == "xoxb-2"


def test_no_secret_is_ever_printed(tmp_path: Path) -> None:
    secrets = {name.env: f"xoxb-secret-{name.env}" for name in NAMES if name.secret}
    secrets |= {"SLACK_APP_TOKEN": "xapp-secret-app", "LANGFUSE_PUBLIC_KEY": "pk", "SMTP_HOST": "m", "SMTP_FROM": "a@b"}
    secrets |= {"COUNTERSIGN_DATABASE_URL": "postgresql://u:secret@db/x", "SMTP_USERNAME": "u", "TEAMS_APP_ID": "a"}
    secrets |= {"COUNTERSIGN_BUSINESS_URL": "postgresql://u:secret@db/y", "TEAMS_TENANT_ID": "t"}
    secrets |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318", "SLACK_CLIENT_ID": "1.2"}
    secrets |= {"COUNTERSIGN_QUERY_LOGINS": "acme=postgresql://u:secret@db/z"}
    assert "secret-" not in repr(read(secrets))
    assert ":secret@" not in repr(read(secrets))
    wrong = secrets | {"SLACK_BOT_TOKEN": "xapp-secret-mixed-up", "COUNTERSIGN_DATABASE_URL": "mysql://u:secret@db"}
    told = "\n".join(map(str, faults(wrong)))
    assert "secret-" not in told
    assert ":secret@" not in told


def test_everything_wrong_is_told_at_once() -> None:
    told = faults(
        {
            "SLACK_BOT_TOKEN": "xapp-1",
            "LANGFUSE_PUBLIC_KEY": "pk",
            "COUNTERSIGN_PORT": "http",
            "COUNTERSIGN_PERSON_KEY": "email",
            "COUNTERSIGN_DATABASE_URL": "mysql://db",
            "ANTHROPIC_BASE_URL": "api.anthropic.com",
        }
    )
    assert [fault.where for fault in told] == [
        "COUNTERSIGN_DATABASE_URL",
        "COUNTERSIGN_PERSON_KEY",
        "COUNTERSIGN_PORT",
        "SLACK_BOT_TOKEN",
        "SLACK_APP_TOKEN",
        "ANTHROPIC_BASE_URL",
        "LANGFUSE_SECRET_KEY",
    ]
    assert all(fault.mend for fault in told)


@pytest.mark.parametrize(
    ("environ", "where", "says"),
    [
        ({"SLACK_APP_TOKEN": "xapp-1"}, "SLACK_BOT_TOKEN", "is missing"),
        ({"SLACK_BOT_TOKEN": "xoxb-1"}, "SLACK_APP_TOKEN", "Socket Mode"),
        ({"SLACK_BOT_TOKEN": "a", "SLACK_BOT_TOKEN_FILE": "b"}, "SLACK_BOT_TOKEN", "Unset one"),
        ({"TEAMS_APP_ID": "a"}, "TEAMS_APP_PASSWORD and TEAMS_TENANT_ID", "Set both or neither"),
        ({"SMTP_HOST": "m"}, "SMTP_FROM", "is missing"),
        ({"COUNTERSIGN_POLCY_DIR": "x"}, "COUNTERSIGN_POLCY_DIR", "Did you mean 'COUNTERSIGN_POLICY_DIR'?"),
        ({"COUNTERSIGN_DIRECTORY": "directory.yaml"}, "COUNTERSIGN_DIRECTORY", "docs/identity.md"),
        ({"COUNTERSIGN_DIRECTORY_FILE": "x"}, "COUNTERSIGN_DIRECTORY_FILE", "is the demo's alone"),
        ({"COUNTERSIGN_PORT": "70000"}, "COUNTERSIGN_PORT", "not a port"),
        ({"COUNTERSIGN_PORT": "²"}, "COUNTERSIGN_PORT", "not a port"),
        ({"COUNTERSIGN_BASE_URL": "https://[bad"}, "COUNTERSIGN_BASE_URL", "not an address"),
        ({"COUNTERSIGN_BASE_URL": "https://host:port"}, "COUNTERSIGN_BASE_URL", "not an address"),
        ({"COUNTERSIGN_CONFIG": "absent.yaml"}, "COUNTERSIGN_CONFIG", "cannot be read"),
    ],
)
def test_a_fault_names_the_setting_and_the_mend(environ: dict[str, str], where: str, says: str) -> None:
    [fault] = [fault for fault in faults(environ) if fault.where == where]
    assert says in str(fault)


def test_empty_is_unset() -> None:
    assert read({"SLACK_BOT_TOKEN": "", "SLACK_APP_TOKEN": " "}).slack is None


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "countersign.yaml").write_text("person_key: employee_number\nport: '9000'\n")
    assert read({}).port == 9000
    settings = read({"COUNTERSIGN_PORT": "9001"})
    assert (settings.port, settings.person_key) == (9001, PersonKey.EMPLOYEE_NUMBER)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "slack_bot_token: xoxb-1",
            "is a secret and does not belong here. Set SLACK_BOT_TOKEN, or SLACK_BOT_TOKEN_FILE",
        ),
        ("persn_key: subject", "Did you mean 'person_key'?"),
        ("directory: directory.yaml", "is the demo's alone"),
        ("- a", "keys and values"),
        ("port: [", "is not YAML"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "countersign.yaml").write_text(text)
    [fault] = faults({})
    assert str(fault).startswith("countersign.yaml:1: ")
    assert says in str(fault)
    assert "xoxb" not in str(fault).replace("xoxb-…", "")
