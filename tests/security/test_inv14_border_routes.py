"""Invariant 14 over HTTP: every route that `countersign serve` mounts, tried with what belongs to another organisation.

A route that the matrix does not name fails the test: whoever adds one says here what it does at the border.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx2
from starlette.routing import BaseRoute, Mount, Route

from bot.core import utc_now
from bot.identity import flows, opaque, scim_tokens, sessions, tickets
from bot.identity.flows import Purpose, Step
from policy.approval import Verb
from policy.model import TenantId
from tests.kit.two_tenants import ACME, BASE, BOTH, GLOBEX, SIGNING, TEAM, WORD, Two, chat, subject
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


async def home(at: Border) -> None:
    for tenant in BOTH:
        answer = await at.ask((tenant, "dana"), "GET", "/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/requests")


async def board(at: Border) -> None:
    for sub in READERS:
        at.silent((await at.ask((GLOBEX, sub), "GET", "/requests")).text)
    for sub in ("dana", "ann"):
        assert at.held[ACME].headline in (await at.ask((ACME, sub), "GET", "/requests")).text
        assert at.held[GLOBEX].headline in (await at.ask((GLOBEX, sub), "GET", "/requests")).text


async def board_live(at: Border) -> None:
    theirs = (await at.ask((ACME, "dana"), "GET", "/requests/live?mark=")).text
    assert at.held[ACME].headline in theirs
    for mark in ("", "1.1", "999.9"):
        at.silent((await at.ask((GLOBEX, "ann"), "GET", f"/requests/live?mark={mark}")).text)


async def one_request(at: Border) -> None:
    await _one(at, "/requests/ID")


async def one_live(at: Border) -> None:
    await _one(at, "/requests/ID/live")


async def _one(at: Border, path: str) -> None:
    for sub in READERS:
        answer = await at.same((GLOBEX, sub), "GET", path, at.held[ACME].held_id, NOBODY)
        assert answer.status_code == 404
    mine = await at.ask((ACME, "ann"), "GET", path.replace("ID", at.held[ACME].held_id))
    assert (mine.status_code, at.held[ACME].headline in mine.text) == (200, True)


def press_form(at: Border, whose: TenantId, sub: str, verb: Verb = Verb.APPROVE) -> dict[str, str]:
    view = at.held[ACME]
    token = sessions.form_token(at.cookies[whose, sub])
    return {"csrf": token, "verb": verb, "revision": str(view.revision), "digest": view.digest, "text": "x"}


async def press(at: Border) -> None:
    path, view = "/requests/ID/press", at.held[ACME]
    for sub in READERS:
        for verb in Verb if sub == "ann" else (Verb.APPROVE, Verb.WITHDRAW):
            form = press_form(at, GLOBEX, sub, verb)
            await at.same((GLOBEX, sub), "POST", path, view.held_id, NOBODY, data=form)
            part: dict[str, Any] = {"data": form | {"on": "one"}, "headers": {"hx-request": "true"}}
            await at.same((GLOBEX, sub), "POST", path, view.held_id, NOBODY, **part)
    # A cookie of one with the form of the other's page.
    for cookie, page in ((GLOBEX, ACME), (ACME, GLOBEX)):
        answer = await at.ask(
            (cookie, "ann"), "POST", path.replace("ID", view.held_id), data=press_form(at, page, "ann")
        )
        assert answer.status_code == 403
    assert (await at.two.core.gateway.view(ACME, view.held_id)) == view


async def press_works(at: Border) -> None:
    path = f"/requests/{at.held[ACME].held_id}/press"
    answer = await at.ask((ACME, "ann"), "POST", path, data=press_form(at, ACME, "ann", Verb.REJECT))
    assert answer.status_code == 200
    after = await at.two.core.gateway.view(ACME, at.held[ACME].held_id)
    assert after is not None
    assert after.status == "rejected"


async def again(at: Border) -> None:
    for sub in READERS:
        form = {"csrf": sessions.form_token(at.cookies[GLOBEX, sub])}
        await at.same((GLOBEX, sub), "POST", "/requests/ID/again", at.held[ACME].held_id, NOBODY, data=form)
    assert len(await at.two.core.gateway.asked_by(ACME, subject("dana"))) == 1


async def again_works(at: Border) -> None:
    form = {"csrf": sessions.form_token(at.cookies[ACME, "dana"])}
    path = f"/requests/{at.held[ACME].held_id}/again"
    assert (await at.ask((ACME, "dana"), "POST", path, data=form)).status_code == 200
    assert len(await at.two.core.gateway.asked_by(ACME, subject("dana"))) == 2


async def log_table(at: Border) -> None:
    queries = ("", "?who=dana", f"?who={WORD[ACME]}", "?tool=refund.issue", "?before=999999", "?kind=kill.switched")
    for sub in READERS:
        for query in (*queries, f"?call={at.held[ACME].held_id}", "?tenant=acme", f"?who=Dana+{WORD[ACME]}"):
            answer = await at.ask((GLOBEX, sub), "GET", f"/audit{query}")
            at.silent(_without_typed(answer.text, query))
    # A row that acme alone has: in globex' table there is none of that kind.
    for tenant, rows in ((ACME, 1), (GLOBEX, 0)):
        page = (await at.ask((tenant, "aud"), "GET", "/audit?kind=kill.switched")).text
        assert len(set(ROW.findall(page))) == rows, (tenant, page)


def _without_typed(page: str, query: str) -> str:
    """What was typed stands in the form again: that is the reader's own."""
    typed = query.partition("=")[2].replace("+", " ")
    return page.replace(f'"{typed}"', '""').replace(query.removeprefix("?"), "") if typed else page


async def log_row(at: Border) -> None:
    rows = [len(await at.two.log(tenant)) for tenant in BOTH]
    for seq in range(1, max(rows) + 8):
        answer = await at.ask((GLOBEX, "aud"), "GET", f"/audit/{seq}")
        at.silent(answer.text, but=at.held[ACME].held_id)  # the row of a press keeps what the presser named
        assert answer.status_code == (200 if seq <= len(await at.two.log(GLOBEX)) else 404)
    assert (await at.ask((ACME, "aud"), "GET", "/audit/1")).status_code == 200


async def log_verify(at: Border) -> None:
    for sub in READERS:
        form = {"csrf": sessions.form_token(at.cookies[GLOBEX, sub]), "tenant": ACME}
        at.silent((await at.ask((GLOBEX, sub), "POST", "/audit/verify", data=form)).text)
    form = {"csrf": sessions.form_token(at.cookies[ACME, "aud"])}
    assert (await at.ask((ACME, "aud"), "POST", "/audit/verify", data=form)).status_code == 200


async def log_download(at: Border) -> None:
    for form in ("csv", "json", "jsonl"):
        for sub in READERS:
            for query in ("", "?tenant=acme", f"?call={at.held[ACME].held_id}"):
                taken = await at.ask((GLOBEX, sub), "GET", f"/audit/log.{form}{query}")
                at.silent(taken.text, but=at.held[ACME].held_id)  # what their own presses named
        mine = await at.ask((ACME, "aud"), "GET", f"/audit/log.{form}")
        assert (mine.status_code, at.held[ACME].held_id in mine.text) == (200, True)
        assert at.held[GLOBEX].held_id not in mine.text


async def stops(at: Border) -> None:
    for sub in READERS:
        answer = await at.ask((GLOBEX, sub), "GET", "/stops")
        at.silent(answer.text)
        assert answer.status_code == (200 if sub == "ada" else 403)
    assert f"because {WORD[ACME]}" in (await at.ask((ACME, "ada"), "GET", "/stops")).text


async def you(at: Border) -> None:
    for sub in READERS:
        at.silent((await at.ask((GLOBEX, sub), "GET", "/you")).text)
    assert WORD[ACME] in (await at.ask((ACME, "dana"), "GET", "/you")).text


async def no_page(at: Border) -> None:
    for path in ("/requests/ID/more", "/audit/ID/more"):
        assert (await at.same((GLOBEX, "aud"), "GET", path, at.held[ACME].held_id, NOBODY)).status_code == 404


async def link_page(at: Border) -> None:
    """Who was passed a link sees whose account it is for, whatever else they are; it names no person."""
    path = f"/link/{at.ticket[ACME]}"
    seen = [await at.ask(who, "GET", path) for who in ((GLOBEX, "dana"), (ACME, "dana"), None)]
    assert {one.status_code for one in seen} == {200}
    assert len({one.text for one in seen}) == 1
    assert WORD[ACME] not in seen[0].text


async def link_begin(at: Border) -> None:
    """A flow belongs to the link's organisation, whoever is signed in in that browser."""
    before = await at.two.rows("SELECT count(*) FROM signin_flow WHERE tenant = 'globex'")
    links = await at.two.rows("SELECT * FROM identity_link ORDER BY team, account")
    await at.ask((GLOBEX, "dana"), "POST", f"/link/{at.ticket[ACME]}", data={})
    assert await at.two.rows("SELECT count(*) FROM signin_flow WHERE tenant = 'globex'") == before
    assert await at.two.rows("SELECT * FROM identity_link ORDER BY team, account") == links


def flow_cookie(at: Border, whose: TenantId, session: TenantId = GLOBEX) -> dict[str, str]:
    return {"cookie": f"__Host-cs-flow={at.flow[whose]}; __Host-cs-session={at.cookies[session, 'dana']}"}


async def _flow_step(at: Border, method: str, path: str) -> None:
    """Acme's flow, in a browser that is signed in at globex: nobody is bound, and globex' rows stay as they are."""
    links, before = await at.two.rows("SELECT * FROM identity_link"), (await at.two.state(GLOBEX))["signin_flow"]
    form = {"csrf": flows.form_token(at.flow[GLOBEX]), "answer": "yes", "code": "BCDF-GHJK"}
    more: dict[str, Any] = {"data": form} if method == "POST" else {}
    answer = await at.ask(None, method, path, headers=flow_cookie(at, ACME), **more)
    assert answer.status_code in (403, 409, 410), (path, answer.status_code)
    at.silent(answer.text)
    assert await at.two.rows("SELECT * FROM identity_link") == links
    assert (await at.two.state(GLOBEX))["signin_flow"] == before


async def confirm_page(at: Border) -> None:
    await _flow_step(at, "GET", "/link/confirm")


async def confirm(at: Border) -> None:
    await _flow_step(at, "POST", "/link/confirm")


async def code_page(at: Border) -> None:
    await _flow_step(at, "GET", "/link/code")


async def code(at: Border) -> None:
    await _flow_step(at, "POST", "/link/code")


async def slack_back(at: Border) -> None:
    """Slack's answer to the flow of one, brought with the cookie of the other."""
    state = flows.answers(at.flow[ACME], Step.SLACK).state
    answer = await at.ask(None, "GET", f"/link/slack?code=x&state={state}", headers=flow_cookie(at, GLOBEX))
    assert answer.status_code in (403, 409)
    at.silent(answer.text)


async def company_back(at: Border) -> None:
    state = flows.answers(at.flow[ACME], Step.COMPANY).state
    answer = await at.ask(None, "GET", f"/signin/callback?code=x&state={state}", headers=flow_cookie(at, GLOBEX))
    assert answer.status_code == 403
    at.silent(answer.text)
    assert (await at.two.state(ACME))["signin_flow"] != []


async def signin_page(at: Border) -> None:
    for query in ("", "?tenant=acme", "?back_to=/requests/" + at.held[ACME].held_id):
        answer = await at.ask((GLOBEX, "dana"), "GET", f"/signin{query}")
        at.silent(answer.text)
    assert WORD[GLOBEX] in (await at.ask((GLOBEX, "dana"), "GET", "/signin?tenant=acme")).text


async def signin_begin(at: Border) -> None:
    """The word that is typed decides, and shows nobody: being signed in elsewhere changes neither."""
    answers = [await at.ask(who, "POST", "/signin", data={"organisation": "acme"}) for who in ((GLOBEX, "dana"), None)]
    assert answers[0].status_code == answers[1].status_code
    at.silent(answers[0].text)


async def sign_out(at: Border) -> None:
    form = {"csrf": sessions.form_token(at.cookies[ACME, "dana"])}
    assert (await at.ask((GLOBEX, "dana"), "POST", "/signout", data=form)).status_code == 403
    for tenant in BOTH:
        assert (await at.ask((tenant, "dana"), "GET", "/you")).status_code == 200


async def sign_out_works(at: Border) -> None:
    form = {"csrf": sessions.form_token(at.cookies[GLOBEX, "dana"])}
    await at.ask((GLOBEX, "dana"), "POST", "/signout", data=form)
    assert (await at.ask((GLOBEX, "dana"), "GET", "/you")).status_code == 303
    assert (await at.ask((ACME, "dana"), "GET", "/you")).status_code == 200


async def back_channel(at: Border) -> None:
    """A logout token concerns whoever the issuer serves (test_inv14_border_people); no session adds to it."""
    answers = [
        await at.ask(who, "POST", "/signin/backchannel", data={"logout_token": "x.y.z"})
        for who in ((GLOBEX, "ada"), None)
    ]
    assert {one.status_code for one in answers} == {400}
    assert answers[0].text == answers[1].text


async def scim(at: Border) -> None:
    """The ids of people and groups: tests/security/test_inv14_scim_tenants.py. Here: as it is mounted."""
    bearer = {"authorization": f"Bearer {at.bearer[GLOBEX]}"}
    patch = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": False}],
    }
    for method, body in (("GET", None), ("PUT", {"userName": "x"}), ("PATCH", patch), ("DELETE", None)):
        more: dict[str, Any] = {"headers": bearer} | ({} if body is None else {"json": body})
        answer = await at.same(None, method, "/scim/v2/Users/ID", at.user_id[ACME], "1" * 32, **more)
        assert answer.status_code in (400, 404)
    for path in ("/scim/v2/Users?count=200", "/scim/v2/Groups?count=200", "/scim/v2/ServiceProviderConfig"):
        at.silent((await at.ask(None, "GET", path, headers=bearer)).text)
    mine = await at.ask(None, "GET", f"/scim/v2/Users/{at.user_id[GLOBEX]}", headers=bearer)
    assert WORD[GLOBEX] in mine.text


async def open_to_all(at: Border, path: str) -> None:
    answers = [await at.ask(who, "GET", path) for who in ((GLOBEX, "ada"), (ACME, "ada"), None)]
    assert len({(one.status_code, one.text) for one in answers}) == 1
    at.silent(answers[0].text)
    assert not any(name in answers[0].text for name in ("acme", "globex"))


def open_page(path: str) -> Probe:
    return lambda at: open_to_all(at, path)


async def installation(at: Border) -> None:
    """Each shows a fresh state, so texts differ; tests/security/test_inv14_slack_teams.py has the workspaces."""
    for path in ("/slack/install", "/slack/oauth_redirect?code=x&state=y"):
        at.silent((await at.ask((GLOBEX, "ada"), "GET", path)).text)


async def slack_event(at: Border) -> None:
    """A delivery for globex' workspace that names channels, threads and messages of acme's."""
    event = {"type": "message", "channel": "D-dana", "channel_type": "im", "user": "U-dana", "ts": "7.7"}
    view = at.held[ACME]
    event |= {"text": f"/countersign pending {view.held_id}", "thread_ts": "D-dana"}
    said = at.two.wall.heard(ACME)
    status = await _deliver(at, {"type": "event_callback", "team_id": TEAM[GLOBEX], "event_id": "Ev1", "event": event})
    assert status == 200
    assert at.two.wall.heard(ACME) == said
    at.silent(at.two.wall.heard(GLOBEX))
    assert at.held[GLOBEX].headline in at.two.wall.heard(GLOBEX)
    both = {"type": "event_callback", "team_id": TEAM[GLOBEX], "event_id": "Ev2", "event": event}
    assert await _deliver(at, both | {"authorizations": [{"team_id": TEAM[ACME]}]}) == 403


async def _deliver(at: Border, body: dict[str, Any]) -> int:
    data, stamp = json.dumps(body).encode(), str(int(time.time()))
    mac = hmac.new(SIGNING.encode(), b"v0:" + stamp.encode() + b":" + data, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={mac}"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=at.two.app), base_url=BASE) as slack:
        return (await slack.post("/slack/events", content=data, headers=headers)).status_code


Probe: TypeAlias = Callable[[Border], Awaitable[None]]
MATRIX: dict[tuple[str, str], Probe] = {
    ("GET", "/"): home,
    ("GET", "/requests"): board,
    ("GET", "/requests/live"): board_live,
    ("GET", "/requests/{held_id}"): one_request,
    ("GET", "/requests/{held_id}/live"): one_live,
    ("POST", "/requests/{held_id}/press"): press,
    ("POST", "/requests/{held_id}/again"): again,
    ("GET", "/requests/{rest:path}"): no_page,
    ("GET", "/audit"): log_table,
    ("GET", "/audit/{seq:int}"): log_row,
    ("POST", "/audit/verify"): log_verify,
    ("GET", "/audit/log.{form}"): log_download,
    ("GET", "/audit/{rest:path}"): no_page,
    ("GET", "/stops"): stops,
    ("GET", "/you"): you,
    ("GET", "/link/{secret}"): link_page,
    ("POST", "/link/{secret}"): link_begin,
    ("GET", "/link/confirm"): confirm_page,
    ("POST", "/link/confirm"): confirm,
    ("GET", "/link/code"): code_page,
    ("POST", "/link/code"): code,
    ("GET", "/link/slack"): slack_back,
    ("GET", "/signin"): signin_page,
    ("POST", "/signin"): signin_begin,
    ("GET", "/signin/callback"): company_back,
    ("GET", "/signin/callback/{issuer}"): company_back,
    ("POST", "/signout"): sign_out,
    ("POST", "/signin/backchannel"): back_channel,
    ("*", "/scim/v2"): scim,
    ("*", "/static"): open_page("/static/app.css"),
    ("GET", "/.well-known/jwks.json"): open_page("/.well-known/jwks.json"),
    ("GET", "/healthz"): open_page("/healthz"),
    ("GET", "/readyz"): open_page("/readyz"),
    # Sums of the whole deployment, for whoever operates it: no organisation, person or request is named.
    ("GET", "/metrics"): open_page("/metrics"),
    ("GET", "/slack/install"): installation,
    ("GET", "/slack/oauth_redirect"): installation,
    ("POST", "/slack/events"): slack_event,
}
AFTERWARDS: tuple[Probe, ...] = (press_works, again_works, sign_out_works)
"""What changes something where it belongs: after everything else."""
MAY_CHANGE = {"signin_flow", "link_ticket", "web_session", "signin_seen", "agent_audit_log", "audit_head"}
"""Tables of acme's that a link or a sign-in of theirs may be noted in, whoever opens it."""


def named(route: BaseRoute) -> set[tuple[str, str]]:
    match route:
        case Mount(path=path):
            return {("*", path)}
        case Route(path=path, methods=methods):
            return {(method, path) for method in methods or {"*"} if method != "HEAD"}
        case _:
            raise AssertionError(f"a route of a kind that this test does not know: {route}")


async def test_no_route_shows_or_changes_what_is_another_organisation_s(two_anywhere: Two) -> None:
    served = {name for route in two_anywhere.app.routes for name in named(route)}
    assert served == set(MATRIX), "a route is served of which this matrix does not say what it does at the border"
    at = await a_border(two_anywhere)
    failed: list[Exception] = []
    for (method, path), probe in MATRIX.items():
        before = await two_anywhere.state(ACME)
        try:
            await probe(at)
            after = await two_anywhere.state(ACME)
            changed = {name for name in after if after[name] != before[name]}
            assert changed <= MAY_CHANGE, f"rows of acme's were changed: {changed - MAY_CHANGE}"
            new = set(after["agent_audit_log"]) - set(before["agent_audit_log"])
            assert WORD[GLOBEX] not in str(new)
        except Exception as error:  # noqa: BLE001 - every route is tried; all that failed are told
            error.add_note(f"at {method} {path}")
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} routes", failed)
    assert WORD[ACME] not in str(await two_anywhere.log(GLOBEX))
    for probe in AFTERWARDS:
        await probe(at)
