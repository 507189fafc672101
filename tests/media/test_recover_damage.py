"""What is damaged, forged, foreign or missing is a named fault or a lost extent, and never wrong bytes."""

import json
import random
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media import recover
from tests.media.handmade_repository import (
    CHUNK,
    DATA,
    REGISTER,
    SEGMENT_BYTES,
    HandmadeDisk,
    HandmadeRepository,
    Place,
    container_name,
    mac,
    padded,
)

LOST = re.compile(r"recover: lost: disk (\d+): (\d+) bytes at (\d+): (.*)")
DISK = HandmadeDisk(
    9000, {0: random.Random(7).randbytes(1500), 1500: b"ab" * 700, 5000: random.Random(8).randbytes(999)}
)
DATA_NAME, LEAF_NAME, ROOT_NAME = (container_name(1 << 24 | seq) for seq in range(3))


class Ran:
    """One run of the program: its exit code, its messages, the file it left."""

    def __init__(self, repository: HandmadeRepository, capsys: pytest.CaptureFixture[str], *more: str) -> None:
        path = repository.root / "disk.raw"
        path.unlink(missing_ok=True)
        self.code = recover.main([*repository.arguments, *(more or ("1",)), "--to", str(path)])
        self.errors = capsys.readouterr().err
        self.content = path.read_bytes() if path.exists() else None
        self.lost = [(int(m[3]), int(m[2]), m[4]) for m in LOST.finditer(self.errors)]

    def check(self, disk: HandmadeDisk) -> None:
        """Whatever happened, there are no wrong bytes, and what is not right was told, a line each."""
        assert "Traceback" not in self.errors
        assert all(line.startswith("recover: ") for line in self.errors.splitlines())
        if self.code == 1:
            assert self.content is None
            assert re.search(r"^recover: \[media\.\w+\] .+", self.errors, re.MULTILINE)
            return
        assert self.code == (3 if self.lost else 0)
        expected = bytearray(disk.size_bytes)
        for offset, plain in disk.chunks.items():
            expected[offset : offset + len(plain)] = plain
        for offset, length, _ in self.lost:
            expected[offset : offset + length] = bytes(length)
        assert self.content == expected


@pytest.fixture(params=["passphrase", "none"])
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> HandmadeRepository:
    made = HandmadeRepository(tmp_path, request.param)
    made.write_point(1, [DISK])
    assert [name for name in made.names() if name.startswith("c/")] == [DATA_NAME, LEAF_NAME, ROOT_NAME]
    return made


def changed(repository: HandmadeRepository, name: str, change: Callable[[bytes], bytes]) -> None:
    repository.write(name, change(repository.path(name).read_bytes()))


def flipped(at: int, mask: int = 1) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def positions(size_bytes: int, chosen: random.Random) -> Iterator[tuple[int, int]]:
    """A seeded sample: the beginning and the end, where the structures are, more densely."""
    for at in range(size_bytes):
        share = 0.4 if at < 160 or at > size_bytes - 240 else 0.03
        if chosen.random() < share:
            yield at, 1 << chosen.randrange(8)


@pytest.mark.parametrize(
    "name", ["ingot.json", "keys/", "rp/0000000001", "rpd/0000000001", DATA_NAME, LEAF_NAME, ROOT_NAME]
)
def test_a_flipped_bit_is_harmless_or_told_and_never_wrong_bytes(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(recover.os, "fsync", lambda _: None)  # some hundred restores: nothing here is about durability
    name = next(full for full in repository.names() if full.startswith(name))
    good, codes = repository.path(name).read_bytes(), set()
    for at, mask in positions(len(good), random.Random(name)):
        repository.write(name, flipped(at, mask)(good))
        ran = Ran(repository, capsys)
        ran.check(DISK)
        codes.add(ran.code)
    assert codes - {0}  # the sweep met something that matters
    assert codes <= ({0, 3} if name.startswith("c/") else {0, 1})


def test_a_flipped_payload_loses_that_chunk_and_says_where(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    second = repository.path(DATA_NAME).read_bytes().index(b"IREC", 900)
    changed(repository, DATA_NAME, flipped(second + 80))
    ran = Ran(repository, capsys)
    ran.check(DISK)
    ((offset, length, why),) = ran.lost
    assert (ran.code, offset, length) == (3, 1500, 1400)
    assert why.startswith(f"{DATA_NAME}: record at {second}: ")


@pytest.mark.parametrize("keep", [0, 10, 60, 300, 1700, 2200, -1, -64, -100, -300])
def test_a_truncated_container_is_searched_for_its_records(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str], keep: int
) -> None:
    whole = repository.path(DATA_NAME).read_bytes()
    changed(repository, DATA_NAME, lambda data: data[:keep])
    ran = Ran(repository, capsys)
    ran.check(DISK)
    footer = struct.unpack_from("<I", whole, len(whole) - 64 + 16)[0]
    if keep < 0 and len(whole) + keep >= footer:
        assert ran.code == 0
    starts = [m.start() for m in re.finditer(b"IREC", whole)]
    cut = keep if keep >= 0 else len(whole) + keep
    assert len(ran.lost) >= sum(start + 80 > cut for start in starts) - 2  # neighbours merge into one line
    assert "searching for records" in ran.errors


def test_a_record_with_a_broken_header_does_not_hide_the_next(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    first = repository.path(DATA_NAME).read_bytes().index(b"IREC")
    changed(repository, DATA_NAME, lambda data: flipped(first)(data)[:-64])
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert [(offset, length) for offset, length, _ in ran.lost] == [(0, 1500)]


def test_a_lost_leaf_loses_its_segment_and_a_lost_subtree_what_lies_under_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 257 * SEGMENT_BYTES + 1000
    disk = HandmadeDisk(size, {0: b"a" * 600, SEGMENT_BYTES: b"b" * 600, 257 * SEGMENT_BYTES: b"c" * 600})
    repository = HandmadeRepository(tmp_path, records_per_container=1)
    repository.write_point(1, [disk])
    to = ["1", "--to", str(tmp_path / "disk.raw"), "--overwrite"]

    def lost_without(seq: int) -> list[tuple[int, int]]:
        moved = repository.path(container_name(1 << 24 | seq)).rename(tmp_path / "moved")
        assert recover.main([*repository.arguments, *to]) == 3
        shutil.move(moved, repository.path(container_name(1 << 24 | seq)))
        return [(int(m[3]), int(m[2])) for m in LOST.finditer(capsys.readouterr().err)]

    assert lost_without(1) == [(SEGMENT_BYTES, 600)]  # a chunk
    assert lost_without(4) == [(SEGMENT_BYTES, SEGMENT_BYTES)]  # the leaf of segment 1
    assert lost_without(5) == [(257 * SEGMENT_BYTES, 1000)]  # the last leaf, as far as the disk reaches
    assert lost_without(6) == [(0, 256 * SEGMENT_BYTES)]  # a page of level 1
    assert lost_without(8) == [(0, size)]  # the root
    assert recover.main([*repository.arguments, *to]) == 0


def test_a_wrong_slot_is_only_a_hint(repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]) -> None:
    # the records of the data container in another order: every slot in the leaf is wrong now
    whole = repository.path(DATA_NAME).read_bytes()
    starts = [m.start() for m in re.finditer(b"IREC", whole)]
    ends = [*starts[1:], struct.unpack_from("<I", whole, len(whole) - 48)[0]]
    records = [whole[start:end] for start, end in zip(starts, ends, strict=True)]
    repository.write(DATA_NAME, repository.container(1 << 24, DATA, records[::-1]))
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert (ran.code, ran.errors) == (0, "")


def test_a_container_that_lost_its_keys_is_read_with_the_keys_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [DISK])
    for name in (DATA_NAME, LEAF_NAME, ROOT_NAME):
        changed(repository, name, lambda data: bytes(200) + data[200:] if data[200:204] == b"IREC" else data)
        changed(repository, name, lambda data: bytes(112) + data[112:])
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert ran.code == 0
    assert "header: expected INGOTCN1" in ran.errors


def test_keys_are_looked_for_in_the_other_objects_of_the_session_that_wrote_the_container(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [DISK])
    write = repository.store_records

    def inherited(sid: int, kind: int, records: list[bytes]) -> list[Place]:
        if kind == DATA:
            return [Place(record[16:48], 1 << 24, slot) for slot, record in enumerate(records)]
        return write(sid, kind, records)

    monkeypatch.setattr(repository, "store_records", inherited)
    repository.data_key, repository.data_key_id = b"another key of 32 bytes, sess. 2", 2
    repository.write_point(2, [DISK])
    changed(repository, DATA_NAME, flipped(70))  # in the wrapped key
    ran = Ran(repository, capsys, "2")
    ran.check(DISK)
    assert ran.code == 0
    assert f"{DATA_NAME}: no key can be read from its header" in ran.errors
    for name in (LEAF_NAME, ROOT_NAME, "rpd/0000000001"):
        repository.path(name).unlink()
    ran = Ran(repository, capsys, "2")
    ran.check(DISK)
    assert len(ran.lost) == len(DISK.chunks)
    assert all("data key" in why for _, _, why in ran.lost)


def test_a_container_of_a_newer_format_is_not_read(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(repository, DATA_NAME, lambda data: data[:8] + b"\x02\x00" + data[10:])
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert ran.code == 3
    assert all("expected format 1" in why for _, _, why in ran.lost)


def test_records_of_another_container_do_not_pass_for_the_wanted_ones(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = b"other"
    other = repository.record(CHUNK, plain, mac(repository.key["fingerprint"], plain))
    repository.write(DATA_NAME, repository.container(1 << 24, DATA, [other] * 3))
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert sum(length for _, length, _ in ran.lost) == sum(map(len, DISK.chunks.values()))


def test_an_unsealed_record_is_refused_where_encryption_is_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [DISK])
    records = [
        repository.record(CHUNK, plain, mac(repository.key["fingerprint"], plain), sealed=False)
        for _, plain in sorted(DISK.chunks.items())
    ]
    repository.write(DATA_NAME, repository.container(1 << 24, DATA, records))
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert ran.lost
    assert all("unsealed" in why for _, _, why in ran.lost)


@pytest.mark.parametrize("damage", ["zstd", "bomb", "length", "fingerprint"])
def test_a_well_sealed_record_of_wrong_content_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    repository = HandmadeRepository(tmp_path, "none")
    repository.write_point(1, [DISK])
    first, *rest = (plain for _, plain in sorted(DISK.chunks.items()))
    right, first_length = mac(repository.key["fingerprint"], first), struct.pack("<I", len(first))
    record = {
        "zstd": lambda: repository.record(CHUNK, first, right, codec=0)[:5] + b"\x01" + record_tail(),
        "bomb": lambda: (bomb := repository.record(CHUNK, bytes(1 << 20), right))[:8] + first_length + bomb[12:],
        "length": lambda: repository.record(CHUNK, first + b"\x00", right),
        "fingerprint": lambda: repository.record(CHUNK, bytes(len(first)), right),
    }

    def record_tail() -> bytes:
        return repository.record(CHUNK, first, right, codec=0)[6:]

    records = [repository.record(CHUNK, plain, mac(repository.key["fingerprint"], plain)) for plain in rest]
    repository.write(DATA_NAME, repository.container(1 << 24, DATA, [padded(record[damage]()), *records]))
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert [(offset, length) for offset, length, _ in ran.lost] == [(0, 1500)]
    assert ("the frame declares 1048576" in ran.errors) == (damage == "bomb")


def test_a_frame_copied_to_another_name_is_refused(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("rp", "rpd"):
        shutil.copy(repository.path(f"{folder}/0000000001"), repository.path(f"{folder}/0000000002"))
    ran = Ran(repository, capsys, "2")
    ran.check(DISK)
    assert "rp/0000000002: the HMAC does not match" in ran.errors


def test_an_expiry_that_is_not_genuine_hides_nothing(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write("rpx/0000000001", b"")
    ran = Ran(repository, capsys, "latest")
    ran.check(DISK)
    assert ran.code == 0
    assert "not taken as an expiry" in ran.errors


@pytest.mark.parametrize("name", ["rp/0000000001", "rpd/0000000001", DATA_NAME, LEAF_NAME, ROOT_NAME, "ingot.json"])
def test_a_missing_object_is_named(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    repository.path(name).unlink()
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert ran.code == (3 if name.startswith("c/") else 1)
    assert name in ran.errors or name == "rp/0000000001"


def test_an_object_that_cannot_be_read_costs_its_extents(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.path(DATA_NAME).unlink()
    repository.path(DATA_NAME).mkdir()
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert [(offset, length) for offset, length, _ in ran.lost] == [(0, 2900), (5000, 999)]
    assert f"{DATA_NAME}: cannot be read: Is a directory" in ran.errors


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100000, b'{"format": "x"}', b"\xff\xfe", b'{"pool": 1}'])
def test_an_ingot_json_that_is_not_ours_is_a_fault(
    repository: HandmadeRepository, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    repository.write("ingot.json", content)
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert ran.code == 1


def test_newer_formats_are_refused_by_name(repository: HandmadeRepository, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"kind": "commit"}).encode()
    repository.write_frame("rp/0000000001", REGISTER, body, number=2)
    assert "[media.format_too_new] rp/0000000001: expected format 1, found 2" in Ran(repository, capsys).errors
    repository.write_parameters(format=2)
    assert "[media.format_too_new] ingot.json: expected format 1, found 2" in Ran(repository, capsys).errors


def test_a_tampered_ingot_json_is_told_from_a_wrong_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [DISK])
    changed(repository, "ingot.json", lambda data: data.replace(b"65536", b"65537"))
    assert "[media.repository_tampered]" in Ran(repository, capsys).errors
    repository.write_parameters()
    (tmp_path / "passphrase").write_text("something else\n")
    assert "[media.key_wrong]" in Ran(repository, capsys).errors


@pytest.mark.parametrize("secret", ["passphrase", "none"])
def test_a_secret_of_another_kind_opens_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    repository = HandmadeRepository(tmp_path, secret)
    repository.write_point(1, [DISK])
    (tmp_path / "key").write_text("00" * 32 + "\n")
    repository.arguments = [*repository.arguments[:2], "--key-file", str(tmp_path / "key")]
    assert "[media.key_wrong] keys/: no key slot of kind 'key file'" in Ran(repository, capsys).errors


def test_encryption_cannot_be_turned_off_for_somebody_with_a_passphrase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [DISK])
    changed(repository, "ingot.json", lambda data: data.replace(b"aes-256-gcm", b"none"))
    repository.write_slot({"format": 1, "kind": "none", "master": "00" * 32})
    assert "[media.repository_tampered]" in Ran(repository, capsys).errors


@pytest.mark.parametrize(
    "kdf",
    [
        {"name": "scrypt", "n": 1 << 21, "r": 1, "p": 1, "salt": "00"},
        {"name": "scrypt", "n": 1000, "r": 8, "p": 1, "salt": "00"},
        {"name": "scrypt", "n": 1 << 20, "r": 16, "p": 1, "salt": "00"},
        {"name": "scrypt", "n": 16, "r": 33, "p": 1, "salt": "00"},
        {"name": "scrypt", "n": 16, "r": 8, "p": 17, "salt": "00"},
        {"name": "pbkdf2-hmac-sha256", "iterations": 10**8 + 1, "salt": "00"},
        {"name": "md5", "salt": "00"},
        {"name": "scrypt"},
        "nonsense",
    ],
)
def test_a_key_slot_out_of_bounds_is_skipped_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kdf: Any
) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [DISK])
    bad = {"format": 1, "kind": "passphrase", "kdf": kdf, "wrapped_master": "00" * 40}
    repository.write("keys/" + "00" * 16, json.dumps(bad).encode())
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert ran.code == 0
    assert f"key slot keys/{'00' * 16} is skipped" in ran.errors


@pytest.mark.parametrize(
    "numbers",
    [
        [(0, 600), (500, 600)],  # overlap
        [(600, 600), (0, 600)],  # descending
        [(0, 600), (8800, 600)],  # past the end of the disk
        [(0, 600), (700, 0)],  # empty
        [(0, 600), (0xFFFFFFFF, 600)],
    ],
)
def test_a_genuine_page_that_breaks_the_rules_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], numbers: list[tuple[int, ...]]
) -> None:
    class Careless(HandmadeRepository):
        def page(self, level: int, index: int, given: Any, places: Any) -> tuple[bytes, bytes]:
            return super().page(level, index, given if level else numbers, places)

    repository, disk = Careless(tmp_path), HandmadeDisk(9000, {0: b"a" * 600, 600: b"b" * 600})
    repository.write_point(1, [disk])
    ran = Ran(repository, capsys)
    ran.check(disk)
    assert [(offset, length) for offset, length, _ in ran.lost] == [(0, 9000)]
    assert "page: expected ascending entries" in ran.errors


def test_a_genuine_page_of_another_place_in_the_tree_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Careless(HandmadeRepository):
        def page(self, level: int, index: int, given: Any, places: Any) -> tuple[bytes, bytes]:
            return super().page(level, index if level else index + 1, given, places)

    repository = Careless(tmp_path)
    repository.write_point(1, [DISK])
    ran = Ran(repository, capsys)
    ran.check(DISK)
    assert [(offset, length) for offset, length, _ in ran.lost] == [(0, 9000)]


def test_a_chunk_shorter_than_its_page_says_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Careless(HandmadeRepository):
        def page(self, level: int, index: int, given: Any, places: Any) -> tuple[bytes, bytes]:
            return super().page(level, index, given if level else [(0, 600), (600, 600)], places)

    repository, disk = Careless(tmp_path), HandmadeDisk(9000, {0: b"a" * 600, 600: b"b" * 599})
    repository.write_point(1, [disk])
    ran = Ran(repository, capsys)
    ran.check(disk)
    assert [(offset, length) for offset, length, _ in ran.lost] == [(600, 600)]
