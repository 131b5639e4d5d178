"""The tenants.yaml that people copy, and every piece of one that docs/identity*.md show, can be read as it stands."""

from __future__ import annotations

import re
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from bot.identity.downstream import DownstreamKind
from bot.identity.tenants import Preset, Tenants, read_tenants
from bot.messages import SurfaceName

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "tenants.yaml"
PAGE = "\n".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("identity*.md")))
PIECES = [piece for piece in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if piece.startswith(("issuers", "down"))]
AROUND = {
    "issuers": "{piece}tenants:\n  one: {{name: One, issuer: {issuer}}}\n",
    "downstreams": (
        "issuers:\n  idp: {{preset: oidc, issuer: https://idp.example, client_id: c, "
        "scopes: [openid, profile, offline_access]}}\n"
        "tenants:\n  one:\n    name: One\n    issuer: idp\n{piece}"
    ),
}


def _read(folder: Path, text: str) -> Tenants:
    """With every secret that the text names set to something."""
    path = folder / "tenants.yaml"
    path.write_text(text, encoding="utf-8")
    return read_tenants(path, dict.fromkeys(re.findall(r"client_secret_env: *([A-Z_]+)", text), "a secret"))


def test_the_example_serves_two_organisations(tmp_path: Path) -> None:
    tenants = _read(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    assert [tenant.name for tenant in tenants.tenants.values()] == ["Acme GmbH", "Globex Corporation"]
    assert [tenant.issuer.preset for tenant in tenants.tenants.values()] == [Preset.OKTA, Preset.ENTRA]
    assert [tenant.issuer.subject_claim for tenant in tenants.tenants.values()] == ["sub", "oid"]
    assert [tenant.directory_max_age for tenant in tenants.tenants.values()] == [timedelta(days=7), timedelta(days=1)]
    assert tenants.tenant_of(SurfaceName("slack"), "T01ACME") == "acme"
    assert tenants.tenant_of(SurfaceName("slack"), "T02GLOBEX") == "globex"
    assert all(tenant.issuer.client_secret is not None for tenant in tenants.tenants.values())
    assert tenants.warnings == ()


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: " ".join(piece.split()[:3]))
def test_what_the_page_shows_can_be_read(piece: str, tmp_path: Path) -> None:
    whole = textwrap.dedent(piece)
    if "\ntenants:" not in whole:
        kind = whole.partition(":")[0]
        issuer = re.findall(r"^  (\S+):$", whole, re.MULTILINE)[0]
        whole = AROUND[kind].format(piece=whole if kind == "issuers" else textwrap.indent(whole, "    "), issuer=issuer)
    assert _read(tmp_path, whole).warnings == ()


def test_the_page_has_an_example_of_every_way_to_a_downstream_token() -> None:
    shown = re.findall(r"^    kind: (\w+) +#", PAGE, re.MULTILINE)
    assert sorted(shown) == sorted(kind.value for kind in DownstreamKind)


def test_the_page_explains_every_preset() -> None:
    for preset in (Preset.OKTA, Preset.ENTRA, Preset.AUTH0, Preset.OIDC):
        assert f"preset: {preset.value}" in PAGE
