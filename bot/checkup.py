"""Everything that stands between these settings and a service that works. Knows files and facts; opens no socket.

`countersign check` prints it. An error means that `serve` would refuse, or that requests would end nowhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.identity.link_words import TEAMS
from bot.identity.people import person_key
from bot.identity.tenants import Tenants, TenantsError, read_tenants
from bot.keys import KeysError, open_keys
from bot.messages import ChatUser, SurfaceName
from bot.policy_files import PolicyFiles
from bot.ports import Person
from bot.settings import PersonKey, Settings, look
from policy.model import GateKind, RoleName, TenantId
from policy.places import DM, name_in
from policy.rules import Policy, PolicyError

NOWHERE = "Invite the bot, or correct the name in tools.yaml: cards posted there would not arrive."


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
    """A channel to which cards are posted, as one team of a chat describes it. `problem`: why it could not be read."""

    destination: str
    """As tools.yaml writes it."""
    public: bool = False
    shared: bool = False
    members: tuple[ChatUser, ...] = ()
    problem: str | None = None
    missing: bool = False
    """The problem: that team has no such channel, or the bot is not in it. Another one may have it."""
    tenant: TenantId | None = None
    """Whose team it is; None: nobody's."""


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
class Known:
    """What an organisation's IdP has provisioned, as the database has it."""

    tenant: TenantId
    people: tuple[Person, ...]
    unmapped: tuple[str, ...] = ()
    """Groups that no role names."""
    unsubjected: tuple[str, ...] = ()
    """SCIM ids of active users without an externalId."""


@dataclass(frozen=True, slots=True)
class Read:
    """What could be read, for the questions that need more than one file."""

    settings: Settings
    policy: PolicyFiles | None
    tenants: Tenants | None
    findings: tuple[Finding, ...]

    @property
    def destinations(self) -> tuple[str, ...]:
        """The channels that tools.yaml names, each once."""
        return tuple(sorted({place for policy in self.policies() for place in channels_of(policy)}))

    def policies(self) -> tuple[Policy, ...]:
        if self.policy is None:
            return ()
        own = () if self.tenants is None else tuple(self.policy.of(tenant) for tenant in self.tenants.tenants)
        return own or (self.policy.current(),)


def examine(environ: Mapping[str, str]) -> Read:
    """Settings, policy, organisations and keys, each read as far as it goes. Never raises for what is in them."""
    settings, faults = look(environ)
    found = [Finding(Level.ERROR, fault.where, fault.what, fault.mend) for fault in faults]
    found += _lacking(settings)
    tenants: Tenants | None = None
    try:
        tenants = read_tenants(settings.tenants, environ)
        found += [_problem(Level.WARNING, at.file, at.line, at.key, at.what, at.mend) for at in tenants.warnings]
    except TenantsError as error:
        found += [_problem(Level.ERROR, at.file, at.line, at.key, at.what, at.mend) for at in error.problems]
    lying = settings.tenants.with_name("directory.yaml")
    if lying.exists():
        mend = "Remove it: a file of people is the demo's alone. Here they come from the identity provider."
        found.append(Finding(Level.WARNING, "directory.yaml", f"in {lying.parent} counts for nothing.", mend))
    policy: PolicyFiles | None = None
    try:
        policy = PolicyFiles(settings.policy_dir, over=tenants.policies() if tenants is not None else None)
        warnings = {at: None for each in (policy.current(), *policy.own()) for at in each.warnings}
        found += [_problem(Level.WARNING, at.file, at.line, at.key, at.what, at.mend) for at in warnings]
    except PolicyError as error:
        found += [_problem(Level.ERROR, at.file, at.line, at.key, at.what, at.mend) for at in error.problems]
    try:
        open_keys(settings.keys_dir)
    except KeysError as error:
        what, _, mend = str(error).partition(". ")
        found.append(Finding(Level.ERROR, "keys", f"{what}.", mend))
    return Read(settings, policy, tenants, tuple(found))


def judge_people(read: Read, known: Sequence[Known]) -> tuple[Finding, ...]:
    """What is wrong with the people that the IdPs have provisioned."""
    if read.policy is None:
        return ()
    key = read.settings.person_key
    return tuple(finding for one in known for finding in _people(key, read.policy.of(one.tenant), one))


def judge_channels(read: Read, channels: Sequence[Channel], known: Sequence[Known]) -> tuple[Finding, ...]:
    """What is wrong with the places where cards are posted."""
    if read.policy is None:
        return ()
    people = {account: person for one in known for person in one.people for account in person.accounts}
    found = [
        finding for channel in channels if not channel.missing for finding in _channel(channel, read.policy, people)
    ]
    there = {(channel.tenant, channel.destination) for channel in channels if not channel.missing}
    lacking: dict[tuple[TenantId | None, str], list[str]] = {}
    for channel in channels:
        place = (channel.tenant, channel.destination)
        if channel.missing and place not in there:  # cards go wherever the channel is: one chat is enough
            lacking.setdefault(place, []).append(channel.problem or "It is not there.")
    found += [Finding(Level.ERROR, at, " ".join(dict.fromkeys(why)), NOWHERE) for (_, at), why in lacking.items()]
    told = {(channel.tenant, channel.destination) for channel in channels} | {
        (None, channel.destination) for channel in channels if channel.tenant is None
    }
    return (*found, *_unasked(read, told), *_by_name(read))


def _unasked(read: Read, told: Collection[tuple[TenantId | None, str]]) -> Iterator[Finding]:
    """Channels that no connected chat was asked for: no team of the organisation is in a chat in which they are meant.

    `told`: those that one was asked for, and in whose name; None: in everybody's.
    """
    if read.policy is None or read.tenants is None or not told:
        return
    for tenant in read.tenants.tenants:
        for place in channels_of(read.policy.of(tenant)):
            if (tenant, place) not in told and (None, place) not in told:
                what = f"is in no chat that is connected for the tenant {tenant}."
                yield Finding(Level.WARNING, place, what, NOWHERE)


def _by_name(read: Read) -> Iterator[Finding]:
    """Channels of Teams that tools.yaml means by their name, which is anybody's to choose there."""
    if read.settings.teams is None:
        return
    places = {place for policy in read.policies() for place, name in asked_of(policy, TEAMS) if name.startswith("#")}
    for place in sorted(places):
        what = "is a name, and in Teams whoever may make a team may make a channel called so."
        mend = 'Write its id, "teams:19:…@thread.tacv2" (Get link to channel), beside "slack:#…" for Slack.'
        yield Finding(Level.WARNING, place, what, mend)


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
        mend = (
            "Set SLACK_BOT_TOKEN with SLACK_APP_TOKEN or SLACK_SIGNING_SECRET, or TEAMS_APP_ID with "
            "TEAMS_APP_PASSWORD and TEAMS_TENANT_ID."
        )
        yield Finding(Level.ERROR, "SLACK_BOT_TOKEN", "is missing: no chat is connected.", mend)
    if settings.base_url is None:
        mend = "Set it to the address under which people reach this service, https://…"
        yield Finding(Level.ERROR, "COUNTERSIGN_BASE_URL", "is missing: nobody can say who they are.", mend)
    if settings.anthropic is None and settings.openai is None:
        mend = "Set ANTHROPIC_API_KEY or OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
        yield Finding(Level.ERROR, "ANTHROPIC_API_KEY", "is missing: there is no model to ask.", mend)


def _people(key: PersonKey, policy: Policy, known: Known) -> Iterator[Finding]:
    where = f"tenant {known.tenant}"
    active = [person for person in known.people if person.active]
    if not active:
        mend = "Connect the IdP: `countersign scim token create`, then docs/identity.md."
        yield Finding(Level.WARNING, where, "has nobody: no IdP has provisioned people yet.", mend)
        return
    if known.unmapped:
        mend = "Their members get no role by them. Name them in roles.yaml if they should."
        yield Finding(Level.WARNING, "roles.yaml", f"names none of these groups: {', '.join(known.unmapped)}.", mend)
    if known.unsubjected:
        some = ", ".join(known.unsubjected[:5]) + (", …" if len(known.unsubjected) > 5 else "")
        alone = len(known.unsubjected) == 1
        what = f"has {'somebody' if alone else f'{len(known.unsubjected)} people'} without an externalId: {some}."
        mend = "Nobody can be acted for without. Map it in the IdP's provisioning (Entra: objectId), then push again."
        yield Finding(Level.WARNING, where, what, mend)
    wanted = _approvers(policy)
    for role, tools in sorted(wanted.items()):
        if not any(role in policy.roles.roles_of(one.groups) for one in active):
            what = f"has nobody with the role {role}, which approves {', '.join(tools)}."
            mend = "Put somebody into one of the role's groups: such requests would wait until they expire."
            yield Finding(Level.WARNING, where, what, mend)
    for one in active:
        if person_key(one, key) is None and policy.roles.roles_of(one.groups) & wanted.keys():
            what = f"lacks {key.value}, which tells two people apart here."
            yield Finding(Level.WARNING, one.display_name, what, "Until it is added they can approve nothing.")


def _channel(channel: Channel, policies: PolicyFiles, people: Mapping[ChatUser, Person]) -> Iterator[Finding]:
    if channel.problem is not None:
        yield Finding(Level.ERROR, channel.destination, channel.problem, NOWHERE)
        return
    if channel.public:
        mend = "Make it private: cards show customers, amounts and drafts to all who can open it."
        yield Finding(Level.ERROR, channel.destination, "is a public channel.", mend)
    if channel.shared:
        mend = "Use a channel without outsiders: cards show customers, amounts and drafts."
        yield Finding(Level.ERROR, channel.destination, "is shared with another organisation.", mend)
    idle: list[str] = []
    for account in channel.members:
        person = people.get(account)
        if person is None or not person.active:
            idle.append(str(account))
            continue
        policy = policies.of(person.tenant)
        roles = {role for role, place in _places(policy) if place == channel.destination}
        if not policy.roles.roles_of(person.groups) & roles:
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


def channels_of(policy: Policy) -> tuple[str, ...]:
    """The channels to which cards are posted under `policy`, each once."""
    return tuple(sorted({place for _, place in _places(policy)}))


def asked_of(policy: Policy, chat: SurfaceName) -> tuple[tuple[str, str], ...]:
    """What `chat` is to be asked for: each channel as tools.yaml writes it, and as the chat knows it."""
    found = ((place, name_in(place, chat)) for place in channels_of(policy))
    return tuple((place, name) for place, name in found if name is not None)


def _places(policy: Policy) -> Iterator[tuple[RoleName, str]]:
    for rule in policy.tools.values():
        for role, places in rule.gate.destinations.items():
            yield from ((role, place) for place in places if place != DM)


def _problem(level: Level, file: str, line: int, key: str, what: str, mend: str) -> Finding:
    place = f"{file}:{line}" if line else file
    return Finding(level, f"{place} {key}".strip(), what, mend)
