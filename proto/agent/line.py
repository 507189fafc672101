"""The line to the CommServe: an agent's calls, each with a deadline, faults instead of gRPC's errors."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import grpc

from proto import agents_pb2
from proto.agents_pb2_grpc import AgentsStub
from proto.channels import COMMSERVE_NAME, open_channel
from proto.faults import PeerUnreachable, calling
from runtime.certificates import Identity

_CALL_SECONDS = 30.0
_PAGES_SECONDS = 600.0


class Line:
    """Safe to use from several threads. Raises what `proto.faults.calling` does."""

    def __init__(self, address: str, identity: Identity) -> None:
        self._address = address
        self._peer = f"CommServe at {address}"
        self._lock = threading.Lock()
        self._leasing: grpc.Future[agents_pb2.LeaseReply] | None = None
        self._leases_no_more = False
        self._connect(identity)

    def _connect(self, identity: Identity) -> None:
        self._channel = open_channel(self._address, identity, COMMSERVE_NAME)
        self._stub = AgentsStub(self._channel)

    def use(self, identity: Identity) -> None:
        """The certificate for calls from now on; a call that runs ends with PeerUnreachable."""
        before = self._channel
        self._connect(identity)
        before.close()

    def register(self, request: agents_pb2.RegisterRequest) -> agents_pb2.RegisterReply:
        with calling(self._peer):
            return self._stub.Register(request, timeout=_CALL_SECONDS)

    def heartbeat(self, request: agents_pb2.HeartbeatRequest) -> agents_pb2.HeartbeatReply:
        with calling(self._peer):
            return self._stub.Heartbeat(request, timeout=_CALL_SECONDS)

    def lease(self, request: agents_pb2.LeaseRequest) -> agents_pb2.LeaseReply:
        """Waits for work, for as long as the request says or until `lease_no_more`."""
        with calling(self._peer):
            call = self._stub.Lease.future(request, timeout=_CALL_SECONDS + request.wait_seconds)
            with self._lock:
                self._leasing = call
                if self._leases_no_more:
                    call.cancel()
            try:
                return call.result()
            except grpc.FutureCancelledError as error:
                raise PeerUnreachable(f"{self._peer}: not asked for work any more") from error

    def lease_no_more(self) -> None:
        """Give up the call that waits for work, so that nothing is given to somebody who is about to end."""
        with self._lock:
            self._leases_no_more = True
            if self._leasing is not None:
                self._leasing.cancel()

    def report(self, request: agents_pb2.ReportRequest) -> agents_pb2.ReportReply:
        with calling(self._peer):
            return self._stub.Report(request, timeout=_CALL_SECONDS)

    def renew(self, csr: bytes) -> agents_pb2.RenewReply:
        with calling(self._peer):
            return self._stub.Renew(agents_pb2.RenewRequest(csr=csr), timeout=_CALL_SECONDS)

    def ended(self, job: str, fence: int) -> bool:
        """Whether nobody works on that lease any more, for certain."""
        with calling(self._peer):
            request = agents_pb2.EndedRequest(job=job, fence=fence)
            return self._stub.Ended(request, timeout=_CALL_SECONDS).ended

    def discovered(self, pages: Iterable[agents_pb2.MachinesPage]) -> int:
        """How many machines were taken."""
        with calling(self._peer):
            return self._stub.Discovered(iter(pages), timeout=_PAGES_SECONDS).machines

    def changed(self, changes: agents_pb2.MachinesChanged) -> None:
        """Tell what a watch saw."""
        with calling(self._peer):
            self._stub.Changed(changes, timeout=_CALL_SECONDS)

    def points_read(self, pages: Iterable[agents_pb2.PointsPage]) -> int:
        """How many points were taken."""
        with calling(self._peer):
            return self._stub.PointsRead(iter(pages), timeout=_PAGES_SECONDS).points

    def close(self) -> None:
        """Running calls end with PeerUnreachable."""
        self._channel.close()
