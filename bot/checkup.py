"""Everything that stands between these settings and a service that works. Knows files and facts; opens no socket.

`countersign check` prints it. An error means that `serve` would refuse, or that requests would end nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.identity.directory import DirectoryError, DirectoryFile
from bot.identity.people import person_key
from bot.keys import KeysError, open_keys
from bot.messages import ChatUser
from bot.policy_files import read_policy
from bot.ports import Person
from bot.settings import Settings, look
from policy.model import GateKind, RoleName, TenantId
from policy.rules import Policy, PolicyError


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    where: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel to which cards are posted, as the chat describes it. `problem`: why it could not be read."""

    destination: str
    public: bool = False
    shared: bool = False
    members: tuple[ChatUser, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseRole:
    """PostgreSQL's login of the service. `problem`: why nothing could be said of it.

    `excess`: what lets it take the log's guards away. `lacking`: the tables it may not use as the service does.
    """

    name: str
    excess: str | None = None
    lacking: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What could be read, for the questions that need more than one file."""

    settings: Settings
    policy: Policy | None
    directory: DirectoryFile | None
    findings: tuple[Finding, ...]

    @property
    def destinations(self) -> tuple[str, ...]:
        """The channels that tools.yaml names, each once."""
        return tuple(sorted({place for _, place in _places(self.policy)})) if self.policy is not None else ()


def examine(environ: Mapping[str, str]) -> Read:
    """Settings, policy, directory and keys, each read as far as it goes. Never raises for what is in them."""
    settings, faults = look(environ)
    found = [Finding(Level.ERROR, fault.where, fault.what, fault.mend) for fault in faults]
    found += _lacking(settings)
    policy: Policy | None = None
    try:
        policy = read_policy(settings.policy_dir)
        found += [_problem(Level.WARNING, at.file, at.line, at.key, at.what, at.mend) for at in policy.warnings]
    except PolicyError as error:
        found += [_problem(Level.ERROR, at.file, at.line, at.key, at.what, at.mend) for at in error.problems]
    directory: DirectoryFile | None = None
    try:
        directory = DirectoryFile(settings.directory)
    except DirectoryError as error:
        found += [_problem(Level.ERROR, at.file, at.line, at.key, at.what, at.mend) for at in error.problems]
    try:
        open_keys(settings.keys_dir)
    except KeysError as error:
        what, _, mend = str(error).partition(". ")
        found.append(Finding(Level.ERROR, "keys", f"{what}.", mend))
    if policy is not None and directory is not None:
        found += _people(settings, policy, directory)
    return Read(settings, policy, directory, tuple(found))


def judge_channels(read: Read, channels: Sequence[Channel]) -> tuple[Finding, ...]:
    """What is wrong with the places where cards are posted."""
    if read.policy is None or read.directory is None:
        return ()
    roles: dict[str, set[RoleName]] = {}
    for role, place in _places(read.policy):
        roles.setdefault(place, set()).add(role)
    return tuple(
        finding
        for channel in channels
        for finding in _channel(channel, roles.get(channel.destination, set()), read.policy, read.directory)
    )


def judge_role(role: DatabaseRole | None) -> Iterator[Finding]:
    """What is wrong with the login of the database; None: SQLite, which has none."""
    if role is None:
        return
    if role.problem is not None:
        what, _, mend = role.problem.partition(". ")
        yield Finding(Level.ERROR, "COUNTERSIGN_DATABASE_URL", f"{what}.", mend)
    if role.lacking:
        what = f"may not use {', '.join(role.lacking)}."
        mend = f"Run `countersign migrate --service-role {role.name}` as the owner of the tables."
        yield Finding(Level.ERROR, f"database role {role.name}", what, mend)
    if role.excess is not None:
        what = f"{role.excess}, so its password is enough to switch the guards of the audit log off."
        mend = "Run `countersign migrate --service-role NAME` as the owner, and let the service log in as NAME."
        yield Finding(Level.WARNING, f"database role {role.name}", what, mend)


def _lacking(settings: Settings) -> Iterator[Finding]:
    if settings.slack is None and settings.teams is None:
        mend = "Set SLACK_BOT_TOKEN with SLACK_APP_TOKEN or SLACK_SIGNING_SECRET."
        yield Finding(Level.ERROR, "SLACK_BOT_TOKEN", "is missing: no chat is connected.", mend)
    if settings.anthropic is None and settings.openai is None:
        mend = "Set ANTHROPIC_API_KEY or OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
        yield Finding(Level.ERROR, "ANTHROPIC_API_KEY", "is missing: there is no model to ask.", mend)


def _people(settings: Settings, policy: Policy, directory: DirectoryFile) -> Iterator[Finding]:
    known = policy.roles.known_groups()
    unmapped = sorted({one for tenant in directory.tenants() for one in directory.groups_unmapped(None, tenant, known)})
    if unmapped:
        mend = "Their members get no role by them. Name them in roles.yaml if they should."
        yield Finding(Level.WARNING, "roles.yaml", f"names none of these groups: {', '.join(unmapped)}.", mend)
    wanted = _approvers(policy)
    for tenant in directory.tenants():
        for role, tools in sorted(wanted.items()):
            if not any(role in policy.roles.roles_of(one.groups) for one in _active(directory, tenant)):
                what = f"has nobody with the role {role}, which approves {', '.join(tools)}."
                mend = "Put somebody into one of the role's groups: such requests would wait until they expire."
                yield Finding(Level.WARNING, f"tenant {tenant}", what, mend)
        for one in _active(directory, tenant):
            if person_key(one, settings.person_key) is None and policy.roles.roles_of(one.groups) & wanted.keys():
                what = f"lacks {settings.person_key.value}, which tells two people apart here."
                yield Finding(Level.WARNING, one.display_name, what, "Until it is added they can approve nothing.")


def _channel(channel: Channel, roles: set[RoleName], policy: Policy, directory: DirectoryFile) -> Iterator[Finding]:
    if channel.problem is not None:
        mend = "Invite the bot, or correct the name in tools.yaml: cards posted there would not arrive."
        yield Finding(Level.ERROR, channel.destination, channel.problem, mend)
        return
    if channel.public:
        mend = "Make it private: cards show customers, amounts and drafts to all who can open it."
        yield Finding(Level.ERROR, channel.destination, "is a public channel.", mend)
    if channel.shared:
        mend = "Use a channel without outsiders: cards show customers, amounts and drafts."
        yield Finding(Level.ERROR, channel.destination, "is shared with another organisation.", mend)
    idle: list[str] = []
    for account in channel.members:
        person = directory.by_account(None, account)
        if person is None or not person.active:
            idle.append(str(account))
        elif not policy.roles.roles_of(person.groups) & roles:
            idle.append(person.display_name)
    if idle:
        what = f"has members who may not approve what is posted there: {', '.join(sorted(idle))}."
        mend = "They read the cards but cannot decide them. Remove them, or give them the role."
        yield Finding(Level.WARNING, channel.destination, what, mend)


def _approvers(policy: Policy) -> dict[RoleName, list[str]]:
    found: dict[RoleName, list[str]] = {}
    for rule in policy.tools.values():
        if rule.gate.kind is GateKind.APPROVAL:
            for role in dict.fromkeys(role for roles in rule.gate.approver_roles.values() for role in roles):
                found.setdefault(role, []).append(rule.tool)
    return found


def _places(policy: Policy) -> Iterator[tuple[RoleName, str]]:
    for rule in policy.tools.values():
        for role, places in rule.gate.destinations.items():
            yield from ((role, place) for place in places if place.startswith("#"))


def _active(directory: DirectoryFile, tenant: TenantId) -> Iterator[Person]:
    return (person for person in directory.people(None, tenant) if person.active)


def _problem(level: Level, file: str, line: int, key: str, what: str, mend: str) -> Finding:
    place = f"{file}:{line}" if line else file
    return Finding(level, f"{place} {key}".strip(), what, mend)
