"""Invariant 14 over HTTP: every route that `countersign serve` mounts, tried with what belongs to another organisation.

A route that the matrix does not name fails the test: whoever adds one says here what it does at the border.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import httpx2
from starlette.routing import BaseRoute, Mount, Route

from bot.identity import flows, sessions
from bot.identity.flows import Step
from policy.model import TenantId
from tests.kit.border import Border, Probe, a_border
from tests.kit.border_pages import (
    again,
    again_works,
    board,
    board_live,
    home,
    log_download,
    log_row,
    log_table,
    log_verify,
    no_page,
    one_live,
    one_request,
    press,
    press_works,
    stops,
    you,
)
from tests.kit.two_tenants import ACME, BASE, BOTH, GLOBEX, SIGNING, TEAM, WORD, Two


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
        await two_anywhere.quiet()
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
