"""How a command speaks: lines for a person, or exactly one JSON document on stdout for a program.

For a person results go to stdout; notes, faults and progress to stderr. With `--json` everything is in the document,
faults too, and the exit code says which kind it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ingot.cli.exits import Exit

if TYPE_CHECKING:
    import typer

    from ingot.cli.progress import Bars
    from ingot.embedded import Progress
    from runtime.faults import Fault


class Screen:
    """One for each run. `result` or `fault` is called once."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.notes: list[str] = []  # what a person should know besides the result

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def tell(self, text: str) -> None:
        """Say something now, while a command runs that ends when somebody ends it."""
        print(f"ingot: {text}", file=sys.stderr, flush=True)

    def progress(self) -> AbstractContextManager[Progress]:
        """Bars on a terminal; nothing anywhere else."""
        from ingot.cli.progress import bars_on, silent

        return silent() if self.as_json or not sys.stderr.isatty() else bars_on()

    def following(self) -> AbstractContextManager[Bars]:
        """A bar for each job on a terminal; nothing anywhere else."""
        from ingot.cli.progress import job_bars, no_bars

        return no_bars() if self.as_json or not sys.stderr.isatty() else job_bars()

    def result(
        self,
        document: dict[str, Any] | list[Any],
        lines: Iterable[str],
        code: Exit = Exit.GOOD,
        *,
        stdout_taken: bool = False,
    ) -> int:
        """Say what came of it; the exit code. An array has no room for notes, so they go to stderr then.

        With `stdout_taken`, which no `--json` goes with, stdout is what the command made, and lines go to stderr.
        """
        if self.as_json:
            if isinstance(document, dict):
                document = {**document, "notes": self.notes}
            else:
                self._tell_notes()
            print(json.dumps(document, indent=2))
            return code
        sys.stdout.flush()
        self._tell_notes()
        for line in lines:
            print(line, file=sys.stderr if stdout_taken else sys.stdout)
        return code

    def fault(self, fault: Fault) -> int:
        """Say what went wrong, with the code by which docs/faults.md tells what to do; the exit code."""
        from ingot.faults import Interrupted
        from runtime.faults import UsageFault

        document = fault_document(fault)
        if self.as_json:
            print(json.dumps({"error": document, "notes": self.notes}, indent=2))
        else:
            self._tell_notes()
            print(f"ingot: {fault} [{document['code']}]", file=sys.stderr)
        if isinstance(fault, Interrupted):
            return Exit.INTERRUPTED
        return Exit.USAGE if isinstance(fault, UsageFault) else Exit.FAULT

    def _tell_notes(self) -> None:
        for note in self.notes:
            print(f"ingot: note: {note}", file=sys.stderr)


def fault_document(fault: Fault) -> dict[str, str]:
    """A fault as JSON has it."""
    code = getattr(fault, "remote_code", fault.code)  # of a service whose faults this program does not know
    retry = getattr(fault, "remote_retry", fault.retry)
    return {"code": code, "message": str(fault), "retry": retry.value}


def screen_of(context: typer.Context, as_json: bool) -> Screen:
    """The run's screen, from typer's context."""
    screen: Screen = context.obj
    screen.as_json = as_json
    return screen
