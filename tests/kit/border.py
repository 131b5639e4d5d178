"""One browser and one program at the border: what each organisation holds, and how the other one asks for it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx2

from bot.core import utc_now
from bot.identity import flows, opaque, scim_tokens, sessions, tickets
from bot.identity.flows import Purpose, Step
from policy.model import TenantId
from tests.kit.two_tenants import ACME, BOTH, TEAM, WORD, Two, chat
from tools.held import HeldView, Scope, ScopeKind
from tools.stops import By

NOBODY = "h_000000000000000000000000"
READERS = ("dana", "ann", "ada", "aud")
ROW = re.compile(r"/audit/[0-9]+")
MARK = re.compile(r'name="mark" value="[0-9.]+"')


@dataclass
class Border:
    """Acme has everything; somebody of globex holds the ids, secrets and cookies of it."""

    two: Two
    held: dict[TenantId, HeldView]
    cookies: dict[tuple[TenantId, str], str]
    bearer: dict[TenantId, str]
    user_id: dict[TenantId, str]
    ticket: dict[TenantId, str]
    flow: dict[TenantId, str]
    marks: set[str] = field(default_factory=set)
    """Words that stand in acme's rows alone."""

    def silent(self, text: str, *, but: str = "") -> None:
        """Nothing of acme's is in `text`, except `but`, which the asker said themselves."""
        shown = [mark for mark in self.marks if mark != but and mark in text]
        assert not shown, f"of acme's: {shown}\n{text[:3000]}"

    async def ask(self, who: tuple[TenantId, str] | None, method: str, path: str, **more: Any) -> httpx2.Response:
        async with self.two.browser(self.cookies[who] if who else "", **more.pop("headers", {})) as browser:
            return await browser.request(method, path, **more)

    async def same(
        self, who: tuple[TenantId, str] | None, method: str, path: str, mine: str, none: str, **more: Any
    ) -> httpx2.Response:
        """What is answered about acme's id is what is answered about an id of nobody."""
        answers = [await self.ask(who, method, path.replace("ID", one), **more) for one in (mine, none)]
        told = [(one.status_code, _plain(one.text, mine, none)) for one in answers]
        assert told[0] == told[1], (method, path, who)
        self.silent(answers[0].text, but=mine)
        return answers[0]


def _plain(page: str, *ids: str) -> str:
    """But for the id that was asked for, and the number of the reader's own last row, which each press moves on."""
    for one in ids:
        page = page.replace(one, "ID")
    return MARK.sub("MARK", page)


async def a_border(two: Two) -> Border:
    held, cookies, bearer, users, ticket, flow = {}, {}, {}, {}, {}, {}
    for tenant in BOTH:
        await two.write(tenant, "dana", n="the-same-message")
    for tenant in BOTH:
        held[tenant] = await two.pending(tenant)
        for sub in READERS:
            cookies[tenant, sub] = await two.sign_in(tenant, sub)
        bearer[tenant], users[tenant], ticket[tenant], flow[tenant] = await two.core.writer.run(
            lambda conn, tenant=tenant: _secrets(conn, tenant)  # type: ignore[misc]
        )
    stop = By("ada", f"Ada {WORD[ACME]}", ("admin",), f"the tool crm.write {WORD[ACME]}")
    await two.core.gateway.kill(ACME, Scope(ScopeKind.TOOL, "crm.write"), stop, f"because {WORD[ACME]}")
    view = held[ACME]
    made = Border(two, held, cookies, bearer, users, ticket, flow)
    made.marks = {WORD[ACME], view.held_id, view.card_id, view.digest, view.turn_id, TEAM[ACME], users[ACME]}
    made.marks |= {sessions.form_token(cookies[ACME, sub]) for sub in READERS}
    return made


def _secrets(conn: Any, tenant: TenantId) -> tuple[str, str, str, str]:
    _, secret, _ = scim_tokens.create(conn, tenant, "okta", "shell:test", utc_now())
    (user,) = conn.exec_driver_sql(
        f"SELECT resource_id FROM scim_resource WHERE tenant = '{tenant}' AND external_id = 'dana'"
    ).scalars()
    ticket = tickets.issue(conn, tenant, chat(tenant, "newcomer"), utc_now())
    flow = flows.start(conn, tenant, Purpose.LINK, Step.COMPANY, utc_now(), ticket=opaque.digest(ticket))
    return secret, user, ticket, flow


# -- the probes: what somebody of globex tries, then that it works where it belongs ----------------------------------


Probe: TypeAlias = Callable[[Border], Awaitable[None]]
