"""The app package for Microsoft Teams: manifest and icons in one zip. Knows the manifest; installs nothing anywhere.

The same words make the same bytes, so that an admin can see whether anything changed since the last upload.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass
from importlib import resources
from typing import Final
from urllib.parse import urlsplit

from policy.model import Json

FOLDER: Final = "appPackage"
MANIFEST: Final = "manifest.json"
ICONS: Final = ("color.png", "outline.png", "color32.png")
MAX_DEVELOPER: Final = 32
_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_VERSION: Final = re.compile(r"(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})", re.ASCII)
_LONG_AGO: Final = (2020, 1, 1, 0, 0, 0)


class PackageError(ValueError):
    """The package cannot be made. `str(e)` says what is wrong with which word, and the mend."""


@dataclass(frozen=True, slots=True)
class App:
    """What differs from one installation to the next."""

    app_id: str
    """The bot's, and so the Teams app's."""
    version: str
    """Teams takes a changed package under a higher version alone."""
    developer: str
    website: str
    privacy: str
    terms: str
    sso_resource: str | None = None
    base_url: str | None = None
    """Where the sign-in card's button leads, where there is single sign-on."""


def package(app: App) -> bytes:
    """The zip.

    Raises:
        PackageError: Teams would refuse it.
    """
    folder = resources.files(__package__) / FOLDER
    text = json.dumps(manifest(app), ensure_ascii=False, indent=2) + "\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        _put(archive, MANIFEST, text.encode())
        for icon in ICONS:
            _put(archive, icon, (folder / icon).read_bytes())
    return made.getvalue()


def manifest(app: App) -> dict[str, Json]:
    """The manifest of `app`.

    Raises:
        PackageError: Teams would refuse it.
    """
    app_id = app.app_id.lower()
    if not _GUID.fullmatch(app_id):
        raise PackageError(
            "The app id is no GUID. Copy it from the bot's registration: Configuration, Microsoft App ID."
        )
    if not _VERSION.fullmatch(app.version):
        raise PackageError(f"'{app.version}' is no version for Teams. Write three numbers, such as 1.0.1.")
    if not app.developer.strip() or len(app.developer) > MAX_DEVELOPER:
        raise PackageError(
            f"The developer's name has 1 to {MAX_DEVELOPER} characters. Name who runs this installation."
        )
    found = json.loads((resources.files(__package__) / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    made: dict[str, Json] = {
        **found,
        "version": app.version,
        "id": app_id,
        "developer": {
            "name": app.developer.strip(),
            "websiteUrl": _page("website", app.website),
            "privacyUrl": _page("privacy", app.privacy),
            "termsOfUseUrl": _page("terms", app.terms),
        },
        "bots": [{**found["bots"][0], "botId": app_id}],
        "validDomains": [],
    }
    if app.sso_resource is not None:
        made["webApplicationInfo"] = {"id": app_id, "resource": app.sso_resource}
        # Teams opens the sign-in card's button in a window of its own, at these hosts alone.
        host = urlsplit(app.base_url or "").hostname
        made["validDomains"] = [host] if host else []
    return made


def _page(what: str, address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        raise PackageError(f"The {what} page is '{address}', which is no https address. Teams shows it to people.")
    return address


def _put(archive: zipfile.ZipFile, name: str, raw: bytes) -> None:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, raw)
