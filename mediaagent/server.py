"""A MediaAgent's two servers: control, with health and reflection; and data, so that streams cannot starve control."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from media.session import Process
from mediaagent.access import Access, Trust
from mediaagent.backup_service import BackupService
from mediaagent.buffers import Buffers
from mediaagent.data_service import DataService
from mediaagent.metrics import ServerMetrics
from mediaagent.open_pools import OpenPools
from mediaagent.restore_service import RestoreService
from mediaagent.sessions import Limits, Sessions
from mediaagent.turns import Turns
from mediaagent.watchdog import Watchdog
from proto import backup_pb2, restore_pb2
from proto.backup_pb2_grpc import add_BackupsServicer_to_server
from proto.channels import Server
from proto.data_plane import DataHandlers, add_data_handlers
from proto.restore_pb2_grpc import add_RestoresServicer_to_server
from runtime.certificates import Identity
from runtime.clock import Clock
from runtime.logs import log

LOOK_SECONDS = 1.0
_MOST_CONTAINER_BYTES = 64 << 20


@dataclass(frozen=True)
class Room:
    """What this MediaAgent may take of its machine."""

    sessions: int = 100
    container_buffers: int = 8  # of up to 64 MiB each, and only so much of it as containers of the pools are large
    control_threads: int = 22  # no agent has more than three quarters
    data_threads: int = 44
    idle_seconds: float = 900.0
    stalled_seconds: float = 60.0
    buffer_wait_seconds: float = 20.0


class MediaAgentServer:
    """Serves until `stop`. Safe to use from several threads."""

    def __init__(
        self,
        identity: Identity,
        control_address: str,
        data_address: str,
        pools: OpenPools,
        trust: Trust,
        room: Room,
        clock: Clock,
        now: Callable[[], float],
        metrics: ServerMetrics,
    ) -> None:
        """Addresses are `host:port`; port 0 takes a free one. Raises AddressUnavailable."""
        buffers = Buffers(room.container_buffers, _MOST_CONTAINER_BYTES, room.buffer_wait_seconds)
        access = Access(trust, clock, now)
        self.sessions = Sessions(Limits(room.sessions, room.idle_seconds), buffers, clock, Process.this())
        self._watchdog = Watchdog(clock, room.stalled_seconds)
        self._health = health.HealthServicer()
        metrics.sessions.set_function(lambda: self.sessions.count)
        backups = BackupService(access, pools, self.sessions, metrics)
        restores = RestoreService(access, pools, self._watchdog, Turns(clock), metrics)
        data = DataService(access, self.sessions, self._watchdog, metrics)
        handlers = DataHandlers(
            data.locate,
            data.put_container,
            data.parent_leaves,
            data.put_leaves,
            restores.restore_disk,
            restores.point_leaves,
        )
        self._control = Server(
            identity,
            control_address,
            room.control_threads,
            [
                lambda server: add_BackupsServicer_to_server(backups, server),
                lambda server: add_RestoresServicer_to_server(restores, server),
                lambda server: health_pb2_grpc.add_HealthServicer_to_server(self._health, server),
                _reflect,
            ],
        )
        self._data = Server(
            identity,
            data_address,
            room.data_threads,
            [
                lambda server: add_data_handlers(handlers, server),
                lambda server: health_pb2_grpc.add_HealthServicer_to_server(self._health, server),
            ],
        )
        self.control_port, self.data_port = self._control.port, self._data.port
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._stop = threading.Event()
        self._looking = threading.Thread(target=self._look, name="look", daemon=True)
        self._looking.start()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Give up streams that do not move and sessions whose writers are not heard."""
        try:
            self._watchdog.look()
            self.sessions.look()
        except Exception as error:  # noqa: BLE001 # the top of a thread that must go on
            log().error("unexpected", exc_info=error)

    def use(self, identity: Identity) -> None:
        """The certificate for connections from now on."""
        self._control.use(identity)
        self._data.use(identity)

    def drain(self) -> None:
        """Begin nothing new; what runs goes on."""
        self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        self.sessions.drain()

    def stop(self, grace_seconds: float) -> None:
        """Drain, give sessions so long to end, end the rest. On return nothing is served."""
        self.drain()
        self.sessions.wait_none(grace_seconds)
        self.sessions.close()
        self._stop.set()
        self._data.stop(1.0)
        self._control.stop(1.0)
        self._looking.join()


def _reflect(server: grpc.Server) -> None:
    names = [
        backup_pb2.DESCRIPTOR.services_by_name["Backups"].full_name,
        restore_pb2.DESCRIPTOR.services_by_name["Restores"].full_name,
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
    ]
    reflection.enable_server_reflection(names, server)
