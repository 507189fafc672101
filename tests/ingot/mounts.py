"""`ingot mount` as a process of its own, ready and ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.ingot.front_door import FrontDoor, finish, start


class Mount:
    """A running `ingot mount`, made."""

    def __init__(self, process: Any, said: str) -> None:
        self.process = process
        self.said = said

    @property
    def document(self) -> Any:
        return json.loads(self.said)

    @property
    def url(self) -> str:
        url: str = self.document["disks"][0]["url"]
        return url

    def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Exit code, and what was said on stderr."""
        self.process.send_signal(how)
        ran = finish(self.process)
        assert ran.out == ""  # one document, and nothing behind it
        return ran.code, ran.err


@contextmanager
def mount(door: FrontDoor, *arguments: str | Path, last_line: str = "}") -> Iterator[Mount]:
    """Mount something; what the last line that is said begins with tells that it is made."""
    process = start(door.directory, ["mount", *arguments])
    try:
        said = ""
        while not said.endswith("\n") or not said.splitlines()[-1].startswith(last_line):
            line = process.stdout.readline()
            assert line, process.communicate()
            said += line
        yield Mount(process, said)
    finally:
        process.kill()
        process.communicate()


def socket_of(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["socket"][0])
