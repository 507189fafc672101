"""`ingot`: runs a command and turns whatever happens into an exit code, a line, or a JSON document.

    0 good   1 fault   2 usage   3 partial: something was lost   130 interrupted

The only place that catches everything. Imports are inside functions here and in `ingot/cli`: `ingot --help` must not
wait for numpy.
"""

# ruff: noqa: PLC0415 # start-up time, as said above
from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.faults import Fault

TRACEBACK = "INGOT_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; its exit code."""
    try:
        try:
            return _main(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        _silence_stdout()
        return 1
    except KeyboardInterrupt:  # outside of a command: while it was being imported, say
        return 130


def _main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    # Else numpy's BLAS starts a thread a core that spins for 0.1 s; nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from ingot.cli.exits import Exit
    from ingot.cli.screen import Screen

    screen = Screen(as_json="--json" in arguments)
    try:
        return _run(arguments, screen)
    except KeyboardInterrupt:
        from ingot.faults import Interrupted

        return screen.fault(Interrupted("interrupted"))
    except BrokenPipeError:
        raise
    except Exception as error:  # the one place where the unexpected is caught
        if os.environ.get(TRACEBACK):
            raise
        fault = _fault_of(error)
        return Exit.USAGE if fault is None else screen.fault(fault)


def _run(arguments: list[str], screen: object) -> int:
    from typer.main import get_command

    from ingot.cli.app import app

    try:
        code = get_command(app).main(arguments, prog_name="ingot", standalone_mode=False, obj=screen)
    except SystemExit as ended:  # typer's own way to end, on a closed pipe
        code = ended.code
    if code == 130:  # typer's own way to tell of Ctrl-C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _fault_of(error: Exception) -> Fault | None:
    """What is told of an exception: a fault as it is, typer's complaints as usage, anything else as unexpected.

    None when all was told: a command line without a command has shown the help.
    """
    from typer import Abort, TyperException

    from ingot.faults import Interrupted, Unexpected, UsageWrong
    from runtime.faults import Fault

    if isinstance(error, Fault):
        return error
    if isinstance(error, Abort):
        return Interrupted("interrupted")
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "ingot"
        message = " ".join(error.format_message().split())
        if not message:
            return None
        return UsageWrong(f"{message} (`{command} --help` shows what there is)")
    what = str(error) or "no message"
    return Unexpected(f"{type(error).__name__}: {what}; {TRACEBACK}=1 in the environment shows where it comes from")


def _interrupt(_signal: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _silence_stdout() -> None:
    """Python flushes stdout once more when it ends; that must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
