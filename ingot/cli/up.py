"""`ingot up`: all services on this machine."""

from __future__ import annotations

import signal
import sys
import threading
import types
from pathlib import Path
from typing import Annotated

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of


def up(
    context: typer.Context,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="INGOT_STATE", help="Where everything is kept; ~/.local/state/ingot/up."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1024, max=64000, help="The first of four ports on loopback; 8400 at first."),
    ] = None,
    json: options.Json = False,
) -> int:
    """Run CommServe, MediaAgent and VSA on this machine until Ctrl-C.

    Everything is made at the first start: settings, certificates, a repository, a token for you. The other commands on
    this machine find it by themselves. For one service a machine: docs/operations.md.

    Example:

        ingot up
    """
    from ingot.allinone import AllInOne, Ports, default_state
    from runtime.clock import SystemClock

    screen = screen_of(context, json)
    ended = threading.Event()

    def end(_number: int, _frame: types.FrameType | None) -> None:
        ended.set()

    place = state or default_state()
    services = AllInOne(
        place, Ports.of(place, port), SystemClock(), lambda line: print(f"ingot: {line}", file=sys.stderr)
    )
    try:
        services.start()
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        document = {
            "url": services.url,
            "token_file": str(services.token_file),
            "state": str(services.state),
            "pids": services.pids(),
        }
        lines = [
            f"Ingot is up at {services.url}",
            f"  token    {services.token_file}",
            f"  state    {services.state}",
            "  next     ingot hypervisor add lab --images DIR; ingot plan add daily; ingot rule add all --plan daily",
            "Ctrl-C ends it; what runs is finished or returned first.",
        ]
        screen.result(document, lines)
        sys.stdout.flush()
        ended.wait()
    finally:
        services.stop()
    return 0
