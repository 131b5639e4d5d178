"""The approval state machine, press by press."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policy.approval import (
    ApprovalStatus,
    Asked,
    Ballot,
    Counted,
    PressResult,
    Refused,
    Settled,
    Snapshot,
    Verb,
    Vote,
    judge,
)
from policy.model import Principal, RoleName, Subject, TenantId

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROLE = RoleName("finance_approver")


def who(name: str, key: str | None = "", *roles: str, tenant: str = "demo") -> Principal:
    held = frozenset(map(RoleName, roles or (ROLE,)))
    return Principal(TenantId(tenant), Subject("urn:t", name), name, held, name if key == "" else key)


DANA = Subject("urn:t", "dana")
SOON = NOW + timedelta(hours=1)
ROW = Snapshot(TenantId("demo"), DANA, "dana", ApprovalStatus.PENDING, 1, "d1", (ROLE,), 1, (), SOON, False)


def press(
    row: Snapshot, person: Principal, verb: Verb = Verb.APPROVE, *, revision: int = 1, digest: str = "d1"
) -> object:
    return judge(row, Ballot(person, verb, revision, digest), NOW)


def refusal(verdict: object) -> PressResult:
    assert isinstance(verdict, Refused), verdict
    assert verdict.sentence.endswith((".", "!"))
    return verdict.result


def test_one_approval_settles() -> None:
    assert press(ROW, who("ann")) == Settled(ApprovalStatus.APPROVED, PressResult.APPROVED)


def test_a_second_person_is_counted_up_to() -> None:
    two = replace(ROW, needed=2)
    assert press(two, who("ann")) == Counted(1, 2)
    voted = replace(two, votes=(Vote(Subject("urn:t", "ann"), "ann"),))
    assert press(voted, who("bob")) == Settled(ApprovalStatus.APPROVED, PressResult.APPROVED)
    assert refusal(press(voted, who("ann"))) is PressResult.DUPLICATE
    assert refusal(press(voted, who("ann.second", "ann"))) is PressResult.SAME_PERSON
    assert refusal(press(voted, who("ann.second", " ANN "))) is PressResult.SAME_PERSON


@pytest.mark.parametrize("verb", [Verb.APPROVE, Verb.REJECT, Verb.ASK])
def test_nobody_decides_their_own_request_under_any_account(verb: Verb) -> None:
    assert refusal(press(ROW, who("dana"), verb)) is PressResult.OWN_REQUEST
    assert refusal(press(ROW, who("dana.admin", "dana"), verb)) is PressResult.OWN_REQUEST
    assert refusal(press(ROW, who("dana.admin", "Dana "), verb)) is PressResult.OWN_REQUEST


@pytest.mark.parametrize("verb", [Verb.APPROVE, Verb.REJECT, Verb.ASK])
def test_only_the_named_roles_decide(verb: Verb) -> None:
    assert refusal(press(ROW, who("ann", "", "admin", "support_agent"), verb)) is PressResult.NOT_APPROVER
    nobody = replace(ROW, approver_roles=())
    assert refusal(press(nobody, who("ann"), verb)) is PressResult.NOT_APPROVER


@pytest.mark.parametrize("key", [None, " "])
def test_without_a_person_key_nobody_can_be_told_apart(key: str | None) -> None:
    assert refusal(press(ROW, who("ann", key))) is PressResult.NO_PERSON_KEY
    assert refusal(press(replace(ROW, requester_person_key=key), who("ann"))) is PressResult.NO_PERSON_KEY


def test_a_settled_request_stays_settled() -> None:
    for status in ApprovalStatus:
        if status is ApprovalStatus.PENDING:
            continue
        for verb in Verb:
            assert refusal(press(replace(ROW, status=status), who("ann"), verb)) is PressResult.LATE


def test_expired_stale_stopped_and_foreign() -> None:
    assert refusal(press(replace(ROW, expires_at=NOW), who("ann"))) is PressResult.EXPIRED
    assert refusal(press(ROW, who("ann"), revision=2)) is PressResult.STALE
    assert refusal(press(ROW, who("ann"), digest="d2")) is PressResult.STALE
    assert refusal(press(replace(ROW, stopped=True), who("ann"))) is PressResult.STOPPED
    assert refusal(press(ROW, who("ann", tenant="other"))) is PressResult.OTHER_TENANT


def test_what_stops_an_effect_works_while_stopped() -> None:
    stopped = replace(ROW, stopped=True)
    assert press(stopped, who("ann"), Verb.REJECT) == Settled(ApprovalStatus.REJECTED, PressResult.REJECTED)
    assert press(stopped, who("dana"), Verb.WITHDRAW) == Settled(ApprovalStatus.WITHDRAWN, PressResult.WITHDRAWN)


def test_withdrawing_is_the_requester_s_alone_and_asking_decides_nothing() -> None:
    assert press(ROW, who("dana"), Verb.WITHDRAW) == Settled(ApprovalStatus.WITHDRAWN, PressResult.WITHDRAWN)
    assert refusal(press(ROW, who("ann"), Verb.WITHDRAW)) is PressResult.NOT_REQUESTER
    assert press(ROW, who("ann"), Verb.ASK) == Asked()
