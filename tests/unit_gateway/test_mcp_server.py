"""The gateway over MCP, with the official client: the same door, the same holds, the same rows."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from mcp import Client
from mcp.server.lowlevel.server import Server

from policy.model import ToolName
from tests.kit.door import House
from tools import mcp


def server_for(house: House, sub: str) -> Server[Any]:
    who = house.who(sub)
    allowed = house.door.policy(who.tenant).roles.tools_of(who.roles)
    offered = tuple(tool for name, tool in house.tools.items() if name in allowed)

    def token(tool: ToolName, call_id: str) -> str:
        return house.tokens.mint(house.who(sub), tool, house.clock.now, jti=call_id)

    return mcp.server(house.gateway, mcp.Session(house.turn(sub), offered, token))


async def test_every_tool_is_an_mcp_tool_with_a_schema(local_house: House) -> None:
    async with Client(server_for(local_house, "dana")) as client:
        listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == ["crm_read", "db_query", "email_send", "refund_issue"]
    for tool in listed:
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["additionalProperties"] is False


async def test_a_read_answers_and_a_refund_is_held(local_house: House) -> None:
    async with Client(server_for(local_house, "dana")) as client:
        read = await client.call_tool("crm_read", {"kind": "order", "key": "1042"})
        refund = await client.call_tool(
            "refund_issue", {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "never came"}
        )
    assert read.structured_content is not None
    assert read.structured_content["status"] == "done"
    assert refund.structured_content is not None
    assert refund.structured_content["status"] == "held"
    assert not refund.is_error
    assert local_house.refunds() == []
    kinds = [row[0] for row in local_house.audit("kind")]
    assert kinds == ["tool.started", "tool.executed", "tool.requested"]


async def test_what_the_person_may_not_do_is_blocked_and_recorded(local_house: House) -> None:
    async with Client(server_for(local_house, "rita")) as client:
        refused = await client.call_tool("refund.issue", {"order_id": "1042"})
        unknown = await client.call_tool("shell", {"cmd": "rm -rf /"})
        wrong = await client.call_tool("crm_read", {"kind": "order", "key": 1042})
    assert refused.is_error
    assert unknown.is_error
    assert wrong.is_error
    rows = local_house.audit("kind", "authz_decision")
    assert rows == [
        ("tool.blocked", "deny:schema"),
        ("tool.blocked", "deny:unknown_tool"),
        ("tool.blocked", "deny:schema"),
    ]
