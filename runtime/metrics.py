"""Prometheus metrics: one registry a process, served on loopback."""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from runtime.faults import Fault


class MetricsUnavailable(Fault):
    """The address for metrics cannot be listened at."""

    code = "runtime.metrics_unavailable"


class MetricsServer:
    """`GET /metrics` until closed."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        """Raises MetricsUnavailable. Port 0 takes a free one."""
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            raise MetricsUnavailable(f"metrics at {host}:{port}: {error.strerror or error}") from error
        self._server: WSGIServer = server
        self._thread: threading.Thread = thread
        self.port = int(server.server_port)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
