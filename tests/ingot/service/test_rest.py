"""The command line's REST over real sockets, between which and the CommServe stands something that loses answers."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commserve.daemon import Web
from commserve.settings import CommServeSettings
from ingot.faults import CommServeSilent
from ingot.rest import Connection, Rest
from proto.faults import RemoteFault
from tests.commserve.office import Office


class Line(socketserver.ThreadingTCPServer):
    """One request a connection. The next `losing` are done, and their answers lost; `carried` are all request lines."""

    daemon_threads = True

    def __init__(self, port: int, losing: int) -> None:
        super().__init__(("127.0.0.1", 0), _Carrier)
        self.port = port
        self.losing = losing
        self.carried: list[str] = []


class _Carrier(socketserver.StreamRequestHandler):
    server: Line

    def handle(self) -> None:
        request = _message(self.connection)
        if not request:
            return
        self.server.carried.append(request.split(b"\r\n", 1)[0].decode())
        with socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            upstream.sendall(request)
            answer = _message(upstream)
        if self.server.losing:
            self.server.losing -= 1
        else:
            # Said, because a client that keeps the connection may ask on it before it sees that it is closed.
            self.connection.sendall(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))


def _message(connection: socket.socket) -> bytes:
    """A request or an answer, whole."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += (more := connection.recv(65536))
        if not more:
            return b""
    head, _, body = said.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


@contextmanager
def losing(office: Office, directory: Path, count: int) -> Iterator[tuple[Rest, Line]]:
    """Whoever asks through a line that loses so many answers."""
    token = directory / "token"
    token.touch(0o600)
    token.write_text(office.administrator)
    web = Web(office.services, CommServeSettings(directory, http="127.0.0.1:0"))
    with Line(web.port, count) as line:
        carrying = threading.Thread(target=line.serve_forever)
        carrying.start()
        try:
            with Rest(Connection(f"http://127.0.0.1:{line.server_address[1]}", token, None)) as rest:
                yield rest, line
        finally:
            line.shutdown()
            carrying.join()
            web.stop()


def test_what_was_done_and_not_answered_is_done_once_and_answered(office: Office, tmp_path: Path) -> None:
    with losing(office, tmp_path, 1) as (rest, line):
        made = rest.post("/plans", {"name": "gold"})
        assert [plan["id"] for plan in rest.all("/plans")] == [made["id"]]
    assert line.carried[:2] == ["POST /api/v1/plans HTTP/1.1"] * 2


def test_a_secret_whose_answer_was_lost_is_not_told_again_nor_made_twice(office: Office, tmp_path: Path) -> None:
    with losing(office, tmp_path, 1) as (rest, _):
        with pytest.raises(RemoteFault) as refused:
            rest.post("/tokens", {"name": "mine"})
        assert refused.value.remote_code == "commserve.answer_not_kept"
        assert [token["name"] for token in rest.all("/tokens")] == ["test", "mine"]


def test_reading_and_replacing_go_on_as_well(office: Office, tmp_path: Path) -> None:
    plan = office.plan("gold")
    with losing(office, tmp_path, 1) as (rest, line):
        assert rest.get(f"/plans/{plan}")["name"] == "gold"
        line.losing = 1
        assert rest.put(f"/plans/{plan}", {"name": "silver"})["name"] == "silver"


def test_a_deletion_whose_answer_is_lost_is_not_asked_for_again(office: Office, tmp_path: Path) -> None:
    plan = office.plan("gold")
    with losing(office, tmp_path, 1) as (rest, line), pytest.raises(CommServeSilent):
        rest.delete(f"/plans/{plan}")
    assert len(line.carried) == 1


def test_who_loses_every_answer_hears_that_nobody_answers(office: Office, tmp_path: Path) -> None:
    with losing(office, tmp_path, 9) as (rest, line), pytest.raises(CommServeSilent):
        rest.post("/plans", {"name": "gold"})
    assert len(line.carried) == 2
    assert len(office.all_pages("/plans")) == 1
