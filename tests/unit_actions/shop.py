"""A seeded shop and a way to call tools on it, for tests. Stands where the gateway stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from policy.model import Json, Principal, Subject, TenantId, ToolName
from tools.business import Business, open_business
from tools.catalog import Catalog, ToolSettings, catalog
from tools.seed import seed
from tools.spec import Args, CallContext, Resolved, ToolResult

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")


def context(call_id: str, tenant: TenantId = DEMO, now: datetime = NOW) -> CallContext:
    """What the gateway would hand to an action: the key follows from the call."""
    who = Principal(tenant, Subject("urn:test", "dana"), "Dana Reyes", frozenset(), "dana")
    return CallContext(who, call_id, f"key-{tenant}-{call_id}", "token", now)


@dataclass(frozen=True, slots=True)
class Shop:
    business: Business
    tools: Catalog

    async def resolve(self, tool: str, args: Args, call_id: str = "c1", tenant: TenantId = DEMO) -> Resolved:
        return await self.tools[ToolName(tool)].action.resolve(context(call_id, tenant), args)

    async def call(self, tool: str, args: Args, call_id: str = "c1", tenant: TenantId = DEMO) -> ToolResult:
        """Resolves and runs, as the gateway does with a call that nobody has to approve."""
        resolved = await self.resolve(tool, args, call_id, tenant)
        return await self.tools[ToolName(tool)].action.run(context(call_id, tenant), resolved.arguments)

    async def look_up(self, tool: str, args: Args, call_id: str = "c1") -> ToolResult | None:
        return await self.tools[ToolName(tool)].action.look_up(context(call_id), args)


@contextmanager
def open_shop(url: str, settings: ToolSettings | None = None) -> Iterator[Shop]:
    """A shop on an empty database at `url`, with the same records for two tenants."""
    business = open_business(url)
    try:
        for tenant in (DEMO, OTHER):
            assert seed(business, tenant, NOW)
        yield Shop(business, catalog(settings or ToolSettings(), business))
    finally:
        business.close()


def part(value: Json, *path: str | int) -> Json:
    """A value deep inside JSON; fails the test where the path is not there."""
    for step in path:
        if isinstance(step, int):
            assert isinstance(value, list)
            value = value[step]
        else:
            assert isinstance(value, Mapping), value
            value = value[step]
    return value
