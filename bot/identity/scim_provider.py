"""What we announce over SCIM: the RFC's User, Group and enterprise extension, with two adjustments. Knows no storage.

Adjusted: `members.display` is read-only and returned on request, because we show each member's own name as it is now
instead of keeping what a client once called them; and `password` is taken and forgotten (it is not ours to know).
"""

from __future__ import annotations

import functools

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    ETag,
    External,
    Filter,
    Mutability,
    Patch,
    Reference,
    Returned,
    Schema,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
)
from scim2_server.utils import load_default_resource_types, load_default_schemas

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
USER, GROUP = "User", "Group"

MAX_OPERATIONS = 100
"""In one bulk request: it is one transaction, and on SQLite every other writer waits for it."""
MAX_BULK_BYTES = 1_048_576
MAX_RESULTS = 200

LENIENT = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
"""What Okta and Entra ID need: they send attributes nobody declared, and values to remove by."""
STRICT = ScimPolicy()
"""The RFCs to the letter."""


@functools.cache
def provider(*, lenient: bool = True) -> ScimProvider:
    """The description of the service. Immutable, made once."""
    return ScimProvider.from_discovery(
        tuple(_adjusted(schema) for schema in load_default_schemas().values()),
        load_default_resource_types().values(),
        config=_config(),
        policy=LENIENT if lenient else STRICT,
    )


def _adjusted(schema: Schema) -> Schema:
    if schema.id != GROUP_SCHEMA:
        return schema
    for attribute in schema.attributes or []:
        for sub in attribute.sub_attributes or []:
            if attribute.name == "members" and sub.name == "display":
                sub.mutability = Mutability.read_only
                sub.returned = Returned.request
    return schema


def _config() -> ServiceProviderConfig:
    return ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=True, max_operations=MAX_OPERATIONS, max_payload_size=MAX_BULK_BYTES),
        filter=Filter(supported=True, max_results=MAX_RESULTS),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="A token made with `countersign scim token create`, one per organisation.",
                spec_uri=Reference[External]("https://datatracker.ietf.org/doc/html/rfc6750"),
                primary=True,
            )
        ],
    )
