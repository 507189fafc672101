"""s512/1 against its definition, written here a second time in plain Python, for every variant that can run here."""

import hashlib
from functools import cache
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext import cut

SECRETS = hashlib.shake_256(b"ingot test secrets").digest(cut.SECRETS_BYTES)
SECTOR, BLOCK = 512, 4096
U32, U64 = (1 << 32) - 1, (1 << 64) - 1

KEYS = [int.from_bytes(SECRETS[4 * i : 4 * i + 4], "little") for i in range(256)]
SIP_KEYS = int.from_bytes(SECRETS[1024:1032], "little"), int.from_bytes(SECRETS[1032:], "little")


# The oracle.


def siphash(keys, message):
    def rotate(x, bits):
        return (x << bits | x >> (64 - bits)) & U64

    v0, v1 = keys[0] ^ 0x736F6D6570736575, keys[1] ^ 0x646F72616E646F6D
    v2, v3 = keys[0] ^ 0x6C7967656E657261, keys[1] ^ 0x7465646279746573
    whole = len(message) // 8 * 8
    words = [int.from_bytes(message[i : i + 8], "little") for i in range(0, whole, 8)]
    words.append(len(message) % 256 << 56 | int.from_bytes(message[whole:], "little"))
    for word, rounds in [(word, 2) for word in words] + [(None, 4)]:
        if word is None:
            v2 ^= 0xFF
        else:
            v3 ^= word
        for _ in range(rounds):
            v0, v2 = (v0 + v1) & U64, (v2 + v3) & U64
            v1, v3 = rotate(v1, 13) ^ v0, rotate(v3, 16) ^ v2
            v0, v2 = (rotate(v0, 32) + v3) & U64, (v2 + v1) & U64
            v1, v3 = rotate(v1, 17) ^ v2, rotate(v3, 21) ^ v0
            v2 = rotate(v2, 32)
        v0 ^= word or 0
    return v0 ^ v1 ^ v2 ^ v3


@cache
def value(sector):
    w = [int.from_bytes(sector[4 * i : 4 * i + 4], "little") for i in range(128)]

    def nh(k):
        return sum(((w[i] + k[i]) & U32) * ((w[i + 64] + k[i + 64]) & U32) for i in range(64)) & U64

    a = nh(KEYS[0:64] + KEYS[64:128])
    b = nh(KEYS[128:192] + KEYS[192:256])
    return siphash(SIP_KEYS, a.to_bytes(8, "little") + b.to_bytes(8, "little"))


def data_extents(data):
    starts = range(0, len(data), BLOCK)
    for is_data, blocks in groupby(starts, key=lambda start: any(data[start : start + BLOCK])):
        run = list(blocks)
        if is_data:
            yield run[0], min(run[-1] + BLOCK, len(data))


def next_cut(data, start, end, average):
    shortest, longest, threshold = average // 2, average * 2, U64 // (average // 2) * SECTOR
    if end - start <= shortest:
        return end
    remembered = None
    for i in range(start + shortest, min(start + longest, end), SECTOR):
        sector = data[i - SECTOR : i]
        if not any(sector):
            continue
        if value(sector) < threshold:
            return i
        if remembered is None or value(sector) < remembered[0]:
            remembered = value(sector), i
    if end - start <= longest:
        return end
    return remembered[1] if remembered else start + longest


def defined_cut(data, average):
    chunks = []
    for extent_start, end in data_extents(data):
        start = extent_start
        while start < end:
            stop = next_cut(data, start, end, average)
            chunks.append((start, stop - start))
            start = stop
    return chunks


# The kernels.


def segment(data, average, kernel=None):
    cutter = cut.Cutter(SECRETS, average, kernel)
    offsets = np.empty(cutter.capacity(len(data)), np.uint32)
    lengths = np.empty_like(offsets)
    count = cutter.segment(data, offsets, lengths)
    return list(zip(offsets[:count].tolist(), lengths[:count].tolist(), strict=True))


def sectors_where(condition, count):
    """The first sectors of a fixed stream that fulfil a condition."""
    stream = (hashlib.shake_256(b"sector %d" % i).digest(SECTOR) for i in range(10_000))
    return [sector for sector, _ in zip((s for s in stream if condition(s)), range(count), strict=False)]


# At an average of 4 KiB the threshold is 2^62, at larger ones less: `CUTTING` cut at 4 KiB and some of them beyond,
# `DULL` nowhere, so that long runs of them meet MAX; their repetitions are the ties.
CUTTING = sectors_where(lambda sector: value(sector) < 1 << 60, 4)
DULL = sectors_where(lambda sector: value(sector) >= 1 << 62, 6)
ZERO = bytes(SECTOR)
ALMOST_ZERO = bytes(SECTOR - 1) + b"\1"

averages = st.sampled_from([4096, 8192, 16384])
kernels = pytest.mark.parametrize("kernel", cut.kernels())


@st.composite
def segments(draw):
    """Runs of equal sectors in lengths that meet MIN, MAX and the block, then perhaps a part of a sector."""
    lengths = st.one_of(st.sampled_from([1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65]), st.integers(1, 70))
    contents = st.sampled_from([*CUTTING, *DULL, *DULL, ZERO, ZERO, ALMOST_ZERO])
    runs = draw(st.lists(st.tuples(contents, lengths), max_size=12))
    tail = draw(st.one_of(st.just(b""), st.integers(1, 511).map(bytes), st.binary(min_size=1, max_size=511)))
    return b"".join(content * length for content, length in runs) + tail


@st.composite
def dull_extents(draw):
    """Extents of dull sectors, nearly as long as MIN, MAX or a multiple of them, between holes."""
    average = draw(averages)
    near = st.sampled_from([average // 2, average, average * 2, average * 4]).flatmap(
        lambda size: st.sampled_from(
            [size - BLOCK, size - SECTOR, size - 1, size, size + 1, size + SECTOR, size + BLOCK]
        )
    )
    extents = draw(st.lists(st.tuples(near, st.sampled_from(DULL)), min_size=1, max_size=4))
    data = b""
    for size, sector in extents:
        data += bytes(-len(data) % BLOCK + BLOCK) + (sector * (size // SECTOR + 1))[:size]
    return average, data


def test_siphash_of_the_oracle_gives_the_answer_of_its_paper():
    key = int.from_bytes(bytes(range(8)), "little"), int.from_bytes(bytes(range(8, 16)), "little")
    assert siphash(key, bytes(range(15))) == 0xA129CA6149BE45E5


@kernels
@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=segments(), average=averages)
def test_every_kernel_cuts_as_defined(kernel, data, average):
    assert segment(data, average, kernel) == defined_cut(data, average)


@kernels
@settings(derandomize=True, deadline=None, max_examples=150)
@given(case=dull_extents())
def test_extents_around_the_shortest_and_the_longest_chunk_are_cut_as_defined(kernel, case):
    average, data = case
    assert segment(data, average, kernel) == defined_cut(data, average)


@kernels
@pytest.mark.parametrize("average", [1 << bits for bits in range(12, 21)])
def test_random_bytes_are_cut_as_defined_at_every_average(kernel, average):
    data = hashlib.shake_256(b"any").digest(6 * average + 777)
    assert segment(data, average, kernel) == defined_cut(data, average)


@kernels
def test_bytes_at_odd_addresses_are_cut_alike(kernel):
    data = hashlib.shake_256(b"odd").digest(300_000)
    for shift in (1, 3, 63):
        assert segment(np.frombuffer(bytes(shift) + data, np.uint8)[shift:], 4096, kernel) == defined_cut(data, 4096)


@kernels
def test_the_first_of_equal_sectors_is_the_cut_that_is_remembered(kernel):
    lowest = min(DULL, key=value)
    others = [sector for sector in DULL if sector != lowest]
    data = (others[0] * 9 + lowest * 2 + others[1] * 9 + lowest * 20)[: 40 * SECTOR]
    assert segment(data, 4096, kernel)[0] == (0, 10 * SECTOR)


@kernels
def test_where_all_candidates_are_zero_the_cut_is_at_the_longest_chunk(kernel):
    # MIN is 4 sectors and MAX is 16, so sectors 3 to 14 are candidates; sector 15 keeps its block from being a hole.
    # (Only at this average: a longer MAX has whole blocks of candidates.)
    data = DULL[0] * 3 + ZERO * 12 + DULL[0] * 9
    assert segment(data, 4096, kernel)[0] == (0, 8192)


@kernels
@pytest.mark.parametrize("length", [0, 1, 511, 512, 4095, 4096, 4097, 65536, 70_001])
def test_zeros_give_no_chunks(kernel, length):
    assert segment(bytes(length), 4096, kernel) == []


@kernels
@pytest.mark.parametrize("length", [1, 511, 513, 4095, 4097])
def test_one_byte_keeps_its_whole_block(kernel, length):
    data = bytes(length - 1) + b"x"
    assert segment(data, 4096, kernel) == [(length - 1 - (length - 1) % BLOCK, (length - 1) % BLOCK + 1)]


def golden_data():
    data = bytearray(hashlib.shake_256(b"ingot golden data").digest((1 << 20) - 1234))
    data[200_704:233_472] = bytes(32_768)
    data[300_000:302_000] = bytes(2_000)
    data[524_288:786_432] = data[524_288:524_800] * 512
    return bytes(data)


# Pinned for ever: two builds that cut differently store everything twice in every repository in the field. If one of
# these fails, the kernel is wrong; a different way to cut is a chunker with another id.
GOLDEN_64_KIB = [
    (0, 37376),
    (37376, 120832),
    (158208, 36864),
    (195072, 5632),
    (233472, 70144),
    (303616, 52736),
    (356352, 112640),
    (468992, 32768),
    (501760, 32768),
    (534528, 32768),
    (567296, 32768),
    (600064, 32768),
    (632832, 32768),
    (665600, 123392),
    (788992, 43008),
    (832000, 36352),
    (868352, 35328),
    (903680, 87552),
    (991232, 56110),
]
GOLDEN_SHA_256 = {
    4096: "5f1dcb929d6015d40122e7e174feddb8cd67bd7a1f75911d5b1747b50263ecda",
    16384: "29987c8459086f7aa43db1d5e3ebe06be890253528d0d07e9ceb9f3b1b84a273",
    131072: "cd9be1060cce18ae981aeaca61295a92286b8b8263fec1c1b564651ae689ebb7",
    262144: "b7fefd107e2aa02fd2f786fbf4f1b0edca9d4d9a7886baf15f3efb613080c447",
}


@kernels
def test_golden_data_is_cut_where_it_was_ever_cut(kernel):
    assert segment(golden_data(), 65536, kernel) == GOLDEN_64_KIB


@kernels
@pytest.mark.parametrize("average", GOLDEN_SHA_256)
def test_golden_data_is_cut_where_it_was_ever_cut_at_other_averages(kernel, average):
    chunks = segment(golden_data(), average, kernel)
    assert hashlib.sha256(np.array(chunks, "<u4").tobytes()).hexdigest() == GOLDEN_SHA_256[average]


# The contract of the face.


@settings(derandomize=True, deadline=None, max_examples=100)
@given(data=segments(), average=averages)
def test_capacity_is_enough(data, average):
    assert len(segment(data, average)) <= cut.Cutter(SECRETS, average).capacity(len(data))


def test_capacity_is_enough_for_single_blocks_between_holes():
    data = ((DULL[0] + ZERO * 15) * 64)[: -7 * SECTOR]
    assert len(segment(data, 65536)) == 64 <= cut.Cutter(SECRETS, 65536).capacity(len(data))


def test_a_cutter_tells_its_parameters():
    cutter = cut.Cutter(SECRETS, 65536)
    assert (cutter.min_bytes, cutter.average_bytes, cutter.max_bytes) == (32768, 65536, 131072)
    with pytest.raises(AttributeError):
        cutter.average_bytes = 4096


def test_the_default_kernel_is_the_first_of_those_that_run_here_and_scalar_is_the_last():
    assert cut.kernel() == cut.kernels()[0]
    assert cut.kernels()[-1] == "scalar"


@pytest.mark.parametrize("length", [0, 1039, 1041])
def test_secrets_of_another_length_are_refused(length):
    with pytest.raises(ValueError, match=f"{length} bytes of secrets, expected 1040"):
        cut.Cutter(bytes(length), 65536)


@pytest.mark.parametrize("average", [-4096, 0, 1, 512, 2048, 4095, 65535, 65537, 3 << 16, 1 << 21])
def test_an_average_that_is_no_power_of_two_in_bounds_is_refused(average):
    with pytest.raises(ValueError, match="no power of two"):
        cut.Cutter(SECRETS, average)


@pytest.mark.parametrize("kernel", ["", "neon-of-tomorrow", "AVX2"])
def test_a_kernel_that_cannot_run_here_is_refused(kernel):
    with pytest.raises(ValueError, match="does not run here"):
        cut.Cutter(SECRETS, 65536, kernel)


def test_arrays_below_the_capacity_are_refused():
    cutter = cut.Cutter(SECRETS, 4096)
    room = np.empty(cutter.capacity(8192) - 1, np.uint32)
    with pytest.raises(ValueError, match="room for 4 chunks; 8192 bytes may give 5"):
        cutter.segment(bytes(8192), room, room.copy())


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="room for 9 offsets but 8 lengths"):
        cut.Cutter(SECRETS, 4096).segment(bytes(8192), np.empty(9, np.uint32), np.empty(8, np.uint32))
