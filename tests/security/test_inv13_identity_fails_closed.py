"""Invariant 13: who cannot be identified for certain is refused, with a sentence that helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.writer import Writer, make_engine
from bot.cards import Card
from bot.identity.book import DirectoryBook
from bot.identity.directory import DirectoryFile
from bot.identity.resolve import Refusal, RefusalReason, Resolver
from bot.messages import ChatUser, SurfaceName, Thread
from bot.policy_files import read_policy
from bot.ports import Answer, Ask, Home, Posted, Standing, Stream, SurfaceError
from bot.settings import PersonKey, default_policy_dir
from policy.model import Principal, RoleName, TenantId
from policy.roles import Role, Roles
from policy.rules import Policy

SLACK = SurfaceName("slack")
AGENT = RoleName("support_agent")
DIRECTORY = """\
issuer: urn:d
tenants:
  acme: {teams: [{surface: slack, team: T1}, {surface: teams, team: T1}]}
  globex: {teams: [{surface: slack, team: T2}]}
people:
  - {sub: dana, tenant: acme, name: Dana, groups: [support], accounts: [{surface: slack, team: T1, user: U1}]}
  - {sub: gone, tenant: acme, name: Gone, active: false, accounts: [{surface: slack, team: T1, user: U2}]}
  - {sub: none, tenant: acme, name: None at all, groups: [choir], accounts: [{surface: slack, team: T1, user: U3}]}
  - {sub: gil, tenant: globex, name: Gil, groups: [support], accounts: [{surface: slack, team: T2, user: U4}]}
"""


class Chat:
    """A chat that says one thing of every account, or does not answer. Counts how often it was asked."""

    name = SLACK

    def __init__(self, answer: Standing | SurfaceError) -> None:
        self.answer = answer
        self.asked = 0

    async def standing(self, who: ChatUser) -> Standing:
        self.asked += 1
        if isinstance(self.answer, SurfaceError):
            raise self.answer
        return self.answer

    async def health(self) -> None: ...

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        raise AssertionError("resolving says nothing")

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        raise AssertionError("resolving says nothing")

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        raise AssertionError("resolving says nothing")

    async def begin(self, thread: Thread, who: ChatUser) -> Stream:
        raise AssertionError("resolving says nothing")

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        raise AssertionError("resolving says nothing")

    async def update(self, posted: Posted, card: Card) -> None:
        raise AssertionError("resolving says nothing")

    async def link(self, thread: Thread) -> str | None:
        return None

    async def show_home(self, who: ChatUser, home: Home) -> None: ...


@pytest.fixture
def directory_file(tmp_path: Path) -> Path:
    path = tmp_path / "directory.yaml"
    path.write_text(DIRECTORY)
    return path


def policy(_tenant: TenantId) -> Policy:
    roles = Roles({AGENT: Role(AGENT, frozenset({"support"}), frozenset())})
    return replace(read_policy(default_policy_dir()), roles=roles)


@pytest.fixture
def resolver(directory_file: Path, sqlite_url: str) -> Iterator[Resolver]:
    engine = make_engine(sqlite_url)
    writer = Writer(engine)
    yield Resolver(DirectoryBook(writer, DirectoryFile(directory_file)), policy, PersonKey.SUBJECT)
    writer.close()
    engine.dispose()


def account(user: str, team: str = "T1", surface: str = "slack") -> ChatUser:
    return ChatUser(SurfaceName(surface), team, user)


async def test_a_member_the_directory_knows_is_that_person(resolver: Resolver) -> None:
    dana = await resolver.resolve(account("U1"), Chat(Standing.MEMBER))
    assert isinstance(dana, Principal)
    assert (dana.tenant, dana.subject.sub) == ("acme", "dana")
    assert dana.roles == {"support_agent"}


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (Standing.GUEST, RefusalReason.GUEST),
        (Standing.STRANGER, RefusalReason.STRANGER),
        (Standing.BOT, RefusalReason.BOT),
        (Standing.DEACTIVATED, RefusalReason.DEACTIVATED),
        (Standing.UNKNOWN, RefusalReason.CHAT_SILENT),
        (SurfaceError("slack is down"), RefusalReason.CHAT_SILENT),
    ],
)
async def test_the_chats_doubt_outweighs_the_directory(
    resolver: Resolver, standing: Standing | SurfaceError, reason: RefusalReason
) -> None:
    refused = await resolver.resolve(account("U1"), Chat(standing))
    assert isinstance(refused, Refusal)
    assert refused.reason is reason
    assert "slack is down" not in refused.sentence


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (account("U9"), RefusalReason.UNKNOWN_PERSON),
        (account("U4"), RefusalReason.UNKNOWN_PERSON),
        (account("U1", "T2"), RefusalReason.UNKNOWN_PERSON),
        (account("U1", "T3"), RefusalReason.NO_TENANT),
        (account("U1", surface="teams"), RefusalReason.NO_TENANT),
        (account("U2"), RefusalReason.INACTIVE),
        (account("U3"), RefusalReason.NO_ROLES),
    ],
)
async def test_whoever_the_directory_does_not_vouch_for_is_refused(
    resolver: Resolver, who: ChatUser, reason: RefusalReason
) -> None:
    refused = await resolver.resolve(who, Chat(Standing.MEMBER))
    assert isinstance(refused, Refusal)
    assert refused.reason is reason
    assert refused.sentence.endswith(".")


async def test_an_unknown_person_learns_how_to_become_known(resolver: Resolver) -> None:
    refused = await resolver.resolve(account("U9"), Chat(Standing.MEMBER))
    assert isinstance(refused, Refusal)
    assert "Nothing was done." in refused.sentence
    assert "`/countersign link`" in refused.sentence


async def test_every_decision_asks_anew(resolver: Resolver, directory_file: Path) -> None:
    chat = Chat(Standing.MEMBER)
    assert isinstance(await resolver.resolve(account("U1"), chat), Principal)
    directory_file.write_text(DIRECTORY.replace("name: Dana,", "name: Dana, active: false,"))
    refused = await resolver.resolve(account("U1"), chat)
    assert isinstance(refused, Refusal)
    assert refused.reason is RefusalReason.INACTIVE
    assert chat.asked == 2


async def test_every_refusal_reason_can_happen(resolver: Resolver) -> None:
    """A reason that no input reaches would be a sentence nobody ever checked."""
    seen: set[RefusalReason] = set()
    for standing in Standing:
        for who in (account("U1"), account("U2"), account("U3"), account("U9"), account("U1", "T3")):
            answer = await resolver.resolve(who, Chat(standing))
            if isinstance(answer, Refusal):
                seen.add(answer.reason)
    # The other two have tests of their own, on a directory in the database: test_inv13_freshness.
    assert seen == set(RefusalReason) - {RefusalReason.STALE, RefusalReason.DIRECTORY_SILENT}
