"""The gateway as an MCP server: every tool of the catalog, for one person, through the one door.

Lists and translates; runs nothing. A caller that speaks MCP gets exactly what the agent gets: what may run at once
runs, the rest is held for people. See https://modelcontextprotocol.io/specification.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

import mcp.types as types
from mcp.server.lowlevel.server import Server

from policy.model import Json, ToolName
from tools.gateway import Gateway
from tools.held import Blocked, Executed, Failed, Held, Outcome, Proposal, TurnContext
from tools.spec import Redo, Tool

MintToken: TypeAlias = Callable[[ToolName, str], str]
"""Tool and call id -> a call token of the person this session acts for (invariant 2)."""


@dataclass(frozen=True, slots=True)
class Session:
    """For whom an MCP connection acts, and the turn its calls are recorded under."""

    turn: TurnContext
    offered: tuple[Tool, ...]
    """Tools of the roles the person holds; the door asks again at every call."""
    token: MintToken


def server(gateway: Gateway, session: Session) -> Server[Any]:
    """An MCP server over `gateway` for one session. Connect it in process, over stdio or over HTTP."""
    calls = _Calls(gateway, session)
    return Server("countersign", on_list_tools=calls.list_tools, on_call_tool=calls.call_tool)


def as_mcp(tool: Tool) -> types.Tool:
    """`tool` as MCP describes one. Hints are hints: risk is classified in policy/tools.yaml, not here."""
    return types.Tool(
        name=tool.wire_name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.input_schema),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.redo is Redo.READ_ONLY,
            idempotent_hint=tool.redo is not Redo.NEVER,
            destructive_hint=tool.redo is Redo.NEVER,
        ),
    )


class _Calls:
    def __init__(self, gateway: Gateway, session: Session) -> None:
        self._gateway = gateway
        self._session = session
        self._count = 0

    async def list_tools(self, _ctx: object, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[as_mcp(tool) for tool in self._session.offered])

    async def call_tool(self, _ctx: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        turn = self._session.turn
        self._count += 1
        call_id = f"{turn.turn_id}.mcp.{self._count}"
        name = _tool_name(self._session.offered, params.name)
        token = self._session.token(name, call_id)
        proposal = Proposal(call_id, name, dict(params.arguments or {}), token)
        (outcome,) = await self._gateway.propose(turn, [proposal])
        return told(outcome)


def told(outcome: Outcome) -> types.CallToolResult:
    """`outcome` as an MCP result. A held call is no error: it says for whom it waits."""
    match outcome:
        case Executed(result=result):
            return _result({"status": "done", "sentence": result.sentence, "result": result.content})
        case Held(view=view):
            return _result(
                {
                    "status": "held",
                    "request": view.held_id,
                    "headline": view.headline,
                    "waiting_for": list(view.approver_roles),
                    "needed": view.needed,
                    "expires_at": view.expires_at.isoformat(timespec="seconds"),
                    "note": "Nothing has happened yet. It happens only after these people approve it.",
                }
            )
        case Blocked(reason=reason, sentence=sentence):
            return _result({"status": "blocked", "reason": reason.value, "sentence": sentence}, error=True)
        case Failed(sentence=sentence, in_doubt=in_doubt):
            status = "in_doubt" if in_doubt else "failed"
            return _result({"status": status, "sentence": sentence}, error=True)
        case _:
            assert_never(outcome)


def _result(body: Mapping[str, Json], *, error: bool = False) -> types.CallToolResult:
    text = json.dumps(body, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=dict(body), is_error=error
    )


def _tool_name(offered: Iterable[Tool], wire_name: str) -> ToolName:
    """What a wire name means; an unknown one goes on as it is, and the door refuses and records it."""
    return next((tool.name for tool in offered if tool.wire_name == wire_name), ToolName(wire_name))
