"""A company's identity provider on this machine: Canaille, with the people it is told of. Knows nothing of the bot.

Runs on the Python of an environment of its own (`requirements/idp.txt`), started by `bot.local_idp`, never imported:
Canaille's wheel ships a package named `tests`. One JSON line on standard input says what to set up; each further line
is one thing an administrator does, answered by one line on standard output. End of input ends it, so it cannot outlive
whoever started it.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

warnings.simplefilter("ignore")  # of libraries that this project does not choose
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, which never leaves the loopback interface

import canaille.scim.client as scim  # noqa: E402
import httpx  # noqa: E402
from canaille import create_app  # noqa: E402
from canaille.app import models  # noqa: E402
from canaille.backends import Backend  # noqa: E402
from joserfc.jwk import RSAKey  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

BUSY = threading.RLock()
"""Canaille's memory has no lock of its own: one request at a time, what it provisions included."""
PATIENCE_S = 60
YEAR_S = 365 * 24 * 3600


class Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Warned(logging.Handler):
    """Keeps what Canaille only logs: it swallows every error of a provisioning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        cause = sys.exc_info()[1]
        self.said.append(record.getMessage() + (f" ({type(cause).__name__}: {cause})" if cause else ""))


class Provider:
    def __init__(self, setup: dict[str, Any]) -> None:
        self.port: int = setup["port"]
        self.app = create_app(config=configuration(setup))
        self.warned = Warned()
        self.app.logger.addHandler(self.warned)
        # Canaille asks a group's members whom to tell of it, so that nobody hears of the last one leaving.
        scim.propagate_group_scim_modification = provision_group
        # It sends its own version of somebody as If-Match, which no service provider that keeps versions can accept.
        scim.user_from_canaille_to_scim_client = unversioned(scim.user_from_canaille_to_scim_client)
        scim.group_from_canaille_to_scim_client = unversioned(scim.group_from_canaille_to_scim_client)
        # It gives a service provider five seconds, and answers its own administrator with a 500 after that.
        no_reuse = httpx.Limits(max_keepalive_connections=0)  # a client is kept longer than its connections are
        scim.httpx_client = functools.partial(scim.httpx_client, timeout=PATIENCE_S, limits=no_reuse)
        # It asks a service provider for all its schemas anew for everybody it pushes, which takes longer than the push.
        scim.initiate_scim_client = remembered(scim.initiate_scim_client)
        with self.app.app_context():
            self._people(setup["people"])
            self._client(setup["client"])

    def _people(self, people: list[dict[str, Any]]) -> None:
        members: dict[str, list[Any]] = {}
        for person in people:
            given, _, family = person["name"].rpartition(" ")
            user = models.User(
                user_name=person["user_name"],
                password=person["password"],
                formatted_name=person["name"],
                display_name=person["name"],
                given_name=given,
                family_name=family,
                emails=[person["email"]],
                employee_number=person["employee_number"],
                title=person["title"],
            )
            Backend.instance.save(user)
            for name in person["groups"]:
                members.setdefault(name, []).append(user)
        for name, users in members.items():
            Backend.instance.save(models.Group(display_name=name, members=users))

    def _client(self, client: dict[str, Any]) -> None:
        made = models.Client(
            client_id=client["id"],
            client_secret=client["secret"],
            client_id_issued_at=now(),
            client_name=client["name"],
            client_uri=self.app.config["PREFERRED_URL_SCHEME"] + "://127.0.0.1",  # a trusted host: no consent page
            redirect_uris=client["redirect_uris"],
            post_logout_redirect_uris=client["post_logout_redirect_uris"],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            scope=["openid", "profile", "email", "groups", "offline_access"],
            id_token_signed_response_alg="RS256",
            token_endpoint_auth_method="client_secret_basic" if client["secret"] else "none",
        )
        Backend.instance.save(made)
        made.audience = [made]
        Backend.instance.save(made)
        self.client_id = made.id

    # --- what an administrator does ------------------------------------------------------------------

    def do(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.warned.said.clear()
        with BUSY, self.app.test_request_context(base_url=self.issuer):
            told = getattr(self, "on_" + asked.pop("do"))(**asked) or {}
        if self.warned.said:
            raise RuntimeError("; ".join(self.warned.said))
        return told

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on_people(self) -> dict[str, Any]:
        return {"people": {user.user_name: person_of(user) for user in Backend.instance.query(models.User)}}

    def on_provision_to(self, url: str, token: str) -> None:
        """From now on every change of a person or a group is pushed to `url`."""
        client = self._the_client()
        client.client_uri = url
        Backend.instance.save(client)
        made = models.Token(token_id="provisioning", access_token=token)
        # It looks for a token of the client and of no person, and its memory gives it anybody's.
        scim.get_or_create_token = lambda _client: made
        if not self.app.features.has_scim_client:
            self.app.config["CANAILLE_SCIM"]["ENABLE_CLIENT"] = True
            scim.setup_scim_client()

    def on_push(self) -> None:
        """Everybody and every group, whatever was pushed before."""
        client = self._the_client()
        if scim.initiate_scim_client(client) is None:
            raise RuntimeError(f"{client.client_uri} did not answer as a SCIM service provider, so nothing was pushed")
        for user in Backend.instance.query(models.User):
            scim.execute_scim_user_action(client.id, user.id, "save")
        for group in Backend.instance.query(models.Group):
            provision_group(group, "save")

    def on_set_active(self, user: str, active: bool) -> None:
        found = user_of(user)
        found.lock_date = None if active else now()
        Backend.instance.save(found)

    def on_delete(self, user: str) -> None:
        Backend.instance.delete(user_of(user))

    def on_rename(self, user: str, name: str, email: str) -> None:
        found = user_of(user)
        found.formatted_name = found.display_name = name
        found.emails = [email]
        Backend.instance.save(found)

    def on_add_to_group(self, user: str, group: str) -> None:
        found = Backend.instance.get(models.Group, display_name=group) or models.Group(display_name=group, members=[])
        found.members = [*found.members, user_of(user)]
        Backend.instance.save(found)

    def on_remove_from_group(self, user: str, group: str) -> None:
        found, leaver = Backend.instance.get(models.Group, display_name=group), user_of(user)
        if found is None or leaver not in found.members:
            raise RuntimeError(f"{user} is not in {group}")
        found.members = [member for member in found.members if member != leaver]
        Backend.instance.save(found)

    def on_rotate_keys(self, retire: bool) -> None:
        """Signs with a new key; the one before it is published on unless it is to be retired at once."""
        settings = self.app.config["CANAILLE_OIDC"]
        old, settings["ACTIVE_JWKS"] = settings["ACTIVE_JWKS"], [new_key()]
        settings["INACTIVE_JWKS"] = [] if retire else [*(settings["INACTIVE_JWKS"] or []), *old]

    def on_access_token(self) -> dict[str, Any]:
        """For Canaille's own SCIM server, with every right: what an administrator's script would hold."""
        token = scim.gen_salt(48)
        client = self._the_client()
        made = models.Token(
            token_id=scim.gen_salt(48), access_token=token, subject=user_of("ada"), audience=[client], client=client,
            type="access_token", scope=["openid"], issue_date=now(), lifetime=YEAR_S,
        )  # fmt: skip
        Backend.instance.save(made)
        return {"access_token": token}

    def _the_client(self) -> Any:
        return Backend.instance.get(models.Client, id=self.client_id)


def provision_group(group: Any, method: str) -> None:
    for client in Backend.instance.query(models.Client):
        if client.trusted and (target := scim.initiate_scim_client(client)):
            scim.execute_scim_group_action(target, group, client.client_name, method)


def remembered(initiate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    known: dict[tuple[str, str], Any] = {}

    def initiated(client: Any) -> Any:
        key = (client.client_uri, scim.get_or_create_token(client).access_token)
        if (found := known.get(key) or initiate(client)) is not None:
            known[key] = found
        return found

    return initiated


def unversioned(made: Callable[..., Any]) -> Callable[..., Any]:
    def without_meta(*given: Any) -> Any:
        resource = made(*given)
        resource.meta = None
        return resource

    return without_meta


def user_of(name: str) -> Any:
    found = Backend.instance.get(models.User, user_name=name)
    if found is None:
        raise RuntimeError(f"nobody here is called {name}")
    return found


def person_of(user: Any) -> dict[str, Any]:
    return {
        "sub": user.id,
        "user_name": user.user_name,
        "name": user.formatted_name,
        "email": user.emails[0],
        "employee_number": user.employee_number,
        "active": user.lock_date is None,
        "groups": sorted(group.display_name for group in user.groups or []),
    }


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def new_key() -> dict[str, Any]:
    return dict(RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True).as_dict(private=True))


def configuration(setup: dict[str, Any]) -> dict[str, Any]:
    member = {"PERMISSIONS": ["use_oidc", "edit_self"], "READ": ["user_name", "groups"], "WRITE": ["password"]}
    admin = {
        "PERMISSIONS": ["use_oidc", "manage_users", "manage_all_groups", "delete_account"],
        "READ": ["user_name", "groups", "lock_date"],
        "WRITE": ["display_name", "formatted_name", "emails", "title", "employee_number", "groups", "lock_date"],
        "FILTER": [{"user_name": name} for name in setup["admins"]],
    }
    return {
        "SECRET_KEY": os.urandom(32).hex(),
        "SERVER_NAME": f"127.0.0.1:{setup['port']}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {
            "NAME": setup["name"],
            "DATABASE": "memory",
            "LANGUAGE": "en",
            "TIMEZONE": "UTC",
            "ENABLE_REGISTRATION": False,
            "ENABLE_PASSWORD_RECOVERY": False,
            "CAPTCHA_ENABLED": False,
            "SMTP": None,
            "ACL": {"DEFAULT": member, "ADMIN": admin},
            "LOGGING": {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}},
        },
        "CANAILLE_OIDC": {
            "ACTIVE_JWKS": [new_key()],
            "INACTIVE_JWKS": [],
            # What is provisioned as externalId is what a token says of somebody: the id that never changes.
            "USERINFO_MAPPING": {"SUB": "{{ user.id }}"},
        },
        "CANAILLE_SCIM": {"ENABLE_SERVER": True, "ENABLE_CLIENT": False},
    }


def main() -> None:
    # Answers alone go to standard output, whatever a library prints.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    setup = json.loads(sys.stdin.readline())
    provider = Provider(setup)

    def one_at_a_time(environ: Any, start_response: Any) -> Any:
        asked = parse_qs(environ["QUERY_STRING"])
        if setup["always_ask"] and environ["PATH_INFO"] == "/oauth/authorize" and "prompt" not in asked:
            environ["QUERY_STRING"] += "&prompt=select_account"
        with BUSY:
            return list(provider.app(environ, start_response))

    server = make_server("127.0.0.1", provider.port, one_at_a_time, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answer: dict[str, Any] = {"issuer": provider.issuer, **provider.do({"do": "people"})}
    while True:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        line = sys.stdin.readline()
        if not line:
            return
        try:
            answer = provider.do(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            traceback.print_exc()
            answer = {"error": f"{error}"}


if __name__ == "__main__":
    main()
    os._exit(0)
