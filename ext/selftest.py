"""Known answers of every kernel variant that can run here, for daemons to ask when they start.

A variant that answers wrongly (a miscompiled build, a broken processor, a virtual machine that advertises what it does
not have) would store data under false names or cut it where no other build does. Takes a few milliseconds.
"""

import hashlib
from array import array

from ext import cut, fingerprint

# RFC 4231, test cases 1, 2, 3 and 6 (a key longer than a block): key, message, HMAC-SHA-256.
HMAC_ANSWERS = (
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
)

# Answers of the scalar kernel, which the tests check against the definition, and of OpenSSL, for the data below.
AVERAGE_BYTES = 16384
CHUNK_LENGTHS = (
    15360,
    22016,
    17920,
    9728,
    512,
    11776,
    19456,
    12288,
    13824,
    8192,
    28672,
    28672,
    10240,
    26112,
    9728,
    18756,
)
FINGERPRINTS = "1294b59364431c9ca6fa938cf955c0a1c9b9f34532d6e0ce67c97b8d9172e2e5"


class SelfTestFailed(Exception):
    """A kernel on this machine does not give the answers that it must."""


def run() -> None:
    """Raises SelfTestFailed, naming the variant, at the first wrong answer."""
    data, chunks = _data(), [(0, 0)]
    for kernel in cut.kernels():
        chunks = _cut(data, kernel)
        if tuple(length for _, length in chunks) != CHUNK_LENGTHS:
            raise SelfTestFailed(f"cut kernel {kernel}: chunks of {[length for _, length in chunks]} bytes")
    for kernel in fingerprint.kernels():
        for key, message, answer in HMAC_ANSWERS:
            found = fingerprint.Fingerprinter(key, kernel).one(message).hex()
            if found != answer:
                raise SelfTestFailed(f"fingerprint kernel {kernel}: {found} for {message!r}, expected {answer}")
        found = _fingerprint(data, chunks, kernel)
        if found != FINGERPRINTS:
            raise SelfTestFailed(f"fingerprint kernel {kernel}: {found} over {len(chunks)} chunks")


def _data() -> bytes:
    """256 KiB with a hole of two blocks, a zero sector, a repeated sector and a short last block."""
    data = bytearray(hashlib.shake_256(b"ingot self-test data").digest(256 * 1024 - 700))
    data[65536 : 65536 + 8192] = bytes(8192)
    data[20480 : 20480 + 512] = bytes(512)
    data[131072 : 131072 + 512 * 64] = data[131072 : 131072 + 512] * 64
    return bytes(data)


def _cut(data: bytes, kernel: str) -> list[tuple[int, int]]:
    cutter = cut.Cutter(hashlib.shake_256(b"ingot self-test secrets").digest(cut.SECRETS_BYTES), AVERAGE_BYTES, kernel)
    offsets = array("I", bytes(4 * cutter.capacity(len(data))))
    lengths = array("I", offsets)
    count = cutter.segment(data, offsets, lengths)
    return list(zip(offsets[:count], lengths[:count], strict=True))


def _fingerprint(data: bytes, chunks: list[tuple[int, int]], kernel: str) -> str:
    """SHA-256 of all the chunks' fingerprints: chunks of different lengths in one batch make the lanes take turns."""
    out = bytearray(len(chunks) * fingerprint.FINGERPRINT_BYTES)
    fingerprint.Fingerprinter(b"ingot self-test key", kernel).batch(
        data,
        array("I", (offset for offset, _ in chunks)),
        array("I", (length for _, length in chunks)),
        memoryview(out).cast("B", (len(chunks), fingerprint.FINGERPRINT_BYTES)),
    )
    return hashlib.sha256(out).hexdigest()
