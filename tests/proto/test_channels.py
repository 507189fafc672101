"""Who may talk to whom, and what a fault becomes on the way: real servers, real certificates, real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from media.faults import RepositoryFull
from proto import agents_pb2
from proto.agents_pb2_grpc import AgentsServicer, AgentsStub, add_AgentsServicer_to_server
from proto.channels import AddressUnavailable, Caller, Server, caller_of, open_channel
from proto.faults import (
    PeerBroken,
    PeerBusy,
    PeerIncompatible,
    PeerRefused,
    PeerSlow,
    PeerUnreachable,
    RemoteFault,
    calling,
)
from runtime.certificates import Identity
from runtime.faults import Fault, Retry
from tests.proto.authority import Authority

VSA = "0f0e"


class Answers(AgentsServicer):
    """Says in `version` who called; raises what it was told to raise."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    def Register(self, request: agents_pb2.RegisterRequest, context: grpc.ServicerContext) -> agents_pb2.RegisterReply:
        if self.fault is not None:
            raise self.fault
        return agents_pb2.RegisterReply(version=caller_of(context).uri)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def serving(identity: Identity, service: AgentsServicer) -> Iterator[str]:
    server = Server(identity, "127.0.0.1:0", 4, [lambda server: add_AgentsServicer_to_server(service, server)])
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop(0)


def register(address: str, identity: Identity, tls_name: str = "commserve.ingot", seconds: float = 10) -> str:
    with open_channel(address, identity, tls_name) as channel, calling(f"CommServe at {address}"):
        return AgentsStub(channel).Register(agents_pb2.RegisterRequest(), timeout=seconds).version


def test_a_caller_is_who_its_certificate_names(authority: Authority) -> None:
    with serving(authority.commserve(), Answers()) as address:
        assert register(address, authority.agent("vsa", VSA)) == f"ingot://agent/vsa/{VSA}"


@pytest.mark.parametrize("who", ["another authority", "expired", "no agent"])
def test_others_are_refused(authority: Authority, who: str) -> None:
    caller = Caller("vsa", VSA)
    identities = {
        "another authority": Authority().agent("vsa", VSA),
        "expired": authority.issue(caller.uri, caller.tls_name, serves=False, days=-1),
        "no agent": authority.commserve(),
    }
    identity = Identity(identities[who].key, identities[who].chain, authority.pem)
    with serving(authority.commserve(), Answers()) as address, pytest.raises((PeerUnreachable, PeerRefused)):
        register(address, identity)


def test_an_agent_cannot_stand_in_for_the_commserve(authority: Authority) -> None:
    with serving(authority.agent("mediaagent", "aa"), Answers()) as address, pytest.raises(PeerUnreachable):
        register(address, authority.agent("vsa", VSA))


def test_a_vsa_cannot_serve_even_under_its_own_name(authority: Authority) -> None:
    with serving(authority.agent("vsa", VSA), Answers()) as address, pytest.raises(PeerUnreachable):
        register(address, authority.agent("vsa", "other"), Caller("vsa", VSA).tls_name)


def test_a_known_fault_arrives_as_itself(authority: Authority) -> None:
    service = Answers(RepositoryFull("put c/01: no space"))
    with serving(authority.commserve(), service) as address, pytest.raises(RepositoryFull, match="no space"):
        register(address, authority.agent("vsa", VSA))


def test_a_fault_that_is_not_known_here_keeps_its_code_and_advice(authority: Authority) -> None:
    class Elsewhere(Fault):
        """Only the other side knows it."""

        code = "test.elsewhere"
        retry = Retry.ELSEWHERE

    del Fault.registry["test.elsewhere"]
    with (
        serving(authority.commserve(), Answers(Elsewhere("not here"))) as address,
        pytest.raises(RemoteFault, match="not here") as caught,
    ):
        register(address, authority.agent("vsa", VSA))
    assert (caught.value.remote_code, caught.value.remote_retry) == ("test.elsewhere", Retry.ELSEWHERE)


def test_what_has_no_name_says_no_more_than_its_kind(authority: Authority) -> None:
    with serving(authority.commserve(), Answers(ValueError("secret"))) as address, pytest.raises(PeerBroken) as caught:
        register(address, authority.agent("vsa", VSA))
    assert "ValueError" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_call_that_the_other_side_does_not_know_is_another_version(authority: Authority) -> None:
    with (
        serving(authority.commserve(), Answers()) as address,
        open_channel(address, authority.agent("vsa", VSA), "commserve.ingot") as channel,
        pytest.raises(PeerIncompatible),
        calling("CommServe"),
    ):
        AgentsStub(channel).Renew(agents_pb2.RenewRequest(), timeout=10)


def test_nobody_there_is_unreachable_and_a_late_answer_is_slow(authority: Authority) -> None:
    class Never(AgentsServicer):
        def Lease(self, request: Any, context: grpc.ServicerContext) -> agents_pb2.LeaseReply:
            while context.is_active():
                context.time_remaining()
            return agents_pb2.LeaseReply()

    with (
        serving(authority.commserve(), Never()) as address,
        open_channel(address, authority.agent("vsa", VSA), "commserve.ingot") as channel,
        pytest.raises(PeerSlow),
        calling("CommServe"),
    ):
        AgentsStub(channel).Lease(agents_pb2.LeaseRequest(), timeout=0.1)
    with pytest.raises(PeerUnreachable):
        register(address, authority.agent("vsa", VSA))


def test_no_caller_has_all_threads_of_a_server(authority: Authority) -> None:
    entered, end = threading.Semaphore(0), threading.Event()

    class Waits(Answers):
        def Lease(self, request: Any, context: grpc.ServicerContext) -> agents_pb2.LeaseReply:
            entered.release()
            end.wait(20)
            return agents_pb2.LeaseReply()

    with (
        serving(authority.commserve(), Waits()) as address,
        open_channel(address, authority.agent("vsa", "0a0a"), "commserve.ingot") as channel,
    ):
        running = [AgentsStub(channel).Lease.future(agents_pb2.LeaseRequest()) for _ in range(2)]
        assert all(entered.acquire(timeout=20) for _ in running)
        with pytest.raises(PeerBusy, match="of yours"), calling("CommServe"):
            AgentsStub(channel).Lease(agents_pb2.LeaseRequest(), timeout=20)
        assert register(address, authority.agent("vsa", VSA)) == f"ingot://agent/vsa/{VSA}"
        end.set()
        assert [each.result() for each in running] == [agents_pb2.LeaseReply()] * 2
        assert register(address, authority.agent("vsa", "0a0a")) == "ingot://agent/vsa/0a0a"


def test_an_address_that_is_taken_is_named(authority: Authority) -> None:
    with serving(authority.commserve(), Answers()) as address, pytest.raises(AddressUnavailable, match=address):
        Server(authority.commserve(), address, 2, [])


def test_a_renewed_certificate_is_shown_to_who_connects_from_then_on(authority: Authority) -> None:
    """The server begins with one that is over."""
    over = authority.issue("ingot://commserve", "commserve.ingot", serves=True, days=-1)
    server = Server(over, "127.0.0.1:0", 4, [lambda server: add_AgentsServicer_to_server(Answers(), server)])
    address = f"127.0.0.1:{server.port}"
    with pytest.raises(PeerUnreachable):
        register(address, authority.agent("vsa", VSA))
    server.use(authority.commserve())
    assert register(address, authority.agent("vsa", VSA))
    server.stop(0)


def test_servers_that_come_and_go_under_connections_bring_no_process_down() -> None:
    """In a process of its own, because what went wrong was memory that was freed."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.proto.coming_and_going"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr[:2000]
