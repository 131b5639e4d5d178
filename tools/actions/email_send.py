"""email.send: one mail to one person. The recipient becomes an address before the digest is taken.

Knows the CRM and a `Mailer`; knows neither SMTP nor who approves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from policy.model import Json, TenantId
from tools.actions import records
from tools.actions.args import day, reads, refuse, takes_effect, text
from tools.actions.mail import Mail, Mailer, is_address, message_id
from tools.business import Business
from tools.spec import Args, CallContext, Draft, Fact, OutputClass, Resolved, ToolResult

SUBJECT_LIMIT = 200
BODY_LIMIT = 50_000

DESCRIPTION = (
    "Send one e-mail to one person, as plain text. A person has to approve it, word for word, before it leaves. Give "
    "the customer id, and the address is taken from the CRM; or give an address. Write the mail complete, with "
    "greeting and signature, without placeholders. Do not promise what has not been approved: the mail that announces "
    "a refund is sent once the refund has taken effect."
)

SCHEMA: Mapping[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["to", "subject", "body"],
    "properties": {
        "to": {
            "type": "string",
            "minLength": 3,
            "maxLength": 254,
            "description": 'Customer id ("C-1007") or one e-mail address.',
        },
        "subject": {
            "type": "string",
            "minLength": 1,
            "maxLength": SUBJECT_LIMIT,
            "description": "Subject, one line.",
        },
        "body": {"type": "string", "minLength": 1, "maxLength": BODY_LIMIT, "description": "The mail, plain text."},
    },
}

EXAMPLE = "Write to Ada Lindqvist that her parcel is delayed by two days"


@dataclass(frozen=True, slots=True)
class EmailSend:
    business: Business
    mailer: Mailer
    sender: str

    @reads
    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        tenant = ctx.principal.tenant
        to = text(args, "to", limit=254)
        subject = text(args, "subject", limit=SUBJECT_LIMIT)
        body = text(args, "body", limit=BODY_LIMIT, multiline=True).replace("\r\n", "\n")
        address, customer = await self.business.read(lambda conn: _recipient(conn, tenant, to))
        return Resolved(
            arguments={"to": address, "subject": subject, "body": body},
            headline=f"Send an e-mail to {address if customer is None else f'{customer.name} <{address}>'}",
            facts=(*_facts(address, customer), Fact("From", self.sender)),
            draft=Draft(to=address, subject=subject, body=body),
            stable={"to": address, "from": self.sender, "customer_id": None if customer is None else customer.id},
        )

    @takes_effect
    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        resolved = await self.resolve(ctx, args)
        mail = Mail(
            message_id=message_id(ctx.idempotency_key, self.sender),
            tenant=ctx.principal.tenant,
            call_id=ctx.call_id,
            sender=self.sender,
            recipient=str(resolved.arguments["to"]),
            subject=str(resolved.arguments["subject"]),
            body=str(resolved.arguments["body"]),
            sent_by=str(ctx.principal.subject),
            at=ctx.now,
        )
        answer = await self.mailer.send(mail)
        return _result(mail.recipient, mail.subject, mail.message_id, answer)

    @reads
    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        wanted = message_id(ctx.idempotency_key, self.sender)
        if not await self.mailer.find(ctx.principal.tenant, wanted):
            return None
        return _result(text(args, "to", limit=254), text(args, "subject", limit=SUBJECT_LIMIT), wanted, "found again")


def _recipient(conn: Connection, tenant: TenantId, to: str) -> tuple[str, records.Customer | None]:
    if records.is_customer_id(to):
        customer = records.customer_by_id(conn, tenant, to)
        if customer is None:
            raise refuse(f"There is no customer {to}. Look the customer up with crm.read first.")
        if not is_address(customer.email):
            raise refuse(f"{customer.label} has no usable e-mail address in the CRM. Nothing was sent.")
        return customer.email, customer
    if not is_address(to):
        raise refuse(f"{to!r} is not one plain e-mail address. Give a customer id or an address like ada@example.com.")
    found = records.customers_by_email(conn, tenant, to)
    return to, found[0] if found else None


def _facts(address: str, customer: records.Customer | None) -> tuple[Fact, ...]:
    if customer is None:
        return (
            Fact("Recipient", address),
            Fact("Not in the CRM", "Nobody in the CRM has this address. Check that it is the right one.", warning=True),
        )
    return (
        Fact("Recipient", f"{customer.label}, {address}"),
        Fact("Customer since", f"{day(customer.created_at)}, {customer.tier}"),
    )


def _result(recipient: str, subject: str, message_id: str, answer: str) -> ToolResult:
    return ToolResult(
        content={"to": recipient, "subject": subject, "message_id": message_id, "server": answer},
        sentence=f'Sent the e-mail "{subject}" to {recipient}.',
        reference=message_id,
        output_class=OutputClass.INTERNAL,
    )
