"""What client and server agree on before transmission: TLS, structured replies, meta contexts, the export.

Nothing that a server says here is believed without a bound: replies to one option are counted, payloads are short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from vsa.faults import NbdMalformed, NbdRefused, NbdTlsFailed
from vsa.nbd import wire
from vsa.nbd.numbers import (
    OPTION_REPLY_ERROR,
    STRING_MAX_BYTES,
    ExportFlag,
    HandshakeFlag,
    Info,
    Option,
    OptionReply,
)
from vsa.nbd.stream import Stream, receive
from vsa.nbd.wire import BlockSizes, ExportInfo

PAYLOAD_MAX_BYTES = 2 * STRING_MAX_BYTES + 8  # two strings, as of one export in a list
REPLIES_MAX = 64  # to one option
EXPORTS_MAX = 10_000  # in a list
SIZE_MAX_BYTES = (1 << 63) - 1

_UNSAID = BlockSizes(1, 4096, 32 << 20)  # what the specification lets a client do where a server says nothing
_REASONS = {
    OptionReply.ERR_UNSUP: "the server does not know how",
    OptionReply.ERR_POLICY: "the server's policy forbids it",
    OptionReply.ERR_INVALID: "the server finds the request invalid",
    OptionReply.ERR_PLATFORM: "the server's platform cannot do it",
    OptionReply.ERR_TLS_REQD: "the server demands TLS: nbds:// or nbds+unix://",
    OptionReply.ERR_UNKNOWN: "no such export",
    OptionReply.ERR_SHUTDOWN: "the server is shutting down",
    OptionReply.ERR_BLOCK_SIZE_REQD: "the server demands block sizes that we do not keep",
    OptionReply.ERR_TOO_BIG: "the server finds the request too big",
    OptionReply.ERR_EXT_HEADER_REQD: "the server demands extended headers",
}


@dataclass(frozen=True)
class Export:
    """An export as it was agreed on."""

    name: str
    size: int
    flags: ExportFlag
    block_sizes: BlockSizes
    structured: bool
    contexts: Mapping[str, int]  # the number that stands for a meta context in replies, by name


class Handshake:
    """The options of one connection, in the order in which the methods are called."""

    def __init__(self, stream: Stream, name: str) -> None:
        """Greet. `name` is the connection's, for faults. Raises NbdMalformed, NbdRefused, NbdLost."""
        self._stream = stream
        self._name = name
        flags = wire.decode_greeting(receive(stream, wire.GREETING.size))
        if not flags & HandshakeFlag.FIXED_NEWSTYLE:
            raise NbdRefused(f"{name}: expected a server that speaks fixed newstyle, found handshake flags {flags:#x}")
        stream.send(wire.CLIENT_FLAGS.pack(flags & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)))

    def start_tls(self, wrap: Callable[[], Stream]) -> None:
        """Go on in the stream that `wrap` makes. Raises NbdTlsFailed, also when the server has no TLS."""
        try:
            list(self._ask(Option.STARTTLS, b""))
        except NbdRefused as fault:
            raise NbdTlsFailed(f"{self._name}: expected TLS, found a server without: {fault}") from fault
        self._stream = wrap()

    def exports(self) -> list[tuple[str, str]]:
        """Names and descriptions of all exports. Raises NbdRefused when the server does not tell."""
        replies = self._ask(Option.LIST, b"", EXPORTS_MAX)
        exports = [wire.decode_server(payload) for reply, payload in replies if reply == OptionReply.SERVER]
        self._stream.send(wire.encode_option(Option.ABORT))
        return exports

    def go(self, export: str, contexts: Iterable[str]) -> tuple[Stream, Export]:
        """Begin transmission; of `contexts` those are agreed on that the server has."""
        structured = self._structured()
        agreed = self._contexts(export, list(contexts)) if structured else {}
        info, sizes = None, _UNSAID
        for reply, payload in self._ask(Option.GO, wire.encode_info_request(export, [Info.BLOCK_SIZE])):
            told = wire.decode_info(payload) if reply == OptionReply.INFO else None
            if isinstance(told, ExportInfo):
                info = told
            elif isinstance(told, BlockSizes):
                sizes = told
        if info is None:
            raise NbdMalformed(f"{self._name}: expected size and flags of the export, found an answer without")
        flags = ExportFlag(info.flags & sum(ExportFlag))
        if not flags & ExportFlag.HAS_FLAGS:
            raise NbdMalformed(f"{self._name}: expected flags of an export, found {info.flags:#x}")
        if info.size > SIZE_MAX_BYTES or info.size % sizes.minimum:
            raise NbdMalformed(
                f"{self._name}: expected a size of whole blocks of {sizes.minimum} bytes, found {info.size}"
            )
        return self._stream, Export(export, info.size, flags, sizes, structured, agreed)

    def _structured(self) -> bool:
        try:
            list(self._ask(Option.STRUCTURED_REPLY, b""))
        except _Unsupported:
            return False
        return True

    def _contexts(self, export: str, names: list[str]) -> dict[str, int]:
        if not names:
            return {}
        agreed: dict[str, int] = {}
        try:
            for reply, payload in self._ask(Option.SET_META_CONTEXT, wire.encode_meta_request(export, names)):
                if reply == OptionReply.META_CONTEXT:
                    number, name = wire.decode_meta_context(payload)
                    if name not in names or name in agreed or number in agreed.values():
                        raise NbdMalformed(f"{self._name}: expected each of {names} once, found {name!r} as {number}")
                    agreed[name] = number
        except _Unsupported:
            return {}
        return agreed

    def _ask(self, option: Option, payload: bytes, most: int = REPLIES_MAX) -> Iterator[tuple[int, bytes]]:
        """The replies before the last, which must be ACK. Raises NbdRefused for an error."""
        self._stream.send(wire.encode_option(option, payload))
        for _ in range(most + 1):
            head = receive(self._stream, wire.OPTION_REPLY_HEAD.size)
            answered, reply, length = wire.decode_option_reply_head(head)
            if answered != option:
                raise NbdMalformed(f"{self._name}: expected a reply to option {option}, found one to {answered}")
            if length > PAYLOAD_MAX_BYTES:
                raise NbdMalformed(
                    f"{self._name}: expected a reply of {PAYLOAD_MAX_BYTES} bytes at most, found {length}"
                )
            body = receive(self._stream, length)
            if reply & OPTION_REPLY_ERROR:
                raise self._refusal(reply, body)
            if reply == OptionReply.ACK:
                return
            yield reply, body
        raise NbdMalformed(f"{self._name}: expected {most} replies to option {option} at most, found more")

    def _refusal(self, reply: int, body: bytes) -> NbdRefused:
        kind = _Unsupported if reply == OptionReply.ERR_UNSUP else NbdRefused
        said = body.decode("utf-8", "replace").strip()
        known = reply in OptionReply.__members__.values()
        reason = _REASONS[OptionReply(reply)] if known else f"error {reply:#x}"
        return kind(f"{self._name}: {reason}" + (f" ({said!r})" if said else ""))


class _Unsupported(NbdRefused):
    """The server does not know this option. Some can be done without."""
