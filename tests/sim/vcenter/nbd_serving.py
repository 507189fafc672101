"""The NBD protocol to one client, as nbdkit speaks it: fixed newstyle, structured replies, block status."""

from __future__ import annotations

import socket

from tests.sim.vcenter.nbd_disk import LayeredDisk
from vsa.nbd.numbers import (
    BASE_ALLOCATION,
    REPLY_DONE,
    Allocation,
    Chunk,
    Command,
    Error,
    ExportFlag,
    HandshakeFlag,
    Option,
    OptionReply,
)
from vsa.nbd.wire import (
    CLIENT_FLAGS,
    OPTION_HEAD,
    REQUEST,
    BlockSizes,
    ChunkHead,
    ErrorChunk,
    ExportInfo,
    Request,
    StatusExtent,
    decode_info_request,
    decode_meta_request,
    decode_option_head,
    decode_request,
    encode_block_status,
    encode_chunk_head,
    encode_data_offset,
    encode_error,
    encode_greeting,
    encode_info_block_size,
    encode_info_export,
    encode_meta_context,
    encode_option_reply,
    encode_server,
    encode_simple_reply,
)

SECTOR = 512
REQUEST_MAX_BYTES = 2 << 20  # what the library reads and writes at once through a vCenter
_BODY_MAX_BYTES = 64 << 20
_STATUS_MAX = 4096
_CONTEXT = 1


class _Refused(Exception):
    def __init__(self, error: Error, message: str) -> None:
        super().__init__(message)
        self.error = error


def serve_client(client: socket.socket, disk: LayeredDisk) -> None:
    """Until he goes. Raises EOFError and OSError."""
    _Client(client, disk).run()


class _Client:
    def __init__(self, client: socket.socket, disk: LayeredDisk) -> None:
        self._socket = client
        self._file = client.makefile("rb", buffering=1 << 16)
        self._disk = disk
        self._structured = False
        self._allocation = False

    def run(self) -> None:
        with self._file:
            if self._agree():
                while self._request(decode_request(self._take(REQUEST.size))):
                    pass

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _say(self, *parts: bytes | bytearray | memoryview) -> None:
        left = [memoryview(part) for part in parts if part]
        while left:
            sent = self._socket.sendmsg(left)
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if sent:
                left[0] = left[0][sent:]

    # Handshake

    def _agree(self) -> bool:
        self._say(encode_greeting(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES))
        self._take(CLIENT_FLAGS.size)
        while True:
            option, length = decode_option_head(self._take(OPTION_HEAD.size))
            payload = self._take(length)
            if option == Option.ABORT:
                self._say(encode_option_reply(option, OptionReply.ACK))
                return False
            if option in (Option.GO, Option.INFO):
                decode_info_request(payload)
                info = encode_info_export(ExportInfo(self._disk.size, self._flags()))
                sizes = encode_info_block_size(BlockSizes(SECTOR, 4096, 0xFFFFFFFF))
                self._say(
                    encode_option_reply(option, OptionReply.INFO, info),
                    encode_option_reply(option, OptionReply.INFO, sizes),
                    encode_option_reply(option, OptionReply.ACK),
                )
                if option == Option.GO:
                    return True
            else:
                self._option(option, payload)

    def _option(self, option: int, payload: bytes) -> None:
        if option == Option.STRUCTURED_REPLY:
            self._structured = True
            self._say(encode_option_reply(option, OptionReply.ACK))
        elif option == Option.LIST:
            self._say(
                encode_option_reply(option, OptionReply.SERVER, encode_server("")),
                encode_option_reply(option, OptionReply.ACK),
            )
        elif option in (Option.SET_META_CONTEXT, Option.LIST_META_CONTEXT):
            _, queries = decode_meta_request(payload)
            wanted = BASE_ALLOCATION in queries or "base:" in queries or not queries
            if option == Option.SET_META_CONTEXT:
                self._allocation = wanted = BASE_ALLOCATION in queries
            if wanted:
                self._say(
                    encode_option_reply(
                        option, OptionReply.META_CONTEXT, encode_meta_context(_CONTEXT, BASE_ALLOCATION)
                    )
                )
            self._say(encode_option_reply(option, OptionReply.ACK))
        else:
            self._say(encode_option_reply(option, OptionReply.ERR_UNSUP))

    def _flags(self) -> int:
        flags = ExportFlag.HAS_FLAGS | ExportFlag.SEND_FLUSH | ExportFlag.SEND_FUA
        if self._structured:
            flags |= ExportFlag.SEND_DF
        if not self._disk.writes:
            return flags | ExportFlag.READ_ONLY | ExportFlag.CAN_MULTI_CONN
        return flags | ExportFlag.SEND_WRITE_ZEROES

    # Transmission

    def _request(self, request: Request) -> bool:
        """False at the end."""
        if request.command == Command.DISC:
            return False
        body = b""
        if request.command == Command.WRITE:
            if request.length > _BODY_MAX_BYTES:
                raise EOFError
            body = self._take(request.length)
        try:
            self._check(request)
            self._do(request, body)
        except _Refused as refused:
            self._fail(request, refused.error, str(refused))
        except OSError as error:
            self._fail(request, Error.EIO, str(error))
        return True

    def _check(self, request: Request) -> None:
        if request.command == Command.FLUSH:
            return
        if request.offset + request.length > self._disk.size:
            raise _Refused(Error.EINVAL, "beyond the end of the disk")
        if request.command in (Command.READ, Command.WRITE):
            if request.offset % SECTOR or request.length % SECTOR:
                raise _Refused(Error.EINVAL, "read and write work on whole sectors")
            if request.length > REQUEST_MAX_BYTES:
                raise _Refused(Error.EIO, "NfcFssrvrProcessErrorMsg: failed to allocate the requested bytes")
        if request.command in (Command.WRITE, Command.WRITE_ZEROES, Command.TRIM) and not self._disk.writes:
            raise _Refused(Error.EPERM, "opened read-only")

    def _do(self, request: Request, body: bytes) -> None:
        match request.command:
            case Command.READ:
                self._read(request)
            case Command.WRITE:
                self._disk.write(request.offset, body)
                self._done(request)
            case Command.WRITE_ZEROES:
                self._disk.zero(request.offset, request.length)
                self._done(request)
            case Command.FLUSH:
                self._disk.flush()
                self._done(request)
            case Command.BLOCK_STATUS if self._allocation:
                self._status(request)
            case _:
                raise _Refused(Error.EINVAL, f"command {request.command} is not served")

    def _read(self, request: Request) -> None:
        data = self._disk.read(request.offset, request.length)
        if not self._structured:
            self._say(encode_simple_reply(0, request.cookie), data)
            return
        head = ChunkHead(REPLY_DONE, Chunk.OFFSET_DATA, request.cookie, len(data) + 8)
        self._say(encode_chunk_head(head), encode_data_offset(request.offset), data)

    def _status(self, request: Request) -> None:
        extents: list[StatusExtent] = []
        at, end = request.offset, request.offset + request.length
        for first, last in self._disk.data(at, end):
            if first > at:
                extents.append(StatusExtent(first - at, Allocation.HOLE | Allocation.ZERO))
            extents.append(StatusExtent(last - first, 0))
            at = last
            if len(extents) >= _STATUS_MAX:
                break
        else:
            if at < end:
                extents.append(StatusExtent(end - at, Allocation.HOLE | Allocation.ZERO))
        payload = encode_block_status(_CONTEXT, extents)
        head = ChunkHead(REPLY_DONE, Chunk.BLOCK_STATUS, request.cookie, len(payload))
        self._say(encode_chunk_head(head), payload)

    def _done(self, request: Request) -> None:
        if self._structured:
            self._say(encode_chunk_head(ChunkHead(REPLY_DONE, Chunk.NONE, request.cookie, 0)))
        else:
            self._say(encode_simple_reply(0, request.cookie))

    def _fail(self, request: Request, error: Error, message: str) -> None:
        if self._structured:
            payload = encode_error(ErrorChunk(error, message, None))
            self._say(encode_chunk_head(ChunkHead(REPLY_DONE, Chunk.ERROR, request.cookie, len(payload))), payload)
        else:
            self._say(encode_simple_reply(error, request.cookie))
