"""F4: a truncated, torn or foreign object is a named fault, never a traceback, never wrong bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from media import frame
from media.container_reader import ContainerReader
from media.faults import (
    ContainerCorrupt,
    DamageFault,
    FormatTooNew,
    KeyWrong,
    ObjectCorrupt,
    ObjectForeign,
    RepositoryTampered,
)
from media.frame import Kind
from media.ids import cid_of, container_name
from media.key_slots import list_slots
from media.known_chunks import MemoryKnownChunks
from media.marks import MarkKind, put_mark, read_marks
from media.pool import Parameters, open_pool
from media.reader import DiskRestore
from media.rebuild import catch_up
from media.recovery_point import Points, RecoveryPoint, list_points
from media.session import PAGES_SEQ
from media.verify import Verification
from runtime.faults import Fault
from tests.media.fakes import MemoryTarget, SparseDisk
from tests.media.workbench import OPEN, SECRET, SMALL, Workbench, noise, text

BOTH = pytest.mark.parametrize("parameters", [SMALL, OPEN], ids=["sealed", "unsealed"])
DATA = noise(1, 300) + bytes(8192 - 300) + text(2, 400) + bytes(8192 - 400) + noise(3, 5)
RUBBISH = [b"", b"\0" * 400, b"INGOTOBJ", b"INGOTCN1" + b"\xff" * 300, b"IREC" * 100, b"[" * 200_000, b"{}", b"null"]


def written(parameters: Parameters) -> tuple[Workbench, RecoveryPoint]:
    bench = Workbench(parameters)
    point = bench.backup(SparseDisk.of(DATA))
    put_mark(bench.pool, point.sid, MarkKind.HOLD, "someone", "", bench.clock)
    return bench, point


def damages(body: bytes) -> Iterator[bytes]:
    """Truncated at every length, torn at every 64th byte with zeros behind or before, rubbish, and too long."""
    yield from (body[:length] for length in range(len(body)))
    yield from (body[:length] + bytes(len(body) - length) for length in range(0, len(body), 64))
    yield from (bytes(length) + body[length:] for length in range(64, len(body), 64))
    yield from RUBBISH
    yield body + b"\0"
    yield body + body


def assert_restores_right_or_says_lost(bench: Workbench, point: RecoveryPoint) -> list[DamageFault]:
    bench.pool.keys._opened.clear()
    target = MemoryTarget(len(DATA), reads_zero=False)
    disk = point.disks[0]
    outcome = DiskRestore(bench.pool, ContainerReader(bench.pool), disk, target, 1, lambda _: None).run()
    expected = bytearray(DATA)
    for extent in outcome.lost_extents:
        expected[extent.offset : extent.end] = bytes(extent.length)
    assert target.data == expected
    return [lost.fault for lost in outcome.lost]


@BOTH
@pytest.mark.parametrize("which", [0, PAGES_SEQ], ids=["data", "pages"])
def test_a_damaged_container_is_a_fault_that_names_it(parameters: Parameters, which: int) -> None:
    bench, point = written(parameters)
    name = container_name(cid_of(point.sid, which))
    for damage in damages(bench.memory.get(name)):
        bench.overwrite(name, damage)
        faults = assert_restores_right_or_says_lost(bench, point)
        assert all(str(fault).startswith(f"c-1.{which:x}") for fault in faults)
        verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
        assert list(verification.run(Points([], {})).damaged) == [1 << 24 | which]
        learned = catch_up(bench.pool, ContainerReader(bench.pool), MemoryKnownChunks(), lambda _: None, lambda _: None)
        assert learned.containers + len(learned.damaged) == 2


@BOTH
def test_a_container_in_the_place_of_another_is_foreign(parameters: Parameters) -> None:
    bench, point = written(parameters)
    one, two = bench.containers_of(point.sid)
    bench.overwrite(one, bench.memory.get(two))
    faults = assert_restores_right_or_says_lost(bench, point)
    assert {type(fault) for fault in faults} == {ObjectForeign}
    other = Workbench(parameters, seed=2)
    other.backup(SparseDisk.of(DATA))
    bench.overwrite(one, other.memory.get(one))
    assert assert_restores_right_or_says_lost(bench, point), "of another repository, under the same number"


@BOTH
@pytest.mark.parametrize("prefix", ["rp/", "rpd/", "rpm/", "sess/"])
def test_a_damaged_small_object_is_a_fault_that_names_it(parameters: Parameters, prefix: str) -> None:
    bench, point = written(parameters)
    name = next(entry.name for entry in bench.memory.list(prefix))
    kind = {"rp/": Kind.REGISTER, "rpd/": Kind.DETAIL, "rpm/": Kind.MARK, "sess/": Kind.SESSION}[prefix]
    for damage in damages(bench.memory.get(name)):
        bench.overwrite(name, damage)
        with pytest.raises(Fault, match=f"^{name}: ") as caught:
            frame.decode(bench.pool.keys, kind, name, damage)
        points = list_points(bench.pool)
        if prefix == "rp/":
            assert list(points.damaged) == [point.sid]
            with pytest.raises(type(caught.value)):
                points.find("1")
        if prefix == "rpm/":
            with pytest.raises(type(caught.value)):
                read_marks(bench.pool, point.sid)
        if prefix == "rpd/":
            verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
            assert list(verification.run(points).unreadable_points) == [point.sid]


def test_a_frame_copied_to_another_name_or_kind_or_repository_is_refused() -> None:
    bench, _ = written(SMALL)
    register = bench.memory.get("rp/0000000001")
    bench.memory.put_new("rp/0000000002", register)
    assert isinstance(list_points(bench.pool).damaged[2], RepositoryTampered)
    with pytest.raises(ObjectCorrupt, match="kind 3, expected 5"):
        frame.decode(bench.pool.keys, Kind.MARK, "rp/0000000001", register)
    other = Workbench(SMALL, seed=2)
    with pytest.raises(ObjectForeign, match="of repository"):
        frame.decode(other.pool.keys, Kind.REGISTER, "rp/0000000001", register)
    with pytest.raises(FormatTooNew, match="format 2"):
        frame.decode(bench.pool.keys, Kind.REGISTER, "rp/0000000001", register[:10] + b"\2\0" + register[12:])


@pytest.mark.parametrize("body", [b"[]", b"{}", b"not json", b'{"kind":"commit"}', b'{"kind":"commit","machine":7}'])
def test_a_signed_register_of_another_shape_is_a_fault(body: bytes) -> None:
    bench, _ = written(SMALL)
    bench.memory.put_new("rp/0000000002", frame.encode(bench.pool.keys, Kind.REGISTER, "rp/0000000002", body))
    points = list_points(bench.pool)
    assert [commit.sid for commit in points.commits] == [1]
    assert all(type(fault) is ObjectCorrupt for fault in points.damaged.values())
    assert bool(points.damaged) == (body != b"{}") or isinstance(points.damaged[2], ObjectCorrupt)


def with_parameters(bench: Workbench, change: Callable[[dict[str, object]], None]) -> None:
    config = json.loads(bench.memory.get("ingot.json"))
    change(config)
    bench.overwrite("ingot.json", json.dumps(config).encode())


def test_a_damaged_ingot_json_is_a_fault() -> None:
    bench, _ = written(SMALL)
    whole = bench.memory.get("ingot.json")
    for damage in damages(whole):
        if damage.rstrip() == whole.rstrip():
            continue
        bench.overwrite("ingot.json", damage)
        with pytest.raises(Fault, match=r"^ingot.json: "):
            open_pool(bench.memory, SECRET)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("format", 2, FormatTooNew),
        ("format", "1", ObjectCorrupt),
        ("format", None, ObjectCorrupt),
        ("created_at", "2026-01-01T00:00:00.000000Z", RepositoryTampered),
        ("unknown", "member", RepositoryTampered),
        ("repository", "00000000-0000-0000-0000-000000000000", RepositoryTampered),
        ("repository", 7, ObjectCorrupt),
        ("hmac", "00" * 32, RepositoryTampered),
        ("hmac", "zz", ObjectCorrupt),
        ("hmac", 7, ObjectCorrupt),
        ("pool", [], ObjectCorrupt),
        ("pool.chunker", "s512/2", FormatTooNew),
        ("pool.encryption", "rot13", FormatTooNew),
        ("pool.average_chunk_bytes", 8192, RepositoryTampered),
        ("pool.average_chunk_bytes", 1 << 40, ObjectCorrupt),
        ("pool.container_bytes", "64", ObjectCorrupt),
        ("recovery_program_sha256", "00", RepositoryTampered),
    ],
)
def test_parameters_that_were_changed_are_refused(path: str, value: object, fault: type[Fault]) -> None:
    bench, _ = written(SMALL)

    def change(config: dict[str, object]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            config = config[parent]  # type: ignore[assignment]
        config[last] = value

    with_parameters(bench, change)
    with pytest.raises(fault):
        open_pool(bench.memory, SECRET)


def test_encryption_that_was_turned_off_is_refused() -> None:
    bench, _ = written(SMALL)
    with_parameters(bench, lambda config: config["pool"].update(encryption="none"))  # type: ignore[attr-defined]
    with pytest.raises(Fault) as caught:
        open_pool(bench.memory, SECRET)
    assert isinstance(caught.value, KeyWrong | RepositoryTampered | Fault)


def test_a_damaged_key_slot_hides_no_other_and_is_a_fault_when_it_is_the_only_one() -> None:
    bench, _ = written(SMALL)
    name = next(entry.name for entry in bench.memory.list("keys/"))
    whole = bench.memory.get(name)
    bench.memory.put_new("keys/ff", whole)
    for damage in [*RUBBISH, *(whole[:length] for length in range(0, len(whole) - 1, 7))]:
        bench.overwrite(name, damage)
        assert open_pool(bench.memory, SECRET).keys == bench.pool.keys
        assert {slot.kind for slot in list_slots(bench.memory)} == {"passphrase", "damaged"}
    bench.memory.delete("keys/ff")
    for damage in [*RUBBISH, whole[:-40]]:
        bench.overwrite(name, damage)
        with pytest.raises(ObjectCorrupt, match=f"^{name}: "):
            open_pool(bench.memory, SECRET)


def test_unsealed_records_in_an_encrypted_pool_are_refused() -> None:
    bench, point = written(OPEN)
    strict = replace(bench.pool, parameters=replace(OPEN, encrypted=True))
    target = MemoryTarget(len(DATA))
    outcome = DiskRestore(strict, ContainerReader(strict), point.disks[0], target, 1, lambda _: None).run()
    assert [lost.fault.code for lost in outcome.lost] == ["media.record_unsealed"]
    assert not target.writes


def test_a_container_with_more_keys_than_the_first_read_shows_is_read() -> None:
    """A copy of records from many sessions holds the key of each."""
    from media.container import ContainerWriter
    from media.container import Kind as ContainerKind
    from media.keys import DataKey, encode_key_table
    from media.record import Codec, Type

    bench = Workbench(SMALL)
    keys = [bench.pool.keys.new_data_key() for _ in range(300)]
    last = keys[-1]
    assert isinstance(last, DataKey)

    class ManyKeys(DataKey):
        pass

    writer = ContainerWriter(memoryview(bytearray(64 << 10)), 5 << 24, ContainerKind.DATA, bench.pool.id, last)
    writer.append(Type.CHUNK, Codec.RAW, b"plain", 5, b"f" * 32)
    # The same with a longer key table: header, then the records moved behind it.
    import struct

    import xxhash

    short, _ = writer.finish()
    header_len = int.from_bytes(short[12:16], "little")
    footer_offset = int.from_bytes(short[-48:-44], "little")
    table = encode_key_table(*keys)
    head = bytes(short[:12]) + struct.pack("<I", 48 + len(table) + 8) + bytes(short[16:48]) + table
    head += struct.pack("<Q", xxhash.xxh3_64_intdigest(head))
    bench.memory.put_new("c/0000000005/000000", head + bytes(short[header_len:footer_offset]))  # its tail is lost, too
    bench.pool.keys._opened.clear()
    assert len(head) > 8192
    reader = ContainerReader(bench.pool)
    assert len(reader.header(5 << 24).wrapped_keys) == 300
    assert reader.record(5 << 24, 0, b"f" * 32) == b"plain"


def test_a_container_of_an_unknown_kind_is_of_a_later_version() -> None:
    import struct

    import xxhash

    bench, point = written(OPEN)
    name = bench.containers_of(point.sid)[0]
    body = bytearray(bench.memory.get(name))
    body[10] = 9
    header_len = int.from_bytes(body[12:16], "little")
    body[header_len - 8 : header_len] = struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(body[: header_len - 8])))
    bench.overwrite(name, bytes(body))
    verification = Verification(bench.pool, ContainerReader(bench.pool), 1, lambda _: None, lambda _: None)
    faults = verification.run(list_points(bench.pool)).damaged[1 << 24].faults
    assert isinstance(faults[0], FormatTooNew | ContainerCorrupt)
