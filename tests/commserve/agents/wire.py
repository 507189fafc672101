"""An office whose agents' service is on a real socket with mutual TLS, and agents that joined over REST."""

from __future__ import annotations

from pathlib import Path

from commserve.agents.service import AgentsService
from proto import agents_pb2
from proto.agent.line import Line
from proto.agents_pb2_grpc import add_AgentsServicer_to_server
from proto.channels import Caller, Server
from runtime.certificates import Identity, key_pem, new_key, public_der, signing_request
from runtime.version import VERSION
from tests.commserve.office import ABILITIES, Office


class Wire:
    """Use `close`."""

    def __init__(self, office: Office, directory: Path) -> None:
        self.office = office
        # TLS looks at the machine's own clock, whatever the test's says
        identity = office.services.authority.server_identity(directory / "server", ["127.0.0.1"], office.clock.moment)
        service = AgentsService(office.services)
        self._server = Server(
            identity, "127.0.0.1:0", 8, [lambda server: add_AgentsServicer_to_server(service, server)]
        )
        self.address = f"127.0.0.1:{self._server.port}"
        self._lines: list[Line] = []

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self._server.stop(0)

    def line(self, identity: Identity) -> Line:
        line = Line(self.address, identity)
        self._lines.append(line)
        return line

    def join(self, role: str, name: str) -> tuple[Line, Agent]:
        agent = join(self.office, role, name)
        return self.line(agent.identity), agent


class Agent:
    """Who joined."""

    def __init__(self, caller: Caller, identity: Identity) -> None:
        self.caller = caller
        self.identity = identity
        self.sealing_key = new_key()

    def about(self, boot_id: str = "boot", **other: object) -> agents_pb2.RegisterRequest:
        us = {"boot_id": boot_id, "version": VERSION, "capabilities": ABILITIES[self.caller.role], **other}
        return agents_pb2.RegisterRequest(sealing_key=public_der(self.sealing_key.public_key()), **us)  # type: ignore[arg-type]


def join(office: Office, role: str, name: str) -> Agent:
    """By a join token, over REST."""
    token = office.post("/join-tokens", {"role": role, "name": name})["token"]
    key = new_key()
    answer = office.client.post(
        "/api/v1/agents/join",
        json={
            "token": token.rpartition(".")[0],
            "role": role,
            "name": name,
            "csr": signing_request(key, name).decode(),
            "addresses": ["local=127.0.0.1:1:2"] if role == "mediaagent" else [],
        },
    )
    assert answer.status_code == 200, answer.text
    caller = Caller(role, answer.json()["agent"])
    authority = office.client.get("/api/v1/authority").json()["certificate"]
    return Agent(caller, Identity(key_pem(key), answer.json()["chain"].encode(), authority.encode()))
