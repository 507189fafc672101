"""A long line: a TCP proxy through which every byte takes half of a time there, and half back; of any bandwidth.

python -m bench.line DELAY_MS PORT [PORT ...]        prints the ports that lead to these, as JSON, and runs until killed
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

_PIECE_BYTES = 256 << 10


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float) -> None:
    """Bytes in order, each piece so much later than it came."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        while True:
            due, piece = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()

    arriving = asyncio.create_task(arrive())
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            on_the_way.put_nowait((loop.time() + delay_seconds, piece))
        on_the_way.put_nowait((loop.time() + delay_seconds, b""))
        await arriving
    writer.close()


async def serve(delay_seconds: float, ports: list[int]) -> None:
    """Until cancelled."""
    servers = []
    for port in ports:

        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
            await asyncio.sleep(delay_seconds)  # what the handshake of TCP takes
            there = await asyncio.open_connection("127.0.0.1", port)
            half = delay_seconds / 2
            await asyncio.gather(_carry(reader, there[1], half), _carry(there[0], writer, half), return_exceptions=True)

        servers.append(await asyncio.start_server(taken, "127.0.0.1", 0))
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) / 1000, [int(port) for port in sys.argv[2:]]))
