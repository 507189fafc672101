"""Servers that say what a test tells them to, whatever they are asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runtime.clock import SystemClock
from vsa.nbd import wire
from vsa.nbd.client import NbdClient, open_export
from vsa.nbd.numbers import REPLY_DONE, Chunk, ExportFlag, Option, OptionReply
from vsa.nbd.stream import PlainStream
from vsa.nbd.url import parse_nbd_url
from vsa.nbd.wire import BlockSizes, ChunkHead, ExportInfo

SIZE = 1 << 20
FLAGS = ExportFlag.HAS_FLAGS | ExportFlag.SEND_FLUSH | ExportFlag.SEND_WRITE_ZEROES
URL = parse_nbd_url("nbd://scripted/disk")


def agreement(
    *, size: int = SIZE, flags: int = FLAGS, structured: bool = True, sizes: BlockSizes | None = None
) -> list[bytes]:
    """What a good server says before transmission, message by message."""
    reply = wire.encode_option_reply
    messages = [wire.encode_greeting(3)]
    if structured:
        context = wire.encode_meta_context(7, "base:allocation")
        messages += [
            reply(Option.STRUCTURED_REPLY, OptionReply.ACK),
            reply(Option.SET_META_CONTEXT, OptionReply.META_CONTEXT, context),
            reply(Option.SET_META_CONTEXT, OptionReply.ACK),
        ]
    else:
        messages.append(reply(Option.STRUCTURED_REPLY, OptionReply.ERR_UNSUP, b"too old"))
    messages.append(reply(Option.GO, OptionReply.INFO, wire.encode_info_export(ExportInfo(size, flags))))
    if sizes is not None:
        messages.append(reply(Option.GO, OptionReply.INFO, wire.encode_info_block_size(sizes)))
    return [*messages, reply(Option.GO, OptionReply.ACK)]


def chunk(cookie: int, kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A chunk of a structured reply."""
    return wire.encode_chunk_head(ChunkHead(flags, kind, cookie, len(payload))) + payload


def last(cookie: int, kind: int = Chunk.NONE, payload: bytes = b"") -> bytes:
    """The last chunk of a structured reply."""
    return chunk(cookie, kind, payload, REPLY_DONE)


def data(offset: int, content: bytes) -> bytes:
    """The payload of a data chunk."""
    return wire.encode_data_offset(offset) + content


@contextmanager
def saying(script: bytes, *, hangs: bool = False, timeout_seconds: float = 30.0) -> Iterator[PlainStream]:
    """A connection to a server that says `script` and then ends, or hangs."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        script = script[theirs.send(script) :] if script else script
        assert not script, "the script is longer than a socket holds"
        if not hangs:
            theirs.shutdown(socket.SHUT_WR)
        plain = PlainStream(ours, "scripted", timeout_seconds, SystemClock())
        try:
            yield plain
        finally:
            plain.close()


@contextmanager
def client_of(*replies: bytes, structured: bool = True, size: int = SIZE, hangs: bool = False) -> Iterator[NbdClient]:
    """A client whose server agreed to everything, and now says `replies`. Cookies count from 1."""
    script = b"".join([*agreement(structured=structured, size=size), *replies])
    with (
        saying(script, hangs=hangs, timeout_seconds=0.05 if hangs else 30.0) as plain,
        open_export(plain, URL) as client,
    ):
        yield client


@contextmanager
def client_of_serving(
    serve: Callable[[socket.socket], None], *, flags: int = FLAGS, sizes: BlockSizes | None = None, size: int = SIZE
) -> Iterator[NbdClient]:
    """A client whose server agreed to everything and then does what `serve` does, in a thread."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"".join(agreement(flags=flags, sizes=sizes, size=size)))
    with theirs, open_export(PlainStream(ours, "scripted", 30.0, SystemClock()), URL) as client:
        asked = 4 + sum(16 + n for n in (0, 4 + 4 + 4 + 4 + 15, 4 + 4 + 2 + 2))  # flags and three options
        theirs.recv(asked, socket.MSG_WAITALL)
        thread = threading.Thread(target=serve, args=(theirs,))
        thread.start()
        try:
            yield client
        finally:
            client.close()
            thread.join()


def next_request(server: socket.socket) -> wire.Request | None:
    """The next command that a client sent; None when it is gone."""
    head = server.recv(wire.REQUEST.size, socket.MSG_WAITALL)
    return wire.decode_request(head) if len(head) == wire.REQUEST.size else None
