"""How old may be what is known of a person. Knows the limit and what to say; reads no table."""

from __future__ import annotations

from datetime import datetime

from bot.identity.tenants import Tenant
from bot.ports import Person


def stale(person: Person, tenant: Tenant, now: datetime, base_url: str) -> str | None:
    """Why `person` is not acted for until their company's directory or IdP is heard from; None: they are."""
    if person.confirmed_at is None or now - person.confirmed_at <= tenant.directory_max_age:
        return None
    since = f"since {person.confirmed_at:%-d %B %Y, %H:%M} UTC" if person.confirmed_at.year > 1970 else "ever"
    return (
        f"I have not heard from your company's directory {since}, so I cannot be sure that what I know of you still "
        f"holds. Nothing was done. Sign in at {base_url}/signin to go on, or ask the people who run your company's "
        "directory to look at its connection to Countersign."
    )
