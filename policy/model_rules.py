"""models.yaml: which model serves which action class, and what self-hosted models cost.

Knows names and prices; knows no SDK and makes no request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from policy.axes import ActionClass
from policy.document import Field


class Adapter(StrEnum):
    """Who speaks to the model."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    """The Responses API."""
    OPENAI_CHAT = "openai-chat"
    """Chat Completions: vLLM and other compatible servers."""
    OFFLINE = "offline"
    """The deterministic stand-in of the demo."""


@dataclass(frozen=True, slots=True)
class ModelName:
    """``adapter:model``, for instance ``anthropic:claude-sonnet-5-5``."""

    adapter: Adapter
    model: str

    def __str__(self) -> str:
        return f"{self.adapter.value}:{self.model}"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class Models:
    default: tuple[ModelName, ...]
    """In order of preference: the first whose adapter is configured serves the turn."""
    routes: Mapping[ActionClass, tuple[ModelName, ...]]
    prices: Mapping[str, Price]
    """``adapter:model`` -> price, for models that no public price list knows."""

    def route(self, action: ActionClass | None) -> tuple[ModelName, ...]:
        """The models for `action`, in order of preference."""
        return self.routes.get(action, self.default) if action is not None else self.default


_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}", re.ASCII)


def read_models(root: Field) -> Models:
    keys = root.section(("default",), ("routes", "prices"))
    default = _names(keys["default"]) if "default" in keys else ()
    routes: dict[ActionClass, tuple[ModelName, ...]] = {}
    if "routes" in keys:
        for action, line in keys["routes"].section((), tuple(ActionClass)).items():
            routes[ActionClass(action)] = _names(line)
    prices = {name: _price(name, line) for name, line in keys["prices"].entries().items()} if "prices" in keys else {}
    return Models(default, MappingProxyType(routes), MappingProxyType(prices))


def _names(written: Field) -> tuple[ModelName, ...]:
    names = [_name(item, item.text()) for item in written.items()]
    if not names:
        written.wrong("names no model.", "Write at least one as adapter:model.")
    return tuple(name for name in names if name is not None)


def _name(at: Field, written: str | None) -> ModelName | None:
    if written is None:
        return None
    adapter, _, model = written.partition(":")
    if adapter not in tuple(Adapter) or not _MODEL.fullmatch(model):
        listed = ", ".join(Adapter)
        at.wrong(f"'{written}' is not a model.", f"Write adapter:model; the adapters are {listed}.")
        return None
    return ModelName(Adapter(adapter), model)


def _price(name: str, written: Field) -> Price:
    _name(written, name)
    keys = written.section(("input", "output"))
    amounts = {key: line.money() for key, line in keys.items()}
    return Price(amounts.get("input", Decimal(0)), amounts.get("output", Decimal(0)))
