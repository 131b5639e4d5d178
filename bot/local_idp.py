"""Starts a real identity provider (Canaille) on loopback for `make demo-idp` and the tests, and is its administrator.

Knows how its process is set up, spoken to and ended; knows nothing of what its people do. Works from a clone only: the
provider has an environment of its own below this Python's, which `make` builds from requirements/idp.txt.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import yaml

FOLDER: Final = Path(__file__).parent / "web" / "demo"
PROGRAM: Final = FOLDER / "idp_server.py"
PYTHON: Final = Path(sys.prefix) / "idp" / "bin" / "python"
KEPT: Final = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
ENDS_WITHIN_S: Final = 5.0


class LocalIdpError(Exception):
    """The identity provider is not there, or did not do what it was asked. `str(e)` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Employee:
    """Somebody the company employs, as its administrator types them in."""

    user_name: str
    name: str
    email: str
    password: str = field(repr=False)
    groups: tuple[str, ...]
    employee_number: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """The application people sign in to. An empty secret makes it a public one."""

    id: str
    secret: str = field(repr=False)
    name: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody as the provider has them now. `sub` is in their ID tokens, and is provisioned as externalId."""

    sub: str
    user_name: str
    name: str
    email: str
    employee_number: str
    active: bool
    groups: tuple[str, ...]


class LocalIdp:
    """A running provider. Every method waits for its answer: call from a thread where a loop is running.

    After `provision_to`, whatever changes here has been pushed to that SCIM service provider when the method returns,
    just as when an administrator clicks in the provider's own pages.
    """

    def __init__(self, process: subprocess.Popen[str], log: IO[str], setup: Mapping[str, object]) -> None:
        self._process = process
        self._log = log
        self._lock = threading.Lock()
        self.issuer = str(self._tell(setup)["issuer"])

    def people(self) -> Mapping[str, Entry]:
        """By user name, as they are now."""
        told = self._ask("people")["people"]
        return {name: Entry(**{**person, "groups": tuple(person["groups"])}) for name, person in told.items()}

    def provision_to(self, url: str, token: str) -> None:
        """Push every later change to the SCIM service provider at `url`. `push` tells it what is there already."""
        self._ask("provision_to", url=url, token=token)

    def push(self) -> None:
        """Everybody and every group, whatever was pushed before."""
        self._ask("push")

    def set_active(self, user: str, active: bool) -> None:
        self._ask("set_active", user=user, active=active)

    def delete(self, user: str) -> None:
        self._ask("delete", user=user)

    def rename(self, user: str, name: str, email: str) -> None:
        self._ask("rename", user=user, name=name, email=email)

    def add_to_group(self, user: str, group: str) -> None:
        """The group is made where there is none of that name."""
        self._ask("add_to_group", user=user, group=group)

    def remove_from_group(self, user: str, group: str) -> None:
        self._ask("remove_from_group", user=user, group=group)

    def rotate_keys(self, *, retire: bool) -> None:
        """Sign with a new key. The old one is published on beside it unless it is to `retire` at once."""
        self._ask("rotate_keys", retire=retire)

    def scim_access_token(self) -> str:
        """For the provider's own SCIM server, at `{issuer}/scim/v2`."""
        return str(self._ask("access_token")["access_token"])

    def said(self) -> str:
        """Everything it has logged."""
        self._log.seek(0)
        return self._log.read()

    def _ask(self, do: str, **words: object) -> dict[str, Any]:
        return self._tell({"do": do, **words})

    def _tell(self, words: Mapping[str, object]) -> dict[str, Any]:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise LocalIdpError("The identity provider was started without a way to speak to it.")
        with self._lock:
            try:
                to.write(json.dumps(words) + "\n")
                to.flush()
                line = back.readline()
            except (BrokenPipeError, ValueError):
                line = ""
        if not line:
            raise LocalIdpError(f"The identity provider has ended. It said:\n{self.said()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LocalIdpError(f"The identity provider did not do it: {answer['error']}")
        return answer


@contextlib.contextmanager
def running(
    name: str,
    people: tuple[Employee, ...],
    client: Client,
    *,
    admins: tuple[str, ...] = (),
    port: int | None = None,
    always_ask: bool = False,
) -> Iterator[LocalIdp]:
    """A provider with `people`, ready to sign them in, for the length of the block. It dies with this process too.

    Args:
        admins: user names of who may change people and groups in the provider's own pages.
        port: None takes a free one.
        always_ask: who somebody is, even if this browser has logged in before: for one who plays several people.

    Raises:
        LocalIdpError: its environment was not built, or it did not start.
    """
    if not PYTHON.exists() or not PROGRAM.exists():
        raise LocalIdpError(
            "The local identity provider is not installed. Run `make demo-idp` in a clone: it builds what it needs."
        )
    setup = {
        "name": name,
        "port": free_port() if port is None else port,
        "people": [asdict(person) for person in people],
        "client": asdict(client),
        "admins": admins,
        "always_ask": always_ask,
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log, subprocess.Popen(
        [PYTHON, "-I", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=FOLDER,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        start_new_session=True,  # Ctrl-C is ours to answer: it ends with its input
    ) as process:  # fmt: skip
        try:
            yield LocalIdp(process, log, setup)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def acme(password: str) -> tuple[Employee, ...]:
    """The people of the demo workspace, as employees who all have the same `password`."""
    listed = yaml.safe_load((FOLDER / "directory.yaml").read_text("utf-8"))["people"]
    jobs = yaml.safe_load((FOLDER / "workspace.yaml").read_text("utf-8"))["people"]
    return tuple(
        Employee(
            user_name=person["sub"],
            name=person["name"],
            email=person["email"],
            password=password,
            groups=tuple(person["groups"]),
            employee_number=person["employee_number"],
            title=jobs[person["sub"]]["job"],
        )
        for person in listed
    )
