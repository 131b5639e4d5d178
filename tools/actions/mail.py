"""A mail as it will be sent, and what takes it (Protocol). Knows no SMTP and no table."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Protocol

from policy.model import TenantId

# A plain address: what every server takes and no header can be smuggled through. Letters outside ASCII are
# refused on purpose: they imitate other addresses.
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one address. `message_id` is the same for the same idempotency key."""

    message_id: str
    tenant: TenantId
    call_id: str
    sender: str
    recipient: str
    subject: str
    body: str
    sent_by: str
    """Who asked for it, as ``issuer|sub``. Never part of the message."""
    at: datetime


class Mailer(Protocol):
    """Takes mail. Raises `ActionError` and nothing else; UNKNOWN once the message may have been accepted."""

    async def send(self, mail: Mail) -> str:
        """Hands `mail` over; returns what the other side called it."""

    async def find(self, tenant: TenantId, message_id: str) -> bool:
        """Whether it can be proved that the message left. False proves nothing."""


def is_address(value: str) -> bool:
    """Whether `value` is one plain e-mail address."""
    return len(value) <= 254 and len(value.split("@")[0]) <= 64 and _ADDRESS.fullmatch(value) is not None


def message_id(idempotency_key: str, sender: str) -> str:
    """``<hash@domain>``: receivers that drop duplicates drop a second copy under the same key."""
    return f"<{hashlib.sha256(idempotency_key.encode()).hexdigest()[:40]}@{sender.rpartition('@')[2]}>"


def message(mail: Mail) -> EmailMessage:
    """The RFC 5322 message. `EmailMessage` refuses line breaks in headers by itself, too."""
    built = EmailMessage(policy=SMTP)
    built["From"] = mail.sender
    built["To"] = mail.recipient
    built["Subject"] = mail.subject
    built["Date"] = format_datetime(mail.at)
    built["Message-ID"] = mail.message_id
    built.set_content(mail.body + "\n", cte="quoted-printable")
    return built
