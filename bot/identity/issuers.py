"""One OpenID Connect provider as the deployment configured it, and what each product of the market defaults to.

Knows names, addresses and which checks a token must pass; speaks to no provider and checks no token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tools.credentials import Secret

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What may sign an ID token. A shared secret (HS256) or nothing at all never does."""
SCOPES = ("openid", "profile", "email")
MAX_AGE_S = 600
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that may be spoken to without TLS: tests and the demo."""


class Preset(StrEnum):
    """Whose OpenID Connect it is. Decides defaults and which mistakes are recognised, never what is checked."""

    OKTA = "okta"
    ENTRA = "entra"
    AUTH0 = "auth0"
    OIDC = "oidc"
    """Any other provider that keeps to the standard."""
    SLACK = "slack"
    """Sign in with Slack: proves a chat account, never a person. Not written in tenants.yaml."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One provider and this deployment's registration with it."""

    name: str
    """What tenants.yaml calls it."""
    preset: Preset
    issuer: str
    """Exactly as the provider spells it, slash at the end included: `iss` is compared letter by letter."""
    client_id: str
    client_secret: Secret | None = None
    """None: a public client, protected by PKCE alone."""
    scopes: tuple[str, ...] = SCOPES
    subject_claim: str = "sub"
    """The claim whose value is SCIM's externalId."""
    tid: str | None = None
    hd: str | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    max_age_s: int = MAX_AGE_S
    """How old an ID token may be, by its `iat`, when it is first shown."""

    @property
    def discovery_url(self) -> str:
        return self.issuer.rstrip("/") + "/.well-known/openid-configuration"


def slack_issuer(client_id: str, client_secret: Secret, base_url: str = "https://slack.com") -> Issuer:
    """Sign in with Slack. Who it was is in `IdClaims.extra`, under https://slack.com/team_id and …/user_id.

    `base_url` is another address in tests alone.
    """
    return Issuer("slack", Preset.SLACK, base_url, client_id, client_secret)
