"""What has right checks and is yet not what a writer makes: without encryption anybody can write it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
import xxhash
import zstandard

from media import page
from media.container import ContainerWriter, Kind
from media.container_reader import ContainerReader
from media.extents import Extent
from media.faults import FormatTooNew, ObjectForeign, PageCorrupt, RecordCorrupt
from media.ids import cid_of_name
from media.keys import NoDataKey, decode_key_table
from media.page import Interior, PageRef
from media.record import Codec, Header, Type, read_header
from media.recovery_point import RecoveryPoint, list_points
from media.verify import Verification
from tests.media.fakes import SparseDisk
from tests.media.workbench import OPEN, Workbench, noise, zeros

DATA = noise(1, 40_000)
Record = tuple[Header, bytes]
Change = Callable[[Record], tuple[Type, Codec, bytes, int, bytes] | None]


def written() -> tuple[Workbench, RecoveryPoint, str, str]:
    bench = Workbench(OPEN)
    point = bench.backup(SparseDisk.of(DATA))
    names = {bench.memory.get(name)[10]: name for name in bench.containers_of(point.sid)}
    return bench, point, names[1], names[2]


def rewrite(bench: Workbench, name: str, slot: int, change: Change) -> None:
    """The same container, every check right, with one record that was changed."""
    cid = cid_of_name(name)
    assert cid is not None
    reader, body = ContainerReader(bench.pool), bench.memory.get(name)
    writer = ContainerWriter(memoryview(bytearray(1 << 20)), cid, Kind(body[10]), bench.pool.id, NoDataKey())
    for number, offset in enumerate(reader.footer(cid)["offset"].tolist()):
        header, plain = reader.decode(memoryview(body)[offset:], cid, offset, reader.key_finder(cid))
        record = (Type(header.type), Codec.RAW, plain, len(plain), header.fingerprint)
        changed = change((header, plain)) if number == slot else None
        kind, codec, content, plain_len, fingerprint = changed or record
        writer.append(kind, codec, content, plain_len, fingerprint)
    bench.overwrite(name, bytes(writer.finish()[0]))


def lost_of(bench: Workbench, point: RecoveryPoint) -> tuple[list[Extent], set[str]]:
    """What restore and verification agree on: the lost extents, and why."""
    target, outcome = bench.restore(point.disks[0], reads_zero=False)
    assert target.data == zeros(DATA, outcome.lost_extents)
    verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
    verdict = verification.run(list_points(bench.pool))
    assert not verdict.good
    found = [lost.extent for lost in verdict.lost[point.sid][0]]
    assert found == [lost.extent for lost in outcome.lost]
    return outcome.lost_extents, {lost.fault.code for lost in outcome.lost}


CHANGES: dict[str, Change] = {
    "other bytes": lambda r: (Type.CHUNK, Codec.RAW, bytes(len(r[1])), len(r[1]), r[0].fingerprint),
    "fewer bytes": lambda r: (Type.CHUNK, Codec.RAW, r[1][:-1], len(r[1]) - 1, r[0].fingerprint),
    "a length that lies": lambda r: (Type.CHUNK, Codec.RAW, r[1][:-1], len(r[1]), r[0].fingerprint),
    "no zstd": lambda r: (Type.CHUNK, Codec.ZSTD, r[1], len(r[1]), r[0].fingerprint),
    "zstd of fewer bytes": lambda r: (Type.CHUNK, Codec.ZSTD, squeezed(r[1][:-9]), len(r[1]), r[0].fingerprint),
    "zstd of more bytes": lambda r: (Type.CHUNK, Codec.ZSTD, squeezed(r[1] + b"!"), len(r[1]), r[0].fingerprint),
    "half a zstd frame": lambda r: (Type.CHUNK, Codec.ZSTD, squeezed(r[1])[:99], len(r[1]), r[0].fingerprint),
    "a bomb": lambda r: (Type.CHUNK, Codec.ZSTD, squeezed(bytes(1 << 26)), len(r[1]), r[0].fingerprint),
    "a frame that says a terabyte": lambda r: (Type.CHUNK, Codec.ZSTD, HUGE, len(r[1]), r[0].fingerprint),
    "nothing": lambda r: (Type.CHUNK, Codec.RAW, b"", 0, r[0].fingerprint),
}


def squeezed(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(plain)


HUGE = struct.pack("<IB", 0xFD2FB528, 0xE0) + struct.pack("<Q", 1 << 40) + b"\x01\0\0"


@pytest.mark.parametrize("name", CHANGES)
def test_a_chunk_that_is_not_what_its_fingerprint_says_is_lost_alone(name: str) -> None:
    bench, point, data, _ = written()
    chunks = bench.chunks(point.disks[0])
    rewrite(bench, data, 2, CHANGES[name])
    assert lost_of(bench, point) == ([Extent(*chunks[2][:2])], {RecordCorrupt.code})


def test_a_record_under_the_fingerprint_of_another_is_told_apart() -> None:
    bench, point, data, _ = written()
    chunks = bench.chunks(point.disks[0])
    rewrite(bench, data, 2, lambda r: (Type.CHUNK, Codec.RAW, r[1], len(r[1]), chunks[3][2]))
    extents, _ = lost_of(bench, point)
    assert Extent(*chunks[2][:2]) in extents
    assert len(extents) == 1


@pytest.mark.parametrize("field", [5, 6, 7])
def test_a_record_of_a_later_version_is_lost_alone_and_says_so(field: int) -> None:
    """Codec, seal and flags that this build does not know."""
    bench, point, data, _ = written()
    chunks = bench.chunks(point.disks[0])
    body, cid = bytearray(bench.memory.get(data)), cid_of_name(data)
    assert cid is not None
    offset = int(ContainerReader(bench.pool).footer(cid)["offset"][1])
    body[offset + field] = 9
    body[offset + 68 : offset + 72] = struct.pack(
        "<I", xxhash.xxh3_64_intdigest(bytes(body[offset : offset + 68])) & 0xFFFFFFFF
    )
    bench.overwrite(data, bytes(body))
    assert lost_of(bench, point) == ([Extent(*chunks[1][:2])], {FormatTooNew.code})


@pytest.mark.parametrize(("plain_len", "stored_len"), [(9 << 20, 100), (5, 15), (5, 9 << 20)])
def test_lengths_out_of_bounds_are_refused_before_anything_is_read(plain_len: int, stored_len: int) -> None:
    header = struct.pack("<4sBBBBII32sQ12s", b"IREC", 1, 0, 0, 0, plain_len, stored_len, bytes(32), 0, bytes(12))
    header += struct.pack("<I", xxhash.xxh3_64_intdigest(header) & 0xFFFFFFFF)
    with pytest.raises(RecordCorrupt, match="out of bounds"):
        read_header(memoryview(header), "here")


PAGES: dict[str, Change] = {
    "too short": lambda r: (Type.PAGE, Codec.RAW, b"short", 5, r[0].fingerprint),
    "another page": lambda r: (Type.PAGE, Codec.RAW, bytes(24), 24, r[0].fingerprint),
    "more entries than bytes": lambda r: (
        *(Type.PAGE, Codec.RAW),
        r[1][:4] + b"\xff" * 4 + r[1][8:],
        *(len(r[1]), r[0].fingerprint),
    ),
    "a chunk": lambda r: (Type.CHUNK, Codec.RAW, r[1], len(r[1]), r[0].fingerprint),
    "a description": lambda r: (Type.DESCRIPTION, Codec.RAW, b"{}", 2, r[0].fingerprint),
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("slot", [0, 1])
def test_a_page_that_is_not_what_is_referred_to_loses_what_it_covers(name: str, slot: int) -> None:
    bench, point, _, pages = written()
    rewrite(bench, pages, slot, PAGES[name])
    if name == "a chunk":
        # Its bytes are right, only its type is not: restore takes it, verification minds.
        bench.assert_restores(point.disks[0], DATA)
        verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
        assert cid_of_name(pages) in verification.run(list_points(bench.pool)).damaged
        return
    assert lost_of(bench, point)[0] == [Extent(0, len(DATA))]


def test_places_that_were_changed_lead_to_a_fault_and_never_to_other_bytes() -> None:
    """A page's fingerprint does not cover them."""
    bench, point, _, pages = written()

    def elsewhere(record: Record) -> tuple[Type, Codec, bytes, int, bytes]:
        header, plain = record
        start = page.places_start(plain)
        changed = bytearray(plain)
        changed[start + 8 : start + 16] = struct.pack("<Q", 2**64 - 1)
        return Type.PAGE, Codec.RAW, bytes(changed), len(plain), header.fingerprint

    rewrite(bench, pages, 0, elsewhere)
    target, outcome = bench.restore(point.disks[0])
    assert outcome.lost_extents == [Extent(0, len(DATA))]
    assert target.data == bytes(len(DATA))
    assert {lost.fault.code for lost in outcome.lost} == {"media.container_missing"}


def leaf(offsets: list[int], lengths: list[int], which: int = 0, m: int = 1) -> bytes:
    n = len(offsets)
    covered = struct.pack("<IIQ", 0, n, 0) + struct.pack(f"<{n}I", *offsets) + struct.pack(f"<{n}I", *lengths)
    places = struct.pack("<II", m, 0) + bytes(8 * m) + struct.pack("<I", which) * n + bytes(4 * n)
    return covered + bytes(32 * n) + places


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (b"", "0 bytes"),
        (leaf([0, 5], [6, 1]), "overlap"),
        (leaf([5, 0], [1, 1]), "overlap"),
        (leaf([0, 2**32 - 1, 4], [1, 2**32 - 1, 1]), "overlap"),
        (leaf([0], [0]), "empty"),
        (leaf([0], [1], which=1), "container 1 of 1"),
        (leaf([0], [1], m=0), "container 0 of 0"),
        (leaf([0], [1]) + b"\0", "expected"),
        (leaf([0], [1])[:-1], "expected"),
        (leaf([0], [1])[:20], "expected"),
        (struct.pack("<IIQ", 0, 2**32 - 1, 0) + bytes(100), "expected"),
        (
            struct.pack("<IIQ", 1, 1, 0) + struct.pack("<I", 256) + bytes(36) + struct.pack("<IIQII", 1, 0, 0, 0, 0),
            "ascending",
        ),
    ],
)
def test_a_page_that_no_writer_makes_is_a_fault(plain: bytes, message: str) -> None:
    covered = plain[: page.places_start(plain)] if len(plain) >= 16 else plain
    ref = PageRef(page.fingerprint_of(b"k", covered), 1 << 24, 0)
    level = plain[0] if plain else 0
    with pytest.raises(PageCorrupt, match=f"^c-1.0 slot 0: .*{message}"):
        page.decode(plain, ref, b"k", level, 0, "c-1.0 slot 0")


def test_a_page_in_the_place_of_another_is_a_fault() -> None:
    covered, places = page.encode(Interior.of(2, 3, {1: PageRef(bytes(32), 1 << 24, 0)}))
    ref = PageRef(page.fingerprint_of(b"k", covered), 1 << 24, 0)
    for level, index in ((1, 3), (2, 4), (0, 3)):
        with pytest.raises(PageCorrupt, match="level 2, index 3"):
            page.decode(covered + places, ref, b"k", level, index, "here")
    with pytest.raises(PageCorrupt, match="referred to"):
        page.decode(covered + places, ref, b"another key", 2, 3, "here")


@pytest.mark.parametrize(
    "table",
    [
        b"",
        bytes(7),
        struct.pack("<II", 1, 0),
        struct.pack("<II", 0, 1),
        struct.pack("<II", 2**32 - 1, 0),
        struct.pack("<IIQH", 1, 0, 5, 40) + bytes(39),
        struct.pack("<IIQH", 1, 0, 5, 65535),
        struct.pack("<IIQH", 2, 0, 5, 40) + bytes(46),
    ],
)
def test_a_key_table_that_is_none_is_refused(table: bytes) -> None:
    with pytest.raises(ValueError, match="key table"):
        decode_key_table(memoryview(table))


def test_a_container_of_another_session_or_repository_with_right_checks_is_foreign() -> None:
    bench, _, data, _ = written()
    body = bytearray(bench.memory.get(data))
    for at, value in ((16, 77), (24, 1), (40, 5)):
        changed = bytearray(body)
        changed[at] ^= value
        header_len = int.from_bytes(body[12:16], "little")
        digest = xxhash.xxh3_64_intdigest(bytes(changed[: header_len - 8]))
        changed[header_len - 8 : header_len] = struct.pack("<Q", digest)
        bench.overwrite(data, bytes(changed))
        with pytest.raises(ObjectForeign):
            ContainerReader(bench.pool).header(1 << 24)
        verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
        faults = verification.run(list_points(bench.pool)).damaged[1 << 24].faults
        assert [fault.code for fault in faults] == [ObjectForeign.code]
