"""One issuer block of tenants.yaml -> an `Issuer`, or everything that is wrong with it and how to mend it.

Knows what Okta, Entra ID, Auth0 and Google call things and which mistakes their consoles invite; asks none of
them. Client secrets come from mounted files and the environment, never from the block itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit

from bot.identity.idp_http import safe_address
from bot.identity.issuers import ASYMMETRIC, MAX_AGE_S, SCOPES, Issuer, Preset
from policy.document import Field, meant
from tools.credentials import Secret

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
WRITTEN = (Preset.OKTA, Preset.ENTRA, Preset.AUTH0, Preset.OIDC)
MAX_SECRET_BYTES = 4096

_REQUIRED = ("preset", "client_id")
_OPTIONAL = (
    "issuer", "client_secret_file", "client_secret_env", "scopes", "subject_claim", "tid", "hd", "algorithms",
    "groups", "max_age_s",
)  # fmt: skip
_SCOPE = re.compile(r"[!#-\[\]-~]{1,100}", re.ASCII)
_CLAIM = re.compile(r"[A-Za-z0-9_.:/-]{1,100}", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
_ENV = re.compile(r"[A-Z][A-Z0-9_]{0,99}", re.ASCII)
_CHANGES_HANDS = frozenset({"email", "name", "nickname", "preferred_username", "unique_name", "upn"})
"""Claims that an address book can reassign: whoever gets the address would get the person."""
_EVERYBODYS = ("common", "organizations", "consumers", "{tenantid}", "{tenant}", "9188040d-6c67-4c5b-b112-36a304b66dad")
_ENTRA = "https://login.microsoftonline.com"
_GOOGLE = "https://accounts.google.com"


@dataclass(frozen=True, slots=True)
class SecretsFrom:
    """Where client secrets are looked up."""

    folder: Path
    """Of tenants.yaml: file names are relative to it."""
    environ: Mapping[str, str] = field(repr=False)


def read_issuer(name: str, block: Field, secrets: SecretsFrom) -> Issuer | None:
    """The issuer that `block` states. Every fault is noted in the block's findings; None: nothing to go on with."""
    keys = block.section(_REQUIRED, _OPTIONAL)
    if "preset" not in keys or "client_id" not in keys:
        return None
    preset = keys["preset"].word(Preset, "a preset", Preset.OIDC, WRITTEN)
    tid = _tid(keys, preset, block)
    issuer = _issuer(keys, preset, tid, block)
    client_id = _printable(keys["client_id"])
    secret = client_secret(name, keys, secrets)
    hd = _hd(keys, issuer)
    if "groups" in keys and keys["groups"].text() not in (None, "scim"):
        keys["groups"].wrong("has to be scim.", "Groups always come from SCIM: write `groups: scim` or remove it.")
    if issuer is None or client_id is None:
        return None
    return Issuer(
        name=name,
        preset=preset,
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        scopes=_scopes(keys),
        subject_claim=_subject_claim(keys, preset),
        tid=tid,
        hd=hd,
        algorithms=_algorithms(keys, preset),
        max_age_s=keys["max_age_s"].integer(60, 3600) if "max_age_s" in keys else MAX_AGE_S,
    )


def _issuer(keys: Mapping[str, Field], preset: Preset, tid: str | None, block: Field) -> str | None:
    if "issuer" not in keys:
        if preset is Preset.ENTRA:
            return f"{_ENTRA}/{tid}/v2.0" if tid is not None else None
        block.wrong("'issuer' is missing.", "Add `issuer:`, as the provider's discovery document spells it.")
        return None
    at = keys["issuer"]
    value = at.text()
    if value is None:
        return None
    if preset is Preset.ENTRA and any(f"/{word}" in value for word in _EVERYBODYS):
        mend = "Countersign serves organisations it was told of: remove this line and write `tid:` with your tenant id."
        at.wrong(f"{value} is the address of every organisation at Microsoft.", mend)
        return None
    if safe_address(value, loopback=True) is None or "?" in value or len(value) > 255:
        at.wrong(f"{value} is no issuer.", "Write its https address without query, as in its discovery document.")
        return None
    fault = _misspelt(value, preset, tid)
    if fault is not None:
        at.wrong(*fault)
        return None
    return value


def _misspelt(value: str, preset: Preset, tid: str | None) -> tuple[str, str] | None:
    """What is wrong with an issuer of `preset` and how it is written. `iss` is compared letter by letter."""
    if value.endswith("/.well-known/openid-configuration"):
        return "is the discovery document, not the issuer.", "Write its `issuer` value."
    match preset:
        case Preset.OKTA:
            if value.endswith("/"):
                return "ends in a slash, Okta's issuers do not.", f"Write {value.rstrip('/')}"
            host = urlsplit(value).hostname or ""
            if host.partition(".")[0].endswith("-admin"):
                return "is Okta's admin console.", f"Write {value.replace('-admin.', '.', 1)}"
        case Preset.AUTH0:
            if not value.endswith("/"):
                return "does not end in a slash, Auth0's issuers do.", f"Write {value}/"
        case Preset.ENTRA:
            if tid is not None and not value.endswith(f"/{tid}/v2.0"):
                mend = f"Write {_ENTRA}/{tid}/v2.0 or remove this line; tokens of version 1.0 are not accepted."
                return f"is not the v2.0 issuer of the tenant {tid}.", mend
        case Preset.OIDC | Preset.SLACK:
            pass
        case _:
            assert_never(preset)
    return None


def _tid(keys: Mapping[str, Field], preset: Preset, block: Field) -> str | None:
    if preset is not Preset.ENTRA:
        if "tid" in keys:
            keys["tid"].wrong("is Entra's alone.", "Remove it, or write `preset: entra`.")
        return None
    if "tid" not in keys:
        mend = "Add `tid:` with the Directory (tenant) ID from the app's overview page in Entra."
        block.wrong("'tid' is missing.", mend)
        return None
    value = keys["tid"].text()
    if value is None:
        return None
    tid = value.lower()
    if not GUID.fullmatch(tid) or tid in _EVERYBODYS:
        mend = "Write the Directory (tenant) ID from the app's overview page in Entra, 36 characters."
        keys["tid"].wrong(f"'{value}' is not the id of an organisation's tenant.", mend)
        return None
    return tid


def _hd(keys: Mapping[str, Field], issuer: str | None) -> str | None:
    if "hd" not in keys:
        if issuer == _GOOGLE and "issuer" in keys:
            mend = "Add `hd:` with your Workspace domain, for instance acme.com."
            keys["issuer"].wrong("serves everybody who has a Google account.", mend)
        return None
    value = keys["hd"].text()
    if value is not None and not _DOMAIN.fullmatch(value):
        keys["hd"].wrong(f"'{value}' is not a domain.", "Write it in lower case, for instance acme.com.")
        return None
    return value


def client_secret(name: str, keys: Mapping[str, Field], secrets: SecretsFrom) -> Secret | None:
    """What `client_secret_file` or `client_secret_env` of a block lead to. None: a public client, or a fault noted."""
    called = f"client secret of {name}"
    if "client_secret_file" in keys and "client_secret_env" in keys:
        keys["client_secret_env"].wrong("is set, and client_secret_file is too.", "Keep one of them.")
        return None
    if "client_secret_file" in keys:
        at = keys["client_secret_file"]
        path = at.text()
        found = _from_file(at, secrets.folder / Path(path).expanduser()) if path is not None else None
        return Secret(called, found) if found else None
    if "client_secret_env" in keys:
        at = keys["client_secret_env"]
        env = at.text()
        if env is None:
            return None
        if not _ENV.fullmatch(env) or env.startswith("COUNTERSIGN_"):
            at.wrong(f"{env} cannot hold it.", "Name a variable in capitals; COUNTERSIGN_… are the settings alone.")
            return None
        found = secrets.environ.get(env, "").strip()
        if not found:
            at.wrong(f"{env} is not set.", f"Set {env} to the client secret, or use client_secret_file.")
        return Secret(called, found) if found else None
    return None


def _from_file(at: Field, path: Path) -> str | None:
    try:
        found = path.read_bytes()[: MAX_SECRET_BYTES + 1].decode("utf-8").strip()
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        at.wrong(f"{path} cannot be read ({why}).", "Mount the client secret there, or mend the path.")
        return None
    except UnicodeDecodeError:
        at.wrong(f"{path} is not text.", "Write the client secret into it and nothing else.")
        return None
    if not found or len(found) > MAX_SECRET_BYTES or not found.isprintable():
        at.wrong(f"{path} does not hold one secret on one line.", "Write the client secret into it and nothing else.")
        return None
    return found


def _scopes(keys: Mapping[str, Field]) -> tuple[str, ...]:
    if "scopes" not in keys:
        return SCOPES
    found = keys["scopes"].texts()
    if "openid" not in found:
        keys["scopes"].wrong("lacks openid.", "Without it there is no ID token: add openid.")
    for scope in found:
        if not _SCOPE.fullmatch(scope):
            keys["scopes"].wrong(f"'{scope}' is not a scope.", "Write each on its own: [openid, profile, email].")
    return found


def _subject_claim(keys: Mapping[str, Field], preset: Preset) -> str:
    usual = "oid" if preset is Preset.ENTRA else "sub"
    if "subject_claim" not in keys:
        return usual
    value = keys["subject_claim"].text()
    if value is None:
        return usual
    if value in _CHANGES_HANDS:
        mend = f"Write {usual}, or another claim that is never given to a second person."
        keys["subject_claim"].wrong(f"{value} can pass from one person to another.", mend)
    elif not _CLAIM.fullmatch(value):
        keys["subject_claim"].wrong(f"'{value}' is not the name of a claim.", f"Write {usual}.")
    return value


def _algorithms(keys: Mapping[str, Field], preset: Preset) -> tuple[str, ...]:
    usual = ("RS256", "ES256", "PS256") if preset is Preset.OIDC else ("RS256",)
    if "algorithms" not in keys:
        return usual
    at = keys["algorithms"]
    found = at.texts()
    for name in found:
        if name.upper().startswith("HS") or name.lower() == "none":
            at.wrong(f"{name} proves nothing about who signed.", f"Write one or more of: {', '.join(ASYMMETRIC)}.")
        elif name not in ASYMMETRIC:
            at.wrong(f"'{name}' is not an algorithm.", meant(name, ASYMMETRIC, "Write one or more of"))
    if not found:
        at.wrong("is empty.", f"Remove it for {', '.join(usual)}.")
    return found or usual


def _printable(at: Field) -> str | None:
    value = at.text()
    if value is not None and (len(value) > 255 or not value.isascii() or not value.isprintable()):
        at.wrong("is not a client id.", "Copy it from the provider's console.")
        return None
    return value
