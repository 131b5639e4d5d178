"""tenants.yaml: what it states, what the presets make of it, and every mistake with its mend."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.identity.tenants import Issuer, OnLogout, Preset, Team, Tenants, TenantsError, read_tenants
from bot.messages import SurfaceName
from policy.model import TenantId

TID = "8f0c1a2b-0000-4000-8000-00000000abcd"
SLACK, TEAMS, WEB = SurfaceName("slack"), SurfaceName("teams"), SurfaceName("web")
GOOD = f"""\
issuers:
  acme-okta:
    preset: okta
    issuer: https://acme.okta.com
    client_id: 0oa1
    client_secret_file: acme_oidc
  globex-entra:
    preset: entra
    client_id: 22222222-app
    client_secret_env: GLOBEX_OIDC
    tid: {TID}
tenants:
  acme:
    name: Acme GmbH
    issuer: acme-okta
    teams:
      - {{surface: slack, team: T0ACME, enterprise: E0ACME}}
      - {{surface: teams, team: 11111111-1111-4111-8111-11111111ABCD}}
    policy: policies/acme
    directory_max_age_hours: 24
  globex:
    name: Globex
    issuer: globex-entra
    teams: [{{surface: slack, team: T0GLOBEX}}]
"""


def read(tmp_path: Path, text: str, **environ: str) -> Tenants:
    path = tmp_path / "tenants.yaml"
    path.write_text(text)
    (tmp_path / "acme_oidc").write_text("the-secret\n")
    (tmp_path / "policies" / "acme").mkdir(parents=True, exist_ok=True)
    return read_tenants(path, {"GLOBEX_OIDC": "another-secret", **environ})


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(TenantsError) as wrong:
        read(tmp_path, text)
    return [str(problem) for problem in wrong.value.problems]


def one_issuer(block: str) -> str:
    """A file with one issuer, `block`: lines 3 and following."""
    lines = "".join(f"    {line}\n" for line in block.splitlines())
    return f"issuers:\n  one:\n{lines}tenants:\n  acme: {{name: Acme, issuer: one}}\n"


def issuer(tmp_path: Path, block: str) -> Issuer:
    return read(tmp_path, one_issuer(block)).issuers["one"]


def test_says_whose_chat_team_it_is_and_where_its_people_sign_in(tmp_path: Path) -> None:
    tenants = read(tmp_path, GOOD)
    acme = tenants.get(TenantId("acme"))
    assert acme is not None
    assert (acme.tenant, acme.name, acme.issuer.name) == ("acme", "Acme GmbH", "acme-okta")
    assert acme.teams == (
        Team(SLACK, "T0ACME", "E0ACME"),
        Team(TEAMS, "11111111-1111-4111-8111-11111111abcd"),
    )
    assert acme.policy == tmp_path / "policies" / "acme"
    assert acme.directory_max_age == timedelta(hours=24)
    assert tenants.tenant_of(SLACK, "T0ACME") == "acme"
    assert tenants.tenant_of(TEAMS, "11111111-1111-4111-8111-11111111abcd") == "acme"
    assert tenants.tenant_of(SLACK, "T0GLOBEX") == "globex"
    assert tenants.tenant_of(SLACK, "T0OTHER") is None
    assert tenants.tenant_of(TEAMS, "T0ACME") is None
    assert tenants.get(TenantId("initech")) is None
    globex = tenants.tenants[TenantId("globex")]
    assert (globex.policy, globex.directory_max_age) == (None, timedelta(hours=168))
    assert tenants.warnings == ()


def test_what_a_logout_at_the_provider_ends_is_everything_unless_said(tmp_path: Path) -> None:
    told = read(tmp_path, GOOD.replace("hours: 24", "hours: 24\n    on_logout: sessions")).tenants
    assert [one.on_logout for one in told.values()] == [OnLogout.SESSIONS, OnLogout.EVERYTHING]


def test_on_the_web_a_sessions_team_is_its_tenant(tmp_path: Path) -> None:
    tenants = read(tmp_path, GOOD)
    assert tenants.tenant_of(WEB, "acme") == "acme"
    assert tenants.tenant_of(WEB, "T0ACME") is None


def test_okta(tmp_path: Path) -> None:
    okta = read(tmp_path, GOOD).issuers["acme-okta"]
    assert okta.preset is Preset.OKTA
    assert (okta.issuer, okta.client_id, okta.subject_claim) == ("https://acme.okta.com", "0oa1", "sub")
    assert (okta.scopes, okta.algorithms, okta.max_age_s) == (("openid", "profile", "email"), ("RS256",), 600)
    assert (okta.tid, okta.hd) == (None, None)
    assert okta.discovery_url == "https://acme.okta.com/.well-known/openid-configuration"
    assert okta.client_secret is not None
    assert okta.client_secret.reveal() == "the-secret"
    assert "the-secret" not in repr(okta)


def test_entra_is_told_by_its_tenant_id_alone(tmp_path: Path) -> None:
    entra = read(tmp_path, GOOD).issuers["globex-entra"]
    assert entra.issuer == f"https://login.microsoftonline.com/{TID}/v2.0"
    assert entra.discovery_url == f"{entra.issuer}/.well-known/openid-configuration"
    assert (entra.tid, entra.subject_claim) == (TID, "oid")
    assert entra.client_secret is not None
    assert entra.client_secret.reveal() == "another-secret"


def test_entra_in_another_cloud_names_its_issuer(tmp_path: Path) -> None:
    address = f"https://login.microsoftonline.us/{TID}/v2.0"
    assert issuer(tmp_path, f"preset: entra\nclient_id: a\ntid: {TID}\nissuer: {address}").issuer == address


def test_auth0_keeps_its_slash(tmp_path: Path) -> None:
    auth0 = issuer(tmp_path, "preset: auth0\nissuer: https://acme.eu.auth0.com/\nclient_id: a")
    assert auth0.issuer == "https://acme.eu.auth0.com/"
    assert auth0.discovery_url == "https://acme.eu.auth0.com/.well-known/openid-configuration"
    assert auth0.client_secret is None


def test_any_other_provider_and_what_can_be_set(tmp_path: Path) -> None:
    other = issuer(
        tmp_path,
        "preset: oidc\nissuer: http://127.0.0.1:8080/realm\nclient_id: a\nscopes: [openid, offline_access]\n"
        "subject_claim: employee_id\nhd: acme.com\nalgorithms: [EdDSA, PS512]\ngroups: scim\nmax_age_s: 120",
    )
    assert (other.issuer, other.scopes) == ("http://127.0.0.1:8080/realm", ("openid", "offline_access"))
    assert (other.subject_claim, other.hd, other.algorithms) == ("employee_id", "acme.com", ("EdDSA", "PS512"))
    assert other.max_age_s == 120
    assert issuer(tmp_path, "preset: oidc\nissuer: https://id.acme.com\nclient_id: a").algorithms == (
        "RS256",
        "ES256",
        "PS256",
    )


def test_two_tenants_may_share_an_issuer_and_a_logout_there_concerns_both(tmp_path: Path) -> None:
    text = GOOD.replace("issuer: globex-entra", "issuer: acme-okta")
    tenants = read(tmp_path, text)
    served = tenants.served_by(tenants.issuers["acme-okta"])
    assert [tenant.tenant for tenant in served] == ["acme", "globex"]
    [warning] = tenants.warnings
    assert "globex-entra: is no tenant's issuer" in str(warning)


BLOCKS = {
    "plain http": (
        "preset: oidc\nissuer: http://id.acme.com\nclient_id: a",
        "tenants.yaml:4: issuers.one.issuer: http://id.acme.com is no issuer. Write its https address",
    ),
    "with a query": ("preset: oidc\nissuer: https://id.acme.com?x=1\nclient_id: a", "is no issuer"),
    "with a login": ("preset: oidc\nissuer: https://u:p@id.acme.com\nclient_id: a", "is no issuer"),
    "a port that is none": ("preset: oidc\nissuer: https://id.acme.com:x\nclient_id: a", "is no issuer"),
    "the discovery document": (
        "preset: oidc\nissuer: https://id.acme.com/.well-known/openid-configuration\nclient_id: a",
        "Write its `issuer` value",
    ),
    "no issuer": ("preset: okta\nclient_id: a", "issuers.one: 'issuer' is missing."),
    "Okta with a slash": (
        "preset: okta\nissuer: https://acme.okta.com/\nclient_id: a",
        "ends in a slash, Okta's issuers do not. Write https://acme.okta.com",
    ),
    "Okta's console": (
        "preset: okta\nissuer: https://acme-admin.okta.com\nclient_id: a",
        "is Okta's admin console. Write https://acme.okta.com",
    ),
    "Auth0 without a slash": (
        "preset: auth0\nissuer: https://acme.auth0.com\nclient_id: a",
        "Auth0's issuers do. Write https://acme.auth0.com/",
    ),
    "Entra without a tenant": ("preset: entra\nclient_id: a", "issuers.one: 'tid' is missing. Add `tid:`"),
    "Entra's template": (
        f"preset: entra\nclient_id: a\ntid: {TID}\nissuer: https://login.microsoftonline.com/{{tenantid}}/v2.0",
        "is the address of every organisation at Microsoft. Countersign serves organisations it was told of",
    ),
    "Entra's common": (
        f"preset: entra\nclient_id: a\ntid: {TID}\nissuer: https://login.microsoftonline.com/common/v2.0",
        "every organisation",
    ),
    "Entra's personal accounts": (
        "preset: entra\nclient_id: a\ntid: 9188040d-6c67-4c5b-b112-36a304b66dad",
        "is not the id of an organisation's tenant",
    ),
    "Entra 1.0": (
        f"preset: entra\nclient_id: a\ntid: {TID}\nissuer: https://sts.windows.net/{TID}/",
        "is not the v2.0 issuer of the tenant",
    ),
    "Entra of another tenant": (
        f"preset: entra\nclient_id: a\ntid: {TID}\n"
        "issuer: https://login.microsoftonline.com/00000000-0000-4000-8000-000000000000/v2.0",
        "is not the v2.0 issuer of the tenant",
    ),
    "a domain as tenant id": ("preset: entra\nclient_id: a\ntid: acme.onmicrosoft.com", "36 characters"),
    "tid elsewhere": (f"preset: okta\nissuer: https://a.okta.com\nclient_id: a\ntid: {TID}", "is Entra's alone"),
    "Google for everybody": (
        "preset: oidc\nissuer: https://accounts.google.com\nclient_id: a",
        "serves everybody who has a Google account. Add `hd:`",
    ),
    "hd that is no domain": ("preset: oidc\nissuer: https://a.b\nclient_id: a\nhd: ACME", "is not a domain"),
    "a shared secret signs": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nalgorithms: [HS256]",
        "issuers.one.algorithms: HS256 proves nothing about who signed.",
    ),
    "nothing signs": ("preset: oidc\nissuer: https://a.b\nclient_id: a\nalgorithms: none", "none proves nothing"),
    "an algorithm misspelt": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nalgorithms: [RS255]",
        "Did you mean 'RS256'?",
    ),
    "no algorithm": ("preset: oidc\nissuer: https://a.b\nclient_id: a\nalgorithms: []", "algorithms: is empty"),
    "without openid": ("preset: oidc\nissuer: https://a.b\nclient_id: a\nscopes: [email]", "lacks openid"),
    "scopes in one word": (
        'preset: oidc\nissuer: https://a.b\nclient_id: a\nscopes: [openid, "profile email"]',
        "Write each on its own",
    ),
    "an address as subject": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nsubject_claim: email",
        "email can pass from one person to another. Write sub",
    ),
    "an address as Entra's subject": (
        f"preset: entra\nclient_id: a\ntid: {TID}\nsubject_claim: preferred_username",
        "Write oid",
    ),
    "groups from the token": ("preset: oidc\nissuer: https://a.b\nclient_id: a\ngroups: token", "Groups always come"),
    "no preset": ("issuer: https://a.b\nclient_id: a", "'preset' is missing"),
    "an unknown preset": ("preset: ping\nissuer: https://a.b\nclient_id: a", "'ping' is not a preset"),
    "Slack as a company": ("preset: slack\nissuer: https://slack.com\nclient_id: a", "'slack' is not a preset"),
    "an unknown key": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nclient_secret: hush",
        "client_secret: is not a known key. Did you mean 'client_secret_env'?",
    ),
    "a number as client id": ("preset: oidc\nissuer: https://a.b\nclient_id: 17", 'Write "17" in quotes.'),
    "two secrets": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nclient_secret_file: acme_oidc\nclient_secret_env: A",
        "Keep one of them",
    ),
    "a secret nobody set": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nclient_secret_env: NOBODYS",
        "NOBODYS is not set",
    ),
    "a secret in a setting": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nclient_secret_env: COUNTERSIGN_OIDC",
        "COUNTERSIGN_… are the settings alone",
    ),
    "a file that is not there": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nclient_secret_file: nowhere",
        "cannot be read (no such file",
    ),
    "a file with more in it": (
        "preset: oidc\nissuer: https://a.b\nclient_id: a\nclient_secret_file: tenants.yaml",
        "does not hold one secret on one line",
    ),
    "older than an hour": ("preset: oidc\nissuer: https://a.b\nclient_id: a\nmax_age_s: 86400", "out of range"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_mistake_in_an_issuer_is_refused_with_its_mend(tmp_path: Path, name: str) -> None:
    block, expected = BLOCKS[name]
    said = problems(tmp_path, one_issuer(block))
    assert any(expected in line for line in said), said
    assert all(line.startswith("tenants.yaml") for line in said)


TENANTS = {
    "one team, two tenants": (
        ("team: T0GLOBEX", "team: T0ACME"),
        "tenants.yaml:24: tenants.globex.teams[0]: slack team T0ACME is already listed for acme. A chat team belongs",
    ),
    "an issuer that is not there": (("issuer: globex-entra", "issuer: globex-entr"), "Did you mean 'globex-entra'?"),
    "a chat that is none": (("slack, team: T0GLOBEX", "irc, team: T0GLOBEX"), "'irc' is not a chat"),
    "the web as a chat": (("slack, team: T0GLOBEX", "web, team: acme"), "'web' is not a chat"),
    "a channel as a team": (("T0GLOBEX", "C0GLOBEX"), "'C0GLOBEX' is not a Slack team id. Write the workspace's id"),
    "a team as an enterprise": (("E0ACME", "T9"), "'T9' is not a Slack enterprise id"),
    "a name as an Entra tenant": (("11111111-1111-4111-8111-11111111ABCD", "acme"), "is not an Entra tenant id"),
    "a folder that is not there": (("policies/acme", "policies/acne"), "is not a folder. Mend the path"),
    "no time at all": (("hours: 24", "hours: 0"), "0 is out of range"),
    "another end of a log-out": (("hours: 24", "hours: 24\n    on_logout: session"), "Did you mean 'sessions'?"),
    "a tenant of ours": (("  globex:\n", "  _system:\n"), "'_system' is not a name"),
    "a tenant in capitals": (("  globex:\n", "  Globex:\n"), "'Globex' is not a name"),
    "written twice": (("  globex:\n", "  acme:\n"), "'acme' is written twice"),
    "nameless": (("    name: Globex\n", ""), "tenants.globex: 'name' is missing"),
    "an unknown key": (("    name: Globex\n", "    nam: Globex\n"), "Did you mean 'name'?"),
    "a team without its chat": (("{surface: slack, team: T0GLOBEX}", "{team: T0GLOBEX}"), "'surface' is missing"),
}


@pytest.mark.parametrize("name", TENANTS)
def test_a_mistake_in_a_tenant_is_refused_with_its_mend(tmp_path: Path, name: str) -> None:
    (old, new), expected = TENANTS[name]
    assert old in GOOD
    said = problems(tmp_path, GOOD.replace(old, new))
    assert any(expected in line for line in said), said


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    said = problems(tmp_path, GOOD.replace("T0GLOBEX", "C0").replace("preset: okta", "preset: octa"))
    assert [line.split(":")[1] for line in said] == ["3", "24"]


@pytest.mark.parametrize("text", ["", "issuers: {}\ntenants: {}\n", "issuers:\n", "[]", "a: *b", "\x00"])
def test_a_file_that_states_nothing_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_a_file_that_cannot_be_read_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(TenantsError, match="set COUNTERSIGN_TENANTS"):
        read_tenants(tmp_path / "nowhere.yaml", {})
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TenantsError, match="UTF-8"):
        read_tenants(tmp_path / "bytes.yaml", {})


def test_no_problem_ever_holds_a_secret(tmp_path: Path) -> None:
    said = problems(tmp_path, GOOD.replace("T0GLOBEX", "C0"))
    assert "the-secret" not in "".join(said)
    assert "another-secret" not in "".join(said)


# --- whose accounts need no link -----------------------------------------------------------------------------


def entra_teams(more: str = "", team: str = TID) -> str:
    return GOOD.replace(
        "teams: [{surface: slack, team: T0GLOBEX}]", f"teams: [{{surface: teams, team: {team.upper()}{more}}}]"
    )


def test_teams_of_the_own_entra_tenant_need_no_link(tmp_path: Path) -> None:
    found = read(tmp_path, entra_teams())
    assert found.own_teams(TenantId("globex")) == (TID,)
    assert found.teams_of(TenantId("globex")) == ((TEAMS, TID),)
    # Acme's people come from Okta, so its Teams says nothing of who they are.
    assert found.own_teams(TenantId("acme")) == ()
    assert found.own_teams(TenantId("nobody")) == ()


@pytest.mark.parametrize(
    "text",
    [
        entra_teams(", linking: required"),
        entra_teams(team="99999999-1111-4111-8111-11111111abcd"),
        entra_teams().replace(f"    tid: {TID}", f"    tid: {TID}\n    subject_claim: sub"),
    ],
    ids=["required", "another Entra tenant", "another subject"],
)
def test_anything_else_needs_links(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).own_teams(TenantId("globex")) == ()


def test_linking_cannot_be_loosened(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, entra_teams(", linking: never"))
    assert "'never' is not a way of linking. Write one of: required." in told
