"""Fingerprints of chunks: HMAC-SHA-256 under a pool's key (page "The data path").

The face of `sha256_lanes.c`, which hashes several chunks side by side where the processor has SHA instructions.
Elsewhere, or where a FIPS module is asked for, the same answers come from OpenSSL through `hashlib`, chunk by chunk.
Both prepare the inner and outer state of RFC 2104 once a key. A `Fingerprinter` is immutable and may be used by any
number of threads at once.
"""

import hashlib

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "sha256_lanes.h" nogil:
    int SHA256_BLOCK_BYTES
    int SHA256_DIGEST_BYTES
    struct hmac_key:
        pass
    bint sha256_lanes_run_here()
    void hmac_key_init(hmac_key *prepared, const uint8_t *key)
    void hmac_sha256_batch(
        const hmac_key *key,
        const uint8_t *data,
        const uint32_t *offsets,
        const uint32_t *lengths,
        size_t count,
        uint8_t *digests,
    )

FINGERPRINT_BYTES = SHA256_DIGEST_BYTES

_LANES = "sha-ni x3"
_OPENSSL = "openssl"

# Where empty data lies: C knows no arithmetic on a null pointer, not even plus 0.
cdef const uint8_t *_NOTHING = b""


def kernels():
    """Names of the variants that this processor can run, fastest first; "openssl" is always the last."""
    return [_LANES, _OPENSSL] if sha256_lanes_run_here() else [_OPENSSL]


def kernel():
    """Name of the variant that a `Fingerprinter` uses unless told otherwise."""
    return kernels()[0]


cdef class Fingerprinter:
    """Fingerprints chunks with one pool's key, which may have any length (RFC 2104).

    Raises ValueError for a kernel that cannot run here.
    """

    cdef hmac_key _key
    cdef bint _in_lanes
    cdef object _inner
    cdef object _outer

    def __cinit__(self, key, str kernel=None):
        name = kernel if kernel is not None else kernels()[0]
        if name not in kernels():
            raise ValueError(f"kernel {name!r} does not run here, only {kernels()}")
        if len(key) > SHA256_BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        block = bytes(key).ljust(SHA256_BLOCK_BYTES, b"\0")
        self._in_lanes = name == _LANES
        if self._in_lanes:
            hmac_key_init(&self._key, block)
        else:
            self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
            self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def batch(
        self,
        const uint8_t[::1] data,
        const uint32_t[::1] offsets,
        const uint32_t[::1] lengths,
        uint8_t[:, ::1] out,
    ):
        """Writes out[i] = fingerprint of data[offsets[i] : offsets[i] + lengths[i]]; a length may be 0.

        Raises ValueError, before anything is written, if a chunk lies outside the data or if the shapes of `offsets`
        (n), `lengths` (n) and `out` (n or more rows of 32 bytes) do not fit.
        """
        cdef Py_ssize_t count = offsets.shape[0]
        cdef Py_ssize_t i
        if lengths.shape[0] != count or out.shape[0] < count or out.shape[1] != SHA256_DIGEST_BYTES:
            raise ValueError(
                f"{count} offsets, {lengths.shape[0]} lengths and "
                f"{out.shape[0]} rows of {out.shape[1]} bytes do not fit"
            )
        for i in range(count):
            if <uint64_t> offsets[i] + lengths[i] > <uint64_t> data.shape[0]:
                raise ValueError(f"chunk {i}: {lengths[i]} bytes at {offsets[i]} of {data.shape[0]}")
        if count == 0:
            return
        if not self._in_lanes:
            self._openssl_batch(data, offsets, lengths, out)
            return
        cdef const uint8_t *first = &data[0] if data.shape[0] else _NOTHING
        with nogil:
            hmac_sha256_batch(&self._key, first, &offsets[0], &lengths[0], count, &out[0, 0])

    def one(self, const uint8_t[::1] data):
        """The fingerprint of one chunk of less than 4 GiB."""
        if data.shape[0] > 0xFFFFFFFF:
            raise ValueError(f"chunk of {data.shape[0]} bytes")
        cdef uint8_t[32] digest
        cdef uint32_t offset = 0
        cdef uint32_t length = <uint32_t> data.shape[0]
        if not self._in_lanes:
            return self._openssl(data)
        cdef const uint8_t *first = &data[0] if length else _NOTHING
        with nogil:
            hmac_sha256_batch(&self._key, first, &offset, &length, 1, digest)
        return digest[:SHA256_DIGEST_BYTES]

    cdef bytes _openssl(self, const uint8_t[::1] chunk):
        inner = self._inner.copy()
        inner.update(chunk)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    cdef _openssl_batch(
        self, const uint8_t[::1] data, const uint32_t[::1] offsets, const uint32_t[::1] lengths, uint8_t[:, ::1] out
    ):
        cdef Py_ssize_t i
        cdef const uint8_t[::1] digest
        for i in range(offsets.shape[0]):
            digest = self._openssl(data[offsets[i] : <Py_ssize_t> offsets[i] + lengths[i]])
            out[i, :] = digest
