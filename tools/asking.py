"""Asking an action what it knows, within a time and without ever passing on what it must not raise.

Reads only: nothing here has an effect, and nothing here runs a tool.
"""

from __future__ import annotations

import asyncio
import logging
import traceback

from policy.pii import redact
from tools.door import Door
from tools.spec import ActionError, Args, CallContext, Certainty, Resolved, Tool, ToolResult

log = logging.getLogger("countersign.gateway")

BROKEN = "The tool broke off in a way nobody foresaw. An admin finds the details in the service's log."


async def look_up(door: Door, tool: Tool, ctx: CallContext, arguments: Args) -> ToolResult | None:
    """Proof that the effect of a call happened; None proves nothing (invariant 7)."""
    try:
        return await asyncio.wait_for(tool.action.look_up(ctx, arguments), door.timings.resolve)
    except (ActionError, TimeoutError) as error:
        log.warning("looking up %s failed: %s", tool.name, type(error).__name__)
        return None
    except Exception:  # noqa: BLE001 - no proof is no proof
        log.error("a look-up raised what it must not raise\n%s", redact(traceback.format_exc()))
        return None


async def resolve(door: Door, tool: Tool, ctx: CallContext, arguments: Args) -> Resolved:
    """Everything a call depends on, looked up.

    Raises:
        ActionError: it cannot be, or not now; nothing was done.
    """
    try:
        return await asyncio.wait_for(tool.action.resolve(ctx, arguments), door.timings.resolve)
    except TimeoutError:
        raise ActionError(
            "The system of record did not answer in time. Nothing was done; try again.",
            Certainty.NOT_DONE,
            retryable=True,
        ) from None
    except ActionError:
        raise
    except Exception as error:
        log.error("a resolve raised what it must not raise\n%s", redact(traceback.format_exc()))
        raise ActionError(BROKEN, Certainty.NOT_DONE) from error
