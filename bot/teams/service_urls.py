"""Addresses the bot's own token may go to, and where an activity may say that it comes from.

Knows Microsoft's hosts and what the deployment adds; holds no token and speaks to nobody. The hosts are those of
https://microsoft.github.io/teams-sdk/python/essentials/app-configuration/service-url-validation and of the Bot
Connector itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bot.identity.idp_http import safe_address, split

log = logging.getLogger(__name__)

HOSTS: Final = frozenset({
    "smba.trafficmanager.net",
    "smba.onyx.prod.teams.trafficmanager.net",
    "smba.infra.gcc.teams.microsoft.com",
    "smba.infra.gov.teams.microsoft.us",
    "smba.infra.dod.teams.microsoft.us",
    "frontend.botapi.msg.infra.teams.microsoftonline.cn",
})  # fmt: skip
"""Teams: the world, GCC, GCC High, DoD, and China's cloud."""
ZONES: Final = (".botframework.com", ".botframework.azure.us")
"""The Bot Connector's own zones; whatever is in them is Microsoft's."""
_PATH = re.compile(r"(?:/[A-Za-z0-9_~.-]+)*/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Address:
    scheme: str
    host: str
    port: int
    path: str
    """Without a slash at its end."""


class ServiceUrls:
    """The allow-list. `more`: what TEAMS_SERVICE_URLS adds; http counts on this machine alone, and only from there."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        read = [(url, _read(url)) for url in more]
        for url, address in read:
            if address is None:
                # Settings are not secret, but an address may hold a password by mistake.
                log.warning(
                    "TEAMS_SERVICE_URLS: an address of %d characters is not used. Write https://HOST/PATH, or "
                    "http://127.0.0.1:PORT/PATH for a rig on this machine.",
                    len(url),
                )
        self._more = tuple(address for _, address in read if address is not None)

    def allow(self, url: str) -> bool:
        """Whether a token may be sent there. Anything two readers could read as two addresses is refused."""
        address = _read(url)
        if address is None:
            return False
        return _of_microsoft(address) or any(_within(address, added) for added in self._more)


def _of_microsoft(address: _Address) -> bool:
    known = address.host in HOSTS or address.host.endswith(ZONES)
    return address.scheme == "https" and address.port == 443 and known


def _within(address: _Address, added: _Address) -> bool:
    """The same server, at or below the path that was added."""
    same = (address.scheme, address.host, address.port) == (added.scheme, added.host, added.port)
    return same and f"{address.path}/".startswith(f"{added.path}/")


def _read(url: str) -> _Address | None:
    safe = safe_address(url, loopback=True)
    parts = split(safe) if safe is not None else None
    if parts is None or not parts.hostname or any(sign in url for sign in "?#\\"):
        return None
    if not _PATH.fullmatch(parts.path) or {".", ".."}.intersection(parts.path.split("/")):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _Address(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))
