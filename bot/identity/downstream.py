"""Which APIs may be called with a person's own token, as tenants.yaml states it per tenant. Knows no protocol.

A tool gets exactly the scopes written beside its name, and a tool that is not written there gets no token at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from bot.identity.idp_http import safe_address
from policy.document import Field
from policy.model import ToolName
from tools.credentials import Secret

MAX_LIFETIME_S = 3600


class DownstreamKind(StrEnum):
    """How a person's token for the API is had."""

    RFC8693 = "rfc8693"
    """OAuth token exchange at the API's own authorization server, or at the IdP."""
    ENTRA_OBO = "entra_obo"
    """Entra ID's on-behalf-of flow."""
    ID_JAG = "id_jag"
    """An identity assertion of the IdP, redeemed at the API's authorization server."""


class SubjectToken(StrEnum):
    """What proves whom we act for."""

    ACCESS_TOKEN = "access_token"
    """Of the person's own sign-in, from their sealed grant."""
    ID_TOKEN = "id_token"
    """The same sign-in's ID token."""
    OWN = "own"
    """An assertion that we sign ourselves; the authorization server trusts our JWKS. Needs no grant."""


@dataclass(frozen=True, slots=True)
class Client:
    """This deployment's registration at one authorization server."""

    token_endpoint: str
    client_id: str
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Downstream:
    """One API, and how a person's token for it is had."""

    name: str
    kind: DownstreamKind
    at: Client
    """Whom we ask. For `id_jag`: the IdP."""
    audience: str
    """What the received token's ``aud`` has to be, alone."""
    tools: Mapping[ToolName, tuple[str, ...]]
    """Tool -> the scopes a token for it may have."""
    subject: SubjectToken
    resource: str | None = None
    """RFC 8707, where the authorization server wants it."""
    redeem_at: Client | None = None
    """`id_jag`: the API's own authorization server."""
    redeem_audience: str | None = None
    """`id_jag`: that server's issuer, whom the assertion is for."""
    subject_claim: str | None = "sub"
    """The claim of the received token that is the person's subject. None: the API's server names people its own way."""
    actor: bool = False
    """Send a token of our own that names the agent, and insist that the answer names it too (``act``)."""
    max_lifetime_s: int = MAX_LIFETIME_S


SecretOf: TypeAlias = Callable[[str, Mapping[str, Field]], Secret | None]
"""Reads ``client_secret_file`` or ``client_secret_env`` of a block, as issuer blocks do; notes faults there."""

_CLIENT = ("token_endpoint", "client_id")
_SECRET = ("client_secret_file", "client_secret_env")
_REQUIRED = ("kind", *_CLIENT, "audience", "tools")
_OPTIONAL = (*_SECRET, "resource", "subject", "subject_claim", "actor", "max_lifetime_s", "redeem")


def read_downstreams(block: Field, secret_of: SecretOf) -> Mapping[str, Downstream]:
    """The APIs that `block` (``downstreams:`` below a tenant) states. Every fault is noted in its findings."""
    found = {name: _downstream(name, entry, secret_of) for name, entry in block.entries().items()}
    return MappingProxyType({name: one for name, one in found.items() if one is not None})


def _downstream(name: str, block: Field, secret_of: SecretOf) -> Downstream | None:
    keys = block.section(_REQUIRED, _OPTIONAL)
    if not all(key in keys for key in _REQUIRED):
        return None
    kind = keys["kind"].word(DownstreamKind, "a way to get a token", DownstreamKind.RFC8693)
    at, audience = _client(name, block, keys, secret_of), keys["audience"].text()
    tools = {ToolName(tool): _scopes(entry, kind) for tool, entry in keys["tools"].entries().items()}
    if not tools:
        keys["tools"].wrong("names no tool.", "Write `TOOL: [scope]` for each tool that may call this API.")
    redeem = keys["redeem"].section((*_CLIENT, "audience"), _SECRET) if "redeem" in keys else {}
    if kind is DownstreamKind.ID_JAG and "redeem" not in keys:
        mend = "Add `redeem:` with token_endpoint, client_id and audience of the API's authorization server."
        block.wrong("'redeem' is missing.", mend)
    if kind is not DownstreamKind.ID_JAG and "redeem" in keys:
        keys["redeem"].wrong("belongs to `kind: id_jag` alone.", "Remove it.")
    redeem_at = _client(name, keys["redeem"], redeem, secret_of) if redeem else None
    redeem_audience = redeem["audience"].text() if "audience" in redeem else None
    if at is None or audience is None or (kind is DownstreamKind.ID_JAG and (not redeem_at or not redeem_audience)):
        return None
    return Downstream(
        name=name,
        kind=kind,
        at=at,
        audience=audience,
        tools=MappingProxyType(tools),
        subject=_subject(keys, kind),
        resource=keys["resource"].text() if "resource" in keys else None,
        redeem_at=redeem_at,
        redeem_audience=redeem_audience,
        subject_claim=_subject_claim(keys, kind),
        actor=_actor(keys, kind),
        max_lifetime_s=keys["max_lifetime_s"].integer(60, 86400) if "max_lifetime_s" in keys else MAX_LIFETIME_S,
    )


def _client(name: str, block: Field, keys: Mapping[str, Field], secret_of: SecretOf) -> Client | None:
    if not all(key in keys for key in _CLIENT):
        return None
    endpoint, client_id = keys["token_endpoint"].text(), keys["client_id"].text()
    if endpoint is not None and safe_address(endpoint, loopback=True) is None:
        keys["token_endpoint"].wrong(f"{endpoint} is no address of a token endpoint.", "Write its https address.")
        return None
    secret = secret_of(name, keys)
    if endpoint is None or client_id is None:
        return None
    return Client(endpoint, client_id, secret)


def _scopes(entry: Field, kind: DownstreamKind) -> tuple[str, ...]:
    scopes = entry.texts()
    if not scopes:
        entry.wrong("names no scope.", "Write the least this tool needs, for instance [orders.read].")
    for scope in scopes:
        if scope.rpartition("/")[2] == ".default":
            mend = "Write the permissions this tool needs, each on its own."
            entry.wrong(f"{scope} is everything that was ever consented to.", mend)
        elif not scope.isascii() or not scope.isprintable() or any(letter in scope for letter in ' "\\'):
            entry.wrong(f"'{scope}' is not a scope.", "Write each on its own: [orders.read, orders.write].")
        elif scope in ("openid", "offline_access"):
            entry.wrong(f"{scope} is no right at an API.", "Remove it.")
    return scopes


def _subject(keys: Mapping[str, Field], kind: DownstreamKind) -> SubjectToken:
    """What each protocol can be given, the usual one first."""
    allowed = {
        DownstreamKind.RFC8693: (SubjectToken.ACCESS_TOKEN, SubjectToken.ID_TOKEN, SubjectToken.OWN),
        DownstreamKind.ENTRA_OBO: (SubjectToken.ACCESS_TOKEN,),
        DownstreamKind.ID_JAG: (SubjectToken.ID_TOKEN,),
    }[kind]
    if "subject" not in keys:
        return allowed[0]
    return keys["subject"].word(SubjectToken, f"a subject token of {kind.value}", allowed[0], allowed)


def _subject_claim(keys: Mapping[str, Field], kind: DownstreamKind) -> str | None:
    """`none`: the API's authorization server names people its own way, and its assertion was checked instead."""
    usual = {DownstreamKind.RFC8693: "sub", DownstreamKind.ENTRA_OBO: "oid", DownstreamKind.ID_JAG: "sub"}[kind]
    value = keys["subject_claim"].text() if "subject_claim" in keys else usual
    if value == "none" and kind is not DownstreamKind.ID_JAG:
        mend = f"Write the claim that holds the person's subject, for instance {usual}."
        keys["subject_claim"].wrong("cannot be none here: nothing else would say whose token came.", mend)
        return usual
    return None if value == "none" else value or usual


def _actor(keys: Mapping[str, Field], kind: DownstreamKind) -> bool:
    if "actor" not in keys:
        return False
    wanted = keys["actor"].boolean()
    if wanted and kind is not DownstreamKind.RFC8693:
        keys["actor"].wrong(f"{kind.value} takes no actor token.", "Remove it.")
        return False
    return wanted
