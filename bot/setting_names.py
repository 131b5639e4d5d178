"""The name of every setting, what it is for, and which of them are secrets; names that are gone. Knows no value."""

from __future__ import annotations

from bot.environment import Name

NAMES: tuple[Name, ...] = (
    Name("SLACK_BOT_TOKEN", "Slack: the bot's token, xoxb-…", secret=True),
    Name("SLACK_APP_TOKEN", "Slack: the app-level token for Socket Mode, xapp-…", secret=True),
    Name("SLACK_SIGNING_SECRET", "Slack: the signing secret, for events over HTTP", secret=True),
    Name(
        "SLACK_CLIENT_ID",
        "Slack: the app's client id. With its secret and no bot's token the app is installed at /slack/install, "
        "in several workspaces; with a bot's token it serves Sign in with Slack alone",
        "slack_client_id",
    ),
    Name("SLACK_CLIENT_SECRET", "Slack: the app's client secret", secret=True),
    Name("SLACK_API_URL", "Slack: another API address, for tests and gateways", "slack_api_url"),
    Name("TEAMS_APP_ID", "Teams: the app's id", "teams_app_id"),
    Name("TEAMS_APP_PASSWORD", "Teams: the app's password", secret=True),
    Name("TEAMS_TENANT_ID", "Teams: the Entra tenant", "teams_tenant_id"),
    Name("TEAMS_OPENID_METADATA_URL", "Teams: where the signing keys are published", "teams_openid_metadata_url"),
    Name("TEAMS_LOGIN_URL", "Teams: where the bot gets its own token (Microsoft's login)", "teams_login_url"),
    Name(
        "TEAMS_SERVICE_URLS",
        "Teams: addresses beside Microsoft's own to which the bot's token may go, several apart by spaces",
        "teams_service_urls",
    ),
    Name(
        "TEAMS_SSO_RESOURCE",
        "Teams: the Application ID URI, api://…, where accounts are linked by single sign-on",
        "teams_sso_resource",
    ),
    Name("ANTHROPIC_API_KEY", "Claude: the API key", secret=True),
    Name("ANTHROPIC_BASE_URL", "Claude: another API address", "anthropic_base_url"),
    Name("OPENAI_API_KEY", "OpenAI: the API key", secret=True),
    Name("OPENAI_BASE_URL", "OpenAI, or a server that speaks its protocol: the address", "openai_base_url"),
    Name("LANGFUSE_PUBLIC_KEY", "Traces to Langfuse: the public key", "langfuse_public_key"),
    Name("LANGFUSE_SECRET_KEY", "Traces to Langfuse: the secret key", secret=True),
    Name("LANGFUSE_BASE_URL", "Traces to Langfuse: the address", "langfuse_base_url"),
    Name("LANGFUSE_HOST", "Traces to Langfuse: the address, as older versions call it", "langfuse_host"),
    Name("OTEL_EXPORTER_OTLP_ENDPOINT", "Traces to any OTLP collector: its address", "otel_exporter_otlp_endpoint"),
    Name("OTEL_EXPORTER_OTLP_HEADERS", "Traces to any OTLP collector: headers, name=value,…", secret=True),
    Name("OTEL_SERVICE_NAME", "Traces: what this service is called", "otel_service_name"),
    Name(
        "STRIPE_API_KEY", "Refunds: the Stripe key. Without it refunds are booked in the embedded ledger", secret=True
    ),
    Name("STRIPE_API_BASE", "Refunds: another Stripe address, for tests", "stripe_api_base"),
    Name("SMTP_HOST", "Mail: the server. Without it mail stays in the local outbox", "smtp_host"),
    Name("SMTP_PORT", "Mail: the port (587)", "smtp_port"),
    Name("SMTP_SECURITY", "Mail: starttls, tls or none (starttls)", "smtp_security"),
    Name("SMTP_FROM", "Mail: the sender's address", "smtp_from"),
    Name("SMTP_USERNAME", "Mail: the log-in", "smtp_username"),
    Name("SMTP_PASSWORD", "Mail: the password", secret=True),
    Name("COUNTERSIGN_CONFIG", "The file with settings that are no secrets (./countersign.yaml)"),
    Name(
        "COUNTERSIGN_DATABASE_URL",
        "sqlite:///PATH or postgresql://… (countersign.sqlite in the data directory)",
        secret=True,
    ),
    Name(
        "COUNTERSIGN_BUSINESS_URL",
        "The customers' and orders' database (business.sqlite in the data directory)",
        secret=True,
    ),
    Name(
        "COUNTERSIGN_QUERY_LOGINS",
        "db.query on PostgreSQL: TENANT=postgresql://… of its read-only login, several apart by spaces",
        secret=True,
    ),
    Name("COUNTERSIGN_DATA_DIR", "Where keys and checkpoints are kept (./.countersign)", "data_dir"),
    Name("COUNTERSIGN_KEYS_DIR", "The keys, where they are mounted (keys in the data directory)", "keys_dir"),
    Name("COUNTERSIGN_GRANTS_KEY_FILE", "The keys that seal people's sign-ins (grants.key in the keys' directory)"),
    Name(
        "COUNTERSIGN_GRANTS_KMS",
        "The ARN of a key in AWS KMS that seals them instead; it needs countersign[aws-kms]",
        "grants_kms",
    ),
    Name("COUNTERSIGN_POLICY_DIR", "The policy files (the defaults that came with Countersign)", "policy_dir"),
    Name("COUNTERSIGN_TENANTS", "The organisations, their chats and identity providers (./tenants.yaml)", "tenants"),
    Name("COUNTERSIGN_PERSON_KEY", "What tells two people apart: subject or employee_number (subject)", "person_key"),
    Name(
        "COUNTERSIGN_RETENTION_DAYS",
        "Raw text older than this is erased: conversations, and requests that are over (90; 0 keeps it)",
        "retention_days",
    ),
    Name("COUNTERSIGN_BASE_URL", "Where people reach this service, for links: https://…", "base_url"),
    Name("COUNTERSIGN_HOST", "The address to listen on (127.0.0.1)", "host"),
    Name("COUNTERSIGN_PORT", "The port to listen on (8080)", "port"),
)


GONE = {
    "COUNTERSIGN_DIRECTORY": (
        "is not read any more: a file of people is the demo's alone. People come from your identity provider.",
        "Unset it, write your organisation into tenants.yaml and connect the provider: docs/identity.md.",
    ),
}
