"""What an action may know of its call, and how it gets the person's own token for somebody else's API.

Knows the port that gets tokens and the call they are for; knows no API and no protocol. A token is had for the
person, the tool and the call that the gateway let in, never for what an action names.
"""

from __future__ import annotations

from dataclasses import dataclass

from policy.model import Principal, ToolName
from tools.door import Door
from tools.ports import UserTokens
from tools.spec import NO_BEARERS, CallContext


@dataclass(frozen=True, slots=True)
class OneCall:
    """Implements `tools.spec.Bearers` for one call."""

    tokens: UserTokens
    who: Principal
    tool: ToolName
    call_id: str

    async def bearer(self, name: str) -> str:
        return await self.tokens.bearer(self.who, name, self.tool, self.call_id)


def context_of(door: Door, who: Principal, tool: ToolName, call_id: str, key: str, token: str) -> CallContext:
    """What the action of `tool` is told of the call that `token` was checked for."""
    bearers = NO_BEARERS if door.user_tokens is None else OneCall(door.user_tokens, who, tool, call_id)
    return CallContext(who, call_id, key, token, door.clock(), bearers)
