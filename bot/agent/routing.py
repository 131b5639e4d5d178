"""Which model serves a turn, what serves when it is down, and what an answer costs.

Knows models.yaml and price lists; knows no SDK: adapters are made by the functions handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import assert_never

import genai_prices

from bot.ports import Model, ModelAnswer, ModelError, ModelRequest, OnText, Usage
from policy.axes import ActionClass
from policy.model_rules import Adapter, ModelName, Models, Price

log = logging.getLogger(__name__)

_MILLION = Decimal(1_000_000)
_STRICTEST_LAST = (
    ActionClass.READ,
    ActionClass.REVERSIBLE_WRITE,
    ActionClass.EXTERNAL_SEND,
    ActionClass.IRREVERSIBLE,
)


class RoutingError(Exception):
    """The models as configured cannot serve. `str(e)` says what to change."""


class UnknownPrice(RoutingError):
    """Nobody knows what a model costs. Never counted as nothing."""


class Router:
    """Turns action classes into models and usage into dollars.

    `make` holds the adapters that are configured; each model is made once, when it is first needed.

    Raises:
        RoutingError: no model named in models.yaml has a configured adapter, or two share a name.
        UnknownPrice: a model that would be used has no price.
    """

    def __init__(self, models: Models, make: Mapping[Adapter, Callable[[str], Model]]) -> None:
        self._models = models
        self._make = make
        self._made: dict[ModelName, Model] = {}
        self._by_name: dict[str, ModelName] = {}
        for named in dict.fromkeys((*models.default, *(m for route in models.routes.values() for m in route))):
            if named.adapter in make:
                self._admit(named)
        if not any(named.adapter in make for named in models.default):
            wanted = ", ".join(str(named) for named in models.default) or "nothing"
            raise RoutingError(
                f"models.yaml names {wanted} as default, but no such model is configured. "
                "Set ANTHROPIC_API_KEY, OPENAI_API_KEY or OPENAI_BASE_URL, or name another model."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Every model that may serve, as the audit calls it."""
        return tuple(self._by_name)

    def model(self, classes: Iterable[ActionClass] = ()) -> Model:
        """The model for a turn in which tools of `classes` are offered: the route of the strictest of them."""
        strictest = max(classes, key=_STRICTEST_LAST.index, default=None)
        named = [n for n in self._models.route(strictest) if n.adapter in self._make]
        chosen = named or [n for n in self._models.default if n.adapter in self._make]
        models = tuple(self._one(name) for name in chosen)
        return models[0] if len(models) == 1 else InOrder(models)

    def price(self, model: str, usage: Usage) -> Decimal:
        """What `usage` of `model` costs in US dollars.

        Raises:
            UnknownPrice: the model is in no price list.
        """
        named = self._by_name.get(model)
        if named is None:
            raise UnknownPrice(f"{model} is not in models.yaml, so nobody knows what it costs.")
        return _price(named, self._models.prices.get(str(named)), usage)

    def _admit(self, named: ModelName) -> None:
        other = self._by_name.setdefault(named.model, named)
        if other != named:
            raise RoutingError(
                f"models.yaml names {named.model} under two adapters, {other.adapter} and {named.adapter}: "
                "the audit could not tell them apart. Keep one."
            )
        self.price(named.model, Usage(1, 1))

    def _one(self, named: ModelName) -> Model:
        if named not in self._made:
            self._made[named] = self._make[named.adapter](named.model)
        return self._made[named]


class Routes:
    """The router of models.yaml as it is now. A reload that cannot serve keeps the models before it and says so.

    Raises:
        RoutingError: when it is made, as `Router` does.
    """

    def __init__(self, models: Callable[[], Models], make: Mapping[Adapter, Callable[[str], Model]]) -> None:
        self._models = models
        self._make = make
        self._seen = models()
        self._routers = [Router(self._seen, make)]

    def model(self, classes: Iterable[ActionClass] = ()) -> Model:
        """See `Router.model`."""
        return self._now().model(classes)

    def price(self, model: str, usage: Usage) -> Decimal:
        """See `Router.price`. A turn that began before a reload is priced as it began."""
        self._now()
        for router in self._routers[:-1]:
            if model in router.names:
                return router.price(model, usage)
        return self._routers[-1].price(model, usage)

    def _now(self) -> Router:
        models = self._models()
        if models is not self._seen:
            self._seen = models
            try:
                self._routers.insert(0, Router(models, self._make))
            except RoutingError as error:
                log.error("The models were not changed; those before the reload still serve. %s", error)
        return self._routers[0]


class InOrder:
    """The first of several models that answers. What one has streamed already is not streamed again by the next."""

    def __init__(self, models: tuple[Model, ...]) -> None:
        self._models = models

    @property
    def name(self) -> str:
        """Of the model asked first; an answer names the one that gave it."""
        return self._models[0].name

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        faults: list[ModelError] = []
        shown = False

        async def show(text: str) -> None:
            nonlocal shown
            shown = True
            if on_text is not None:
                await on_text(text)

        for model in self._models:
            try:
                # Once something has been shown, the whole answer settles it: two beginnings would confuse.
                return await model.answer(request, None if shown or on_text is None else show)
            except ModelError as fault:
                log.warning("%s gave no answer: %s", model.name, fault)
                faults.append(fault)
        waits = [fault.retry_after_s for fault in faults if fault.retry_after_s is not None]
        raise ModelError(
            " ".join(dict.fromkeys(str(fault) for fault in faults)),
            retry_after_s=min(waits, default=None),
            transient=any(fault.transient for fault in faults),
        )


def _price(named: ModelName, own: Price | None, usage: Usage) -> Decimal:
    """A price in models.yaml wins: the house knows what it pays."""
    if own is not None:
        return (own.input * usage.input_tokens + own.output * usage.output_tokens) / _MILLION
    match named.adapter:
        case Adapter.OFFLINE:
            return Decimal(0)  # it runs in this process; there is nobody to pay
        case Adapter.ANTHROPIC:
            return _listed(named, "anthropic", usage)
        case Adapter.OPENAI:
            return _listed(named, "openai", usage)
        case Adapter.OPENAI_CHAT:
            raise UnknownPrice(_unknown(named))
        case _:
            assert_never(named.adapter)


def _listed(named: ModelName, provider: str, usage: Usage) -> Decimal:
    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        return genai_prices.calc_price(counted, named.model, provider_id=provider).total_price
    except LookupError as unknown:
        raise UnknownPrice(_unknown(named)) from unknown


def _unknown(named: ModelName) -> str:
    return (
        f"Nobody knows what {named} costs. Add it to models.yaml under prices, in dollars per million tokens: "
        f'"{named}": {{input: 0.40, output: 0.60}}'
    )
