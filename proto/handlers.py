"""Something put around the handlers of a server, whatever their calls stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

Answer = Callable[[Any, grpc.ServicerContext], Any]
Stream = Callable[[Any, grpc.ServicerContext], Iterator[Any]]


def around(handler: Any, answering: Callable[[Answer], Answer], streaming: Callable[[Stream], Stream]) -> Any:
    """A handler that does what `answering`, or `streaming` where it answers with a stream, makes of what it did."""
    if handler is None:
        return None
    inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return _MAKER_BY_STREAMING[handler.request_streaming, handler.response_streaming](
        streaming(inner) if handler.response_streaming else answering(inner),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


_MAKER_BY_STREAMING: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
