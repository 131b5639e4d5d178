"""The catalog: schemas a model and the gateway can rely on, backends as configured, no secret in sight."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping

import pytest
from jsonschema import Draft202012Validator

from policy.model import Json, ToolName
from tests.unit_actions.shop import Shop, part
from tools.actions.smtp import SmtpServer
from tools.catalog import Encryption, MailBackend, PaymentsBackend, ToolSettings, as_models_see, by_wire_name, catalog
from tools.credentials import Credentials, Secret
from tools.spec import Redo

NAMES = ["crm.read", "crm.write", "ledger.read", "db.query", "email.send", "refund.issue"]
KEY = Secret("STRIPE_API_KEY", "sk_live_dontshowme")


def _properties(shop: Shop) -> Iterator[tuple[str, Mapping[str, Json]]]:
    for tool in shop.tools.values():
        properties = tool.input_schema["properties"]
        assert isinstance(properties, Mapping)
        for name, schema in properties.items():
            assert isinstance(schema, Mapping)
            yield f"{tool.name}.{name}", schema


def test_every_tool_is_there_under_both_names(local_shop: Shop) -> None:
    assert list(local_shop.tools) == NAMES
    found = by_wire_name(local_shop.tools, "refund_issue")
    assert found is local_shop.tools[ToolName("refund.issue")]
    assert by_wire_name(local_shop.tools, "refund.issue") is None


def test_schemas_are_closed_bounded_and_described(local_shop: Shop) -> None:
    for tool in local_shop.tools.values():
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["additionalProperties"] is False
        assert tool.input_schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert len(tool.description) > 80
    for name, schema in _properties(local_shop):
        assert schema["description"], name
        assert {"maxLength", "pattern", "enum"} & schema.keys(), f"{name} has no bound"


@pytest.mark.parametrize(
    ("tool", "args", "valid"),
    [
        ("refund.issue", {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "late"}, True),
        ("refund.issue", {"order_id": "1042", "amount": "42", "currency": "USD", "reason": "late"}, False),
        ("refund.issue", {"order_id": "1042", "amount": 42.0, "currency": "USD", "reason": "late"}, False),
        ("refund.issue", {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "x", "to": "me"}, False),
        ("email.send", {"to": "C-1007", "subject": "s", "body": "b"}, True),
        ("email.send", {"to": "C-1007", "subject": "s", "body": "b", "bcc": "x@y.example"}, False),
        ("crm.write", {"customer_id": "C-1007", "field": "email", "value": "x"}, False),
        ("crm.read", {"kind": "everything", "key": "x"}, False),
        ("ledger.read", {}, True),
        ("db.query", {"sql": "x" * 4001}, False),
    ],
)
def test_schemas_refuse_what_they_should(local_shop: Shop, tool: str, args: dict[str, Json], valid: bool) -> None:
    assert Draft202012Validator(local_shop.tools[ToolName(tool)].input_schema).is_valid(args) is valid


async def test_what_an_action_resolves_still_fits_its_schema(local_shop: Shop) -> None:
    calls: dict[str, dict[str, Json]] = {
        "crm.read": {"kind": "order", "key": "#1042"},
        "crm.write": {"customer_id": "C-1007", "field": "tier", "value": "silver"},
        "ledger.read": {"order_id": "1042", "since": "2026-01-01", "kind": "payment"},
        "db.query": {"sql": "SELECT count(*) FROM orders"},
        "email.send": {"to": "C-1007", "subject": "s", "body": "b"},
        "refund.issue": {"order_id": "#1042", "amount": "1.00", "currency": "USD", "reason": "late"},
    }
    assert list(calls) == NAMES
    for name, args in calls.items():
        resolved = await local_shop.resolve(name, args)
        Draft202012Validator(local_shop.tools[ToolName(name)].input_schema).validate(resolved.arguments)
        json.dumps(resolved.arguments), json.dumps(resolved.stable)
        assert (await local_shop.resolve(name, resolved.arguments)).arguments == resolved.arguments


def test_models_see_names_texts_and_schemas_alone(local_shop: Shop) -> None:
    offers = as_models_see(local_shop.tools)
    assert [offer.name for offer in offers] == [name.replace(".", "_") for name in NAMES]
    assert [offer.name for offer in as_models_see(local_shop.tools, frozenset({ToolName("crm.read")}))] == ["crm_read"]
    assert part(offers[0].input_schema, "properties", "kind", "enum") == [
        "customer",
        "order",
        "orders",
        "payments",
        "search",
    ]


def test_redo_follows_what_the_backend_can_promise(local_shop: Shop) -> None:
    redo = {name: (tool.redo, tool.key_lifetime_s) for name, tool in local_shop.tools.items()}
    assert redo[ToolName("email.send")] == (Redo.NEVER, 0)
    assert redo[ToolName("db.query")] == (Redo.READ_ONLY, 0)
    stripe = catalog(
        ToolSettings(payments=PaymentsBackend.STRIPE, credentials=Credentials(stripe_api_key=KEY)), local_shop.business
    )
    refund = stripe[ToolName("refund.issue")]
    assert (refund.redo, refund.key_lifetime_s) == (Redo.KEYED, 23 * 3600)
    assert "dontshowme" not in repr(stripe)


def test_a_secret_is_shown_nowhere() -> None:
    settings = ToolSettings(credentials=Credentials(KEY, "user", Secret("SMTP_PASSWORD", "hush"), (("demo", KEY),)))
    for shown in (repr(settings), str(KEY), f"{KEY}", f"{KEY!r}"):
        assert "dontshowme" not in shown
        assert "hush" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    assert KEY.reveal() == "sk_live_dontshowme"
    assert settings.credentials.query_login("other") is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ToolSettings(payments=PaymentsBackend.STRIPE), "STRIPE_API_KEY"),
        (ToolSettings(mail=MailBackend.SMTP), "host"),
        (ToolSettings(mail=MailBackend.SMTP, smtp_host="mail.example", mail_sender="nobody"), "sender"),
        (
            ToolSettings(
                mail=MailBackend.SMTP,
                smtp_host="mail.example",
                smtp_encryption=Encryption.NONE,
                credentials=Credentials(smtp_username="u", smtp_password=Secret("SMTP_PASSWORD", "p")),
            ),
            "in the clear",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(local_shop: Shop, settings: ToolSettings, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        catalog(settings, local_shop.business)


def test_half_a_login_is_refused() -> None:
    with pytest.raises(ValueError, match="or neither"):
        SmtpServer("mail.example", 587, "bot@example.com", username="u")
