"""models.yaml read again: the next turn uses it, one that has begun is priced as before, a bad one changes nothing."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from bot.agent.offline import Offline
from bot.agent.routing import Routes, UnknownPrice
from bot.ports import Model, ModelAnswer, ModelRequest, OnText, Usage
from policy.model_rules import Adapter, ModelName, Models


class Named:
    """A model that only has a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        raise AssertionError("nobody asks it")


def models(adapter: Adapter, name: str) -> Models:
    return Models((ModelName(adapter, name),), MappingProxyType({}), MappingProxyType({}))


def claude(name: str) -> Model:
    return Named(name)


MAKE = {Adapter.OFFLINE: lambda _name: Offline(), Adapter.ANTHROPIC: claude}
OLD = models(Adapter.ANTHROPIC, "claude-sonnet-4-5")
USED = Usage(1_000_000, 0)


def test_the_next_turn_uses_what_was_reloaded() -> None:
    now = [OLD]
    routes = Routes(lambda: now[-1], MAKE)
    assert routes.model().name == "claude-sonnet-4-5"
    before = routes.price("claude-sonnet-4-5", USED)
    now.append(models(Adapter.OFFLINE, "offline"))
    assert routes.model().name == "offline"
    assert routes.price("claude-sonnet-4-5", USED) == before > 0


def test_a_reload_that_cannot_serve_keeps_the_models_before_it() -> None:
    now = [OLD]
    routes = Routes(lambda: now[-1], MAKE)
    now.append(models(Adapter.OPENAI, "gpt-5"))
    assert routes.model().name == "claude-sonnet-4-5"


def test_what_nobody_knows_has_no_price_either_before_or_after() -> None:
    routes = Routes(lambda: OLD, MAKE)
    with pytest.raises(UnknownPrice):
        routes.price("claude-nobody", USED)
