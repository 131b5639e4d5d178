"""/scim/v2 as HTTP: who may speak, what is answered to what, paging, versions, bulk; never a 500 for what was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from audit.faults import StoreConflict, StoreUnavailable
from bot.identity import opaque, scim_tokens
from bot.identity.tables import ScimContact, ScimToken, table
from tests.kit.scim_house import (
    ACME,
    ENTERPRISE,
    GROUP_SCHEMA,
    GROUPS,
    PATCH_OP,
    USER_SCHEMA,
    USERS,
    Client,
    ScimHouse,
    scim_house,
    shared_house,
    token,
)

BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def engine_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScimHouse]:
    """Named after what it stands in for, so that `make check` can leave PostgreSQL out."""
    with shared_house(request, tmp_path_factory.mktemp("scim")) as made:
        yield made


@pytest.fixture
def house(engine_url: ScimHouse) -> ScimHouse:
    engine_url.clear()
    return engine_url


@pytest.fixture
def idp(house: ScimHouse) -> Client:
    return house.client()


# -- who may speak -------------------------------------------------------------------------------------------------


def test_without_a_token_that_counts_nothing_is_told(house: ScimHouse, idp: Client) -> None:
    made = idp.user("dana")
    ended = token(house.writer, ACME, house.clock(), house.clock())
    revoked = token(house.writer, ACME, house.clock())

    def revoke(conn: Connection) -> None:
        tokens = table(ScimToken)
        sha256 = opaque.digest(revoked)
        conn.execute(sa.update(tokens).where(tokens.c.sha256 == sha256).values(revoked_at=house.clock()))

    house.writer.run_blocking(revoke)
    answers = set()
    for bad in ("", "wrong", ended, revoked, "x" * 5000):
        client = house.client(token=bad)
        for method, path in (
            ("GET", f"{USERS}/{made}"),
            ("GET", "/Users/nobody"),
            ("GET", "/ServiceProviderConfig"),
            ("GET", "/nowhere"),
            ("POST", USERS),
            ("TRACE", "/Me"),
            ("DELETE", f"{USERS}/{made}"),
        ):
            answer = client.send(
                method, path, {"schemas": [USER_SCHEMA], "userName": "x"} if method == "POST" else None
            )
            assert answer.headers["www-authenticate"] == 'Bearer realm="Countersign SCIM"'
            answers.add((answer.status_code, answer.text))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401
    assert house.person("dana") is not None
    reasons = {(one["tenant_id"], one["detail"]["reason"]) for one in house.audit("scim.refused")}
    assert reasons == {("_system", "absent"), ("_system", "unknown"), ("acme", "expired"), ("acme", "revoked")}
    # With a token that counts all of that is told apart.
    assert idp.send("GET", "/Users/nobody").status_code == 404


def test_a_flood_of_strangers_is_counted(house: ScimHouse) -> None:
    house.clock.now += timedelta(minutes=5)
    before = len(house.audit("scim.refused"))
    for _ in range(25):
        assert house.client(token="nobody").send("GET", USERS).status_code == 401
    assert len(house.audit("scim.refused")) - before == 20
    house.clock.now += timedelta(minutes=1)
    house.client(token="nobody").send("GET", USERS)
    assert len(house.audit("scim.refused")) - before == 21
    flood = house.audit("scim.flood")[-1]
    assert (flood["detail"]["refused"], flood["detail"]["written"], flood["tenant_id"]) == (25, 20, "_system")


def test_two_tokens_count_at_once_and_use_is_noted(house: ScimHouse, idp: Client) -> None:
    second = house.client(token=token(house.writer, ACME, house.clock()))
    house.clock.now += timedelta(hours=1)
    assert idp.get(USERS)["totalResults"] == second.get(USERS)["totalResults"] == 0

    def heard(conn: Connection) -> tuple[object, object]:
        tokens, contact = table(ScimToken), table(ScimContact)
        used = conn.execute(sa.select(sa.func.count()).where(tokens.c.used_at == house.clock())).scalar_one()
        return used, conn.execute(sa.select(contact.c.at).where(contact.c.tenant == ACME)).scalar_one()

    assert house.writer.read_blocking(heard) == (2, house.clock())


def test_a_tenant_that_is_gone_from_the_file_is_refused(house: ScimHouse, idp: Client) -> None:
    kept = house.tenants.tenants
    house.tenants.tenants = {tenant: what for tenant, what in kept.items() if tenant != ACME}
    try:
        assert idp.send("GET", USERS).status_code == 401
    finally:
        house.tenants.tenants = kept
    assert house.audit("scim.refused")[-1]["detail"]["reason"] == "no_tenant"


# -- what is answered ----------------------------------------------------------------------------------------------


def test_discovery(idp: Client) -> None:
    config = idp.get("/ServiceProviderConfig")
    assert [config[name]["supported"] for name in ("patch", "bulk", "filter", "sort", "etag")] == [True] * 5
    assert config["changePassword"]["supported"] is False
    assert {one["id"] for one in idp.get("/ResourceTypes")["Resources"]} == {"User", "Group"}
    assert {USER_SCHEMA, GROUP_SCHEMA, ENTERPRISE} <= {one["id"] for one in idp.get("/Schemas")["Resources"]}
    assert idp.get(f"/Schemas/{ENTERPRISE}")["name"] == "EnterpriseUser"
    assert idp.send("GET", "/Me").status_code == 501


def test_a_user_from_beginning_to_end(house: ScimHouse, idp: Client) -> None:
    body = {"schemas": [USER_SCHEMA, ENTERPRISE], "userName": "dana", "externalId": "d1", ENTERPRISE: {"division": "x"}}
    made = idp.send("POST", USERS, body)
    assert made.status_code == 201
    assert (
        made.headers["location"] == f"{house.url}/scim/v2/Users/{made.json()['id']}" == made.json()["meta"]["location"]
    )
    assert made.headers["content-type"] == "application/scim+json"
    assert made.headers["cache-control"] == "no-store"
    path = f"{USERS}/{made.json()['id']}"
    etag = made.headers["etag"]
    assert idp.send("GET", path, None, If_None_Match=etag).status_code == 304
    assert idp.patch(path, {"op": "replace", "path": "title", "value": "x"}, If_Match='W/"77"').status_code == 412
    assert idp.patch(path, {"op": "replace", "path": "title", "value": "x"}, If_Match=etag).status_code == 204
    assert idp.send("DELETE", path, None, If_Match=etag).status_code == 412
    changed = idp.send("GET", path)
    assert (changed.json()["title"], changed.headers["etag"] != etag) == ("x", True)
    whole = idp.patch(f"{path}?attributes=title", {"op": "replace", "path": "title", "value": "y"})
    assert (whole.status_code, whole.json()["title"], "userName" in whole.json()) == (200, "y", False)
    assert idp.send("DELETE", path).status_code == 204
    assert idp.send("GET", path).status_code == 404
    statuses = [(one["status"], one["detail"]["id"]) for one in house.audit("scim.changed")[-4:]]
    assert statuses == [(word, made.json()["id"]) for word in ("created", "changed", "changed", "deleted")]


def test_pages_sorts_and_filters(idp: Client) -> None:
    for n in range(12):
        idp.user(f"user{n:02}", active=n % 2 == 0, title="Boss" if n == 3 else "Clerk")
    first = idp.get(f"{USERS}?startIndex=1&count=5&sortBy=userName&sortOrder=descending")
    assert [one["userName"] for one in first["Resources"]] == [f"user{n:02}" for n in (11, 10, 9, 8, 7)]
    assert (first["totalResults"], first["itemsPerPage"], first["startIndex"]) == (12, 5, 1)
    seen = [one["id"] for at in (1, 6, 11) for one in idp.get(f"{USERS}?startIndex={at}&count=5")["Resources"]]
    assert len(set(seen)) == 12
    assert idp.get(f"{USERS}?count=0")["totalResults"] == 12
    assert idp.get(f"{USERS}?startIndex=99")["totalResults"] == 12
    assert len(idp.found(USERS, 'active eq true and title eq "clerk"')) == 6
    assert len(idp.found(USERS, 'title eq "boss" or userName sw "user1"')) == 3
    search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": 'title eq "Boss"'}
    for path in ("/.search", f"{USERS}/.search"):
        found = idp.send("POST", path, search)
        assert (found.status_code, found.json()["totalResults"]) == (200, 1)
    assert idp.send("GET", "/").json()["totalResults"] == 12


def test_bulk_does_each_for_itself_in_one_transaction(house: ScimHouse, idp: Client) -> None:
    taken = idp.user("taken")
    house.leavers.last()
    answer = idp.send(
        "POST",
        "/Bulk",
        {
            "schemas": [BULK],
            "Operations": [
                {"method": "POST", "path": USERS, "bulkId": "q", "data": {"schemas": [USER_SCHEMA], "userName": "new"}},
                {
                    "method": "POST",
                    "path": USERS,
                    "bulkId": "r",
                    "data": {"schemas": [USER_SCHEMA], "userName": "TAKEN"},
                },
                {
                    "method": "POST",
                    "path": GROUPS,
                    "bulkId": "g",
                    "data": {"schemas": [GROUP_SCHEMA], "displayName": "G", "members": [{"value": "bulkId:q"}]},
                },
                {
                    "method": "PATCH",
                    "path": f"{USERS}/{taken}",
                    "data": {
                        "schemas": [PATCH_OP],
                        "Operations": [{"op": "Replace", "path": "active", "value": "False"}],
                    },
                },
                {"method": "DELETE", "path": f"{USERS}/nobody"},
            ],
        },
    )
    assert answer.status_code == 200, answer.text
    assert [int(one["status"]) for one in answer.json()["Operations"]] == [201, 409, 201, 200, 404]
    (group,) = idp.found(GROUPS, 'displayName eq "G"')
    assert idp.members(group) == set(idp.found(USERS, 'userName eq "new"'))
    assert house.leavers.last() == {"taken"}
    refused = {"method": "PATCH", "path": f"{USERS}/{taken}", "data": {"Operations": [{"op": "add", "path": "active"}]}}
    assert idp.send("POST", "/Bulk", {"schemas": [BULK], "Operations": [refused]}).status_code == 400
    many = [{"method": "DELETE", "path": f"{USERS}/{n}"} for n in range(101)]
    assert idp.send("POST", "/Bulk", {"schemas": [BULK], "Operations": many}).status_code == 413


def test_errors_of_http(idp: Client) -> None:
    made = idp.user("dana")
    json_type = {"Content-Type": "application/json"}

    def post(content: bytes, **headers: str) -> int:
        return idp.http.post(USERS, content=content, headers={**json_type, **headers}).status_code

    deep = b'{"schemas":["' + USER_SCHEMA.encode() + b'"],"userName":"x","name":' + b"[" * 40 + b"]" * 40 + b"}"
    assert post(b"{") == post(b"") == post(b"[]") == post(b"null") == post(b"\xff\xfe") == post(deep) == 400
    assert post(b"[" * 100_000) == post(b'{"userName": NaN}') == post(b"1" * 10_000) == 400
    assert post(b'{"schemas":["%s"],"userName":"a\\u0000b"}' % USER_SCHEMA.encode()) == 400
    assert post(b'{"schemas":["%s"],"userName":"\\ud800"}' % USER_SCHEMA.encode()) == 400
    assert post(b'{"schemas":["%s"],"userName":"%s"}' % (USER_SCHEMA.encode(), b"x" * 600)) == 400
    assert post(b" " * (8 * 1024 * 1024 + 1)) == 413
    assert idp.http.post(USERS, content=b"<u/>", headers={"Content-Type": "text/xml"}).status_code == 415
    assert idp.send("PATCH", USERS).headers["allow"] == "GET, POST"
    assert idp.send("PUT", "/ServiceProviderConfig").status_code == 405
    assert idp.send("GET", "/Users/%00").status_code == idp.send("GET", "/Users/a/b/c").status_code == 404
    assert idp.send("GET", f"{USERS}?filter=%00").status_code == 400
    for wanted in ("(" * 3_000, "not (" * 500, "userName", 'foo eq "x"', "x" * 5_000, 'userName eq "\\u0000"'):
        assert idp.http.get(USERS, params={"filter": wanted}).status_code in (200, 400)
    assert idp.http.get(f"{USERS}?" + "&".join(f"a{n}=1" for n in range(99))).status_code == 400
    assert idp.patch(f"{USERS}/{made}").status_code == 400
    assert idp.patch(f"{USERS}/{made}", "x", 1, None).status_code == 400
    assert idp.patch(f"{USERS}/{made}", {"op": "add", "path": "x" * 3_000, "value": 1}).status_code == 400


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    (
        *(
            "active",
            "userName",
            "externalId",
            "emails",
            "name",
            "manager",
            "members",
            "displayName",
            "roles",
            "schemas",
        ),
        *("id", "meta", "groups", "name.givenName", 'emails[type eq "work"].value', f"{ENTERPRISE}:manager"),
        *(ENTERPRISE, "addresses", "photos", "x509Certificates", 'members[value eq "x"]', "profileUrl", "password"),
        *("emails.value", f"{USER_SCHEMA}:active"),
    )
)
OPERATION = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "Replace", "remove", "x"])},
    optional={"path": NAMES | st.text(max_size=12), "value": ANY | st.dictionaries(NAMES, ANY, max_size=3)},
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([USERS, GROUPS]),
    name=st.text(max_size=5),
    body=st.dictionaries(NAMES, ANY, max_size=4),
    operations=st.lists(OPERATION, max_size=3),
    wanted=st.text(max_size=20),
    sort=NAMES,
)
def test_nothing_a_client_sends_is_a_500(
    house: ScimHouse,
    idp: Client,
    path: str,
    name: str,
    body: dict[str, object],
    operations: list[object],
    wanted: str,
    sort: str,
) -> None:
    house.clear()
    made = idp.user("one") if path == USERS else idp.group("one")
    schema = USER_SCHEMA if path == USERS else GROUP_SCHEMA
    whole = {"schemas": [schema], "userName": name, "displayName": "g", **body}
    each = [{"method": "POST", "path": path, "data": whole}]
    answers = [
        idp.send("POST", path, whole),
        idp.patch(f"{path}/{made}", *operations),
        idp.send("PUT", f"{path}/{made}", whole),
        idp.http.get(path, params={"filter": wanted, "sortBy": sort}),
        idp.send("POST", "/Bulk", {"schemas": [BULK], "Operations": each}),
    ]
    for answer in answers:
        assert answer.status_code < 500, (answer.status_code, answer.request.content, answer.text)
    results = answers[-1].json().get("Operations", [])
    assert all(int(one["status"]) < 500 for one in results), (whole, results)


# -- the store and the base address --------------------------------------------------------------------------------


def test_a_store_that_is_away_says_when_to_come_back(
    house: ScimHouse, idp: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("The database cannot be reached. Nothing was written.")

    monkeypatch.setattr(scim_tokens, "note", away)
    answer = idp.send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "dana"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "Nothing was written" in answer.json()["detail"]
    monkeypatch.undo()
    assert idp.get(USERS)["totalResults"] == 0


def test_what_meets_another_transaction_is_done_again(
    house: ScimHouse, idp: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[int] = []
    real = scim_tokens.note

    def twice(*args: object) -> None:
        times.append(1)
        if len(times) < 3:
            raise StoreConflict("Two changes met.")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(scim_tokens, "note", twice)
    idp.user("dana")
    assert len(times) == 3
    assert len([one for one in house.audit("scim.changed") if one["detail"]["external_id"] == "dana"]) >= 1


def test_a_fault_of_ours_tells_nothing_and_changes_nothing(
    house: ScimHouse, idp: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = idp.user("dana")
    house.leavers.fails = RuntimeError("dana@acme.example broke it")
    answer = idp.patch(f"{USERS}/{made}", {"op": "replace", "path": "active", "value": False})
    assert answer.status_code == 500
    assert "dana@" not in answer.text + caplog.text
    # Leaving and the change are one: neither happened.
    person = house.person("dana")
    assert person is not None
    assert person.active


def test_addresses_come_from_the_setting_not_from_the_host_header(sqlite_url: str) -> None:
    with scim_house(sqlite_url, base_url="https://countersign.acme.example/") as house:
        answer = house.client().send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "d"}, Host="evil.example")
        assert answer.json()["meta"]["location"].startswith("https://countersign.acme.example/scim/v2/Users/")
        assert "evil" not in json.dumps(dict(answer.headers)) + answer.text


def test_audit_rows_hold_ids_and_no_names(house: ScimHouse, idp: Client) -> None:
    made = idp.user("dana.reyes", "00u1", displayName="Dana Reyes", emails=[{"value": "dana@acme.example"}])
    group = idp.group("Finance Secret", made)
    idp.patch(f"{GROUPS}/{group}", {"op": "remove", "path": f'members[value eq "{made}"]'})
    idp.patch(f"{USERS}/{made}", {"op": "replace", "path": "userName", "value": "dana.new"})
    rows = [one for one in house.audit("scim.changed") if one["detail"]["id"] in (made, group)]
    assert len(rows) == 4
    text = json.dumps(rows)
    for name in ("dana", "Dana", "Reyes", "acme.example", "Finance"):
        assert name not in text
    assert rows[2]["detail"]["removed_ids"] == ["00u1"]
    assert rows[3]["detail"]["fields"] == ["userName"]
    assert all(one["actor_user_id"].startswith("scim:") for one in rows)
