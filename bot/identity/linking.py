"""How a chat account is bound to a person: proved from both sides, in one browser. Draws no page, speaks to no IdP.

The browser's side. First the chat account: by Sign in with Slack; or, where the company's IdP is the chat's own
(Teams), by being the same Entra account; or, last, by a question in that chat and a code (`chat_word`). Then the
person, by the company's IdP. Then a page that names both, and one transaction that binds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.engine import Connection

from audit.event import Json
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity import chat_proof, confirmations, flows, links, sessions, tickets
from bot.identity.flows import Flow, Purpose, Step
from bot.identity.id_token import IdClaims
from bot.identity.issuers import Issuer
from bot.identity.link_words import SLACK, Both, Linked
from bot.identity.links import How, LinkedElsewhere
from bot.identity.refusals import Ration, Refused, Why, over, refused
from bot.identity.telling import Telling
from bot.identity.tenants import Tenant, Tenants
from bot.identity.tickets import Ticket, TicketEnd
from bot.messages import ChatUser
from bot.ports import Directory, Person, SurfaceError
from policy.model import Subject, TenantId
from tools import turnstile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bound:
    who: ChatUser
    person: Person
    others: tuple[ChatUser, ...]


class Linking:
    """Every method that changes something is one transaction, its audit row included."""

    def __init__(
        self,
        *,
        writer: Writer,
        audit: AuditStore,
        directory: Directory,
        tenants: Tenants,
        clock: Callable[[], datetime],
        telling: Telling,
        slack: Issuer | None = None,
    ) -> None:
        """`slack`: Sign in with Slack, where it is configured. Without it Slack accounts answer in their chat."""
        self.writer = writer
        self.audit = audit
        self.directory = directory
        self.tenants = tenants
        self.clock = clock
        self.slack = slack
        self.ration = Ration()
        self.telling = telling

    # -- the link ------------------------------------------------------------------------------------

    async def look(self, secret: str) -> Ticket:
        """The ticket of an opened link. Looking consumes nothing: chats and scanners open links by themselves.

        Raises:
            Refused: it counts no more, and why.
        """
        now = self.clock()
        return await self.writer.read(lambda conn: self.open_ticket(tickets.by_secret(conn, secret), now))

    def by_slack(self, who: ChatUser) -> bool:
        """Whether Sign in with Slack proves this account."""
        return who.surface == SLACK and self.slack is not None

    async def begin(self, secret: str) -> tuple[str, Ticket]:
        """The cookie of a new flow for this browser.

        Raises:
            Refused: the link counts no more.
        """
        now = self.clock()

        def unit(conn: Connection) -> tuple[str, Ticket]:
            ticket = self.open_ticket(tickets.by_secret(conn, secret), now)
            step = Step.SLACK if self.by_slack(ticket.who) else Step.COMPANY
            return flows.start(conn, ticket.tenant, Purpose.LINK, step, now, ticket=ticket.sha256), ticket

        return await self.judged(unit)

    async def flow(self, cookie: str, purpose: Purpose, *steps: Step) -> Flow:
        """The flow of this browser, if it has come to one of `steps`.

        Raises:
            Refused: it has none, or is somewhere else.
        """
        now = self.clock()
        found = await self.writer.read(lambda conn: flows.of_cookie(conn, cookie, now)) if cookie else None
        if found is None or found.purpose is not purpose:
            raise refused(Why.NO_FLOW)
        if found.step not in steps:
            raise refused(Why.RACED, found.tenant)
        return found

    def tenant(self, tenant: TenantId) -> Tenant:
        """Raises `Refused` if the organisation is not served any more."""
        found = self.tenants.get(tenant)
        if found is None:
            raise refused(Why.TEAM_MOVED, tenant)
        return found

    async def ticket_of(self, flow: Flow) -> Ticket:
        """The link this flow redeems.

        Raises:
            Refused: it counts no more.
        """
        now = self.clock()
        return await self.judged(lambda conn: self._ticket(conn, flow, now), flow)

    # -- the two legs --------------------------------------------------------------------------------

    async def slack_answered(self, flow: Flow, claims: IdClaims) -> None:
        """Slack has said who holds this browser.

        Raises:
            Refused: it is not the account the link was made for. Then the link is over.
        """
        now = self.clock()
        ticket = await self.ticket_of(flow)
        why = chat_proof.by_slack(ticket.who, claims)
        if why is not None:
            raise await self._not_theirs(flow, ticket, why, {"opened_by": chat_proof.opened_by(claims)})

        def unit(conn: Connection) -> None:
            if not flows.advance(conn, flow, Step.COMPANY, now, chat_proved=True):
                raise refused(Why.RACED, flow.tenant)

        await self.judged(unit, flow)

    async def company_answered(self, flow: Flow, claims: IdClaims) -> None:
        """The company's IdP has said who holds this browser.

        Raises:
            Refused: nobody that its directory sent here, or somebody else than the chat account's own holder.
        """
        now = self.clock()
        issuer = self.tenant(flow.tenant).issuer
        subject = Subject(issuer.issuer, claims.subject)
        ticket = await self.ticket_of(flow)
        same_idp = chat_proof.one_idp(ticket.who, issuer)
        if same_idp and claims.subject.casefold() != ticket.who.user.casefold():
            raise await self._not_theirs(flow, ticket, Why.OTHER_CHAT_USER, {"opened_by": claims.subject})

        def unit(conn: Connection) -> None:
            self.person(conn, flow.tenant, subject)
            if not flows.advance(conn, flow, Step.CONFIRM, now, subject=subject, chat_proved=same_idp):
                raise refused(Why.RACED, flow.tenant)
            sessions.vouched(conn, flow.tenant, subject, now)

        await self.judged(unit, flow, subject)

    # -- the page that names both --------------------------------------------------------------------

    async def both(self, flow: Flow) -> Both:
        """What the confirmation page says.

        Raises:
            Refused: one of the two is no longer there.
        """
        now = self.clock()

        def unit(conn: Connection) -> tuple[ChatUser, Person]:
            person = self.person(conn, flow.tenant, flow.subject)
            if flow.step is not Step.CODE:
                return self._ticket(conn, flow, now).who, person
            question = confirmations.of_flow(conn, flow, now)
            if question is None:
                raise refused(Why.QUESTION_OVER, flow.tenant)
            return question.who, person

        who, person = await self.writer.read(unit)
        return await self.telling.both(who, person, self.tenant(flow.tenant).name)

    async def agreed(self, flow: Flow) -> Linked | None:
        """The browser's holder says that both are theirs. None: now the chat account has to say so too.

        Raises:
            Refused: nothing was bound.
        """
        if not flow.chat_proved:
            await self._ask(flow)
            return None
        now = self.clock()

        def unit(conn: Connection) -> Bound:
            ticket = self._ticket(conn, flow, now)
            if not tickets.end(conn, ticket, TicketEnd.USED, now):
                raise refused(Why.RACED, flow.tenant)
            return self._bind(conn, flow, ticket.who, now)

        return await self.told(await self.judged(unit, flow))

    async def declined(self, flow: Flow) -> Refused:
        """The browser's holder says that they are not. The link is over."""
        ticket = await self.ticket_of(flow)
        return await self._not_theirs(flow, ticket, Why.DECLINED_ON_PAGE, {})

    async def typed(self, flow: Flow, code: str) -> Linked:
        """The browser's holder types what the chat account was told.

        Raises:
            Refused: wrong, too often wrong, or nothing was asked. Nothing was bound.
        """
        now = self.clock()

        def unit(conn: Connection) -> Bound | Refused:
            question = confirmations.of_flow(conn, flow, now)
            if question is None:
                raise refused(Why.QUESTION_OVER, flow.tenant)
            if not confirmations.redeem(conn, question, code, now):
                # Not raised: the try has to be counted.
                return refused(Why.WRONG_CODE, flow.tenant, dict(links.described(question.who)))
            return self._bind(conn, flow, question.who, now)

        found = await self.judged(unit, flow)
        if isinstance(found, Refused):
            raise await self.record(found, flow.subject)
        return await self.told(found)

    async def confirm(self, tenant: TenantId, who: ChatUser, confirmation_id: str, yes: bool) -> str:
        """The answer to a press on "Yes, link me" or "No, that was not me", for the presser alone. Markdown.

        `who` is whom the chat says pressed. A yes is answered with the code that the browser asks for.
        """
        now = self.clock()

        def unit(conn: Connection) -> str | Refused | None:
            question = confirmations.of_chat(conn, tenant, who, confirmation_id, now)
            if question is None:
                raise refused(Why.QUESTION_OVER, tenant, dict(links.described(who)))
            if yes:
                self.person(conn, tenant, question.subject)
                return confirmations.yes(conn, question, now)
            # Not raised: the question has to end.
            confirmations.end(conn, question, now)
            return refused(Why.DECLINED_IN_CHAT, tenant, {**links.described(who), "subject": question.subject.sub})

        try:
            code = await self.judged(unit)
        except Refused as no:
            return f"{no.title}. {no}"
        if isinstance(code, Refused):
            await self.record(code)
            return "Nothing was linked, and the link is over. If somebody is trying to be you here, tell an admin."
        if code is None:
            return "You said yes before, and I told you the code then. It counts once. For another one, start again."
        return (
            f"Your code is **{code[:4]}-{code[4:]}**. Type it into the page in *your own* browser on which you "
            "signed in a moment ago; it counts for ten minutes. Tell it to nobody, and type it nowhere else."
        )

    # -- refusals ------------------------------------------------------------------------------------

    async def record(self, no: Refused, subject: Subject | None = None, flow: Flow | None = None) -> Refused:
        """Writes the row of a refusal, ends `flow`, and gives the refusal back, to be raised."""
        now = self.clock()
        event = self.ration.event(no, now, None if subject is None else subject.sub)

        def unit(conn: Connection) -> None:
            if flow is not None:
                flows.end(conn, flow, now)
            if event is not None:
                self.audit.append(conn, [event])

        if event is not None or flow is not None:
            await self.writer.run(unit)
        return no

    # -- within ----------------------------------------------------------------------------------------

    async def judged(
        self, unit: Callable[[Connection], T], flow: Flow | None = None, subject: Subject | None = None
    ) -> T:
        """Runs `unit`; a refusal leaves nothing of it but its own row.

        With `flow` what the directory says within `unit` holds until it is committed: a leaver's link is not made
        beside the transaction that ends their links.
        """

        def steady(conn: Connection) -> T:
            if flow is not None:
                turnstile.together(conn, flow.tenant)
            return unit(conn)

        try:
            return await self.writer.run(steady)
        except Refused as no:
            of_whom = subject or (flow.subject if flow is not None else None)
            over = flow if no.why is not Why.RACED else None
            raise await self.record(no, of_whom, over) from None

    def open_ticket(self, ticket: Ticket | None, now: datetime) -> Ticket:
        if ticket is None:
            raise refused(Why.LINK_UNKNOWN)
        detail = dict(links.described(ticket.who))
        if not ticket.open(now):
            raise refused(over(ticket), ticket.tenant, detail)
        if self.tenants.tenant_of(ticket.who.surface, ticket.who.team) != ticket.tenant:
            raise refused(Why.TEAM_MOVED, ticket.tenant, detail)
        return ticket

    def _ticket(self, conn: Connection, flow: Flow, now: datetime) -> Ticket:
        found = None if flow.ticket is None else tickets.by_hash(conn, flow.ticket)
        if found is not None and found.tenant != flow.tenant:
            raise refused(Why.TEAM_MOVED, flow.tenant)
        return self.open_ticket(found, now)

    def person(self, conn: Connection, tenant: TenantId, subject: Subject | None) -> Person:
        """Somebody who is there and active. Raises `Refused` otherwise."""
        person = None if subject is None else self.directory.by_subject(conn, tenant, subject)
        if person is None or person.tenant != tenant:
            raise refused(Why.NOT_IN_DIRECTORY, tenant, {} if subject is None else {"subject": subject.sub})
        if not person.active:
            raise refused(Why.INACTIVE, tenant, {"subject": person.subject.sub})
        return person

    def _bind(self, conn: Connection, flow: Flow, who: ChatUser, now: datetime) -> Bound:
        if not flows.end(conn, flow, now):
            raise refused(Why.RACED, flow.tenant)
        return self.bind(conn, flow.tenant, who, flow.subject, now)

    def bind(self, conn: Connection, tenant: TenantId, who: ChatUser, subject: Subject | None, now: datetime) -> Bound:
        """The one place where a proved link comes to be. Within the caller's transaction."""
        if self.tenants.tenant_of(who.surface, who.team) != tenant:
            raise refused(Why.TEAM_MOVED, tenant)
        person = self.person(conn, tenant, subject)
        how = How.TEAMS_SSO if chat_proof.one_idp(who, self.tenant(tenant).issuer) else How.PROVED
        try:
            events = links.bind(conn, tenant, who, person.subject, how, now)
        except LinkedElsewhere as error:
            raise refused(Why.LINKED_TO_OTHER, tenant, dict(links.described(who))) from error
        tickets.end_all(conn, tenant, who, TicketEnd.USED, now)
        confirmations.end_all(conn, tenant, who, now)
        self.audit.append(conn, events)
        # Read before: the accounts the person had, also those that need no link.
        return Bound(who, person, tuple(one for one in person.accounts if one != who))

    async def _ask(self, flow: Flow) -> None:
        """Puts the question to the chat account. The ticket is used up: from here on the question counts."""
        now = self.clock()

        def unit(conn: Connection) -> tuple[Ticket, Person, str]:
            ticket = self._ticket(conn, flow, now)
            person = self.person(conn, flow.tenant, flow.subject)
            there = links.of_account(conn, flow.tenant, ticket.who)
            if there is not None and there.subject != person.subject:
                raise refused(Why.LINKED_TO_OTHER, flow.tenant, dict(links.described(ticket.who)))
            ended = tickets.end(conn, ticket, TicketEnd.USED, now)
            if not ended or not flows.advance(conn, flow, Step.CODE, now):
                raise refused(Why.RACED, flow.tenant)
            return ticket, person, confirmations.ask(conn, flow, ticket.who, person.subject, now)

        ticket, person, confirmation_id = await self.judged(unit, flow)
        try:
            await self.telling.ask(ticket.who, person, self.tenant(flow.tenant).name, confirmation_id)
        except SurfaceError as error:
            await self.writer.run(lambda conn: confirmations.end_all(conn, flow.tenant, ticket.who, now))
            no = refused(Why.CHAT_SILENT, flow.tenant, dict(links.described(ticket.who)))
            raise await self.record(no, flow.subject) from error

    async def _not_theirs(self, flow: Flow, ticket: Ticket, why: Why, detail: dict[str, Json]) -> Refused:
        """Ends link and flow, tells the account the link was made for, and says why."""
        now = self.clock()
        no = refused(why, flow.tenant, {**links.described(ticket.who), **detail})
        event = self.ration.event(no, now, None if flow.subject is None else flow.subject.sub)

        def unit(conn: Connection) -> None:
            tickets.end(conn, ticket, TicketEnd.REFUSED, now)
            flows.end(conn, flow, now)
            self.audit.append(conn, [] if event is None else [event])

        await self.writer.run(unit)
        await self.telling.not_theirs(ticket.who)
        return no

    async def told(self, bound: Bound) -> Linked:
        """Both sides hear of it; so do the person's other accounts."""
        organisation = self.tenant(bound.person.tenant).name
        await self.telling.linked(bound.who, bound.person, organisation, bound.others)
        return Linked(await self.telling.both(bound.who, bound.person, organisation), bound.others)
