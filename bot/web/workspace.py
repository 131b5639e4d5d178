"""How the demo workspace is furnished: people, rooms, who is a member. Knows no rights, no messages and no markup."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import Person

DEMO = SurfaceName("demo")
TEAM = "demo"
BOT_NAME = "Countersign"
FURNITURE = Path(__file__).parent / "demo" / "workspace.yaml"
DIRECTORY = Path(__file__).parent / "demo" / "directory.yaml"


class WorkspaceBroken(Exception):
    """workspace.yaml cannot be used; `str(e)` says why and what to mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _PersonEntry(_Strict):
    job: str
    prompts: tuple[str, ...]


class _ChannelEntry(_Strict):
    id: str
    topic: str
    private: bool
    members: tuple[str, ...]


class _File(_Strict):
    name: str
    people: dict[str, _PersonEntry]
    channels: tuple[_ChannelEntry, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody one can be in the demo. `user` is the account's name on this surface."""

    user: str
    name: str
    job: str
    prompts: tuple[str, ...]
    hue: int
    """Which of the avatar colours is theirs."""
    subject: str
    """``issuer|sub``, as cards mention people."""

    @property
    def account(self) -> ChatUser:
        return ChatUser(surface=DEMO, team=TEAM, user=self.user)

    @property
    def initials(self) -> str:
        return "".join(word[0] for word in self.name.split()[:2]).upper()

    @property
    def first_name(self) -> str:
        return self.name.split()[0]


@dataclass(frozen=True, slots=True)
class Place:
    """A room as one member sees it. `slug` is its name in addresses, `channel` its id on the surface."""

    slug: str
    channel: str
    title: str
    topic: str
    room: Room
    private: bool
    members: tuple[str, ...]

    def thread(self, root: str) -> Thread:
        return Thread(surface=DEMO, team=TEAM, channel=self.channel, root=root, room=self.room)


@dataclass(frozen=True, slots=True)
class Workspace:
    name: str
    members: tuple[Member, ...]
    channels: tuple[Place, ...]

    def member(self, user: str) -> Member | None:
        return next((member for member in self.members if member.user == user), None)

    def mentioned(self, subject: str) -> Member | None:
        """The member a card mentions, by ``issuer|sub``."""
        return next((member for member in self.members if member.subject == subject), None)

    def places(self, member: Member) -> tuple[Place, ...]:
        """The rooms `member` can read, the conversation with the bot first."""
        return (dm_of(member), *(place for place in self.channels if member.user in place.members))

    def place(self, member: Member, slug: str) -> Place | None:
        return next((place for place in self.places(member) if place.slug == slug), None)

    def room_of(self, channel: str) -> Place | None:
        """The room behind a surface id, whoever may read it: ``#name`` or ``dm:user``."""
        if channel.startswith("dm:"):
            member = self.member(channel.removeprefix("dm:"))
            return dm_of(member) if member else None
        return next((place for place in self.channels if place.channel == channel), None)


def dm_of(member: Member) -> Place:
    """The conversation between `member` and the bot."""
    return Place(
        slug="dm",
        channel=f"dm:{member.user}",
        title=BOT_NAME,
        topic=f"Only {member.name} and the bot read along",
        room=Room.DM,
        private=True,
        members=(member.user,),
    )


def load_workspace(people: Iterable[Person], path: Path = FURNITURE) -> Workspace:
    """The workspace of `people` who have a demo account, in the order of the file.

    Raises:
        WorkspaceBroken: the file is missing, is not what it should be, or names nobody of the directory.
    """
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise WorkspaceBroken(f"{path} cannot be used, so the demo did not start: {error}") from error
    accounts = {
        account.user: person
        for person in people
        if person.active
        for account in person.accounts
        if account.surface == DEMO and account.team == TEAM
    }
    members = tuple(
        Member(user, accounts[user].display_name, entry.job, entry.prompts, hue, str(accounts[user].subject))
        for hue, (user, entry) in enumerate(file.people.items())
        if user in accounts
    )
    if not members:
        raise WorkspaceBroken(
            f"Nobody in {path} has a demo account in the directory, so there is nobody to be. "
            "Start the demo with bot/web/demo/directory.yaml, or add accounts {surface: demo, team: demo}."
        )
    return Workspace(file.name, members, tuple(_channel(entry, members) for entry in file.channels))


def _channel(entry: _ChannelEntry, members: tuple[Member, ...]) -> Place:
    known = {member.user for member in members}
    return Place(
        slug=entry.id,
        channel=f"#{entry.id}",
        title=entry.id,
        topic=entry.topic,
        room=Room.CHANNEL,
        private=entry.private,
        members=tuple(user for user in entry.members if user in known),
    )
