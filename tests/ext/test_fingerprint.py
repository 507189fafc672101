"""Fingerprints against the standard library's HMAC, for every variant that can run here."""

import hashlib
import hmac
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext import fingerprint

KEY = bytes(range(32))
DATA = hashlib.shake_256(b"ingot test data").digest(20_000)

kernels = pytest.mark.parametrize("kernel", fingerprint.kernels())


def expected(chunk, key=KEY):
    return hmac.digest(key, chunk, "sha256")


def batch(chunks, kernel, data=DATA, key=KEY):
    offsets = np.array([offset for offset, _ in chunks], np.uint32)
    lengths = np.array([length for _, length in chunks], np.uint32)
    out = np.zeros((len(chunks), fingerprint.FINGERPRINT_BYTES), np.uint8)
    fingerprint.Fingerprinter(key, kernel).batch(data, offsets, lengths, out)
    return [row.tobytes() for row in out]


# Around a block (64), around where the padding needs a second one (55 and 56 of the last block), and anything.
lengths = st.one_of(st.sampled_from([0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129]), st.integers(0, 3_000))
chunk_lists = st.lists(st.tuples(st.integers(0, 17_000), lengths), max_size=20)


@kernels
@settings(derandomize=True, deadline=None, max_examples=200)
@given(chunks=chunk_lists)
def test_every_chunk_of_a_batch_gets_its_own_fingerprint(kernel, chunks):
    assert batch(chunks, kernel) == [expected(DATA[offset : offset + length]) for offset, length in chunks]


@kernels
@pytest.mark.parametrize("count", range(9))
def test_batches_smaller_and_larger_than_the_lanes_are_answered(kernel, count):
    chunks = [(i, 1000 - 100 * i) for i in range(count)]
    assert batch(chunks, kernel) == [expected(DATA[offset : offset + length]) for offset, length in chunks]


@kernels
@pytest.mark.parametrize("length", range(200))
def test_every_length_of_padding_is_right(kernel, length):
    assert fingerprint.Fingerprinter(KEY, kernel).one(DATA[:length]) == expected(DATA[:length])


@kernels
@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 131, 1000])
def test_keys_of_any_length_are_taken_as_rfc_2104_takes_them(kernel, size):
    key = DATA[:size]
    assert fingerprint.Fingerprinter(key, kernel).one(b"message") == expected(b"message", key)


@kernels
def test_a_long_chunk_beside_many_short_ones_is_finished_alone(kernel):
    chunks = [(0, 20_000), *((i, 10) for i in range(50))]
    assert batch(chunks, kernel) == [expected(DATA[offset : offset + length]) for offset, length in chunks]


@kernels
def test_empty_data_has_fingerprints_too(kernel):
    assert batch([(0, 0)] * 5, kernel, data=b"") == [expected(b"")] * 5
    assert fingerprint.Fingerprinter(KEY, kernel).one(b"") == expected(b"")


@kernels
def test_a_bytearray_and_an_array_are_taken_as_bytes_are(kernel):
    one = fingerprint.Fingerprinter(KEY, kernel).one
    assert one(bytearray(DATA)) == one(np.frombuffer(DATA, np.uint8)) == one(memoryview(DATA)) == expected(DATA)


@kernels
def test_rows_beyond_the_batch_stay_as_they_were(kernel):
    out = np.full((3, 32), 7, np.uint8)
    fingerprint.Fingerprinter(KEY, kernel).batch(DATA, np.zeros(1, np.uint32), np.zeros(1, np.uint32), out)
    assert out[0].tobytes() == expected(b"")
    assert (out[1:] == 7).all()


@kernels
def test_threads_may_share_a_fingerprinter(kernel):
    one = fingerprint.Fingerprinter(KEY, kernel).one
    chunks = [random.Random(i).randbytes(5_000) for i in range(40)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, chunks)) == [expected(chunk) for chunk in chunks]


@kernels
@pytest.mark.parametrize(("offset", "length"), [(20_000, 1), (19_999, 2), (0, 20_001), (2**32 - 1, 2**32 - 1)])
def test_a_chunk_outside_the_data_is_refused_by_its_index_and_nothing_is_written(kernel, offset, length):
    out = np.zeros((2, 32), np.uint8)
    offsets, lengths = np.array([0, offset], np.uint32), np.array([5, length], np.uint32)
    with pytest.raises(ValueError, match=f"chunk 1: {length} bytes at {offset} of 20000"):
        fingerprint.Fingerprinter(KEY, kernel).batch(DATA, offsets, lengths, out)
    assert not out.any()


@kernels
@pytest.mark.parametrize(
    ("lengths_count", "rows", "columns"), [(1, 2, 32), (3, 2, 32), (2, 1, 32), (2, 2, 31), (2, 2, 33)]
)
def test_arrays_that_do_not_fit_together_are_refused(kernel, lengths_count, rows, columns):
    with pytest.raises(ValueError, match="do not fit"):
        fingerprint.Fingerprinter(KEY, kernel).batch(
            DATA, np.zeros(2, np.uint32), np.zeros(lengths_count, np.uint32), np.zeros((rows, columns), np.uint8)
        )


@pytest.mark.parametrize("kernel", ["", "md5", "SHA-NI x3"])
def test_a_kernel_that_cannot_run_here_is_refused(kernel):
    with pytest.raises(ValueError, match="does not run here"):
        fingerprint.Fingerprinter(KEY, kernel)


def test_the_default_kernel_is_the_first_of_those_that_run_here_and_openssl_is_the_last():
    assert fingerprint.kernel() == fingerprint.kernels()[0]
    assert fingerprint.kernels()[-1] == "openssl"
