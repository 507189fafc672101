"""`ingot config`: what a service's settings file says, before the service is started with it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of

configs = typer.Typer(no_args_is_help=True, help="Settings files of services.")


class Service(Enum):
    """Whose settings they are."""

    COMMSERVE = "commserve"
    MEDIAAGENT = "mediaagent"
    VSA = "vsa"


File = Annotated[Path, typer.Argument(metavar="FILE", help="A settings file, TOML.")]
Of = Annotated[
    Service | None, typer.Option("--service", metavar="NAME", help="commserve, mediaagent or vsa; else as FILE says.")
]


@configs.command("check")
def check(context: typer.Context, file: File, service: Of = None, json: options.Json = False) -> int:
    """Read a settings file as its service would, and stop. Exit code 2 says what is wrong with it."""
    found = _load(file, service)
    return screen_of(context, json).result(found, [f"{file}: good"])


@configs.command("show")
def show(context: typer.Context, file: File, service: Of = None, json: options.Json = False) -> int:
    """Show all settings, those that are not in the file with what they are then. Of secrets only where they lie."""
    found = _load(file, service)
    return screen_of(context, json).result(found, _lines("", found))


def _load(file: Path, service: Service | None) -> dict[str, Any]:
    from ingot.faults import UsageWrong
    from runtime.settings import load, shown

    name = service.value if service is not None else file.stem
    if name == Service.COMMSERVE.value:
        from commserve.settings import CommServeSettings

        return shown(load(CommServeSettings, file))
    if name == Service.MEDIAAGENT.value:
        from mediaagent.settings import MediaAgentSettings

        return shown(load(MediaAgentSettings, file))
    if name == Service.VSA.value:
        from vsa.settings import VsaSettings

        return shown(load(VsaSettings, file))
    raise UsageWrong(f"{file}: expected commserve.toml, mediaagent.toml or vsa.toml, or --service")


def _lines(before: str, settings: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in settings.items():
        if isinstance(value, dict):
            lines += _lines(f"{before}{name}.", value)
        else:
            lines.append(f"{before}{name} = {value}")
    return lines
