"""A daemon's command line: `--config FILE`, and `--check` to read it and stop.

0 good   1 fault   2 the command or its settings make no sense
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from runtime.faults import Fault, UsageFault
from runtime.settings import load, shown
from runtime.version import VERSION

T = TypeVar("T")


def run(name: str, settings: type[T], serve: Callable[[T], None], arguments: Sequence[str] | None = None) -> int:
    """Serve until the daemon ends; the exit code. A fault is one line on stderr, with its code."""
    parser = argparse.ArgumentParser(name, description=f"{name}; docs/operations.md describes the settings")
    parser.add_argument("--version", action="version", version=f"{name} {VERSION}")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, TOML")
    parser.add_argument("--check", action="store_true", help="only say what the settings are, without secrets")
    asked = parser.parse_args(arguments)
    try:
        loaded = load(settings, asked.config)
        if asked.check:
            print(json.dumps(shown(loaded), indent=1))
        else:
            serve(loaded)
    except Fault as fault:
        print(f"{name}: {fault} [{fault.code}]", file=sys.stderr)
        return 2 if isinstance(fault, UsageFault) else 1
    return 0
