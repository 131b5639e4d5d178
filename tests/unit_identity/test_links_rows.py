"""Links, tickets, flows and questions as rows, on both databases: who ends what, and what a loser of a race is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.identity import confirmations, flows, links, opaque, sweep, tickets
from bot.identity.flows import Flow, Purpose, Step
from bot.identity.link_words import account, plain
from bot.identity.links import How, LinkedElsewhere
from bot.identity.tickets import TicketEnd
from bot.messages import ChatUser, SurfaceName
from bot.web.markup import rendered
from policy.model import Subject, TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DANA = ChatUser(SurfaceName("slack"), "T1", "U1")
GRID = replace(DANA, enterprise="E1")
SUB, OTHER = Subject("https://idp.example", "dana"), Subject("https://idp.example", "ann")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def writer(engine_url: str) -> Iterator[Writer]:
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine)
    made = Writer(engine)
    yield made
    made.close()
    engine.dispose()


def test_an_account_is_one_persons(writer: Writer) -> None:
    (event,) = writer.run_blocking(lambda conn: links.bind(conn, ACME, DANA, SUB, How.PROVED, NOW))
    assert (event.kind.value, event.status, event.actor_user_id) == ("identity.linked", "proved", "dana")
    assert writer.run_blocking(lambda conn: links.bind(conn, ACME, DANA, SUB, How.SHELL, NOW)) == []
    with pytest.raises(LinkedElsewhere):
        writer.run_blocking(lambda conn: links.bind(conn, ACME, DANA, OTHER, How.PROVED, NOW))
    # Where the team has moved to another tenant, what the account was before stands in nobody's way.
    assert writer.run_blocking(lambda conn: links.bind(conn, GLOBEX, DANA, OTHER, How.PROVED, NOW))
    # The organisation above the workspace is part of the key: that is another account.
    assert writer.run_blocking(lambda conn: links.bind(conn, ACME, GRID, OTHER, How.PROVED, NOW))
    found = writer.read_blocking(lambda conn: links.of_account(conn, ACME, DANA))
    assert found is not None
    assert (found.subject, found.how, found.by) == (SUB, How.PROVED, "dana")


def test_unbinding_is_of_one_tenant_and_says_by_whom(writer: Writer) -> None:
    for who in (DANA, GRID):
        writer.run_blocking(lambda conn, w=who: links.bind(conn, ACME, w, SUB, How.PROVED, NOW))  # type: ignore[misc]
    assert writer.run_blocking(lambda conn: links.unbind(conn, GLOBEX, DANA, "shell", NOW)) == []
    events = writer.run_blocking(lambda conn: links.unbind_subject(conn, ACME, SUB, "left", NOW, "countersign"))
    assert [(one.kind.value, one.status, one.actor_user_id) for one in events] == [
        ("identity.unlinked", "left", "countersign")
    ] * 2
    assert {one.detail["enterprise"] for one in events if one.detail} == {"", "E1"}
    assert writer.read_blocking(lambda conn: links.of_subject(conn, ACME, SUB)) == ()


def test_a_ticket_ends_once(writer: Writer) -> None:
    secret = writer.run_blocking(lambda conn: tickets.issue(conn, ACME, DANA, NOW))
    ticket = _ticket(writer, secret)
    assert ticket.open(NOW + 9 * MINUTE)
    assert not ticket.open(NOW + 10 * MINUTE)
    assert not writer.run_blocking(lambda conn: tickets.end(conn, ticket, TicketEnd.USED, NOW + 10 * MINUTE))
    assert not writer.run_blocking(lambda conn: tickets.end(conn, replace(ticket, tenant=GLOBEX), TicketEnd.USED, NOW))
    assert writer.run_blocking(lambda conn: tickets.end(conn, ticket, TicketEnd.USED, NOW))
    assert not writer.run_blocking(lambda conn: tickets.end(conn, ticket, TicketEnd.REFUSED, NOW))
    assert _ticket(writer, secret).ended is TicketEnd.USED
    assert writer.read_blocking(lambda conn: tickets.by_secret(conn, "another")) is None


def test_a_newer_ticket_ends_older_ones_of_that_very_account(writer: Writer) -> None:
    first, others = (writer.run_blocking(lambda conn, w=who: tickets.issue(conn, ACME, w, NOW)) for who in (DANA, GRID))  # type: ignore[misc]
    writer.run_blocking(lambda conn: tickets.issue(conn, ACME, DANA, NOW))
    assert _ticket(writer, first).ended is TicketEnd.REPLACED
    assert _ticket(writer, others).ended is None


def test_a_flow_goes_each_step_once(writer: Writer) -> None:
    cookie, flow = _flow(writer, Step.COMPANY)
    assert writer.run_blocking(lambda conn: flows.advance(conn, flow, Step.CONFIRM, NOW, subject=SUB))
    assert not writer.run_blocking(lambda conn: flows.advance(conn, flow, Step.CONFIRM, NOW, subject=OTHER))
    now = writer.read_blocking(lambda conn: flows.of_cookie(conn, cookie, NOW))
    assert now is not None
    assert (now.step, now.subject, now.chat_proved) == (Step.CONFIRM, SUB, False)
    assert not writer.run_blocking(lambda conn: flows.end(conn, flow, NOW))
    assert not writer.run_blocking(lambda conn: flows.end(conn, now, NOW + flows.LIFETIME))
    assert writer.run_blocking(lambda conn: flows.end(conn, now, NOW))
    assert writer.read_blocking(lambda conn: flows.of_cookie(conn, cookie, NOW)) is None


def test_what_follows_from_a_cookie_differs_by_leg_and_by_cookie() -> None:
    cookies = (opaque.fresh(), opaque.fresh())
    derived = [
        value
        for cookie in cookies
        for step in (Step.SLACK, Step.COMPANY)
        for value in (
            flows.answers(cookie, step).state,
            flows.answers(cookie, step).nonce,
            flows.answers(cookie, step).verifier,
        )
    ]
    derived += [flows.form_token(cookie) for cookie in cookies]
    assert len(set(derived)) == len(derived)
    assert all(43 <= len(value) <= 128 for value in derived)
    assert not [value for value in derived if any(opaque.digest(cookie) == value for cookie in cookies)]


def test_a_code_counts_after_a_yes_in_its_own_flow_and_once(writer: Writer) -> None:
    _, flow = _flow(writer, Step.CODE)
    _, stranger = _flow(writer, Step.CODE)
    secret = writer.run_blocking(lambda conn: confirmations.ask(conn, flow, DANA, SUB, NOW))
    question = writer.read_blocking(lambda conn: confirmations.of_chat(conn, ACME, DANA, secret, NOW))
    assert question is not None
    assert not writer.run_blocking(lambda conn: confirmations.redeem(conn, question, "", NOW))
    code = writer.run_blocking(lambda conn: confirmations.yes(conn, question, NOW))
    assert code is not None
    assert len(code) == confirmations.CODE_LENGTH
    assert writer.run_blocking(lambda conn: confirmations.yes(conn, question, NOW)) is None
    assert writer.read_blocking(lambda conn: confirmations.of_flow(conn, stranger, NOW)) is None
    for who in (GRID, replace(DANA, user="U2"), replace(DANA, team="T2")):
        assert writer.read_blocking(lambda conn, w=who: confirmations.of_chat(conn, ACME, w, secret, NOW)) is None  # type: ignore[misc]
    late = NOW + confirmations.LIFETIME
    assert not writer.run_blocking(lambda conn: confirmations.redeem(conn, question, code, late))
    assert writer.run_blocking(lambda conn: confirmations.redeem(conn, question, f"{code[:4]}-{code[4:].lower()}", NOW))
    assert not writer.run_blocking(lambda conn: confirmations.redeem(conn, question, code, NOW))


def test_wrong_codes_use_the_question_up(writer: Writer) -> None:
    _, flow = _flow(writer, Step.CODE)
    secret = writer.run_blocking(lambda conn: confirmations.ask(conn, flow, DANA, SUB, NOW))
    question = writer.read_blocking(lambda conn: confirmations.of_chat(conn, ACME, DANA, secret, NOW))
    assert question is not None
    code = writer.run_blocking(lambda conn: confirmations.yes(conn, question, NOW)) or ""
    for _ in range(confirmations.TRIES):
        assert writer.read_blocking(lambda conn: confirmations.of_flow(conn, flow, NOW)) is not None
        assert not writer.run_blocking(lambda conn: confirmations.redeem(conn, question, "WRONG", NOW))
    assert writer.read_blocking(lambda conn: confirmations.of_flow(conn, flow, NOW)) is None
    assert not writer.run_blocking(lambda conn: confirmations.redeem(conn, question, code, NOW))


def test_what_is_over_is_forgotten_after_a_day(writer: Writer) -> None:
    secret = writer.run_blocking(lambda conn: tickets.issue(conn, ACME, DANA, NOW))
    _flow(writer, Step.COMPANY)
    writer.run_blocking(lambda conn: sweep.forget(conn, NOW + timedelta(hours=23)))
    assert _ticket(writer, secret).tenant == ACME
    writer.run_blocking(lambda conn: sweep.forget(conn, NOW + timedelta(hours=25)))
    assert writer.read_blocking(lambda conn: tickets.by_secret(conn, secret)) is None
    assert writer.read_blocking(lambda conn: conn.execute(flows.FLOW.select()).all()) == []


@pytest.mark.parametrize(
    "name",
    [
        "Dana *Reyes*",
        "[click](https://evil.example)",
        "<@U1> <!channel>",
        "a\n# b",
        "- x",
        "1. x",
        "`code`",
        "a_b_c",
        "&lt;b&gt;",
        "![x](y)",
    ],
)
def test_a_name_does_nothing_in_a_message(name: str) -> None:
    shown = rendered(f"Linked to {plain(name)} now")
    for tag in ("<em>", "<a ", "<h1", "<code>", "<ul>", "<ol>", "<img", "<strong>"):
        assert tag not in shown
    at_the_beginning = rendered(plain(name))
    assert not any(tag in at_the_beginning for tag in ("<h1", "<ul>", "<ol>", "<a "))
    assert "\n" not in plain(name)


def test_an_account_is_named_by_what_the_chat_calls_it() -> None:
    assert account(GRID) == "Slack, organisation E1, team T1, user U1"


def _ticket(writer: Writer, secret: str) -> tickets.Ticket:
    found = writer.read_blocking(lambda conn: tickets.by_secret(conn, secret))
    assert found is not None
    return found


def _flow(writer: Writer, step: Step) -> tuple[str, Flow]:
    def unit(conn: Connection) -> tuple[str, Flow]:
        cookie = flows.start(conn, ACME, Purpose.LINK, step, NOW)
        flow = flows.of_cookie(conn, cookie, NOW)
        assert flow is not None
        return cookie, flow

    return writer.run_blocking(unit)
