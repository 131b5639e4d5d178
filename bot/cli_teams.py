"""`countersign teams package`: the app package that an admin uploads to Microsoft Teams. Speaks to nobody."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from bot.console import WRONG_USE, AsJson, Shell, answering, settings_of
from bot.settings import Settings

app = typer.Typer(help="Microsoft Teams.", no_args_is_help=True)

FILE = Path("countersign-teams.zip")


@app.callback()
def root() -> None:
    """Keeps `package` a word of its own, although it is the only one."""


@app.command()
def package(
    out: Annotated[Path, typer.Option(help="The zip that is written.")] = FILE,
    app_id: Annotated[str | None, typer.Option("--app-id", help="The bot's app id. Default: TEAMS_APP_ID.")] = None,
    app_version: Annotated[
        str | None,
        typer.Option("--app-version", help="Raise it to replace an uploaded package. Default: Countersign's."),
    ] = None,
    developer: Annotated[str, typer.Option(help="Who runs this installation, as Teams shows it.")] = "Countersign",
    website: Annotated[str | None, typer.Option(help="A page for people. Default: COUNTERSIGN_BASE_URL.")] = None,
    privacy: Annotated[str | None, typer.Option(help="Your privacy page. Default: the website.")] = None,
    terms: Annotated[str | None, typer.Option(help="Your terms of use. Default: the website.")] = None,
    sso_resource: Annotated[
        str | None, typer.Option("--sso-resource", help="api://… of single sign-on. Default: TEAMS_SSO_RESOURCE.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the app package: manifest and icons. Upload it in the Teams admin center."""
    from bot.teams import package as zipped

    with answering(as_json) as shell:
        settings = settings_of(False)
        site = website or _site(shell, settings)
        wanted = zipped.App(
            app_id=app_id or _app_id(shell, settings),
            version=app_version or _version(),
            developer=developer,
            website=site,
            privacy=privacy or site,
            terms=terms or site,
            sso_resource=sso_resource or (None if settings.teams is None else settings.teams.sso_resource),
            base_url=settings.base_url,
        )
        try:
            raw = zipped.package(wanted)
            out.write_bytes(raw)
        except zipped.PackageError as error:
            shell.fail(f"{error} No package was written.", WRONG_USE)
        except OSError as error:
            why = (error.strerror or "unwritable").lower()
            shell.fail(f"{out} cannot be written ({why}). No package was written: name another with --out.")
        if shell.as_json:
            shell.json({"file": str(out), "app_id": wanted.app_id, "version": wanted.version, "bytes": len(raw)})
            return
        shell.say(f"{out}: app {wanted.app_id}, version {wanted.version}.", "green")
        shell.say(
            "Upload it: Teams admin center, Teams apps, Manage apps, Upload new app. docs/teams.md says the rest."
        )


def _app_id(shell: Shell, settings: Settings) -> str:
    if settings.teams is None:
        shell.fail("Say which bot with --app-id, or set TEAMS_APP_ID. No package was written.", WRONG_USE)
    return settings.teams.app_id


def _site(shell: Shell, settings: Settings) -> str:
    if settings.base_url is None:
        shell.fail(
            "Teams shows people a page about the app. Set COUNTERSIGN_BASE_URL, or name one with --website. "
            "No package was written.",
            WRONG_USE,
        )
    return settings.base_url


def _version() -> str:
    try:
        return importlib.metadata.version("countersign")
    except importlib.metadata.PackageNotFoundError:
        return "0.1.0"
