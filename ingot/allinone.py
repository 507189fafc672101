"""`ingot up`: CommServe, MediaAgent and VSA on one machine, as children of one process.

    state/
        commserve.toml mediaagent.toml vsa.toml     made once; change them as you like
        commserve/ mediaagent/ vsa/                 what each keeps, keys and certificates too
        repository/                                 the first pool
        restored/                                   where restores to files land
        logs/                                       what each says, JSON
        client.json                                 how the command line finds all this

Children, not threads: one interpreter lock must not serve people and data.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ingot.children import Child
from ingot.faults import UpFailed
from ingot.rest import CLIENT_FILE, Connection, Rest
from proto.agent.joining import NotJoined, join, load_membership
from runtime.certificates import write_private
from runtime.clock import Clock

_START_SECONDS = 60.0
_LOOK_SECONDS = 0.2
POOL = "default"
SERVICES = ("commserve", "mediaagent", "vsa")


def default_state() -> Path:
    """Where `ingot up` keeps everything unless told."""
    told = os.environ.get("INGOT_STATE")
    if told:
        return Path(told)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "ingot" / "up"


@dataclass(frozen=True)
class Ports:
    """Where the services listen, all on loopback; `first` and those after it."""

    first: int = 8400

    @staticmethod
    def of(state: Path, asked: int | None) -> Ports:
        """Those that the settings in `state` were made with, or `asked`. Raises UpFailed when they disagree."""
        try:
            kept = int(json.loads((state / CLIENT_FILE).read_text())["first_port"])
        except (OSError, ValueError, KeyError, TypeError):
            return Ports() if asked is None else Ports(asked)
        if asked not in (None, kept):
            raise UpFailed(f"--port {asked}: the settings in {state} were made for {kept}; change them there")
        return Ports(kept)

    @staticmethod
    def free() -> Ports:
        """Some that nobody has now."""
        while True:
            ports = Ports(random.SystemRandom().randrange(20_000, 30_000, 10))
            with ExitStack() as stack:
                try:
                    for port in (*range(ports.first, ports.first + 4), *map(ports.metrics, SERVICES)):
                        stack.enter_context(socket.create_server(("127.0.0.1", port)))
                except OSError:
                    continue
                return ports

    @property
    def rest(self) -> int:
        return self.first

    @property
    def agents(self) -> int:
        return self.first + 1

    @property
    def control(self) -> int:
        return self.first + 2

    @property
    def data(self) -> int:
        return self.first + 3

    def metrics(self, service: str) -> int:
        return self.first + 1000 + SERVICES.index(service)


class AllInOne:
    """One for each state directory. `start`, then `stop`; in between its children are kept running."""

    def __init__(self, state: Path, ports: Ports, clock: Clock, tell: Callable[[str], None]) -> None:
        """`tell` gets a line for people about what happens later."""
        self.state = state.absolute()
        self.url = f"http://127.0.0.1:{ports.rest}"
        self.ports = ports
        self._clock = clock
        self._tell = tell
        self._children: list[Child] = []

    @property
    def token_file(self) -> Path:
        """The first administrator's token; the CommServe makes it."""
        return self.state / "commserve" / "first-token"

    def start(self) -> None:
        """On return all three run, know one another, and there is a pool. Raises UpFailed."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.state / "restored").mkdir(mode=0o700, exist_ok=True)
        for service in SERVICES:
            path = self.state / f"{service}.toml"
            if not path.exists():
                write_private(path, self._settings(service).encode())
        client = {"url": self.url, "token_file": str(self.token_file), "first_port": self.ports.first}
        write_private(self.state / CLIENT_FILE, json.dumps(client, indent=1).encode())
        self._begin("commserve")
        self._await("the CommServe", self._answers)
        with Rest(Connection(self.url, self.token_file)) as rest:
            for role in ("mediaagent", "vsa"):
                self._join(rest, role)
                self._begin(role)
            self._await("the agents", lambda: self._agents_active(rest))
            self._make_pool(rest)

    def stop(self) -> None:
        """Drain: the VSA first, so that what it does can end; the CommServe last, so that it hears how."""
        for child in reversed(self._children):
            child.stop()

    def pids(self) -> dict[str, int | None]:
        """Of the children."""
        return {child.name: child.pid for child in self._children}

    def _begin(self, service: str) -> None:
        command = [sys.executable, "-m", service, "--config", str(self.state / f"{service}.toml")]
        child = Child(service, command, self.state / "logs" / f"{service}.log", self._clock, self._died)
        self._children.append(child)
        child.start()

    def _died(self, name: str, code: int) -> None:
        self._tell(f"{name} ended with {code} and is started again; {self.state}/logs/{name}.log says why")

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        pause = threading.Event()
        deadline = self._clock.monotonic_seconds() + _START_SECONDS
        while not ready():
            if self._clock.monotonic_seconds() > deadline:
                raise UpFailed(f"{what} did not start within {_START_SECONDS:.0f} s; see {self.state}/logs")
            pause.wait(_LOOK_SECONDS)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v1/health", trust_env=False).is_success and self.token_file.exists()
        except httpx.HTTPError:
            return False

    def _join(self, rest: Rest, role: str) -> None:
        try:
            load_membership(self.state / role)
        except NotJoined:
            token = str(rest.post("/join-tokens", {"role": role, "name": role})["token"])
            addresses = []
            if role == "mediaagent":
                addresses = [f"loopback=127.0.0.1:{self.ports.control}:{self.ports.data}"]
            join(self.url, token, role, role, addresses, self.state / role)

    def _agents_active(self, rest: Rest) -> bool:
        found = {agent["role"] for agent in rest.all("/agents") if agent["state"] == "active"}
        return found >= {"mediaagent", "vsa"}

    def _make_pool(self, rest: Rest) -> None:
        if not any(True for _ in rest.all("/pools")):
            agents = [agent["id"] for agent in rest.all("/agents", role="mediaagent")]
            url = (self.state / "repository").as_uri()
            rest.post("/pools", {"name": POOL, "url": url, "agents": agents})
        self._await("the pool", lambda: self._pool_ready(rest))

    def _pool_ready(self, rest: Rest) -> bool:
        pools: list[dict[str, Any]] = list(rest.all("/pools"))
        failed = [pool for pool in pools if pool["state"] == "failed"]
        if failed:
            raise UpFailed(f"pool {failed[0]['name']} at {failed[0]['url']}: {failed[0]['reason']}")
        return all(pool["state"] == "ready" for pool in pools)

    def _settings(self, service: str) -> str:
        quoted = json.dumps  # a TOML basic string is a JSON string
        common = f"state = {quoted(str(self.state / service))}\nends_with_parent = true\n"
        metrics = f'\n[metrics]\nhost = "127.0.0.1"\nport = {self.ports.metrics(service)}\n'
        if service == "commserve":
            own = f'http = "127.0.0.1:{self.ports.rest}"\nagents = "127.0.0.1:{self.ports.agents}"\n'
        elif service == "mediaagent":
            own = f'control = "127.0.0.1:{self.ports.control}"\ndata = "127.0.0.1:{self.ports.data}"\n'
        else:
            own = f"landing = [{quoted(str(self.state / 'restored'))}]\n"
        return f"# Made by `ingot up`; docs/operations.md describes what may stand here.\n{common}{own}{metrics}"
