"""Canaille, a real identity provider, on loopback: Acme's people, OIDC with PKCE, and SCIM pushed to whom you name.

Knows its pages as a browser would see them. Start it with `canaille(...)`, or use the fixture of tests/e2e.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from bot import local_idp
from bot.local_idp import Client, Employee, Entry, LocalIdp

PASSWORD = "acme-countersign-1"
CLIENT_ID = "countersign-at-acme"
CLIENT_SECRET = "c4naille-says-this-is-countersign"
STEPS = 12
"""Pages and redirects a log-in may take before it counts as lost."""

_FIELD = re.compile(r"<(?:input|button)\b[^>]*>")
_ATTRIBUTE = re.compile(r"""([\w-]+)=(?:"([^"]*)"|'([^']*)')""")
_FORM = re.compile(r"<form\b[^>]*>.*?</form>", re.DOTALL)


class LoginRefused(Exception):
    """The provider did not let them in; `str(e)` is what its page says."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at Acme, and how they log in."""

    sub: str
    user_name: str
    password: str
    name: str
    email: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Canaille:
    """A running Canaille. What an administrator does is awaited: with a SCIM target it has been pushed by then."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    people: Mapping[str, Person]
    """By user name, as they were when it started."""
    admin: LocalIdp

    async def provision_to(self, url: str, token: str) -> None:
        """Push every change from now on to the SCIM service provider at `url`; `push` for what is there already."""
        await asyncio.to_thread(self.admin.provision_to, url, token)

    async def push(self) -> None:
        """Everybody and every group, now. Raises `LocalIdpError` with what the service provider refused."""
        await asyncio.to_thread(self.admin.push)

    async def deactivate(self, user: str) -> None:
        await asyncio.to_thread(self.admin.set_active, user, False)

    async def activate(self, user: str) -> None:
        await asyncio.to_thread(self.admin.set_active, user, True)

    async def delete(self, user: str) -> None:
        await asyncio.to_thread(self.admin.delete, user)

    async def add_to_group(self, user: str, group: str) -> None:
        await asyncio.to_thread(self.admin.add_to_group, user, group)

    async def remove_from_group(self, user: str, group: str) -> None:
        await asyncio.to_thread(self.admin.remove_from_group, user, group)

    async def rename(self, user: str, name: str, email: str) -> None:
        await asyncio.to_thread(self.admin.rename, user, name, email)

    async def rotate_keys(self, *, retire: bool = False) -> None:
        await asyncio.to_thread(lambda: self.admin.rotate_keys(retire=retire))

    async def entries(self) -> Mapping[str, Entry]:
        """Everybody as Canaille has them now."""
        return await asyncio.to_thread(self.admin.people)

    async def login(
        self, client: httpx2.AsyncClient, authorize_url: str, user: str, password: str | None = None
    ) -> str:
        """Fills in Canaille's own pages as `user`, with the cookies of `client`.

        Returns the address to which Canaille sends the browser back, code and state or error in it; nobody opens it.

        Raises:
            LoginRefused: wrong password, locked account, unknown redirect address.
        """
        typed = {"login": user, "password": self.people[user].password if password is None else password}
        answer, asked = await client.get(authorize_url, follow_redirects=False), set[str]()
        for _ in range(STEPS):
            if answer.is_redirect:
                there = urljoin(str(answer.url), answer.headers["location"])
                if there.partition("?")[0] in self.redirect_uris:
                    return there
                answer = await client.get(there, follow_redirects=False)
                continue
            page = str(answer.url)
            form = _form(answer.text, frozenset(typed))
            if answer.status_code != 200 or form is None or asked >= set(typed) & set(form):
                raise LoginRefused(_words(answer.text))
            asked |= set(typed) & set(form)
            form |= {name: value for name, value in typed.items() if name in form}
            headers = {"referer": page, "origin": self.issuer}
            answer = await client.post(page, data=form, headers=headers, follow_redirects=False)
        raise LoginRefused(f"no way back after {STEPS} pages; the last was {urlsplit(str(answer.url)).path}")


@contextlib.contextmanager
def canaille(
    redirect_uris: tuple[str, ...],
    *,
    people: tuple[Employee, ...] | None = None,
    client_secret: str = CLIENT_SECRET,
    post_logout_redirect_uris: tuple[str, ...] = (),
    port: int | None = None,
) -> Iterator[Canaille]:
    """Canaille with Acme's people, or those you bring, for the length of the block."""
    employees = local_idp.acme(PASSWORD) if people is None else people
    client = Client(CLIENT_ID, client_secret, "Countersign", redirect_uris, post_logout_redirect_uris)
    with local_idp.running("Acme", employees, client, admins=("ada",), port=port) as idp:
        yield Canaille(
            issuer=idp.issuer,
            client_id=CLIENT_ID,
            client_secret=client_secret,
            redirect_uris=redirect_uris,
            people={name: _person(entry, employees) for name, entry in idp.people().items()},
            admin=idp,
        )


@contextlib.asynccontextmanager
async def start(redirect_uris: tuple[str, ...], scim_target: tuple[str, str] | None = None) -> AsyncIterator[Canaille]:
    """`canaille`, from a running loop; what `scim_target` (address, bearer token) is given, it is told at once."""
    with contextlib.ExitStack() as stack:
        rig = await asyncio.to_thread(stack.enter_context, canaille(redirect_uris))
        if scim_target is not None:
            await rig.provision_to(*scim_target)
            await rig.push()
        yield rig


def _person(entry: Entry, employees: tuple[Employee, ...]) -> Person:
    password = next(one.password for one in employees if one.user_name == entry.user_name)
    return Person(entry.sub, entry.user_name, password, entry.name, entry.email, entry.groups)


def _form(page: str, wanted: frozenset[str]) -> dict[str, str] | None:
    """The fields of the page's first form that asks for one of `wanted`."""
    for form in _FORM.findall(page):
        fields: dict[str, str] = {}
        for tag in _FIELD.findall(form):
            given = {name: html.unescape(one or other) for name, one, other in _ATTRIBUTE.findall(tag)}
            if "name" in given and given.get("type") not in {"submit", "button"}:
                fields[given["name"]] = given.get("value", "")
        if wanted & set(fields):
            return fields
    return None


def _words(page: str) -> str:
    return " ".join(re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL).split())
