"""`downstreams:` of a tenant: what it may say, and every mistake with its place and its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.identity.downstream import DownstreamKind, SubjectToken
from bot.identity.tenants import Tenant, TenantsError, read_tenants
from policy.model import TenantId, ToolName

HEAD = """
issuers:
  acme: {preset: okta, issuer: "https://acme.okta.com", client_id: 0oa1, scopes: [openid, offline_access]}
tenants:
  acme:
    name: Acme GmbH
    issuer: acme
    downstreams:
"""
ORDERS = """
      orders:
        kind: rfc8693
        token_endpoint: https://as.orders.example/token
        client_id: countersign
        client_secret_env: ORDERS_SECRET
        audience: https://orders.example
        tools: {refund.issue: [orders.refund], crm.read: [orders.read]}
"""
JAG = """
      orders:
        kind: id_jag
        token_endpoint: https://acme.okta.com/oauth2/v1/token
        client_id: 0oa1
        audience: https://orders.example
        resource: https://orders.example
        tools: {refund.issue: [orders.refund]}
        redeem:
          token_endpoint: https://as.orders.example/token
          client_id: countersign
          client_secret_env: ORDERS_SECRET
          audience: https://as.orders.example
"""
OBO = """
      graph:
        kind: entra_obo
        token_endpoint: https://login.microsoftonline.com/8f0c/oauth2/v2.0/token
        client_id: countersign
        client_secret_env: ORDERS_SECRET
        audience: https://graph.microsoft.com
        tools: {email.send: ["https://graph.microsoft.com/Mail.Send"]}
"""
ENVIRON = {"ORDERS_SECRET": "s3cret"}


def read(tmp_path: Path, text: str, head: str = HEAD) -> Tenant:
    path = tmp_path / "tenants.yaml"
    path.write_text(head + text)
    tenant = read_tenants(path, ENVIRON).get(TenantId("acme"))
    assert tenant is not None
    return tenant


def faults(tmp_path: Path, text: str, head: str = HEAD) -> str:
    with pytest.raises(TenantsError) as wrong:
        read(tmp_path, text, head)
    return str(wrong.value)


def test_what_is_stated(tmp_path: Path) -> None:
    found = read(tmp_path, ORDERS).downstreams["orders"]
    assert (found.kind, found.subject, found.subject_claim, found.actor) == (
        DownstreamKind.RFC8693,
        SubjectToken.ACCESS_TOKEN,
        "sub",
        False,
    )
    assert found.tools == {ToolName("refund.issue"): ("orders.refund",), ToolName("crm.read"): ("orders.read",)}
    assert found.at.secret is not None
    assert found.at.secret.reveal() == "s3cret"
    assert "s3cret" not in repr(found)


def test_each_kind_has_its_usual_subject(tmp_path: Path) -> None:
    jag, obo = read(tmp_path, JAG).downstreams["orders"], read(tmp_path, OBO).downstreams["graph"]
    assert (jag.subject, jag.subject_claim, jag.redeem_audience) == (
        SubjectToken.ID_TOKEN,
        "sub",
        "https://as.orders.example",
    )
    assert (obo.subject, obo.subject_claim) == (SubjectToken.ACCESS_TOKEN, "oid")


def test_none_at_all(tmp_path: Path) -> None:
    assert read(tmp_path, "", HEAD.replace("    downstreams:\n", "")).downstreams == {}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (ORDERS.replace("rfc8693", "saml"), 11, "'saml' is not a way to get a token"),
        (ORDERS.replace("https://as", "http://as"), 12, "no address of a token endpoint"),
        (ORDERS.replace("https://as", "https://u:p@as"), 12, "no address of a token endpoint"),
        (ORDERS.replace("ORDERS_SECRET", "NOT_SET"), 14, "NOT_SET is not set"),
        (ORDERS.replace("[orders.refund]", "[]"), 16, "names no scope"),
        (ORDERS.replace("[orders.refund]", '["a b"]'), 16, "is not a scope"),
        (ORDERS.replace("[orders.refund]", "[offline_access]"), 16, "no right at an API"),
        (ORDERS.replace("{refund.issue: [orders.refund], crm.read: [orders.read]}", "{}"), 16, "names no tool"),
        (ORDERS + "        subject_claim: none\n", 17, "cannot be none"),
        (ORDERS + "        redeem: {token_endpoint: https://x, client_id: c, audience: a}\n", 17, "alone"),
        (ORDERS + "        scopes: [a]\n", 17, "is not a known key"),
        (ORDERS.replace("        audience: https://orders.example\n", ""), 11, "'audience' is missing"),
        (OBO.replace("Mail.Send", ".default"), 16, "everything that was ever consented to"),
        (OBO + "        actor: true\n", 17, "takes no actor token"),
        (OBO + "        subject: own\n", 17, "is not a subject token of entra_obo"),
        (JAG[: JAG.index("        redeem:")], 11, "'redeem' is missing"),
        (JAG.replace("          audience: https://as.orders.example\n", ""), 18, "'audience' is missing"),
    ],
)
def test_every_mistake_has_its_place(tmp_path: Path, text: str, line: int, said: str) -> None:
    told = faults(tmp_path, text)
    assert f"tenants.yaml:{line}: " in told, told
    assert said in told


def test_a_sign_in_that_does_not_last_serves_no_api(tmp_path: Path) -> None:
    head = HEAD.replace(", offline_access", "")
    assert "Add offline_access to the scopes of acme" in faults(tmp_path, ORDERS, head)
    assert read(tmp_path, ORDERS + "        subject: own\n", head).downstreams["orders"].subject is SubjectToken.OWN
