"""Which organisations this deployment serves, from tenants.yaml: their provider, chat teams and policy folder.

Knows the file and every way to get it wrong; knows no person, no role and no policy.

Two tenants may name the same issuer block. The same subject can then exist in both, which is safe: an issuer
and a subject name one human wherever they are, and every look-up is (tenant, subject) in that tenant's own
SCIM, so a tenant that was not told of somebody does not know them. A flow is bound to its tenant by its nonce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bot.identity.issuers import Issuer, Preset
from bot.messages import SurfaceName
from policy.document import Problem
from policy.model import TenantId

__all__ = ["Issuer", "Preset", "Team", "Tenant", "Tenants", "TenantsError", "read_tenants"]

WEB = SurfaceName("web")


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

    def get(self, tenant: TenantId) -> Tenant | None:
        return self.tenants.get(tenant)

    def served_by(self, issuer: Issuer) -> tuple[Tenant, ...]:
        """Every tenant whose people sign in at `issuer`: a back-channel logout concerns them all."""
        return tuple(tenant for tenant in self.tenants.values() if tenant.issuer.issuer == issuer.issuer)


def read_tenants(path: Path, environ: Mapping[str, str]) -> Tenants:
    """The tenants that the file at `path` states; client secrets come from `environ` and mounted files.

    Raises:
        TenantsError: with every problem of the file.
    """
    raise TenantsError((Problem(path.name, 0, "", "cannot be read yet.", "Wait for the reader."),))
