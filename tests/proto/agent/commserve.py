"""A CommServe that gives out what a test says and remembers what it hears; the wire is real."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Literal

import grpc

from proto import agents_pb2
from proto.agents_pb2_grpc import AgentsServicer, add_AgentsServicer_to_server
from proto.channels import Server, caller_of
from runtime.certificates import Identity
from runtime.faults import Fault

Answer = agents_pb2.ReportReply.Answer


class FakeCommServe(AgentsServicer):
    """`give` an assignment, `hear` the next report that `wanted` says yes to."""

    def __init__(self, identity: Identity) -> None:
        self.answer: Answer.ValueType = agents_pb2.ReportReply.GO_ON
        self.refusal: Fault | None = None  # of what is reported done
        self.stop: list[str] = []
        self.registered: list[str] = []
        self._assignments: queue.SimpleQueue[agents_pb2.Assignment] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[agents_pb2.ReportRequest] = queue.SimpleQueue()
        self._over = threading.Event()
        self._server = Server(identity, "127.0.0.1:0", 8, [lambda server: add_AgentsServicer_to_server(self, server)])
        self.address = f"127.0.0.1:{self._server.port}"

    def give(self, job: str, *, lease_seconds: int = 600, kind: Literal["discover", "watch"] = "discover") -> None:
        given = agents_pb2.Assignment(id=f"a-{job}", job=job, fence=7, lease_seconds=lease_seconds)
        getattr(given, kind).SetInParent()
        self._assignments.put(given)

    @property
    def waiting(self) -> int:
        """How many were given and not leased."""
        return self._assignments.qsize()

    def hear(self, wanted: Callable[[agents_pb2.ReportRequest], bool]) -> agents_pb2.ReportRequest:
        while not wanted(report := self._reports.get(timeout=20)):
            pass
        return report

    def close(self) -> None:
        self._over.set()
        self._server.stop(0)

    def Register(self, request: agents_pb2.RegisterRequest, context: grpc.ServicerContext) -> agents_pb2.RegisterReply:
        self.registered.append(caller_of(context).uri)
        deny_list = agents_pb2.DenyList(version=1, agents=["bad"])
        return agents_pb2.RegisterReply(heartbeat_seconds=1, ticket_key=b"key", deny_list=deny_list)

    def Heartbeat(
        self, request: agents_pb2.HeartbeatRequest, context: grpc.ServicerContext
    ) -> agents_pb2.HeartbeatReply:
        return agents_pb2.HeartbeatReply(stop=self.stop)

    def Lease(self, request: agents_pb2.LeaseRequest, context: grpc.ServicerContext) -> agents_pb2.LeaseReply:
        while not self._over.is_set() and context.is_active():
            try:
                given = self._assignments.get(timeout=0.05)
            except queue.Empty:
                continue
            if context.is_active():
                return agents_pb2.LeaseReply(assignments=[given])
            self._assignments.put(given)  # who asked went away meanwhile
        return agents_pb2.LeaseReply()

    def Report(self, request: agents_pb2.ReportRequest, context: grpc.ServicerContext) -> agents_pb2.ReportReply:
        self._reports.put(request)
        if self.refusal is not None and request.state == agents_pb2.ReportRequest.DONE:
            raise self.refusal
        return agents_pb2.ReportReply(answer=self.answer)
