"""The list of tools, built from frozen configuration. The only importer of `tools.actions`.

Knows which backend serves which tool; knows neither who may call a tool nor under which gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from policy.model import Json, ToolName
from tools.actions import crm_read, crm_write, db_query, email_send, ledger_read, refund_issue
from tools.actions.embedded_ledger import EmbeddedLedger
from tools.actions.mail import Mailer
from tools.actions.outbox import OutboxMailer
from tools.actions.payments import Payments
from tools.actions.query_postgres import PostgresQuery
from tools.actions.query_sqlite import SqliteQuery
from tools.actions.smtp import Encryption, SmtpMailer, SmtpServer
from tools.actions.stripe_payments import KEY_LIFETIME_S, StripeAccount, StripePayments
from tools.business import Business
from tools.credentials import Credentials
from tools.spec import Redo, Tool

__all__ = [
    "Catalog",
    "Encryption",
    "MailBackend",
    "ModelTool",
    "PaymentsBackend",
    "ToolSettings",
    "as_models_see",
    "by_wire_name",
    "catalog",
]

Catalog = Mapping[ToolName, Tool]

_FOR_EVER_S = 10 * 365 * 24 * 3600
"""Our own tables never forget a key."""


class PaymentsBackend(StrEnum):
    EMBEDDED = "embedded"
    STRIPE = "stripe"


class MailBackend(StrEnum):
    OUTBOX = "outbox"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Which backends the tools use. Secrets come apart, in `Credentials`."""

    payments: PaymentsBackend = PaymentsBackend.EMBEDDED
    stripe_base: str | None = None
    """Another server that speaks Stripe's API; None is Stripe."""
    mail: MailBackend = MailBackend.OUTBOX
    mail_sender: str = "support@countersign.example"
    smtp_host: str | None = None
    smtp_port: int = 587
    smtp_encryption: Encryption = Encryption.STARTTLS
    smtp_ca_file: str | None = None
    provider_timeout_s: float = 12.0
    credentials: Credentials = field(default_factory=Credentials)


@dataclass(frozen=True, slots=True)
class ModelTool:
    """A tool as a model sees it. Names no backend, no secret and no gate."""

    name: str
    description: str
    input_schema: Mapping[str, Json]


def catalog(settings: ToolSettings, business: Business) -> Catalog:
    """Every built-in tool, by name.

    Raises:
        ValueError: settings that cannot work or would be unsafe. A sentence that names the setting.
    """
    payments, key_lifetime_s = _payments(settings, business)
    tools = (
        Tool(
            name=ToolName("crm.read"),
            version=1,
            title="Look-up",
            description=crm_read.DESCRIPTION,
            input_schema=crm_read.SCHEMA,
            action=crm_read.CrmRead(business),
            redo=Redo.READ_ONLY,
            example=crm_read.EXAMPLE,
        ),
        Tool(
            name=ToolName("crm.write"),
            version=1,
            title="CRM change",
            description=crm_write.DESCRIPTION,
            input_schema=crm_write.SCHEMA,
            action=crm_write.CrmWrite(business),
            redo=Redo.KEYED,
            key_lifetime_s=_FOR_EVER_S,
            example=crm_write.EXAMPLE,
        ),
        Tool(
            name=ToolName("ledger.read"),
            version=1,
            title="Ledger",
            description=ledger_read.DESCRIPTION,
            input_schema=ledger_read.SCHEMA,
            action=ledger_read.LedgerRead(business),
            redo=Redo.READ_ONLY,
            example=ledger_read.EXAMPLE,
        ),
        Tool(
            name=ToolName("db.query"),
            version=1,
            title="Query",
            description=db_query.description(business.dialect),
            input_schema=db_query.SCHEMA,
            action=db_query.DbQuery(_query(settings, business), business.dialect),
            redo=Redo.READ_ONLY,
            example=db_query.EXAMPLE,
        ),
        Tool(
            name=ToolName("email.send"),
            version=1,
            title="E-mail",
            description=email_send.DESCRIPTION,
            input_schema=email_send.SCHEMA,
            action=email_send.EmailSend(business, _mailer(settings, business), settings.mail_sender),
            redo=Redo.NEVER,
            example=email_send.EXAMPLE,
            raw_text=frozenset({"subject", "body"}),
        ),
        Tool(
            name=ToolName("refund.issue"),
            version=1,
            title="Refund",
            description=refund_issue.DESCRIPTION,
            input_schema=refund_issue.SCHEMA,
            action=refund_issue.RefundIssue(business, payments),
            redo=Redo.KEYED,
            key_lifetime_s=key_lifetime_s,
            example=refund_issue.EXAMPLE,
            raw_text=frozenset({"reason"}),
        ),
    )
    return MappingProxyType({tool.name: tool for tool in tools})


def by_wire_name(tools: Catalog, wire_name: str) -> Tool | None:
    """The tool that a model means by ``crm_read``; None for anything that is not a wire name."""
    return next((tool for tool in tools.values() if tool.wire_name == wire_name), None)


def as_models_see(tools: Catalog, names: frozenset[ToolName] | None = None) -> tuple[ModelTool, ...]:
    """The tools of `names` (None: all) as offers to a model, in the catalog's order."""
    return tuple(
        ModelTool(tool.wire_name, tool.description, tool.input_schema)
        for tool in tools.values()
        if names is None or tool.name in names
    )


def _payments(settings: ToolSettings, business: Business) -> tuple[Payments, int]:
    if settings.payments is PaymentsBackend.EMBEDDED:
        return EmbeddedLedger(business), _FOR_EVER_S
    key = settings.credentials.stripe_api_key
    if not key:
        raise ValueError("Payments are set to Stripe, but there is no Stripe key. Set STRIPE_API_KEY.")
    account = StripeAccount(key, settings.stripe_base, settings.provider_timeout_s)
    return StripePayments(account), KEY_LIFETIME_S


def _mailer(settings: ToolSettings, business: Business) -> Mailer:
    if settings.mail is MailBackend.OUTBOX:
        return OutboxMailer(business)
    if not settings.smtp_host:
        raise ValueError("Mail is set to SMTP, but there is no mail server. Set its host.")
    return SmtpMailer(
        SmtpServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            sender=settings.mail_sender,
            encryption=settings.smtp_encryption,
            username=settings.credentials.smtp_username,
            password=settings.credentials.smtp_password,
            ca_file=settings.smtp_ca_file,
            timeout_s=settings.provider_timeout_s,
        )
    )


def _query(settings: ToolSettings, business: Business) -> db_query.RunQuery:
    if business.path is not None:
        return SqliteQuery(business.path, db_query.ROW_LIMIT, db_query.TIME_LIMIT_S)
    return PostgresQuery(dict(settings.credentials.query_logins), db_query.ROW_LIMIT, db_query.TIME_LIMIT_S)
