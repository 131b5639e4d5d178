"""A running product on each database, with the model that asks for a refund and a mail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.product import Product, running
from tests.kit.scripted import refund_and_mail


@pytest.fixture
async def product(engine_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    async with running(engine_url, f"sqlite:///{tmp_path / 'business.sqlite'}", refund_and_mail) as made:
        yield made
