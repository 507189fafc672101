"""A mounted recovery point: random reads a second out of the cache, and the speed of reading all of it.

python -m bench.mount [--runs N] [--work DIR] > rows.jsonl

Beside `qemu-nbd`, which serves the raw image itself: what NBD costs without anything to open. Random reads are of
4 KiB, from a disk that fits into the cache and was read once before; by a client of ours that keeps 64 of them on
their way, and by `qemu-img bench`, which keeps 16. Sequential reads are `nbdcopy`'s, first
from a new `ingot mount`, then again.
"""

import argparse
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ours import Ingot
from bench.rows import Row, write
from bench.run import run, say
from vsa.nbd.numbers import REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, Command, Option, OptionReply
from vsa.nbd.wire import (
    CLIENT_FLAGS,
    GREETING,
    OPTION_REPLY_HEAD,
    REQUEST,
    SIMPLE_REPLY,
    encode_info_request,
    encode_option,
)

BENCHMARK = "mount"
SMALL_MIB, LARGE_MIB = 192, 2048
READ_BYTES, READS, ON_THEIR_WAY = 4096, 200_000, 64
_SOCKET = "nbd.sock"


def make_image(path: Path, mebibytes: int) -> None:
    """A disk from a seed, full, that compresses 1.8 to one and has nothing twice."""
    rng = random.Random(4711)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(rng.randbytes(128 << 10) + rng.randbytes(448 << 10).hex().encode())


@contextmanager
def ingot(product: Ingot, repo: Path, where: Path) -> Iterator[tuple[Path, str]]:
    """The newest point served: its socket, and its URL."""
    command = product.mount_command(repo, where / _SOCKET)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        while not said.endswith("\n}\n"):
            said += process.stdout.readline()
        try:
            yield where / _SOCKET, json.loads(said)["disks"][0]["url"]
        finally:
            process.terminate()


@contextmanager
def qemu_nbd(image: Path, where: Path) -> Iterator[tuple[Path, str]]:
    """The image served by the peer."""
    path = where / "peer.sock"
    started = where / "peer.pid"
    run(("qemu-nbd", "-r", "-t", "-e", "8", "-x", "0", "-f", "raw", "-k", path, "--fork", "--pid-file", started, image))
    try:
        yield path, f"nbd+unix:///0?socket={path}"
    finally:
        run(("kill", started.read_text().strip()))


def connect(path: Path) -> socket.socket:
    """A connection in transmission, with simple replies: all of one length, so that the client costs little."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.recv(GREETING.size, socket.MSG_WAITALL)
    client.sendall(CLIENT_FLAGS.pack(3))
    client.sendall(encode_option(Option.GO, encode_info_request("0")))
    reply = OptionReply.INFO
    while reply == OptionReply.INFO:
        _, _, reply, length = OPTION_REPLY_HEAD.unpack(client.recv(OPTION_REPLY_HEAD.size, socket.MSG_WAITALL))
        if length:
            client.recv(length, socket.MSG_WAITALL)
    if reply != OptionReply.ACK:
        raise RuntimeError(f"handshake: answered with {reply:#x}")
    return client


def random_reads(path: Path, image: Path, run_number: int) -> float:
    """Reads a second, of 4 KiB each; every hundredth is compared with the image."""
    rng = random.Random(run_number)
    blocks = image.stat().st_size // READ_BYTES
    offsets = [rng.randrange(blocks) * READ_BYTES for _ in range(READS)]
    pack, command = REQUEST.pack, int(Command.READ)
    requests = [pack(REQUEST_MAGIC, 0, command, n, offset, READ_BYTES) for n, offset in enumerate(offsets)]
    reply_bytes = SIMPLE_REPLY.size + READ_BYTES
    buffer = memoryview(bytearray(reply_bytes * ON_THEIR_WAY))
    sent = done = filled = 0
    with connect(path) as client, image.open("rb") as file:
        started = time.perf_counter()
        while done < READS:
            more = min(READS, done + ON_THEIR_WAY)
            if more > sent:
                client.sendall(b"".join(requests[sent:more]))
                sent = more
            filled += client.recv_into(buffer[filled:])
            whole = filled // reply_bytes
            for number in range(whole):
                at = number * reply_bytes
                magic, error, cookie = SIMPLE_REPLY.unpack_from(buffer, at)
                if magic != SIMPLE_REPLY_MAGIC or error:
                    raise RuntimeError(f"read {cookie}: answered with error {error}")
                if cookie % 100 == 0:
                    file.seek(offsets[cookie])
                    if file.read(READ_BYTES) != buffer[at + SIMPLE_REPLY.size : at + reply_bytes]:
                        raise RuntimeError(f"read {cookie}: not the bytes of the image")
            done += whole
            rest = filled - whole * reply_bytes
            buffer[:rest] = buffer[whole * reply_bytes : filled]
            filled = rest
        return READS / (time.perf_counter() - started)


def timed(command: tuple[str | Path, ...]) -> float:
    """Wall seconds."""
    started = time.perf_counter()
    run(command)
    return time.perf_counter() - started


def copied(url: str) -> float:
    """Seconds to read all of an export."""
    return timed(("nbdcopy", url, "null:"))


def measure_random(subject: str, served: tuple[Path, str], image: Path, number: int) -> None:
    path, url = served
    copied(url)  # into the cache
    write(
        Row(
            BENCHMARK, subject, "4 KiB at random, 64 on their way", random_reads(path, image, number), "reads/s", number
        )
    )
    step = 1_048_576 + READ_BYTES  # from chunk to chunk
    bench = (
        "qemu-img",
        "bench",
        "-f",
        "raw",
        "-c",
        str(READS),
        "-d",
        "16",
        "-s",
        str(READ_BYTES),
        "-S",
        str(step),
        url,
    )
    write(Row(BENCHMARK, subject, "4 KiB, qemu-img bench", READS / timed(bench), "reads/s", number))


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.mount", description="A mounted recovery point.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    missing = [program for program in ("qemu-nbd", "qemu-img", "nbdcopy") if not shutil.which(program)]
    if missing:
        say(f"{', '.join(missing)}: not installed (qemu-utils, libnbd-bin), needed for this benchmark")
        return 1
    product = Ingot()
    with tempfile.TemporaryDirectory(prefix="mount-", dir=asked.work) as folder:
        here = Path(folder)
        repos = {}
        for name, mebibytes in (("small", SMALL_MIB), ("large", LARGE_MIB)):
            image, repos[name] = here / f"{name}.raw", here / name / "repo"
            make_image(image, mebibytes)
            product.init(repos[name])
            product.backup(image, repos[name], name)
        for number in range(asked.runs):
            with ingot(product, repos["small"], here) as served:
                measure_random("ingot mount", served, here / "small.raw", number)
            with qemu_nbd(here / "small.raw", here) as served:
                measure_random("qemu-nbd, the raw image", served, here / "small.raw", number)
            for subject, serving in (
                ("ingot mount", ingot(product, repos["large"], here)),
                ("qemu-nbd, the raw image", qemu_nbd(here / "large.raw", here)),
            ):
                with serving as (_, url):
                    for metric in ("all of 2 GiB, first time", "again"):
                        speed = (LARGE_MIB << 20) / copied(url) / 1e6
                        write(Row(BENCHMARK, subject, metric, speed, "MB/s", number))
    return 0


if __name__ == "__main__":
    sys.exit(main())
