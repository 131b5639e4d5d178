"""Which organisations this deployment serves, from tenants.yaml: their provider, chat teams and policy folder.

Knows the file and every way to get it wrong; knows no person, no role and no policy.

Two tenants may name the same issuer block. The same subject can then exist in both, which is safe: an issuer
and a subject name one human wherever they are, and every look-up is (tenant, subject) in that tenant's own
SCIM, so a tenant that was not told of somebody does not know them. A flow is bound to its tenant by its nonce.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from bot.identity.chat_proof import one_idp
from bot.identity.downstream import Downstream, SubjectToken, read_downstreams
from bot.identity.issuer_blocks import GUID, SecretsFrom, client_secret, read_issuer
from bot.identity.issuers import Issuer, Preset
from bot.messages import ChatUser, SurfaceName
from policy.document import Field, Findings, Problem, meant, parse
from policy.model import TenantId

__all__ = ["Issuer", "Preset", "Team", "Tenant", "Tenants", "TenantsError", "read_tenants"]

WEB = SurfaceName("web")
MAX_AGE_HOURS = 168
ENTRA_SUBJECT = "oid"

_MORE = ("teams", "policy", "directory_max_age_hours", "downstreams", "on_logout")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_SLACK_ID = {
    "team": re.compile(r"[TE][A-Z0-9]{1,30}", re.ASCII),
    "enterprise": re.compile(r"E[A-Z0-9]{1,30}", re.ASCII),
}
_SLACK_MEND = {
    "team": "Write the workspace's id, which begins with T (an organisation's with E).",
    "enterprise": "Write the organisation's id, which begins with E.",
}


class OnLogout(StrEnum):
    """What ends when the IdP says that somebody's sign-in is over (back-channel logout)."""

    EVERYTHING = "everything"
    """As if they had left: links, sessions, requests that wait, votes."""
    SESSIONS = "sessions"
    """What a sign-in gave: page sessions, and what was kept to act for them elsewhere."""


class Linking(StrEnum):
    """Whose chat account it is has to be proved by its holder."""

    WHERE_NEEDED = "where_needed"
    """Except where the chat's accounts are the company's own: Teams, for people whose IdP is that Entra tenant."""
    REQUIRED = "required"
    """There too."""


class TenantsError(Exception):
    """The file cannot be used. Carries everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True)
class Team:
    """A chat team: a Slack workspace, or an Entra tenant in Teams."""

    surface: SurfaceName
    team: str
    enterprise: str = ""
    """Slack's organisation above the workspace, where there is one."""
    linking: Linking = Linking.WHERE_NEEDED


@dataclass(frozen=True, slots=True)
class Tenant:
    tenant: TenantId
    name: str
    issuer: Issuer
    teams: tuple[Team, ...]
    policy: Path | None
    """A folder whose files replace the deployment's of the same name."""
    directory_max_age: timedelta
    """What the IdP last said is not acted on once it is older than this."""
    downstreams: Mapping[str, Downstream] = field(default_factory=lambda: MappingProxyType({}))
    """APIs that tools may call with a person's own token."""
    on_logout: OnLogout = OnLogout.EVERYTHING

    def owns(self, team: Team) -> bool:
        """Whether an account of `team` is the company's own, so that its id says whose it is. An object id, as Entra
        provisions it as externalId: under another claim the two are not the same word."""
        one = one_idp(ChatUser(team.surface, team.team, ""), self.issuer)
        return one and self.issuer.subject_claim == ENTRA_SUBJECT and team.linking is not Linking.REQUIRED

    @property
    def acts_elsewhere(self) -> bool:
        """Whether people's sign-ins are needed after they have gone. Where they are not, none is kept."""
        return any(one.subject is not SubjectToken.OWN for one in self.downstreams.values())


@dataclass(frozen=True, slots=True)
class Tenants:
    """One reading of the file."""

    tenants: Mapping[TenantId, Tenant]
    issuers: Mapping[str, Issuer]
    teams: Mapping[tuple[SurfaceName, str], TenantId]
    warnings: tuple[Problem, ...] = ()

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        """Whose chat team it is. On the web, the team of a session is its tenant."""
        if surface == WEB:
            return TenantId(team) if TenantId(team) in self.tenants else None
        return self.teams.get((surface, team))

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        """Every chat team of the tenant."""
        return tuple(team for team, owner in self.teams.items() if owner == tenant)

    def own_teams(self, tenant: TenantId) -> tuple[str, ...]:
        """The Entra tenants in Teams whose accounts are the very accounts that the tenant's IdP provisions."""
        found = self.tenants.get(tenant)
        return () if found is None else tuple(one.team for one in found.teams if found.owns(one))

    def get(self, tenant: TenantId) -> Tenant | None:
        return self.tenants.get(tenant)

    def policies(self) -> dict[TenantId, Path]:
        """The tenants with policy files of their own, and where these are."""
        return {name: one.policy for name, one in self.tenants.items() if one.policy is not None}

    def served_by(self, issuer: Issuer) -> tuple[Tenant, ...]:
        """Every tenant whose people sign in at `issuer`: a back-channel logout concerns them all."""
        return tuple(tenant for tenant in self.tenants.values() if tenant.issuer.issuer == issuer.issuer)


def read_tenants(path: Path, environ: Mapping[str, str]) -> Tenants:
    """The tenants that the file at `path` states; client secrets come from `environ` and mounted files.

    Raises:
        TenantsError: with every problem of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        mend = f"Write your organisations into {path}, or set COUNTERSIGN_TENANTS."
        raise TenantsError((Problem(path.name, 0, "", f"cannot be read ({why}).", mend),)) from error
    except UnicodeDecodeError as error:
        raise TenantsError((Problem(path.name, 0, "", "is not UTF-8 text.", "Save it as UTF-8."),)) from error
    findings = Findings()
    root = parse(path.name, text, findings)
    found = _Reader(SecretsFrom(path.parent, environ), findings).tenants(root) if root is not None else None
    if findings.errors or found is None:
        raise TenantsError(tuple(sorted(findings.errors, key=lambda problem: (problem.line, problem.key))))
    return found


class _Reader:
    """Reads the tree and notes every fault; the result counts only if there was none."""

    def __init__(self, secrets: SecretsFrom, findings: Findings) -> None:
        self._secrets = secrets
        self._findings = findings
        self._issuers: dict[str, Issuer] = {}
        self._tenants: dict[TenantId, Tenant] = {}
        self._teams: dict[tuple[SurfaceName, str], TenantId] = {}

    def tenants(self, root: Field) -> Tenants:
        keys = root.section(("issuers", "tenants"))
        blocks = keys["issuers"].entries() if "issuers" in keys else {}
        for name, block in blocks.items():
            _name(block, name)
            issuer = read_issuer(name, block, self._secrets)
            if issuer is not None:
                self._issuers[name] = issuer
        for name, entry in keys["tenants"].entries().items() if "tenants" in keys else ():
            self._tenant(name, entry, tuple(blocks))
        if "tenants" in keys and keys["tenants"].is_mapping() and not self._tenants:
            keys["tenants"].wrong("names no organisation.", "Add one: nobody can be acted for without.")
        served = {tenant.issuer.name for tenant in self._tenants.values()}
        for name in self._issuers.keys() - served:
            blocks[name].doubtful("is no tenant's issuer.", "Remove it, or name it under `issuer:` of a tenant.")
        return Tenants(
            MappingProxyType(self._tenants),
            MappingProxyType(self._issuers),
            MappingProxyType(self._teams),
            tuple(self._findings.warnings),
        )

    def _tenant(self, name: str, entry: Field, blocks: tuple[str, ...]) -> None:
        _name(entry, name)
        tenant = TenantId(name)
        keys = entry.section(("name", "issuer"), _MORE)
        shown = keys["name"].text() if "name" in keys else None
        called = keys["issuer"].text() if "issuer" in keys else None
        if called is not None and called not in blocks:
            keys["issuer"].wrong(f"'{called}' is not an issuer of this file.", meant(called, blocks, "The issuers are"))
        teams = self._chat_teams(tenant, keys["teams"]) if "teams" in keys else ()
        policy = self._policy(keys["policy"]) if "policy" in keys else None
        hours = keys["directory_max_age_hours"].integer(1, 8760) if "directory_max_age_hours" in keys else MAX_AGE_HOURS
        issuer = self._issuers.get(called) if called is not None else None
        apis = self._downstreams(keys["downstreams"], issuer) if "downstreams" in keys else MappingProxyType({})
        if shown is not None and issuer is not None:
            ends = self._on_logout(keys["on_logout"]) if "on_logout" in keys else OnLogout.EVERYTHING
            self._tenants[tenant] = Tenant(tenant, shown, issuer, teams, policy, timedelta(hours=hours), apis, ends)

    @staticmethod
    def _on_logout(at: Field) -> OnLogout:
        word = at.text()
        try:
            return OnLogout(word or "")
        except ValueError:
            words = tuple(one.value for one in OnLogout)
            at.wrong(f"'{word}' is nothing a log-out can end.", meant(word or "", words, "Write one of"))
            return OnLogout.EVERYTHING

    def _downstreams(self, at: Field, issuer: Issuer | None) -> Mapping[str, Downstream]:
        found = read_downstreams(at, lambda name, keys: client_secret(name, keys, self._secrets))
        wanting = [one.name for one in found.values() if one.subject is not SubjectToken.OWN]
        if wanting and issuer is not None and "offline_access" not in issuer.scopes:
            mend = f"Add offline_access to the scopes of {issuer.name}, so that a sign-in still serves after a wait."
            at.wrong(f"{wanting[0]} acts on people's sign-ins, which do not last.", mend)
        return found

    def _chat_teams(self, tenant: TenantId, at: Field) -> tuple[Team, ...]:
        found: list[Team] = []
        for item in at.items():
            keys = item.section(("surface", "team"), ("enterprise", "linking"))
            team = _team(keys)
            if team is None:
                continue
            if (team.surface, team.team) in self._teams:
                owner = self._teams[team.surface, team.team]
                mend = "A chat team belongs to one tenant: keep one."
                item.wrong(f"{team.surface} team {team.team} is already listed for {owner}.", mend)
                continue
            self._teams[team.surface, team.team] = tenant
            found.append(team)
        return tuple(found)

    def _policy(self, at: Field) -> Path | None:
        written = at.text()
        if written is None:
            return None
        folder = self._secrets.folder / written
        if not folder.is_dir():
            at.wrong(f"{folder} is not a folder.", "Mend the path; it is relative to this file.")
            return None
        return folder


def _team(keys: Mapping[str, Field]) -> Team | None:
    surface = keys["surface"].text() if "surface" in keys else None
    team = keys["team"].text() if "team" in keys else None
    enterprise = keys["enterprise"].text() if "enterprise" in keys else ""
    linking = Linking.WHERE_NEEDED
    if "linking" in keys:
        linking = keys["linking"].word(Linking, "a way of linking", Linking.REQUIRED, (Linking.REQUIRED,))
    if surface is None or team is None or enterprise is None:
        return None
    if surface == "slack":
        for key, value in (("team", team), ("enterprise", enterprise)):
            if value and not _SLACK_ID[key].fullmatch(value):
                keys[key].wrong(f"'{value}' is not a Slack {key} id.", _SLACK_MEND[key])
                return None
        return Team(SurfaceName(surface), team, enterprise, linking)
    if surface != "teams":
        keys["surface"].wrong(f"'{surface}' is not a chat.", meant(surface, ("slack", "teams"), "Write one of"))
        return None
    if enterprise:
        keys["enterprise"].wrong("is Slack's alone.", "Remove it.")
    if not GUID.fullmatch(team.lower()):
        keys["team"].wrong(f"'{team}' is not an Entra tenant id.", "Write the Directory (tenant) ID, 36 characters.")
        return None
    return Team(SurfaceName(surface), team.lower(), linking=linking)


def _name(at: Field, name: str) -> None:
    """A name that stands in addresses, file names and the audit's chains."""
    if not _NAME.fullmatch(name):
        at.wrong(f"'{name}' is not a name.", "Use a-z, 0-9 and - or _, beginning with a letter or digit, at most 63.")
