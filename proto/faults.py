"""Faults across a process boundary: a `Fault` there is the same `Fault` here.

A server translates in one interceptor, a caller in one context manager; nobody else sees a gRPC status. A fault whose
class this process does not have (the CommServe knows no room of data) arrives as `RemoteFault` and keeps its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc

from proto import fault_pb2
from proto.handlers import Answer, Stream, around
from runtime.faults import Fault, Retry, UsageFault
from runtime.logs import log

TRAILER = "ingot-fault-bin"
_MESSAGE_CHARS = 4000  # trailing metadata is bounded to 8 KiB


class PeerUnreachable(Fault):
    """The other side does not answer, or the connection broke: it may or may not have done what was asked."""

    code = "proto.peer_unreachable"
    retry = Retry.SOON


class PeerSlow(Fault):
    """The other side did not answer in time: it may or may not have done what was asked."""

    code = "proto.peer_slow"
    retry = Retry.LATER


class PeerRefused(Fault):
    """The other side does not accept who we are, or what we may do."""

    code = "proto.peer_refused"


class PeerIncompatible(Fault):
    """The other side does not know this call, or not this message: another version."""

    code = "proto.peer_incompatible"


class PeerBusy(Fault):
    """The other side has all hands full."""

    code = "proto.peer_busy"
    retry = Retry.LATER


class PeerBroken(Fault):
    """The other side failed in a way that has no name: its log tells."""

    code = "proto.peer_broken"


class RemoteFault(Fault):
    """A fault of the other side whose code this side does not know."""

    code = "proto.remote_fault"

    def __init__(self, message: str, remote_code: str, remote_retry: Retry) -> None:
        super().__init__(message)
        self.remote_code = remote_code
        self.remote_retry = remote_retry


_FAULT_BY_STATUS: dict[grpc.StatusCode, type[Fault]] = {
    grpc.StatusCode.UNAVAILABLE: PeerUnreachable,
    grpc.StatusCode.CANCELLED: PeerUnreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: PeerSlow,
    grpc.StatusCode.UNAUTHENTICATED: PeerRefused,
    grpc.StatusCode.PERMISSION_DENIED: PeerRefused,
    grpc.StatusCode.UNIMPLEMENTED: PeerIncompatible,
    grpc.StatusCode.RESOURCE_EXHAUSTED: PeerBusy,
}


def code_of(fault: Fault) -> str:
    """The code of a fault, wherever it happened."""
    return fault.remote_code if isinstance(fault, RemoteFault) else fault.code


def retry_of(fault: Fault) -> Retry:
    """What to do about a fault, wherever it happened."""
    return fault.remote_retry if isinstance(fault, RemoteFault) else fault.retry


def sayable(text: str) -> str:
    """As it crosses the wire, which takes characters only: names of files may hold what is none."""
    return text.encode(errors="replace").decode()


def encode(fault: Fault) -> fault_pb2.Fault:
    """As it crosses the wire."""
    message = sayable(str(fault)[:_MESSAGE_CHARS])
    return fault_pb2.Fault(code=code_of(fault), message=message, retry=retry_of(fault).value)


def decode(message: fault_pb2.Fault) -> Fault:
    """As it is raised here: its own class where there is one."""
    kind = Fault.registry.get(message.code)
    if kind is not None and kind is not RemoteFault:
        return kind(message.message)
    try:
        retry = Retry(message.retry)
    except ValueError:
        retry = Retry.NEVER
    return RemoteFault(message.message, message.code, retry)


@contextmanager
def calling(peer: str) -> Iterator[None]:
    """Around a call, also around reading the replies of a stream: raises Faults and no gRPC error.

    `peer` says whom, for the message: `MediaAgent at host:8402`.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise _translated(error, peer) from error


def _translated(error: grpc.RpcError, peer: str) -> Fault:
    call: Any = error  # every one that a call raises is a grpc.Call as well, which its type does not say
    for key, value in call.trailing_metadata() or ():
        if key == TRAILER:
            return decode(fault_pb2.Fault.FromString(value))
    status: grpc.StatusCode = call.code()
    return _FAULT_BY_STATUS.get(status, PeerBroken)(f"{peer}: {call.details() or status.name}")


class FaultsOnTheWire(grpc.ServerInterceptor):
    """On every server: what a handler raises becomes a status with the fault in its trailing metadata."""

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        return around(continuation(handler_call_details), _answering, _streaming)


def _answering(inner: Answer) -> Answer:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return inner(request, context)
        except Exception as error:  # noqa: BLE001 # the border of the process
            _abort(error, context)

    return answer


def _streaming(inner: Stream) -> Stream:
    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from inner(request, context)
        except Exception as error:  # noqa: BLE001 # the border of the process
            _abort(error, context)

    return stream


def _abort(error: Exception, context: grpc.ServicerContext) -> NoReturn:
    """End the call. What was aborted already, by gRPC's own means, goes on."""
    if type(error) is Exception:  # what context.abort raises, with no argument
        raise error
    if isinstance(error, NotImplementedError):  # the generated servicer's, for a call that is not provided
        error = PeerIncompatible("this version does not answer this call")
    if not isinstance(error, Fault):
        log().error("unexpected", exc_info=error)
        error = PeerBroken(f"{type(error).__name__}; the log tells more")
    context.set_trailing_metadata(((TRAILER, encode(error).SerializeToString()),))
    context.abort(_status(error), code_of(error))


def _status(fault: Fault) -> grpc.StatusCode:
    """For those who see only statuses: proxies, dashboards, other people's clients."""
    for status, kind in _FAULT_BY_STATUS.items():
        if isinstance(fault, kind) and status is not grpc.StatusCode.CANCELLED:
            return status
    if isinstance(fault, PeerBroken):
        return grpc.StatusCode.INTERNAL
    if isinstance(fault, UsageFault):
        return grpc.StatusCode.INVALID_ARGUMENT
    if retry_of(fault) is Retry.NEVER:
        return grpc.StatusCode.FAILED_PRECONDITION
    return grpc.StatusCode.ABORTED
