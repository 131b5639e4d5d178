"""`/countersign link | unlink | whoami`: words in, one private answer out, Markdown. Knows who may end whose link.

There is no `link @person`: nobody links somebody else from a chat, an admin included, because that would prove one
side alone. For imports and emergencies there is the shell (`countersign identity link`). An e-mail address is never
looked at, not even to suggest somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity import confirmations, links, tickets
from bot.identity.link_words import TEAMS, account, named, plain
from bot.identity.links import Link
from bot.identity.telling import Telling
from bot.identity.tickets import TicketEnd
from bot.messages import ChatUser
from bot.ports import Directory, Person
from policy.model import Principal, RoleName, Subject, TenantId
from tools import turnstile

ADMIN = RoleName("admin")
CAUSE_OWN, CAUSE_ADMIN = "by_holder", "by_admin"
ONE = "Teams and your company's sign-in are one account"
NO_TENANT = "This chat team is not connected to Countersign. Nothing was done. Ask an admin to add it to tenants.yaml."


@dataclass(frozen=True, slots=True)
class LinkCommands:
    writer: Writer
    audit: AuditStore
    directory: Directory
    telling: Telling
    base_url: str
    clock: Callable[[], datetime]

    async def invite(self, who: ChatUser, channel: str = "") -> str | None:
        """The address of a new link for `who`, to be sent to them privately; None: the team is nobody's.

        Older links of the account end.
        """
        tenant = self.directory.tenant_of(who.surface, who.team)
        if tenant is None:
            return None
        now = self.clock()
        secret = await self.writer.run(lambda conn: tickets.issue(conn, tenant, who, now, channel))
        return f"{self.base_url}/link/{secret}"

    async def command_link(self, who: ChatUser, channel: str = "") -> str:
        """`/countersign link`."""
        found = await self._mine(who)
        if found is not None and found[1] is not None and found[1].active:
            if found[0] is None:
                return (
                    f"This chat account is {named(found[1])} already: {ONE}, so it needs no link. Nothing was changed."
                )
            return (
                f"This chat account is linked to {named(found[1])} already. Nothing was changed. To link it to "
                "somebody else, write `/countersign unlink` first."
            )
        url = await self.invite(who, channel)
        if url is None:
            return NO_TENANT
        return (
            f"[Say who you are]({url})\n\nThe link counts once, for ten minutes, and for this chat account alone. "
            "Open it yourself and send it to nobody."
        )

    async def command_unlink(self, who: ChatUser, word: str = "", by: Principal | None = None) -> str:
        """`/countersign unlink [@person]`. `by`: who `who` is, if that is known; needed for another's."""
        tenant = self.directory.tenant_of(who.surface, who.team)
        if tenant is None:
            return NO_TENANT
        if word:
            return await self._unlink_other(tenant, who, word, by)
        now = self.clock()

        def unit(conn: Connection) -> bool:
            events = end_link(conn, self.directory, tenant, who, CAUSE_OWN, now)
            self.audit.append(conn, events)
            return bool(events)

        if not await self.writer.run(unit):
            return "This chat account is linked to nobody. Links that were open are over now."
        return (
            "Done: this chat account is linked to nobody any more, and I do nothing more for it. What you asked for "
            "before goes on, because you are still there: withdraw it if you do not want it. `/countersign link` links "
            "it again."
        )

    async def whoami(self, who: ChatUser) -> str:
        """What is known of the account, for whoever holds it. Of somebody known, `commands` says their rights too."""
        if self.directory.tenant_of(who.surface, who.team) is None:
            return NO_TENANT
        found = await self._mine(who)
        if found is None:
            return f"I do not know who you are. `/countersign link` links this chat account ({plain(account(who))})."
        link, person = found
        if person is None or not person.active:
            return "This chat account is linked to somebody who has left, so I do nothing for it. Ask an admin."
        if link is None:
            return f"This chat account is {named(person)}: {ONE}, so it needs no link."
        how = {
            links.How.PROVED: "you proved both sides",
            links.How.TEAMS_SSO: ONE,
            links.How.SHELL: f"{plain(link.by)} linked it from the shell",
        }[link.how]
        return f"This chat account is linked to {named(person)} since {link.linked_at:%Y-%m-%d}: {how}."

    async def _mine(self, who: ChatUser) -> tuple[Link | None, Person | None] | None:
        """The link of the account, if it needs one, and whose it is. None: nobody's."""

        def unit(conn: Connection) -> tuple[Link | None, Person | None] | None:
            tenant = self.directory.tenant_of(who.surface, who.team)
            link = None if tenant is None else links.of_account(conn, tenant, who)
            if link is not None:
                return link, self.directory.by_subject(conn, link.tenant, link.subject)
            person = None if self.directory.implied(who) is None else self.directory.by_account(conn, who)
            return None if person is None else (None, person)

        return await self.writer.read(unit)

    async def _unlink_other(self, tenant: TenantId, who: ChatUser, word: str, by: Principal | None) -> str:
        now = self.clock()
        if by is None or by.tenant != tenant or ADMIN not in by.roles:
            refused = Event(
                Kind.COMMAND_REFUSED,
                tenant,
                now,
                "refused",
                actor_user_id=None if by is None else by.subject.sub,
                actor_roles=() if by is None else tuple(sorted(by.roles)),
                detail={"command": "unlink", "account": str(who)},
            )
            await self.writer.run(lambda conn: self.audit.append(conn, [refused]))
            return (
                f"Only people with the role {ADMIN} can unlink others. Nothing was changed; that you tried is in the "
                "audit trail. `/countersign unlink` alone ends the link of this chat account."
            )
        admin = by.subject.sub

        def unit(conn: Connection) -> tuple[Sequence[ChatUser], str] | str:
            meant = self._meant(conn, tenant, who, word)
            if isinstance(meant, str):
                return meant
            found, label = meant
            ended = [end_link(conn, self.directory, tenant, one, CAUSE_ADMIN, now, admin) for one in found]
            self.audit.append(conn, [event for events in ended for event in events])
            return found, label

        answer = await self.writer.run(unit)
        if isinstance(answer, str):
            return answer
        ended, label = answer
        for one in ended:
            await self.telling.unlinked(one, label)
        if not ended:
            return f"No chat account is linked to {plain(label)}. Nothing was changed."
        lines = "\n".join(f"- {plain(account(one))}" for one in ended)
        return (
            f"Done. No longer linked to {plain(label)}, and told so:\n{lines}\nWhat they asked for before goes on, "
            "because the person is still there. To stop that too: `/countersign kill user @NAME REASON`."
        )

    def _meant(
        self, conn: Connection, tenant: TenantId, asker: ChatUser, word: str
    ) -> tuple[Sequence[ChatUser], str] | str:
        """The accounts that `word` names, and whose: a mention in this chat, an account, a subject, a name."""
        wanted = word.strip("<>").lstrip("@").partition("|")[0].casefold()
        owners = held(conn, self.directory, tenant)
        exact = [one for one in owners if word == str(one)]
        if exact:
            return exact, str(exact[0])
        mentioned = [
            one for one in owners if (one.surface, one.team, one.user.casefold()) == (asker.surface, asker.team, wanted)
        ]
        subjects = {owners[one] for one in mentioned}
        people = self.directory.people(conn, tenant)
        if not word.startswith("<@"):
            # Only where nothing before names anybody: people choose their own names. A mention means the account alone.
            subjects = subjects or {one.subject for one in people if wanted == one.subject.sub.casefold()}
            subjects = subjects or {one.subject for one in people if wanted == one.display_name.casefold()}
        if len(subjects) != 1:
            why = "Nobody is" if not subjects else f"{len(subjects)} people are"
            return f"{why} called {plain(word[:60])}. Nothing was changed; mention the person, or use their subject."
        subject = subjects.pop()
        names = [one.display_name for one in people if one.subject == subject]
        mine = [one for one, owner in owners.items() if owner == subject]
        return mine, names[0] if names else subject.sub


def held(conn: Connection, directory: Directory, tenant: TenantId) -> dict[ChatUser, Subject]:
    """Whose each chat account is: by its link, or without one where the chat's accounts are the IdP's own."""
    linked = {link.who: link.subject for link in links.of_tenant(conn, tenant)}
    own = {
        account: person.subject
        for person in directory.people(conn, tenant)
        for account in person.accounts
        if directory.implied(account) == person.subject
    }
    return {**own, **linked}


def end_link(
    conn: Connection,
    directory: Directory,
    tenant: TenantId,
    who: ChatUser,
    cause: str,
    now: datetime,
    by: str | None = None,
) -> list[Event]:
    """Ends the link, and what might become one, together; nobody decides by it meanwhile.

    An account that needs no link has to be linked from now on: otherwise it would be theirs again at once. So has one
    that would need none if tenants.yaml asked for no link.
    """
    turnstile.alone(conn, tenant)
    tickets.end_all(conn, tenant, who, TicketEnd.UNLINKED, now)
    confirmations.end_all(conn, tenant, who, now)
    link = links.of_account(conn, tenant, who)
    events = links.unbind(conn, tenant, who, cause, now, by)
    own = directory.implied(who) or (link.subject if link is not None and who.surface == TEAMS else None)
    if own is None or not (events or directory.by_subject(conn, tenant, own)):
        return events
    barred = links.bar(conn, tenant, who, own, cause, now, by)
    return events or barred
