"""The server's side of a handshake: bytes in, bytes out; no socket here.

Fixed newstyle. Offered: LIST, INFO, GO, EXPORT_NAME, ABORT, structured replies and the context `base:allocation`.
Everything else is answered as unknown, as the protocol wants it. What one client can make us keep is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vsa.faults import NbdMalformed
from vsa.nbd.exports import BLOCK_SIZES, Export, Exports
from vsa.nbd.numbers import BASE_ALLOCATION, STRING_MAX_BYTES, HandshakeFlag, Info, Option, OptionReply
from vsa.nbd.wire import (
    CLIENT_FLAGS,
    EXPORT_NAME_REPLY,
    OPTION_HEAD,
    ExportInfo,
    decode_info_request,
    decode_meta_request,
    decode_option_head,
    encode_greeting,
    encode_info_block_size,
    encode_info_export,
    encode_info_text,
    encode_meta_context,
    encode_option_reply,
    encode_server,
)

ALLOCATION_ID = 1  # our number for base:allocation
_PAYLOAD_MAX_BYTES = 16 << 10  # a name, and queries that we know nothing of
_OPTIONS_MAX = 256  # a client asks a handful
_FLAGS = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES


class Agreed(NamedTuple):
    """What a handshake came to."""

    export: Export
    structured: bool
    allocation: bool  # whether the client may ask for block status


class Negotiation:
    """One client's handshake. `received` until `agreed` is set, or `ended`: then the connection is to be closed."""

    def __init__(self, exports: Exports) -> None:
        self.agreed: Agreed | None = None
        self.ended = False
        self._exports = exports
        self._buffer = bytearray()
        self._client_flags: int | None = None
        self._options = 0
        self._structured = False
        self._allocation_of: str | None = None  # the export for which the context was chosen
        self._answers: dict[int, Callable[[bytes], list[bytes]]] = {
            Option.ABORT: self._abort,
            Option.LIST: self._list,
            Option.INFO: self._info,
            Option.GO: self._go,
            Option.STRUCTURED_REPLY: self._structured_reply,
            Option.LIST_META_CONTEXT: self._list_contexts,
            Option.SET_META_CONTEXT: self._set_contexts,
        }

    @property
    def greeting(self) -> bytes:
        """What the server says first."""
        return encode_greeting(_FLAGS)

    @property
    def rest(self) -> bytes:
        """What came after the handshake."""
        return bytes(self._buffer)

    def received(self, data: bytes) -> bytes:
        """What to answer. Raises NbdMalformed when the client speaks another language."""
        self._buffer += data
        answers: list[bytes] = []
        while self.agreed is None and not self.ended and (answer := self._next()) is not None:
            answers += answer
        return b"".join(answers)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _next(self) -> list[bytes] | None:
        """The answer to what the buffer begins with; None when that is not complete."""
        if self._client_flags is None:
            if len(self._buffer) < CLIENT_FLAGS.size:
                return None
            (self._client_flags,) = CLIENT_FLAGS.unpack(self._take(CLIENT_FLAGS.size))
            if self._client_flags & ~_FLAGS or not self._client_flags & HandshakeFlag.FIXED_NEWSTYLE:
                raise NbdMalformed(f"client flags: expected fixed newstyle, found {self._client_flags:#x}")
            return []
        if len(self._buffer) < OPTION_HEAD.size:
            return None
        option, length = decode_option_head(bytes(self._buffer[: OPTION_HEAD.size]))
        if length > _PAYLOAD_MAX_BYTES:  # not skipped: who sends so much means no good
            self.ended = True
            return [encode_option_reply(option, OptionReply.ERR_TOO_BIG)]
        if len(self._buffer) < OPTION_HEAD.size + length:
            return None
        payload = self._take(OPTION_HEAD.size + length)[OPTION_HEAD.size :]
        self._options += 1
        if self._options > _OPTIONS_MAX:
            raise NbdMalformed(f"handshake: expected {_OPTIONS_MAX} options at most, found more")
        return self._answer(option, payload)

    def _answer(self, option: int, payload: bytes) -> list[bytes]:
        if option == Option.EXPORT_NAME:
            return self._export_name(payload)
        answer = self._answers.get(option)
        if answer is None:
            return [encode_option_reply(option, OptionReply.ERR_UNSUP)]
        try:
            return answer(payload)
        except NbdMalformed as fault:
            message = str(fault).encode()[:STRING_MAX_BYTES]
            return [encode_option_reply(option, OptionReply.ERR_INVALID, message)]

    def _agree(self, export: Export) -> None:
        allocation = self._structured and self._allocation_of is not None
        if allocation and self._exports.find(self._allocation_of or "") is not export:
            allocation = False  # chosen for another export, so not for this one
        self.agreed = Agreed(export, self._structured, allocation)

    def _export_name(self, payload: bytes) -> list[bytes]:
        """The old way to go: an unknown name has no answer but the end."""
        export = self._exports.find(payload.decode("utf-8", "replace"))
        if export is None:
            self.ended = True
            return []
        self._agree(export)
        zeros = b"" if (self._client_flags or 0) & HandshakeFlag.NO_ZEROES else bytes(124)
        return [EXPORT_NAME_REPLY.pack(export.disk.size, export.flags(structured=self._structured)) + zeros]

    def _abort(self, _payload: bytes) -> list[bytes]:
        self.ended = True
        return [encode_option_reply(Option.ABORT, OptionReply.ACK)]

    def _list(self, payload: bytes) -> list[bytes]:
        _expect_nothing("list of exports", payload)
        servers = [
            encode_option_reply(Option.LIST, OptionReply.SERVER, encode_server(export.name, export.description))
            for export in self._exports
        ]
        return [*servers, encode_option_reply(Option.LIST, OptionReply.ACK)]

    def _info(self, payload: bytes) -> list[bytes]:
        return self._told(Option.INFO, *decode_info_request(payload))

    def _go(self, payload: bytes) -> list[bytes]:
        name, kinds = decode_info_request(payload)
        export = self._exports.find(name)
        if export is not None:
            self._agree(export)
        return self._told(Option.GO, name, kinds)

    def _told(self, option: Option, name: str, kinds: list[int]) -> list[bytes]:
        export = self._exports.find(name)
        if export is None:
            return [encode_option_reply(option, OptionReply.ERR_UNKNOWN, b"no export has this name")]
        told = [encode_info_export(ExportInfo(export.disk.size, export.flags(structured=self._structured)))]
        if Info.BLOCK_SIZE in kinds:
            told.append(encode_info_block_size(BLOCK_SIZES))
        if Info.NAME in kinds:
            told.append(encode_info_text(Info.NAME, export.name))
        if Info.DESCRIPTION in kinds:
            told.append(encode_info_text(Info.DESCRIPTION, export.description))
        replies = [encode_option_reply(option, OptionReply.INFO, each) for each in told]
        return [*replies, encode_option_reply(option, OptionReply.ACK)]

    def _structured_reply(self, payload: bytes) -> list[bytes]:
        _expect_nothing("structured replies", payload)
        self._structured = True
        return [encode_option_reply(Option.STRUCTURED_REPLY, OptionReply.ACK)]

    def _list_contexts(self, payload: bytes) -> list[bytes]:
        """A query that ends in a colon asks for a whole name space; none asks for all."""
        name, queries = decode_meta_request(payload)
        return self._contexts(Option.LIST_META_CONTEXT, name, not queries or "base:" in queries, queries)

    def _set_contexts(self, payload: bytes) -> list[bytes]:
        self._allocation_of = None
        name, queries = decode_meta_request(payload)
        replies = self._contexts(Option.SET_META_CONTEXT, name, False, queries)
        if len(replies) > 1:
            self._allocation_of = name
        return replies

    def _contexts(self, option: Option, name: str, every: bool, queries: list[str]) -> list[bytes]:
        if not self._structured:
            raise NbdMalformed("meta contexts: expected structured replies to be agreed on before")
        if self._exports.find(name) is None:
            return [encode_option_reply(option, OptionReply.ERR_UNKNOWN, b"no export has this name")]
        replies = [encode_option_reply(option, OptionReply.ACK)]
        if every or BASE_ALLOCATION in queries:
            number = ALLOCATION_ID if option == Option.SET_META_CONTEXT else 0
            context = encode_meta_context(number, BASE_ALLOCATION)
            replies.insert(0, encode_option_reply(option, OptionReply.META_CONTEXT, context))
        return replies


def _expect_nothing(what: str, payload: bytes) -> None:
    if payload:
        raise NbdMalformed(f"{what}: expected no payload, found {len(payload)} bytes")
