"""F1: decode(encode(x)) = x, for every structure on media."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from media import frame, page
from media.container import ContainerWriter, Kind, decode_footer, decode_header, decode_trailer, scan
from media.faults import KeyUnfit
from media.frame import Kind as FrameKind
from media.ids import NO_CID, cid_of, cid_of_name, container_name, heartbeat_name, sid_of, sid_of_name
from media.key_slots import KeyFile, NoSecret, Passphrase, Secret
from media.keys import PoolKeys, decode_key_table, encode_key_table
from media.known_chunks import Places
from media.page import Interior, Leaf, PageRef
from media.pool import Parameters, canonical, open_pool
from media.record import Codec, Type, read_record, stored_size, write_record
from media.recovery_point import DiskTree, Machine, RecoveryPoint, encode_detail, read_point
from media.tree import Root
from tests.media.workbench import OPEN, SECRET, SMALL, Workbench, noise, text

REPOSITORY = uuid.UUID(int=7)
SEALED = PoolKeys(REPOSITORY, bytes(range(32)))
UNSEALED = PoolKeys(REPOSITORY, bytes(range(32)), sealed=False)
BOTH = pytest.mark.parametrize("keys", [SEALED, UNSEALED], ids=["sealed", "unsealed"])


@BOTH
@settings(max_examples=60, deadline=None, derandomize=True)
@given(plain=st.binary(max_size=3000), codec=st.sampled_from(Codec), kind=st.sampled_from(Type))
def test_a_record_comes_back(keys: PoolKeys, plain: bytes, codec: Codec, kind: Type) -> None:
    key = keys.new_data_key()
    content = zstandard.ZstdCompressor().compress(plain) if codec is Codec.ZSTD else plain
    buffer = memoryview(bytearray(stored_size(len(content))))
    assert write_record(buffer, kind, codec, content, len(plain), b"f" * 32, key) == len(buffer)
    table, _ = decode_key_table(memoryview(encode_key_table(key)))
    header, found = read_record(
        buffer,
        "here",
        lambda key_id: PoolKeys(REPOSITORY, keys.master).data_key(key_id, table),
        zstandard.ZstdDecompressor(),
        sealed_pool=keys.sealed,
    )
    assert found == plain
    assert (header.type, header.codec, header.fingerprint, header.record_len) == (kind, codec, b"f" * 32, len(buffer))


@BOTH
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_container_its_header_footer_and_trailer_come_back(keys: PoolKeys, count: int) -> None:
    key, cid = keys.new_data_key(), cid_of(5, 3)
    writer = ContainerWriter(memoryview(bytearray(64 << 10)), cid, Kind.DATA, REPOSITORY, key)
    plains = [noise(n, 1 + 37 * n) for n in range(count)]
    slots = [writer.append(Type.CHUNK, Codec.RAW, plain, len(plain), noise(n, 32)) for n, plain in enumerate(plains)]
    assert slots == list(range(count))
    assert len(writer) == count
    container, footer = writer.finish()
    header = decode_header(container, cid, REPOSITORY)
    assert (header.cid, header.sid, header.kind) == (cid, 5, Kind.DATA)
    assert list(header.wrapped_keys) == ([key.key_id] if keys.sealed else [])
    trailer = decode_trailer(container[-64:], cid, len(container))
    raw = bytes(container[trailer.footer_offset :][: trailer.footer_len])
    assert trailer.record_count == count
    assert decode_footer(raw, trailer, cid).tobytes() == footer.tobytes()
    assert scan(container, cid, header.header_len).tobytes() == footer.tobytes()
    for slot, plain in enumerate(plains):
        assert footer["fingerprint"][slot].tobytes() == noise(slot, 32)
        assert footer["plain_len"][slot] == len(plain)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_key_table_comes_back(count: int) -> None:
    keys = [SEALED.new_data_key() for _ in range(count)]
    table = encode_key_table(*keys)
    assert len(table) % 8 == 0
    assert decode_key_table(memoryview(table + b"more")) == ({k.key_id: k.wrapped for k in keys}, len(table))


def places(rng: np.random.Generator, n: int) -> Places:
    return Places(rng.integers(1, 4, n).astype(np.uint64) << np.uint64(24), rng.integers(0, 2**32, n, dtype=np.uint32))


@pytest.mark.parametrize("n", [1, 2, 3, 255, 8192])
def test_a_leaf_page_comes_back(n: int) -> None:
    rng = np.random.default_rng(n)
    lengths = rng.integers(1, 4096, n).astype(np.uint32)
    offsets = (np.cumsum(lengths, dtype=np.uint32) - lengths).astype(np.uint32)
    leaf = Leaf(99, offsets, lengths, rng.integers(0, 256, (n, 32), dtype=np.uint8), places(rng, n))
    covered, tail = page.encode(leaf)
    ref = PageRef(page.fingerprint_of(b"k", covered), 1, 2)
    found = page.decode(covered + tail, ref, b"k", 0, 99, "here")
    assert isinstance(found, Leaf)
    assert found.says_the_same(leaf)
    assert found.index == 99
    assert (found.places.cids == leaf.places.cids).all()
    assert (found.places.slots == leaf.places.slots).all()
    assert page.places_start(covered + tail) == len(covered)


@pytest.mark.parametrize("children", [[0], [255], [0, 1, 255], list(range(256))])
@pytest.mark.parametrize("level", [1, 5])
def test_an_interior_page_comes_back(children: list[int], level: int) -> None:
    refs = {n: PageRef(noise(n, 32), cid_of(1 + n % 3, n), n * 77) for n in children}
    interior = Interior.of(level, 2**40, refs)
    covered, tail = page.encode(interior)
    assert len(covered) % 8 == 0
    ref = PageRef(page.fingerprint_of(b"k", covered), 1, 2)
    found = page.decode(covered + tail, ref, b"k", level, 2**40, "here")
    assert isinstance(found, Interior)
    assert found.refs == refs


def test_a_page_that_moved_says_the_same_and_a_page_that_differs_does_not() -> None:
    refs = {n: PageRef(noise(n, 32), 1 << 24, n) for n in range(3)}
    moved = {n: ref._replace(cid=2 << 24, slot=9) for n, ref in refs.items()}
    assert Interior.of(1, 0, refs).covered() == Interior.of(1, 0, moved).covered()
    for other in (Interior.of(2, 0, refs), Interior.of(1, 1, refs), Interior.of(1, 0, {0: refs[1]})):
        assert other.covered() != Interior.of(1, 0, refs).covered()


@pytest.mark.parametrize("kind", list(FrameKind))
@pytest.mark.parametrize("body", [b"", b"x", b"\xff" * 1000])
def test_a_frame_of_every_kind_comes_back(kind: FrameKind, body: bytes) -> None:
    assert frame.decode(SEALED, kind, "a/name", frame.encode(SEALED, kind, "a/name", body)) == body


def test_a_json_frame_comes_back() -> None:
    body = {"é": [1, None, {"a": True}], "n": 2**60}
    raw = frame.encode_json(SEALED, FrameKind.MARK, "rpm/1", body)
    assert frame.decode_json(SEALED, FrameKind.MARK, "rpm/1", raw) == body


def disk(number: int, ref: PageRef | None) -> DiskTree:
    return DiskTree(number, f"scsi0:{number}", 2**45, 2**33, 65536, "ab" * 8, "s512/1", Root(3, ref), "52 de/1")


@pytest.mark.parametrize("parameters", [SMALL, OPEN], ids=["sealed", "unsealed"])
def test_a_recovery_point_comes_back(parameters: Parameters) -> None:
    bench = Workbench(parameters)
    disks = [disk(0, PageRef(noise(1, 32), cid_of(2**39, 5), 77)), replace(disk(1, None), change_id=None)]
    machine = Machine("52 1a", "wéb")
    point = RecoveryPoint(9, machine, 3, "2026-11-23T05:06:38.000000Z", disks, {"nvram": "ÿ"}, {"chunks": 2**50})
    body, fingerprint = encode_detail(bench.pool, point, bench.pool.keys.new_data_key())
    bench.memory.put_new("rpd/0000000009", body)
    commit = replace(bench.commit_of(bench.backup().sid), sid=9, machine=machine, parent=3, detail=fingerprint)
    assert read_point(bench.pool, replace(commit, time=point.time)) == point


@pytest.mark.parametrize("parameters", [SMALL, OPEN, Parameters(), Parameters(512 << 10, 8 << 20, encrypted=False)])
def test_ingot_json_comes_back(parameters: Parameters) -> None:
    bench = Workbench(parameters)
    again = open_pool(bench.memory, SECRET if parameters.encrypted else NoSecret())
    assert (again.parameters, again.keys, again.created_at) == (parameters, bench.pool.keys, bench.clock.now())
    signed = json.loads(bench.memory.get("ingot.json"))
    signature = bytes.fromhex(signed.pop("hmac"))
    assert signature == again.keys.sign("ingot.json", canonical(signed))


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        Passphrase("x", {"name": "pbkdf2-hmac-sha256", "iterations": 3}),
        KeyFile(KeyFile.generate()),
        NoSecret(),
    ],
    ids=lambda secret: secret.kind,
)
def test_a_key_slot_comes_back(secret: Secret) -> None:
    master = noise(1, 32)
    assert secret.open_slot(json.loads(json.dumps(secret.new_slot(master)))) == master


@pytest.mark.parametrize("sid", [1, 0xAB, 2**40 - 1])
@pytest.mark.parametrize("seq", [0, 1, 2**24 - 1])
def test_a_container_number_and_its_name_come_back(sid: int, seq: int) -> None:
    cid = cid_of(sid, seq)
    assert (cid_of_name(container_name(cid)), sid_of(cid)) == (cid, sid)
    assert sid_of_name(f"rp/{sid:010x}", "rp/") == sid


def test_names_of_other_things_are_no_numbers() -> None:
    rng = random.Random(1)
    for name in (
        "c/0000000000/000000",
        "c/1/2",
        "c/0000000001/00000G",
        "c/0000000001/000000.tmp",
        heartbeat_name(1, 2),
    ):
        assert cid_of_name(name) is None
    for name in (heartbeat_name(1, 2), "sess/", "sess/000000000G", "rp/0000000001", "sess/" + "1" * 11):
        assert sid_of_name(name, "sess/") is None
    assert NO_CID == 0
    assert cid_of_name(rng.randbytes(20).hex()) is None


def test_the_shape_of_a_key_file_is_checked() -> None:
    assert KeyFile("ab" * 32).text
    for wrong in ("", "ab" * 31, "ab" * 33, "xy" * 32):
        with pytest.raises(KeyUnfit, match="key file"):
            KeyFile(wrong)


def test_compressible_and_incompressible_text_are_what_they_say() -> None:
    """The other tests lean on it."""
    assert len(zstandard.compress(text(1, 10_000))) < 5000
    assert len(zstandard.compress(noise(1, 10_000))) > 9900
