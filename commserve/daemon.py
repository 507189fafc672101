"""The CommServe as a daemon: REST, the agents' service, one scheduler, metrics; from its settings to its drained end.

state/
    commserve.db        everything it remembers
    authority/ server/  keys and certificates
    first-token         of the administrator that the first start makes
"""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
import uvicorn
from prometheus_client import CollectorRegistry

from commserve.access import people
from commserve.access.roles import EVERYTHING
from commserve.agents.service import AgentsService
from commserve.api.app import make_app
from commserve.faults import StateUnfit
from commserve.jobs.lifecycle import Policy
from commserve.metrics import Figures
from commserve.moments import present
from commserve.scheduler import LOOK_SECONDS, Scheduler
from commserve.services import Services, assemble
from commserve.settings import CommServeSettings, is_loopback
from commserve.store.engine import open_store
from commserve.store.migrate import bring_up
from commserve.store.tables import users
from commserve.trust.authority import open_authority
from proto.agents_pb2_grpc import add_AgentsServicer_to_server
from proto.channels import AddressUnavailable, Server
from runtime.certificates import write_private
from runtime.clock import SystemClock
from runtime.daemon import Life
from runtime.logs import configure, log
from runtime.metrics import MetricsServer
from runtime.settings import split
from runtime.version import VERSION

FIRST_TOKEN = "first-token"
_THREADS = 128  # of the agents' service: each agent that waits for work has one
_STUCK_SECONDS = 60.0


def serve(settings: CommServeSettings) -> None:
    """Until a signal. Raises StateUnfit, DatabaseTooNew, AddressUnavailable, MetricsUnavailable, SettingsInvalid."""
    configure("commserve", settings.log_level)
    clock, registry = SystemClock(), CollectorRegistry()
    life = Life(clock)
    now = present(clock)
    _make_state(settings.state)
    http_host, _ = split(settings.http, "http")
    agents_host, agents_port = split(settings.agents, "agents")
    store = open_store(settings.state / "commserve.db")
    bring_up(store)
    authority = open_authority(settings.state / "authority", now)
    hosts = sorted({*settings.names, *(host for host in (http_host, agents_host) if host not in ("0.0.0.0", "::"))})
    identity = authority.server_identity(settings.state / "server", hosts, now)
    address = settings.agents_address or f"{agents_host if is_loopback(agents_host) else ''}:{agents_port}"
    policy = Policy(keep=timedelta(days=settings.keep_jobs_days))
    services = assemble(store, clock, authority, address, policy=policy, draining=lambda: life.draining)
    _first_person(services, settings.state / FIRST_TOKEN)
    service = AgentsService(services)
    metrics = MetricsServer(registry, settings.metrics.host, settings.metrics.port)
    Figures(services, registry)
    agents = Server(identity, settings.agents, _THREADS, [lambda server: add_AgentsServicer_to_server(service, server)])
    web = Web(services, settings)

    def renew(now: datetime) -> bool:
        renewed = authority.server_identity(settings.state / "server", hosts, now)
        if renewed.chain != identity.chain:
            agents.use(renewed)
            web.use_certificate()
        return False

    scheduler = Scheduler(services, [renew])
    looking = threading.Thread(target=scheduler.run, name="scheduler", daemon=True)
    looking.start()
    log().info("starting", version=VERSION, http=web.url, agents=agents.port, authority=authority.fingerprint)
    life.run(
        lambda: looking.is_alive() and clock.monotonic_seconds() - scheduler.looked_at < LOOK_SECONDS + _STUCK_SECONDS,
        ends_with_parent=settings.ends_with_parent,
    )
    scheduler.stop()
    services.bell.ring()  # agents that wait for work hear that there is none
    web.stop()
    agents.stop(settings.drain_seconds)
    looking.join()
    metrics.close()
    store.close()
    log().info("stopped")


class Web:
    """REST in a thread of its own."""

    def __init__(self, services: Services, settings: CommServeSettings) -> None:
        """Raises AddressUnavailable."""
        host, port = split(settings.http, "http")
        tls = not is_loopback(host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()  # at once: whoever comes before the thread runs waits
        except OSError as error:
            listener.close()
            raise AddressUnavailable(f"{settings.http}: cannot be listened at: {error.strerror}") from error
        self.port = int(listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        config = uvicorn.Config(
            make_app(services),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_seconds),
            server_header=False,
        )
        config.load()
        self._pair = settings.state / "server" / "pair.pem"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls:
            self.use_certificate()
            config.ssl = self._tls
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="http", daemon=True)
        self._thread.start()

    def use_certificate(self) -> None:
        """The one that lies there now, for connections from now on."""
        self._tls.load_cert_chain(self._pair)

    def stop(self) -> None:
        """Requests that run are answered."""
        self._server.should_exit = True
        self._thread.join()


def _make_state(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if state.stat().st_mode & 0o022:
            raise StateUnfit(f"{state}: others may write here; chmod go-w it")
    except OSError as error:
        raise StateUnfit(f"{state}: {error.strerror}") from error


def _first_person(services: Services, token_file: Path) -> None:
    """On the first start an administrator, whose token lies in a file that only its owner reads.

    The file is written first and the token is made last: a start that dies in between begins again.
    """
    now = present(services.clock)
    with services.store.writing() as connection:
        if connection.execute(sa.select(users.c.id)).first() is not None:
            return
        user_id = people.make_user(connection, services.ids, "admin", None, now)
        people.bind(connection, services.ids, user_id, "administrator", EVERYTHING, now)
        _, text = people.make_token(connection, services.ids, user_id, "first", [], None, now)
        write_private(token_file, text.encode() + b"\n")
