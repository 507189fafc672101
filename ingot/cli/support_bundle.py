"""`ingot support-bundle`: logs, settings and findings in one file, without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of
from ingot.cli.service.asking import Authority, CommServe, TokenFile
from ingot.quantities import count_text


def support_bundle(
    context: typer.Context,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The bundle, a .tar.gz.")] = Path("ingot-support.tar.gz"),
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="INGOT_STATE", help="The state of `ingot up`, if elsewhere.")
    ] = None,
    commserve: CommServe = None,
    token_file: TokenFile = None,
    authority: Authority = None,
    json: options.Json = False,
) -> int:
    """Collect what somebody needs who helps from afar: logs, settings, versions, jobs, what `doctor` finds.

    No keys and no tokens; what looks like one in a log is struck out. Look into it before you send it.
    """
    import time
    from contextlib import ExitStack

    from ingot.allinone import default_state
    from ingot.diagnosis import diagnose
    from ingot.rest import Connection, Rest
    from ingot.support import parts, write_bundle
    from runtime.faults import Fault

    screen = screen_of(context, json)
    place = state or default_state()
    with ExitStack() as stack:
        rest = None
        try:
            rest = stack.enter_context(Rest(Connection.of(commserve, token_file, authority, place)))
        except Fault as fault:
            screen.note(f"nothing of a CommServe is in it: {fault}")
        found = diagnose(None, None)
        document = {**found.findings, "problems": found.problems}
        files = write_bundle(to, parts(place, document, rest), int(time.time()))
    lines = [f"{to}: {count_text(files, 'file')}; look into it before you send it: tar tzf {to}"]
    return screen.result({"bundle": str(to.absolute()), "files": files}, lines)
