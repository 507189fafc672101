"""A session at one vCenter, used by all threads of the agent.

    open --NotAuthenticated--> logged in again (a new generation) --close--> closed

`read` repeats a call whose session had run out or whose connection was cut: reading twice harms nobody. `call` is for
what changes something, and repeats nothing: its session is renewed for whoever comes next, and who called finds out
what became of it (`tasks.start` does so for tasks). What belongs to a session (views, collectors, filters, leases) ends
with it: `generation` tells.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from runtime.clock import Waiting
from runtime.faults import Fault
from runtime.logs import log
from vsa.faults import HypervisorRefused, HypervisorUnreachable, SessionLost
from vsa.hypervisors.vcenter.metrics import VcenterMetrics
from vsa.hypervisors.vcenter.rest import Rest
from vsa.hypervisors.vcenter.retrieval import Row, retrieve
from vsa.hypervisors.vcenter.stub import open_stub
from vsa.hypervisors.vcenter.tasks import Tasks
from vsa.hypervisors.vcenter.translation import translating
from vsa.hypervisors.vcenter.trust import Trust

R = TypeVar("R")

CALLS_AT_ONCE = 8
KEEP_ALIVE_SECONDS = 300.0  # a vCenter ends sessions that were idle for 30 minutes
_REFUSED_SECONDS = 300.0  # between logins with a password that was refused: more of them lock the account


class Connection:
    """Safe to use from several threads. Use as a context, or close it."""

    def __init__(
        self,
        address: str,
        user: str,
        password: str,
        trust: Trust,
        clock: Waiting,
        *,
        metrics: VcenterMetrics | None = None,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        """Logs in. Raises HypervisorUnreachable, CertificateRefused, HypervisorRefused."""
        self.address = address
        self.clock = clock
        self.generation = 0
        self._user = user
        self._password = password
        self.counts = (metrics or VcenterMetrics()).of(address)
        self._slots = threading.BoundedSemaphore(CALLS_AT_ONCE)
        self._lock = threading.Lock()
        self._refused: tuple[float, str] | None = None
        self._user_name = user
        self._closed = threading.Event()
        self.context = context = trust.context()
        self.stub = open_stub(address, context)
        self.tasks = Tasks(self)
        self.rest = Rest(address, user, password, context)
        try:
            with translating(address):
                self.content: Any = vim.ServiceInstance("ServiceInstance", self.stub).RetrieveContent()
            self.about: Any = self.content.about
            with self._lock:
                self._log_in()
        except BaseException:
            self.rest.close()
            self.stub.DropConnections()
            raise
        self._keeping = threading.Thread(
            target=self._keep_alive, args=(keep_alive_seconds,), name=f"keep-alive {address}", daemon=True
        )
        self._keeping.start()

    @property
    def is_vcenter(self) -> bool:
        """Else it is a single host: no tags, no folders, no roles of many."""
        return bool(self.about.apiType == "VirtualCenter")

    @property
    def instance_uuid(self) -> str:
        """Of the vCenter; empty for a host, which has none."""
        return str(self.about.instanceUuid or "").lower()

    @property
    def user(self) -> str:
        """As whom we are logged in, as the vCenter writes it: `VSPHERE.LOCAL\\backup`."""
        return self._user_name

    def read(self, ask: Callable[..., R], *arguments: Any, **named: Any) -> R:
        """Call what changes nothing; again, once, when the session had run out or the connection was cut."""
        generation = self.generation
        try:
            return self._once(ask, arguments, named)
        except SessionLost:
            self.log_in_again(generation)
        except HypervisorUnreachable:
            self.stub.DropConnections()
        return self._once(ask, arguments, named)

    def call(self, change: Callable[..., R], *arguments: Any, **named: Any) -> R:
        """Call what changes something, once. After SessionLost or HypervisorUnreachable it may have happened."""
        generation = self.generation
        try:
            return self._once(change, arguments, named)
        except SessionLost:
            self.log_in_again(generation)
            raise

    def wait_for(self, ask: Callable[..., R], *arguments: Any, **named: Any) -> R:
        """Call what answers when something happens: it takes no place among the calls at once, and repeats nothing."""
        with translating(self.address):
            return ask(*arguments, **named)

    def retrieve(self, kind: Any, paths: Sequence[str], container: Any = None) -> Iterator[Row]:
        """Every object of `kind` below `container` (else everywhere), with those of `paths` that it has and we may see.

        In pages, so that memory stays bounded. Each object comes once, also when the session ran out in between.
        """
        yield from retrieve(self, kind, paths, container)

    def properties(self, managed: Any, *paths: str) -> dict[str, Any]:
        """Of one object, in one call. Raises MachineMissing, ObjectMissing."""
        from_one = self.read(self._retrieve_one, managed, paths)
        return {each.name: each.val for content in from_one for each in content.propSet or []}

    def log_in_again(self, generation: int) -> None:
        """Unless somebody did since `generation`. Raises HypervisorRefused, HypervisorUnreachable."""
        with self._lock:
            if self.generation == generation:
                log().info("session ran out", address=self.address)
                self._log_in()
                self.generation += 1
                self.counts.logged_in_again()

    def retire(self) -> None:
        """Who works with it goes on; it is kept alive no longer, and ends by itself there."""
        self._closed.set()

    def close(self) -> None:
        """Log out; calls that run end with a fault."""
        self._closed.set()
        self._keeping.join()
        self.rest.close()
        try:
            self._once(self.content.sessionManager.Logout, (), {})
        except Fault as fault:
            log().info("log-out failed", address=self.address, code=fault.code, message=str(fault))
        self.stub.DropConnections()

    def _once(self, ask: Callable[..., R], arguments: Any, named: Any) -> R:
        with self._slots, self.counts.counted(), translating(self.address):
            return ask(*arguments, **named)

    def _log_in(self) -> None:
        now = self.clock.monotonic_seconds()
        if self._refused is not None and now < self._refused[0]:
            raise HypervisorRefused(self._refused[1])
        self.stub.SetSessionId(None)
        try:
            with translating(self.address):
                session = self.content.sessionManager.Login(self._user, self._password, None)
        except HypervisorRefused as fault:
            message = f"{self.address}: the user {self._user!r} or the password is not accepted"
            self._refused = now + _REFUSED_SECONDS, message
            raise HypervisorRefused(message) from fault
        self._refused = None
        self._user_name = str(session.userName)

    def _retrieve_one(self, managed: Any, paths: Sequence[str]) -> Any:
        collect = vmodl.query.PropertyCollector
        wanted = collect.PropertySpec(type=type(managed), pathSet=list(paths))
        spec = collect.FilterSpec(objectSet=[collect.ObjectSpec(obj=managed)], propSet=[wanted])
        return self.content.propertyCollector.RetrieveContents([spec])

    def _keep_alive(self, seconds: float) -> None:
        instance = vim.ServiceInstance("ServiceInstance", self.stub)
        while not self._closed.wait(seconds):
            try:
                # CurrentTime needs no session and renews none on some versions; the session's own key does.
                if self.read(lambda: self.content.sessionManager.currentSession) is None:
                    self.log_in_again(self.generation)
                self.read(instance.CurrentTime)
            except Fault as fault:
                log().warning("keep-alive failed", address=self.address, code=fault.code, message=str(fault))

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
