"""A program: servers that end while connections to them begin."""

from __future__ import annotations

import gc
import os
import socket
import threading
from contextlib import suppress

from proto.channels import Server
from tests.proto.authority import Authority

SERVERS = 60
CALLERS = 6


def main() -> None:
    ports: list[int] = []
    there = threading.Event()

    def connect() -> None:
        there.wait()
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", ports[-1]), timeout=1).close()

    for _ in range(CALLERS):
        threading.Thread(target=connect, daemon=True).start()
    identity = Authority().commserve()
    for _ in range(SERVERS):
        server = Server(identity, "127.0.0.1:0", 4, [])
        ports.append(server.port)
        there.set()
        socket.create_connection(("127.0.0.1", server.port), timeout=10).close()
        server.stop(0.0)
        del server
        gc.collect()
    print("well", flush=True)
    os._exit(0)  # connections are still being made


if __name__ == "__main__":
    main()
