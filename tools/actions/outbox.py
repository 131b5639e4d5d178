"""Mail into a local table instead of the world: the demo's outbox. Knows no SMTP."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from policy.model import TenantId
from tools.actions.mail import Mail
from tools.business import Business, mail_outbox


@dataclass(frozen=True, slots=True)
class OutboxMailer:
    """Keeps each message once under its Message-ID."""

    business: Business

    async def send(self, mail: Mail) -> str:
        def unit(conn: Connection) -> None:
            if _is_there(conn, mail.tenant, mail.message_id):
                return
            conn.execute(
                insert(mail_outbox).values(
                    tenant=mail.tenant,
                    message_id=mail.message_id,
                    call_id=mail.call_id,
                    sender=mail.sender,
                    recipient=mail.recipient,
                    subject=mail.subject,
                    body=mail.body,
                    sent_by=mail.sent_by,
                    sent_at=mail.at,
                )
            )

        await self.business.write(unit)
        return "kept in the local outbox"

    async def find(self, tenant: TenantId, message_id: str) -> bool:
        return await self.business.read(lambda conn: _is_there(conn, tenant, message_id))


def _is_there(conn: Connection, tenant: TenantId, message_id: str) -> bool:
    query = select(mail_outbox.c.message_id)
    query = query.where(mail_outbox.c.tenant == tenant, mail_outbox.c.message_id == message_id)
    return conn.execute(query).one_or_none() is not None
