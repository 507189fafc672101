"""Property tests: the same examples each time, and no deadline, because the machine may be busy.

Where tests run side by side (`make test`), a file of them is one worker's, and what waits most begins first.

Servers of S3 that tests share: each starts when a test first asks for it, and ends with the tests.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from runtime.logs import configure
from tests.s3 import radosgw as ceph
from tests.s3.buckets import Service
from tests.s3.own_server import OwnServer, running

settings.register_profile("ingot", deadline=None, derandomize=True, database=None)
# `make torture`: other examples every time, and so many of them. A failure prints what repeats it.
settings.register_profile("torture", deadline=None, max_examples=5000, print_blob=True, database=None)
settings.load_profile(os.environ.get("INGOT_EXAMPLES", "ingot"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for real services first: the rest fits in beside it."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/system/", "tests/ingot/test_demo")))


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph.RadosGateway]:
    """The real one, of which users and keys can be made."""
    if not ceph.is_installed():
        assert "CI" not in os.environ, "the real server must be installed where all checks run"
        pytest.skip("needs Debian's ceph-mon, ceph-osd and radosgw")
    gateway = ceph.RadosGateway(tmp_path_factory.mktemp("radosgw"))
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def radosgw(gateway: ceph.RadosGateway) -> Service:
    """The real one, over TLS."""
    return Service(gateway.https, ceph.ACCESS_KEY, ceph.SECRET_KEY, str(gateway.ca))


@pytest.fixture(scope="session")
def moto() -> Iterator[Service]:
    """Moto's, in this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Service(f"http://{host}:{port}", "moto", "moto")
    server.stop()


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """Our own: a fresh one for each test, which says how it shall misbehave."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def own() -> Iterator[Service]:
    """Our own, well-behaved; lists three names a page."""
    with running() as server:
        server.page_size = 3
        yield server.service


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of this machine's own: tests say who they are."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return monkeypatch


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, in lines of JSON; how it was before comes back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    found = io.StringIO()
    configure("test", "info", found)
    yield found
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = before
    root.setLevel(level)
