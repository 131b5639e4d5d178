"""`countersign teams package`: what Teams would refuse, what is asked for, and that nothing more is."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from typer.testing import CliRunner

from bot.cli import app
from bot.teams.package import App, PackageError, manifest, package

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests/rigs/teams/schemas/teams-manifest-1.30.schema.json").read_text())
APP_ID = "5b8f0d6a-7c1e-4f5a-8d2b-3e9a1c4f6b20"
SITE = "https://countersign.acme.example"
ACME = App(APP_ID, "1.2.3", "Acme GmbH", SITE, f"{SITE}/privacy", f"{SITE}/terms")
SSO = replace(ACME, sso_resource=f"api://botid-{APP_ID}", base_url=SITE)


def opened(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def problems(made: Any) -> list[str]:
    return [f"{list(error.path)}: {error.message[:120]}" for error in Draft4Validator(SCHEMA).iter_errors(made)]


@pytest.mark.parametrize("one", [ACME, SSO])
def test_the_manifest_is_what_the_schema_asks_for(one: App) -> None:
    made = json.loads(opened(package(one))["manifest.json"])
    assert problems(made) == []
    assert made["$schema"].endswith(f"/v{made['manifestVersion']}/MicrosoftTeams.schema.json")
    assert SCHEMA["properties"]["manifestVersion"]["const"] == made["manifestVersion"]
    assert (made["id"], made["bots"][0]["botId"], made["version"]) == (APP_ID, APP_ID, "1.2.3")
    assert "" not in json.loads(json.dumps(list(made.values()), default=str))


def test_the_schema_would_notice() -> None:
    """It is no schema that passes anything."""
    made = manifest(ACME)
    assert problems({**made, "id": "no-guid"})
    assert problems({**made, "tabs": []})
    assert problems({**made, "bots": [{"botId": APP_ID}]})


def test_the_zip_holds_the_manifest_and_its_icons_and_nothing_else() -> None:
    files = opened(package(ACME))
    made = json.loads(files["manifest.json"])
    assert set(files) == {"manifest.json", *made["icons"].values()}
    assert _size(files[made["icons"]["color"]]) == (192, 192)
    assert _size(files[made["icons"]["outline"]]) == (32, 32)
    assert _size(files[made["icons"]["color32x32"]]) == (32, 32)
    assert len(package(ACME)) < 100_000


def test_the_outline_is_white_on_nothing() -> None:
    """Teams refuses an outline with another colour, or with a background."""
    pixels = _pixels(opened(package(ACME))["outline.png"])
    drawn = [(r, g, b) for r, g, b, a in pixels if a]
    assert set(drawn) == {(255, 255, 255)}
    assert 100 < len(drawn) < 600


def test_the_same_words_make_the_same_bytes() -> None:
    assert package(ACME) == package(replace(ACME))
    assert package(ACME) != package(replace(ACME, version="1.2.4"))


def test_no_more_is_asked_for_than_what_the_docs_explain() -> None:
    made = manifest(ACME)
    asked = {"permissions": ["identity", "messageTeamMembers"], "scopes": ["personal", "team", "groupChat"]}
    assert made["permissions"] == asked["permissions"]
    bot: Any = made["bots"]
    assert bot[0]["scopes"] == asked["scopes"]
    assert not any(bot[0][what] for what in ("supportsFiles", "supportsCalling", "supportsVideo"))
    closed = {"configurableTabs", "staticTabs", "composeExtensions", "connectors", "devicePermissions", "authorization"}
    assert not closed & set(made), "no tabs, no extensions, no rights to read what was not written to it"
    docs = (ROOT / "docs/teams.md").read_text()
    for word in (*asked["permissions"], *asked["scopes"], "supportsChannelFeatures", "webApplicationInfo"):
        assert f"`{word}`" in docs, word
    assert made["validDomains"] == []
    assert "webApplicationInfo" not in made


def test_single_sign_on_names_this_app_and_this_host_alone() -> None:
    made = manifest(SSO)
    assert made["webApplicationInfo"] == {"id": APP_ID, "resource": f"api://botid-{APP_ID}"}
    assert made["validDomains"] == ["countersign.acme.example"]


def test_the_menu_has_what_the_bot_understands() -> None:
    bot: Any = manifest(ACME)["bots"]
    lists = {tuple(one["scopes"]): one["commands"] for one in bot[0]["commandLists"]}
    assert {scope for scopes in lists for scope in scopes} == set(bot[0]["scopes"])
    for commands in lists.values():
        # What Teams shows: https://learn.microsoft.com/microsoftteams/platform/bots/how-to/create-a-bot-commands-menu
        assert len(commands) <= 10
        basic = {one["title"] for one in commands if one.get("type") != "prompt"}
        assert basic == {"help", "whoami", "pending", "status", "link", "kill", "resume"}
        assert all(len(one["title"]) <= 32 and len(one["description"]) <= 128 for one in commands)
    prompts = [one for one in lists["personal",] if one.get("type") == "prompt"]
    assert len(prompts) == 3
    assert all(one["prompt"] for one in prompts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"app_id": "acme"}, "no GUID"),
        ({"app_id": APP_ID + "0"}, "no GUID"),
        ({"version": "1.2"}, "no version"),
        ({"version": "01.2.3"}, "no version"),
        ({"version": "1.2.3\n"}, "no version"),
        ({"developer": "A" * 33}, "1 to 32"),
        ({"developer": " "}, "1 to 32"),
        ({"website": "http://acme.example"}, "no https address"),
        ({"privacy": "javascript:alert(1)"}, "no https address"),
        ({"terms": "https:///terms"}, "no https address"),
    ],
)
def test_what_teams_would_refuse_is_refused_here(change: dict[str, str], said: str) -> None:
    with pytest.raises(PackageError, match=said):
        package(replace(ACME, **change))


# --- the command ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    out: str
    err: str


@pytest.fixture
def teams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith(("TEAMS_", "COUNTERSIGN_"))]:
        monkeypatch.delenv(name)

    def run(*words: str) -> Said:
        done = CliRunner().invoke(app, ["teams", *words], prog_name="countersign")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return run


def test_the_command_writes_it_from_the_settings(
    teams: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAMS_APP_ID", APP_ID)
    monkeypatch.setenv("TEAMS_APP_PASSWORD", "a-password-that-nobody-prints")
    monkeypatch.setenv("TEAMS_TENANT_ID", "11111111-1111-4111-8111-111111111111")
    monkeypatch.setenv("TEAMS_SSO_RESOURCE", f"api://botid-{APP_ID}")
    monkeypatch.setenv("COUNTERSIGN_BASE_URL", SITE)
    said = teams("package")
    assert said.status == 0, said.err
    assert "Upload it" in said.out
    raw = (tmp_path / "countersign-teams.zip").read_bytes()
    assert b"a-password-that-nobody-prints" not in raw
    made = json.loads(opened(raw)["manifest.json"])
    assert problems(made) == []
    assert made["webApplicationInfo"]["id"] == APP_ID
    assert made["developer"]["websiteUrl"] == SITE
    again = teams("package", "--json", "--app-version", "2.0.0", "--out", "two.zip", "--developer", "Acme GmbH")
    assert json.loads(again.out) == {
        "file": "two.zip",
        "app_id": APP_ID,
        "version": "2.0.0",
        "bytes": len((tmp_path / "two.zip").read_bytes()),
    }


def test_the_command_needs_no_secret(teams: Callable[..., Said], tmp_path: Path) -> None:
    said = teams("package", "--app-id", APP_ID, "--website", SITE, "--sso-resource", f"api://botid-{APP_ID}")
    assert said.status == 0, said.err
    assert (tmp_path / "countersign-teams.zip").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("package", "--website", SITE), "TEAMS_APP_ID"),
        (("package", "--app-id", APP_ID), "COUNTERSIGN_BASE_URL"),
        (("package", "--app-id", "x", "--website", SITE), "no GUID"),
    ],
)
def test_the_command_says_what_is_missing(
    teams: Callable[..., Said], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = teams(*words)
    assert done.status == 2
    assert said in done.err
    assert "No package was written." in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(teams: Callable[..., Said], tmp_path: Path) -> None:
    done = teams("package", "--app-id", APP_ID, "--website", SITE, "--out", str(tmp_path / "no/where.zip"))
    assert done.status == 1
    assert "No package was written" in done.err


def test_the_package_is_made_without_the_bot_framework() -> None:
    """An admin's laptop makes it: what is not needed is not imported."""
    code = (
        "import sys, bot.cli_teams, bot.teams.package;"
        "print([m for m in sys.modules if m.split('.')[0] in ('botbuilder', 'botframework', 'msrest')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_pyproject_ships_the_folder() -> None:
    packaged = re.search(r"^bot = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packaged is not None
    assert {'"**/*.png"', '"**/*.json"'} <= set(packaged[1].split(", "))


# --- reading PNG ------------------------------------------------------------------------------------------


def _chunks(raw: bytes) -> dict[bytes, bytes]:
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    found: dict[bytes, bytes] = {}
    at = 8
    while at < len(raw):
        length, kind = struct.unpack(">I4s", raw[at : at + 8])
        found[kind] = found.get(kind, b"") + raw[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def _size(raw: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", _chunks(raw)[b"IHDR"][:8])
    return width, height


def _pixels(raw: bytes) -> list[tuple[int, int, int, int]]:
    """Every pixel of an RGBA picture of eight bits (PNG's five filters, undone)."""
    chunks = _chunks(raw)
    width, height, depth, kind, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, kind) == (8, 6)
    data, row = zlib.decompress(chunks[b"IDAT"]), bytearray(width * 4)
    found: list[tuple[int, int, int, int]] = []
    for line in range(height):
        start = line * (width * 4 + 1)
        how, above, row = data[start], row, bytearray(data[start + 1 : start + 1 + width * 4])
        for at in range(len(row)):
            left, up = (row[at - 4] if at >= 4 else 0), above[at]
            corner = above[at - 4] if at >= 4 else 0
            near = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            row[at] = (row[at] + (0, left, up, (left + up) // 2, near)[how]) & 255
        found += [(row[at], row[at + 1], row[at + 2], row[at + 3]) for at in range(0, len(row), 4)]
    return found
