"""Providers outside this house, as the settings name them: models, traces, payments, mail. Knows adapters; asks none.

An SDK that is not configured is not imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bot.agent.offline import Offline
from bot.agent.spans import NoTrace, Tracing
from bot.ports import Model
from bot.settings import ModelAccess, Settings, SmtpSecurity
from policy.model_rules import Adapter
from policy.pii import redact
from tools.catalog import Encryption, MailBackend, PaymentsBackend, ToolSettings
from tools.ports import Observer

LANGFUSE_CLOUD = "https://cloud.langfuse.com"


class Observing(Tracing, Observer, Protocol):
    """What traces turns hears of tool calls too."""


def adapters(settings: Settings) -> dict[Adapter, Callable[[str], Model]]:
    """The model adapters that are configured. An SDK that is not stays unimported.

    The offline stand-in needs no key: it serves where models.yaml names it, which the shipped file does not.
    """
    made: dict[Adapter, Callable[[str], Model]] = {Adapter.OFFLINE: lambda _name: Offline()}
    if settings.anthropic is not None:
        made[Adapter.ANTHROPIC] = _claude(settings.anthropic)
    if settings.openai is not None:
        made |= _openai(settings.openai)
    return made


def _claude(access: ModelAccess) -> Callable[[str], Model]:
    from bot.agent.claude import Claude

    key = access.api_key.reveal() if access.api_key else ""
    return lambda model: Claude(model, api_key=key, base_url=access.base_url)


def _openai(access: ModelAccess) -> dict[Adapter, Callable[[str], Model]]:
    from bot.agent.openai_model import OpenAIChat, OpenAIResponses

    # A server of one's own may ask for no key; the SDK insists on some text.
    key = access.api_key.reveal() if access.api_key else "none"
    return {
        Adapter.OPENAI: lambda model: OpenAIResponses(model, api_key=key, base_url=access.base_url),
        Adapter.OPENAI_CHAT: lambda model: OpenAIChat(model, api_key=key, base_url=access.base_url),
    }


def tracing(settings: Settings) -> NoTrace | Observing:
    if settings.langfuse is None and settings.otlp is None:
        return NoTrace()
    from bot.agent.tracing import LangfuseTarget, OtelTracing, OtlpTarget

    langfuse, otlp = settings.langfuse, settings.otlp
    headers = otlp.headers.reveal() if otlp is not None and otlp.headers is not None else ""
    return OtelTracing(
        redact,
        otlp=None if otlp is None else OtlpTarget(otlp.endpoint, _headers(headers)),
        langfuse=None
        if langfuse is None
        else LangfuseTarget(langfuse.public_key, langfuse.secret_key.reveal(), langfuse.base_url or LANGFUSE_CLOUD),
        service_name=settings.service_name,
    )


def _headers(text: str) -> dict[str, str]:
    """``name=value,name=value``, as OTEL_EXPORTER_OTLP_HEADERS is written."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def tool_settings(settings: Settings) -> ToolSettings:
    smtp, stripe = settings.smtp, settings.credentials.stripe_api_key
    chosen = ToolSettings(
        payments=PaymentsBackend.STRIPE if stripe else PaymentsBackend.EMBEDDED,
        stripe_base=settings.stripe_api_base,
        credentials=settings.credentials,
    )
    if smtp is None:
        return chosen
    encryption = {
        SmtpSecurity.STARTTLS: Encryption.STARTTLS,
        SmtpSecurity.TLS: Encryption.TLS,
        SmtpSecurity.NONE: Encryption.NONE,
    }[smtp.security]
    return ToolSettings(
        payments=chosen.payments,
        stripe_base=chosen.stripe_base,
        mail=MailBackend.SMTP,
        mail_sender=smtp.sender,
        smtp_host=smtp.host,
        smtp_port=smtp.port,
        smtp_encryption=encryption,
        credentials=settings.credentials,
    )
