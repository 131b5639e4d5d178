"""Whatever a model or an attacker puts into arguments: an answer or an `ActionError`, never anything else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.model import Json, ToolName
from tests.unit_actions.shop import Shop, context, open_shop
from tools.spec import ActionError, Args, CallContext, Certainty

Method = Callable[[CallContext, Args], Awaitable[object]]

_SPICE = st.sampled_from(
    [
        *(
            "1042",
            "#1042",
            "C-1007",
            "C-1013",
            "ada.lindqvist@example.com",
            "42.00",
            "USD",
            "JPY",
            "0.00",
            "999999999.99",
        ),
        *("customer", "order", "orders", "payments", "search", "phone", "note", "tier", "gold", "refund"),
        *("2026-11-01", "9999-12-31", "2026-W01-1", "'; DROP TABLE customers;--", "%", "_", "\\", "\x00", "\ud800"),
        *("a@b.example\r\nBcc: c@d.example", "SELECT * FROM customers", "SELECT 1; SELECT 2", "(" * 500, "\u2028"),
        *(
            "SELECT name FROM customers WHERE name LIKE '%a%'",
            "SELECT (SELECT (SELECT 1))",
            "WITH x AS (SELECT 1) SELECT",
        ),
    ]
)
_VALUES: st.SearchStrategy[Json] = st.one_of(
    _SPICE,
    st.text(max_size=60),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_NAMES = st.sampled_from(
    "kind key customer_id field value undo_of order_id since until sql to subject body amount currency reason".split()  # noqa: SIM905
)
_CALLS = itertools.count()


@pytest.fixture(scope="module")
def tough_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    with open_shop(f"sqlite:///{folder / 'shop.sqlite'}") as opened:
        yield opened


@pytest.mark.parametrize("tool", ["crm.read", "crm.write", "ledger.read", "db.query", "email.send", "refund.issue"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(args=st.dictionaries(_NAMES, _VALUES, max_size=16), fill=st.lists(_VALUES, min_size=16, max_size=16))
def test_nothing_but_action_errors_comes_out(
    tough_shop: Shop, tool: str, args: dict[str, Json], fill: list[Json]
) -> None:
    action = tough_shop.tools[ToolName(tool)].action
    properties = tough_shop.tools[ToolName(tool)].input_schema["properties"]
    assert isinstance(properties, dict)
    full = {**dict(zip(properties, fill, strict=False)), **args}
    ctx = context(f"hostile{next(_CALLS)}")

    async def refusal(method: Method) -> ActionError | None:
        try:
            await method(ctx, full)
        except ActionError as error:
            return error
        return None

    for method in (action.resolve, action.run, action.look_up):
        error = asyncio.run(refusal(method))
        if error is not None:
            assert error.certainty is Certainty.NOT_DONE
            assert str(error).endswith(".")
            assert "fault in the tool" not in str(error), (full, error.__cause__)
