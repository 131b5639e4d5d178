"""What the service keeps about identities: SCIM resources, links, tickets, sessions, sealed grants. Tables alone.

Secrets are kept as SHA-256 or sealed, never as they are. Every row is one tenant's (invariant 14).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime
from bot.store import table as table


class ScimResource(SQLModel, table=True):
    """One User or Group as the IdP provisioned it. `document` is the SCIM JSON; the columns are what is asked for."""

    __tablename__ = "scim_resource"

    tenant: str = Field(primary_key=True)
    resource_id: str = Field(primary_key=True)
    resource_type: str
    external_id: str | None = None
    unique_name: str | None = None
    """userName in lower case; unique within the tenant and type. Groups have none."""
    display_name: str | None = None
    """What people are shown. A user without displayName is shown by name or userName."""
    name_key: str | None = None
    """displayName as filters compare it; Entra and Okta look a group up by it before they create it."""
    active: bool = True
    employee_number: str | None = None
    email: str | None = None
    document: str
    version: int
    created_at: datetime = Field(sa_type=UtcDateTime)
    modified_at: datetime = Field(sa_type=UtcDateTime)

    __table_args__ = (
        sa.UniqueConstraint("tenant", "resource_type", "unique_name"),
        # Two active people under one subject would be a guess: the second is refused.
        sa.UniqueConstraint("tenant", "resource_type", "external_id"),
        sa.Index("scim_resource_listed", "tenant", "resource_type", "created_at"),
        sa.Index("scim_resource_named", "tenant", "resource_type", "name_key"),
    )


class ScimMember(SQLModel, table=True):
    """`member_id` is a direct member of the group."""

    __tablename__ = "scim_member"

    tenant: str = Field(primary_key=True)
    group_id: str = Field(primary_key=True)
    member_id: str = Field(primary_key=True)
    member_type: str = "User"

    __table_args__ = (sa.Index("scim_member_of", "tenant", "member_id"),)


class ScimToken(SQLModel, table=True):
    """A bearer token of an IdP's SCIM client. Several may be valid at once, so that one is replaced without a gap."""

    __tablename__ = "scim_token"

    token_id: str = Field(primary_key=True)
    tenant: str = Field(index=True)
    sha256: str = Field(unique=True)
    name: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ScimContact(SQLModel, table=True):
    """When a tenant's IdP last spoke to us: how old what we know of its people may be."""

    __tablename__ = "scim_contact"

    tenant: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)


class ScimRefusals(SQLModel, table=True):
    """SCIM requests with a bad bearer token in one minute, so that a flood cannot fill the log."""

    __tablename__ = "scim_refusals"

    tenant: str = Field(primary_key=True)
    minute: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    seen: int
    told: bool = False


class IdentityLink(SQLModel, table=True):
    """A chat account that was proved to be one subject's. In a tenant an account is at most one person's.

    What it was in the tenant that had its team before counts nowhere, and stands in nobody's way (invariant 14).
    """

    __tablename__ = "identity_link"

    tenant: str = Field(primary_key=True)
    surface: str = Field(primary_key=True)
    enterprise: str = Field(primary_key=True)
    team: str = Field(primary_key=True)
    account: str = Field(primary_key=True)
    issuer: str
    sub: str
    how: str
    """``proved``, ``teams_sso`` or ``shell``."""
    by: str
    linked_at: datetime = Field(sa_type=UtcDateTime)

    __table_args__ = (sa.Index("identity_link_subject", "tenant", "issuer", "sub"),)


class IdentityBar(SQLModel, table=True):
    """A chat account that would be somebody's without a link, because chat and IdP are one, and that was taken away.

    It stands for nobody until it is linked. Where accounts need a link anyway there is never a row.
    """

    __tablename__ = "identity_bar"

    tenant: str = Field(primary_key=True)
    surface: str = Field(primary_key=True)
    team: str = Field(primary_key=True)
    account: str = Field(primary_key=True)
    cause: str
    by: str
    barred_at: datetime = Field(sa_type=UtcDateTime)


class LinkTicket(SQLModel, table=True):
    """A one-time invitation to say who a chat account is. Ends by use, by time or by a newer one."""

    __tablename__ = "link_ticket"

    sha256: str = Field(primary_key=True)
    tenant: str
    surface: str
    enterprise: str
    team: str
    account: str
    channel: str
    """Where the account's holder is told how it went."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended: str | None = None
    """``used``, ``replaced``, ``refused``, ``unlinked``, ``left``."""

    __table_args__ = (sa.Index("link_ticket_account", "tenant", "surface", "team", "account"),)


class SigninFlow(SQLModel, table=True):
    """A browser on its way through sign-ins. Keyed by the hash of its cookie, from which state and nonce follow."""

    __tablename__ = "signin_flow"

    sha256: str = Field(primary_key=True)
    tenant: str
    purpose: str
    """``link`` or ``page``."""
    ticket: str | None = None
    """sha256 of the link ticket it redeems."""
    step: str
    issuer: str | None = None
    sub: str | None = None
    """Whom the company's IdP said this browser's holder is."""
    chat_proved: bool = False
    back_to: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Confirmation(SQLModel, table=True):
    """A link that waits for the chat account's own yes, asked privately in that chat, and for the code it is told."""

    __tablename__ = "confirmation"

    sha256: str = Field(primary_key=True)
    tenant: str
    surface: str
    enterprise: str
    team: str
    account: str
    issuer: str
    sub: str
    flow: str = ""
    """sha256 of the browser's flow that waits for it."""
    code_sha256: str | None = None
    """Of the code the chat account was told after its yes; typed into that browser it completes the link."""
    tries: int = 0
    """Codes that were typed and wrong."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

    __table_args__ = (sa.Index("confirmation_account", "tenant", "surface", "team", "account"),)


class WebSession(SQLModel, table=True):
    """A signed-in browser. Ends by sign-out, idleness, age, the IdP's word or the person's leaving."""

    __tablename__ = "web_session"

    sha256: str = Field(primary_key=True)
    tenant: str
    issuer: str
    sub: str
    sid: str | None = None
    idp_sub: str = ""
    """The ID token's own `sub`, which logout tokens name; the same as `sub` except at Entra."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended: str | None = None

    __table_args__ = (
        sa.Index("web_session_subject", "tenant", "issuer", "sub"),
        sa.Index("web_session_sid", "issuer", "sid"),
    )


class SignInSeen(SQLModel, table=True):
    """When a person last proved themselves to the company's IdP here: they are known as of then."""

    __tablename__ = "signin_seen"

    tenant: str = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    sub: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)


class UsedJti(SQLModel, table=True):
    """A token that may be used once, and was: logout tokens, client assertions."""

    __tablename__ = "used_jti"

    issuer: str = Field(primary_key=True)
    jti: str = Field(primary_key=True)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)


class SealedGrant(SQLModel, table=True):
    """A refresh token under a data key of its own, wrapped by the key-encryption key; its AAD names its person."""

    __tablename__ = "sealed_grant"

    tenant: str = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    sub: str = Field(primary_key=True)
    kek_id: str
    wrapped_key: str
    sealed: str
    generation: int
    token_sha256: str
    """Of the refresh token now in use; an older one that comes back means it was stolen."""
    lease: str | None = None
    """Who is asking the IdP with it at this moment: a refresh token is used by one at a time."""
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended: str | None = None
