"""COUNTERSIGN_QUERY_LOGINS: one read-only login an organisation, never shown."""

from __future__ import annotations

import pytest

from bot.settings import SettingsError, read

ACME = "postgresql://acme_ro:pw1@127.0.0.1/shop"
BETA = "postgresql://beta_ro:pw2@127.0.0.1/shop"


def test_each_organisation_has_its_login() -> None:
    settings = read({"COUNTERSIGN_QUERY_LOGINS": f"acme={ACME}  beta={BETA}"})
    logins = {tenant: login.reveal() for tenant, login in settings.credentials.query_logins}
    assert logins == {"acme": ACME, "beta": BETA}
    assert "pw1" not in repr(settings)


def test_none_is_none() -> None:
    assert read({}).credentials.query_logins == ()


@pytest.mark.parametrize(
    "text", ["acme", f"={ACME}", "acme=mysql://x", f"acme={ACME} acme={BETA}", f"acme={ACME} beta={ACME}"]
)
def test_what_is_no_login_or_is_shared_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read({"COUNTERSIGN_QUERY_LOGINS": text})
    assert "COUNTERSIGN_QUERY_LOGINS" in str(refused.value)
    assert "pw1" not in str(refused.value)
