"""Invariant 4: two different people, told apart by the person key; the requester is never one of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.approval import ApprovalStatus, Ballot, Counted, Settled, Snapshot, Verb, Vote, judge
from policy.model import Principal, RoleName, Subject, TenantId

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROLE = RoleName("finance_approver")
TENANT = TenantId("demo")

# Few people, many accounts, spelled as directories spell them: collisions are the point.
KEYS = st.sampled_from(["E1", "e1", " E1 ", "E2", "E3", "", None])
ACCOUNTS = st.sampled_from(["a", "b", "c", "d"])
PEOPLE = st.builds(
    lambda sub, key, roles: Principal(TENANT, Subject("urn:t", sub), sub, frozenset(roles), key),
    ACCOUNTS,
    KEYS,
    st.sampled_from([(ROLE,), (), (RoleName("admin"),), (ROLE, RoleName("support_agent"))]),
)
PRESSES = st.lists(st.tuples(PEOPLE, st.sampled_from(Verb)), max_size=12)


def person(key: str | None) -> str:
    return (key or "").strip().lower()


def play(row: Snapshot, presses: list[tuple[Principal, Verb]]) -> tuple[Snapshot, set[str]]:
    """The row after all presses, and the people whose approval took part."""
    people: set[str] = set()
    for who, verb in presses:
        verdict = judge(row, Ballot(who, verb, row.revision, row.digest), NOW)
        if isinstance(verdict, Counted) or (isinstance(verdict, Settled) and verdict.status is ApprovalStatus.APPROVED):
            people.add(person(who.person_key))
        if isinstance(verdict, Counted):
            row = replace(row, votes=(*row.votes, Vote(who.subject, who.person_key or "")))
        elif isinstance(verdict, Settled):
            row = replace(row, status=verdict.status)
    return row, people


def row(requester: str, key: str | None, needed: int, votes: tuple[Vote, ...] = ()) -> Snapshot:
    subject = Subject("urn:t", requester)
    expires = NOW + timedelta(hours=1)
    return Snapshot(TENANT, subject, key, ApprovalStatus.PENDING, 1, "d", (ROLE,), needed, votes, expires, False)


@settings(max_examples=500)
@given(ACCOUNTS, KEYS, st.integers(1, 3), PRESSES)
def test_no_sequence_of_presses_gets_by_with_fewer_people(
    requester: str, key: str | None, needed: int, presses: list[tuple[Principal, Verb]]
) -> None:
    after, people = play(row(requester, key, needed), presses)
    assert person(key) not in people
    assert "" not in people
    if after.status is ApprovalStatus.APPROVED:
        assert len(people) == needed


@settings(max_examples=300)
@given(st.lists(ACCOUNTS, min_size=1, max_size=8))
def test_one_person_with_many_accounts_never_countersigns_twice(accounts: list[str]) -> None:
    presses = [
        (Principal(TENANT, Subject("urn:t", sub), sub, frozenset({ROLE}), "E1"), Verb.APPROVE) for sub in accounts
    ]
    after, people = play(row("dana", "E9", 2), presses)
    assert after.status is ApprovalStatus.PENDING
    assert people == {"e1"}


@given(st.lists(st.tuples(ACCOUNTS, st.sampled_from(["E1", "e1 ", "E9"])), max_size=6))
def test_votes_that_should_not_have_been_stored_do_not_help(stored: list[tuple[str, str]]) -> None:
    """A row that holds the requester's vote, or one person's twice, still needs two other people."""
    votes = tuple(Vote(Subject("urn:t", sub), key) for sub, key in stored)
    ann = Principal(TENANT, Subject("urn:t", "ann"), "Ann", frozenset({ROLE}), "E2")
    verdict = judge(row("dana", "E9", 3, votes), Ballot(ann, Verb.APPROVE, 1, "d"), NOW)
    assert isinstance(verdict, Counted)
    others = {person(key) for _, key in stored} - {"e9"}
    assert verdict.have == len(others) + 1


def test_a_stored_vote_of_the_requester_s_account_does_not_help_under_any_key() -> None:
    votes = (Vote(Subject("urn:t", "dana"), "E5"),)
    ann = Principal(TENANT, Subject("urn:t", "ann"), "Ann", frozenset({ROLE}), "E2")
    assert judge(row("dana", "E9", 2, votes), Ballot(ann, Verb.APPROVE, 1, "d"), NOW) == Counted(1, 2)
