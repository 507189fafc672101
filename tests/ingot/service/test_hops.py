"""Hops that are blocked are named, with the step at which they are."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from ingot.hops import Hop, try_hops
from proto.channels import Server
from tests.proto.authority import Authority

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class FakeRest:
    """Agents as the CommServe would list them."""

    url = "http://127.0.0.1:1"

    def __init__(self, agents_address: str, addresses: list[str], seen_at: str | None, clock_ahead_ms: int) -> None:
        self._agents_address = agents_address
        agent = {"name": "store-1", "state": "active", "addresses": addresses, "seen_at": seen_at}
        agent |= {"clock_ahead_ms": clock_ahead_ms}
        revoked = {"name": "old", "state": "revoked", "addresses": ["lan=127.0.0.1:1:1"], "seen_at": None}
        self._agents = [agent, revoked]

    def all(self, path: str) -> list[dict[str, Any]]:
        assert path == "/agents"
        return self._agents

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/authority"
        return {"agents_address": self._agents_address}


def hops(
    agents_address: str, address: str, seen_at: str | None = "2026-01-01T11:59:30Z", clock_ahead_ms: int = 900
) -> list[Hop]:
    return list(try_hops(FakeRest(agents_address, [address], seen_at, clock_ahead_ms), NOW))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def port() -> Any:
    server = Server(Authority().commserve(), "127.0.0.1:0", 2, [])
    yield server.port
    server.stop(0)


def test_open_hops_have_no_problem(port: int) -> None:
    found = hops(f":{port}", f"lan=127.0.0.1:{port}:{port}")
    assert [hop.problem for hop in found] == [None] * 5
    assert [hop.name for hop in found][-1] == f"here to store-1, data, by lan 127.0.0.1:{port}"


@pytest.mark.parametrize(("ahead", "said"), [(31_000, "31 s ahead of"), (-45_400, "45 s behind")])
def test_a_clock_that_goes_wrong_is_named(port: int, ahead: int, said: str) -> None:
    found = hops(f":{port}", f"lan=127.0.0.1:{port}:{port}", clock_ahead_ms=ahead)
    assert [hop.problem for hop in found if hop.problem is not None] == [
        f"its clock is {said} the CommServe's: does it keep time, by NTP"
    ]


def test_a_port_where_nobody_listens_is_named(port: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
        found = {hop.name: hop.problem for hop in hops(f":{port}", f"lan=127.0.0.1:{port}:{closed}")}
    assert "nobody listens" in str(found[f"here to store-1, data, by lan 127.0.0.1:{closed}"])
    assert found[f"here to store-1, control, by lan 127.0.0.1:{port}"] is None


def test_something_else_that_listens_is_named(port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def speak() -> None:
            with other.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-something\r\n" * 4)

        thread = threading.Thread(target=speak)
        thread.start()
        found = hops(f":{port}", f"lan=127.0.0.1:{other.getsockname()[1]}:{port}")
        thread.join()
    assert "something else listens" in str(found[3].problem)


def test_a_name_that_is_not_known_is_named(port: int) -> None:
    found = hops(f":{port}", f"lan=store-1.invalid:{port}:{port}")
    assert "store-1.invalid is not known" in str(found[-1].problem)


@pytest.mark.parametrize(
    ("seen_at", "problem"), [(None, "never heard"), ("2026-01-01T11:50:00Z", "600 s ago"), ("2026-01-01T11:59:00Z", "")]
)
def test_an_agent_that_is_silent_is_named(port: int, seen_at: str | None, problem: str) -> None:
    assert problem in (hops(f":{port}", f"lan=127.0.0.1:{port}:{port}", seen_at)[2].problem or "")
