"""How long listing the whole inventory takes over REST: `python -m bench.inventory [machines]`.

A real server on loopback, one connection, pages of 1000, JSON parsed; beside it, discovering the same machines anew.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn

from commserve.api.app import make_app
from tests.commserve.office import Office, machine


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        office = Office(Path(directory))
        lab, plan = office.hypervisor(), office.plan(sla_minutes=1440)
        office.rule("all", plan, position=9)
        for number in range(20):
            office.rule(f"rule {number}", None, names=[f"scratch{number}-*"], tags=["scratch"])
        found = [
            machine(
                f"m{n:05}", folder=f"dc/cluster{n % 16}", tags=[f"tier:{n % 4}"], attributes={"owner": f"t{n % 50}"}
            )
            for n in range(count)
        ]
        for label in ("first", "second"):
            start = time.perf_counter()
            office.discover(lab, *found)
            print(f"{label} discovery of {count} machines under 21 rules: {time.perf_counter() - start:.2f} s")
        server = uvicorn.Server(uvicorn.Config(make_app(office.services), port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        for _ in range(3):
            start, cpu = time.perf_counter(), time.process_time()
            listed = list_all(port, office.administrator)
            spent = time.process_time() - cpu
            print(f"list of {listed} machines: {time.perf_counter() - start:.2f} s, {spent:.2f} s of CPU at both ends")
            if listed != count:
                raise SystemExit(f"expected {count}")
        server.should_exit = True
        thread.join()
        office.close()


def list_all(port: int, token: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    cursor, listed = "", 0
    while True:
        path = f"/api/v1/machines?limit=1000{cursor and '&cursor=' + cursor}"
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        page = json.loads(connection.getresponse().read())
        listed += len(page["items"])
        if page["next"] is None:
            connection.close()
            return listed
        cursor = page["next"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
