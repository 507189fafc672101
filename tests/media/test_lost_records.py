"""F5: one lost record loses one chunk; restore goes on and reports exactly what is lost, whatever else is lost."""

from __future__ import annotations

import random

import pytest

from media.container import decode_footer, decode_trailer
from media.container_reader import ContainerReader
from media.extents import Extent, normal
from media.faults import (
    ContainerMissing,
    ContainerUnreadable,
    DamageFault,
    FormatTooNew,
    ParentDamaged,
    RecordCorrupt,
    RecordMissing,
    RepositoryUnreachable,
)
from media.ids import cid_of_name, cid_text, container_name
from media.page import FANOUT
from media.pool import Parameters
from media.reader import Outcome
from media.recovery_point import DiskTree, RecoveryPoint, list_points
from media.tree import TreeReader
from media.verify import Verdict, Verification, verify_point
from tests.media.fakes import SparseDisk, SparseTarget, Unreadable
from tests.media.random_disks import random_image
from tests.media.test_tree import sparse
from tests.media.workbench import OPEN, SEGMENT, SMALL, Workbench, noise, zeros

BOTH = pytest.mark.parametrize("parameters", [SMALL, OPEN], ids=["sealed", "unsealed"])


def written(parameters: Parameters = SMALL) -> tuple[Workbench, RecoveryPoint, bytes]:
    bench = Workbench(parameters)
    image = bytes(random_image(random.Random(4), SEGMENT * 2)) + bytes(9000) + noise(4, SEGMENT * 3)
    return bench, bench.backup(SparseDisk.of(image)), image


def verified(bench: Workbench, containers: ContainerReader | None = None) -> Verdict:
    reader = containers or ContainerReader(bench.pool)
    return Verification(bench.pool, reader, 2, lambda _: None, lambda _: None).run(list_points(bench.pool))


def assert_loses_exactly(
    bench: Workbench, point: RecoveryPoint, image: bytes, lost: list[Extent], containers: ContainerReader | None = None
) -> Outcome:
    """Restore, verification of the point and of everything agree that these bytes are lost and no others."""
    for reads_zero in (True, False):
        more = {} if containers is None else {"containers": containers}
        target, outcome = bench.restore(point.disks[0], reads_zero=reads_zero, window_bytes=2 * SEGMENT, **more)
        assert outcome.lost_extents == normal(lost)
        assert target.data == zeros(image, lost)
        assert outcome.bytes_written + outcome.hole_bytes + sum(e.length for e in normal(lost)) == len(image)
        assert outcome.lost == sorted(outcome.lost, key=lambda each: each.extent.offset)
    read = verify_point(bench.pool, containers or ContainerReader(bench.pool), point, 2, lambda _: None)
    assert read[0].lost_extents == normal(lost)
    found = verified(bench, containers).lost.get(point.sid, {}).get(0, [])
    assert normal(each.extent for each in found) == normal(lost)
    return outcome


def chunks_in(bench: Workbench, disk: DiskTree, cid: int, slot: int | None = None) -> list[Extent]:
    """The extents of the disk whose chunks lie in a container, or in one slot of it."""
    return [
        Extent(segment * SEGMENT + int(leaf.offsets[row]), int(leaf.lengths[row]))
        for segment, leaf in bench.leaves(disk)
        for row in range(len(leaf.offsets))
        if leaf.places.cids[row] == cid and slot in (None, leaf.places.slots[row])
    ]


def data_and_pages(bench: Workbench, point: RecoveryPoint) -> tuple[list[str], list[str]]:
    names = bench.containers_of(point.sid)
    pages = [name for name in names if bench.memory.get(name)[10] == 2]
    return [name for name in names if name not in pages], pages


@BOTH
def test_one_lost_record_loses_one_chunk(parameters: Parameters) -> None:
    bench, point, image = written(parameters)
    for name in data_and_pages(bench, point)[0]:
        body, cid = bench.memory.get(name), cid_of_name(name)
        trailer = decode_trailer(memoryview(body), cid, len(body))
        footer = decode_footer(body[trailer.footer_offset :][: trailer.footer_len], trailer, cid)
        for slot in (0, len(footer) // 2, len(footer) - 1):
            at = int(footer["offset"][slot]) + 80
            bench.overwrite(name, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
            lost = chunks_in(bench, point.disks[0], cid, slot)
            outcome = assert_loses_exactly(bench, point, image, lost)
            assert {type(each.fault) for each in outcome.lost} == {RecordCorrupt}
            assert all(f"at {footer['offset'][slot]}" in str(each.fault) for each in outcome.lost)
            bench.overwrite(name, body)


@BOTH
def test_a_container_that_lost_its_trailer_loses_nothing(parameters: Parameters) -> None:
    bench, point, image = written(parameters)
    for name in bench.containers_of(point.sid):
        body = bench.memory.get(name)
        bench.overwrite(name, body[:-64])
        assert_loses_exactly(bench, point, image, [])
        assert list(verified(bench).damaged) == [cid_of_name(name)]
        bench.overwrite(name, body[:-1] + b"\xff")
        assert_loses_exactly(bench, point, image, [])
        bench.overwrite(name, body)


@BOTH
@pytest.mark.parametrize("both", [False, True])
def test_a_container_that_lost_its_header_loses_nothing_while_the_session_has_another(
    parameters: Parameters, both: bool
) -> None:
    """The data key is in the other containers of the session, and a scan finds the records."""
    bench, point, image = written(parameters)
    for name in bench.containers_of(point.sid):
        body = bench.memory.get(name)
        bench.overwrite(name, bytes(64) + body[64 : len(body) - (64 if both else 0)])
        bench.pool.keys._opened.clear()
        assert_loses_exactly(bench, point, image, [])
        bench.overwrite(name, body)


@BOTH
def test_a_tail_and_a_record_that_are_lost_together_lose_one_chunk(parameters: Parameters) -> None:
    """A scan numbers the slots behind the lost record too low, so the fingerprint must decide."""
    bench, point, image = written(parameters)
    name = data_and_pages(bench, point)[0][0]
    body, cid = bench.memory.get(name), cid_of_name(name)
    trailer = decode_trailer(memoryview(body), cid, len(body))
    footer = decode_footer(body[trailer.footer_offset :][: trailer.footer_len], trailer, cid)
    at = int(footer["offset"][1]) + 20
    bench.overwrite(name, body[:at] + bytes([body[at] ^ 4]) + body[at + 1 : -64])
    lost = chunks_in(bench, point.disks[0], cid, 1)
    outcome = assert_loses_exactly(bench, point, image, lost)
    assert {type(each.fault) for each in outcome.lost} == {RecordMissing}
    remembering = ContainerReader(bench.pool)
    remembering.remember(cid, footer)
    assert_loses_exactly(bench, point, image, lost, remembering)


@BOTH
@pytest.mark.parametrize("remembered", [False, True], ids=["footer unknown", "footer remembered"])
def test_a_lost_container_loses_its_chunks_and_no_others(parameters: Parameters, remembered: bool) -> None:
    bench, point, image = written(parameters)
    for name in data_and_pages(bench, point)[0]:
        body, cid = bench.memory.get(name), cid_of_name(name)
        containers = ContainerReader(bench.pool)
        if remembered:
            containers.footer(cid)
        lost = chunks_in(bench, point.disks[0], cid)
        bench.memory.delete(name)
        outcome = assert_loses_exactly(bench, point, image, lost, containers)
        assert {type(each.fault) for each in outcome.lost} == {ContainerMissing}
        assert container_name(cid) in str(outcome.lost[0].fault)
        bench.memory.put_new(name, body)


@BOTH
def test_a_container_of_another_disks_chunks_does_not_matter(parameters: Parameters) -> None:
    bench, point, image = written(parameters)
    other = bench.backup(SparseDisk.of(random_image(random.Random(99), SEGMENT)))
    for name in bench.containers_of(other.sid):
        bench.memory.delete(name)
    assert_loses_exactly(bench, point, image, [])
    assert list(verified(bench).lost) == [other.sid]


def test_the_rest_of_a_truncated_container_is_read() -> None:
    bench, point, image = written()
    name = data_and_pages(bench, point)[0][0]
    body, cid = bench.memory.get(name), cid_of_name(name)
    footer = ContainerReader(bench.pool).footer(cid)
    cut = int(footer["offset"][5]) + 100
    bench.overwrite(name, body[:cut])
    lost = [e for slot in range(5, len(footer)) for e in chunks_in(bench, point.disks[0], cid, slot)]
    assert_loses_exactly(bench, point, image, lost)
    known = ContainerReader(bench.pool)
    known.remember(cid, footer)
    assert_loses_exactly(bench, point, image, lost, known)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_lost_page_loses_what_it_covers(level: int) -> None:
    """Of a deep tree, whose holes under the lost page are lost with it: nothing says that they are holes."""
    bench, disk = Workbench(), sparse(65537)
    tree = bench.backup(disk).disks[0]
    reader = TreeReader(bench.containers, bench.pool.keys.page)
    ref, index = tree.root.ref, 0
    assert ref is not None
    for above in range(3, level, -1):
        child = sorted(reader.interior(ref, above, index))[-1 if above == 2 else 0]
        ref = reader.interior(ref, above, index)[child]
        index = index * FANOUT + child
    name = container_name(ref.cid)
    body = bench.memory.get(name)
    at = int(bench.containers.footer(ref.cid)["offset"][ref.slot]) + 90
    bench.overwrite(name, body[:at] + bytes([body[at] ^ 8]) + body[at + 1 :])
    span = SEGMENT * FANOUT**level
    lost = Extent(index * span, min(span, disk.size - index * span))
    from media.reader import DiskRestore

    target = SparseTarget()
    outcome = DiskRestore(bench.pool, ContainerReader(bench.pool), tree, target, 2, lambda _: None).run()
    assert outcome.lost_extents == [lost]
    kept = {at for at in disk.pieces if not lost.offset <= at < lost.end}
    assert target.pieces.keys() == kept
    assert outcome.bytes_written + outcome.hole_bytes + lost.length == disk.size
    found = verified(bench).lost[1][0]
    assert [each.extent for each in found] == [lost]


def test_a_lost_root_loses_the_disk_and_not_the_next_one() -> None:
    bench = Workbench()
    first, second = sparse(2), SparseDisk.of(b"another disk")
    point = bench.backup(first)
    two = bench.backup(second)
    for name in data_and_pages(bench, point)[1]:
        bench.memory.delete(name)
    outcomes = verify_point(bench.pool, ContainerReader(bench.pool), point, 1, lambda _: None)
    assert [outcome.lost_extents for outcome in outcomes] == [[Extent(0, first.size)]]
    bench.assert_restores(two.disks[0], b"another disk")


def test_a_container_that_collection_moved_asks_for_a_later_version() -> None:
    bench, point, _ = written()
    bench.memory.delete(bench.containers_of(point.sid)[0])
    bench.memory.put_new("reloc/0000000001000000.1", b"whatever")
    _, outcome = bench.restore(point.disks[0])
    assert {type(each.fault) for each in outcome.lost} == {FormatTooNew}


def test_damage_is_never_more_than_damage() -> None:
    """Whatever random damage of any number of containers: a restore says what it lost, and the rest is right."""
    bench, point, image = written()
    names = bench.containers_of(point.sid)
    whole = {name: bench.memory.get(name) for name in names}
    rng = random.Random(7)
    for _ in range(60):
        for name in rng.sample(names, rng.randint(1, 3)):
            body = bytearray(whole[name])
            for _ in range(rng.randint(1, 6)):
                at = rng.randrange(len(body))
                body[at : at + rng.choice((1, 40, 5000))] = rng.randbytes(rng.choice((1, 40, 5000)))
            bench.overwrite(name, bytes(body))
        bench.pool.keys._opened.clear()
        target, outcome = bench.restore(point.disks[0], reads_zero=False)
        assert target.data == zeros(image, outcome.lost_extents)
        assert all(isinstance(each.fault, DamageFault) for each in outcome.lost)
        for name in names:
            bench.overwrite(name, whole[name])


@BOTH
def test_a_container_that_cannot_be_read_loses_its_own_chunks_and_no_others(parameters: Parameters) -> None:
    bench, point, image = written(parameters)
    for name in data_and_pages(bench, point)[0]:
        cid = cid_of_name(name)
        assert cid is not None
        bench.behind(bench.memory)
        lost = chunks_in(bench, point.disks[0], cid)
        bench.behind(Unreadable(bench.memory, {name}))
        outcome = assert_loses_exactly(bench, point, image, lost)
        assert {type(each.fault) for each in outcome.lost} == {ContainerUnreadable}
        assert all(str(each.fault).startswith(cid_text(cid)) for each in outcome.lost)
        assert list(verified(bench).damaged) == [cid]


def test_a_container_that_can_no_longer_be_read_loses_its_chunks_though_its_footer_is_remembered() -> None:
    bench, point, image = written()
    name = data_and_pages(bench, point)[0][0]
    cid = cid_of_name(name)
    assert cid is not None
    lost = chunks_in(bench, point.disks[0], cid)
    footer = ContainerReader(bench.pool).footer(cid)
    bench.behind(Unreadable(bench.memory, {name}))
    containers = ContainerReader(bench.pool)
    containers.remember(cid, footer)
    assert_loses_exactly(bench, point, image, lost, containers)


def test_pages_that_cannot_be_read_lose_a_disk_in_a_restore_and_the_parent_in_a_backup() -> None:
    bench, point, image = written()
    bench.behind(Unreadable(bench.memory, set(data_and_pages(bench, point)[1])))
    assert_loses_exactly(bench, point, image, [Extent(0, len(image))])
    with pytest.raises(ParentDamaged, match="Input/output error"):
        bench.backup(SparseDisk.of(image), parent=point)
    bench.assert_restores(bench.backup(SparseDisk.of(image)).disks[0], image)


def test_a_repository_that_does_not_answer_stops_a_restore_and_a_verification() -> None:
    bench, point, _ = written()
    bench.behind(Unreadable(bench.memory, {data_and_pages(bench, point)[0][0]}, RepositoryUnreachable))
    with pytest.raises(RepositoryUnreachable):
        bench.restore(point.disks[0])
    with pytest.raises(RepositoryUnreachable):
        verified(bench)
