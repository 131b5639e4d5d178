"""scim2-server's own storage contract, whole, over our tables on both databases, strict and lenient."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from scim2_models import ScimProvider
from scim2_server.testing import ScimStorageContract
from scim2_server.utils import load_default_provider
from sqlmodel import SQLModel

from audit.writer import make_engine
from bot.identity.scim_provider import provider as described
from bot.identity.scim_storage import SqlStorage
from bot.identity.tables import ScimMember, ScimResource, table
from policy.model import TenantId


class TestOurProvider(ScimStorageContract):
    """What we announce. A second tenant holds the same names throughout: it must make no difference."""

    @pytest.fixture(params=["lenient", "strict"])
    def provider(self, request: pytest.FixtureRequest) -> ScimProvider:
        return described(lenient=request.param == "lenient")

    @pytest.fixture
    def storage(self, engine_url: str, provider: ScimProvider) -> Iterator[SqlStorage]:
        engine = make_engine(engine_url)
        SQLModel.metadata.create_all(engine, tables=[table(ScimResource), table(ScimMember)])
        with engine.begin() as conn, provider:
            other = SqlStorage(conn, TenantId("globex"), described=provider)
            self.fill(other, provider)
            yield SqlStorage(conn, TenantId("acme"), described=provider)
            assert self.names(other, provider) == ["alice", "bjensen", "bob"]
        engine.dispose()

    def fill(self, storage: SqlStorage, provider: ScimProvider) -> None:
        kind = next(one for one in provider.resource_types if one.id == "User")
        model: Any = provider.model_for(kind)
        for name in ("alice", "bob", "bjensen"):
            storage.create(kind, model(user_name=name))

    def names(self, storage: SqlStorage, provider: ScimProvider) -> list[str]:
        kind = next(one for one in provider.resource_types if one.id == "User")
        model: Any = provider.model_for(kind)
        page = storage.search([kind], self.search_request([model], sort_by="userName"))
        found: list[Any] = list(page.resources)
        return [str(one.user_name) for one in found]


class TestTheirProvider(TestOurProvider):
    """The RFC's schemas as the library ships them."""

    @pytest.fixture
    def provider(self) -> ScimProvider:
        return theirs()


@functools.cache
def theirs() -> ScimProvider:
    """Immutable, and a second's work to make."""
    return load_default_provider()


# Cursors (RFC 9865) are optional and not announced: the suite would skip its tests of them one by one.
for name in [name for name in dir(ScimStorageContract) if name.startswith("test_cursor_")]:
    setattr(TestOurProvider, name, None)
# Its base would be collected as a suite of its own, without a storage.
del ScimStorageContract
