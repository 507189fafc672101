"""The recovery program gives back what a hand-written repository holds."""

import ast
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from media import recover
from tests.media.handmade_repository import SEGMENT_BYTES, HandmadeDisk, HandmadeRepository

SECRETS = ["passphrase", "pbkdf2", "key file", "none"]


def noise(seed: int, size_bytes: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def small_disk(seed: int = 0) -> HandmadeDisk:
    """Two segments, holes at the beginning, between and at the end, and a size that is no multiple of anything."""
    chunks = {4096: noise(seed, 3000), 7096: b"text " * 900, SEGMENT_BYTES - 512: noise(seed + 1, 512)}
    chunks |= {SEGMENT_BYTES + 1024: noise(seed, 3000), SEGMENT_BYTES + 8192: noise(seed + 2, 65536)}
    return HandmadeDisk(SEGMENT_BYTES + 8192 + 65536 + 777, chunks)


def assert_holds(path: Path, disk: HandmadeDisk) -> None:
    """The file has the disk's size, its chunks, and nothing but zeros elsewhere: looked for where the file has data."""
    assert path.stat().st_size == disk.size_bytes
    with path.open("rb") as file:
        at = 0
        while at < disk.size_bytes:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: no data behind
                break
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            expected = bytearray(end - at)
            for offset, plain in disk.chunks.items():
                if offset < end and offset + len(plain) > at:
                    part = plain[max(0, at - offset) : end - offset]
                    expected[max(offset, at) - at : max(offset, at) - at + len(part)] = part
            assert os.pread(file.fileno(), end - at, at) == expected
            at = end
        for offset, plain in disk.chunks.items():
            assert os.pread(file.fileno(), len(plain), offset) == plain


@pytest.mark.parametrize("secret", SECRETS)
def test_a_disk_comes_back_with_its_holes(tmp_path: Path, secret: str) -> None:
    repository, disk = HandmadeRepository(tmp_path, secret), small_disk()
    repository.write_point(26, [disk])
    assert recover.main([*repository.arguments, "1a", "--to", str(tmp_path / "disk.raw")]) == 0
    assert_holds(tmp_path / "disk.raw", disk)
    assert (tmp_path / "disk.raw").stat().st_blocks * 512 < 1 << 20  # sparse


@pytest.mark.parametrize(
    ("segments", "depth", "secret"),
    [(1, 1, "none"), (256, 1, "passphrase"), (257, 2, "passphrase"), (257, 2, "none"), (65537, 3, "key file")],
)
def test_a_tree_of_any_depth_is_walked(tmp_path: Path, segments: int, depth: int, secret: str) -> None:
    numbers = sorted({0, segments // 3, segments // 2, max(0, segments - 2), segments - 1})
    disk = HandmadeDisk(segments * SEGMENT_BYTES, {n * SEGMENT_BYTES + 512 * (n % 100): noise(n, 600) for n in numbers})
    repository = HandmadeRepository(tmp_path, secret)
    assert repository.store_disk(1, disk)[0] == depth
    repository.write_point(2, [disk])
    assert recover.main([*repository.arguments, "2", "--to", str(tmp_path / "disk.raw")]) == 0
    assert_holds(tmp_path / "disk.raw", disk)


def test_a_window_larger_than_memory_for_it_is_cut_and_every_chunk_arrives(tmp_path: Path) -> None:
    chunks = {n * SEGMENT_BYTES + k * 70000: noise(n * 10 + k, 20000) for n in range(70) for k in range(3)}
    disk = HandmadeDisk(70 * SEGMENT_BYTES, chunks)
    repository = HandmadeRepository(tmp_path, "none", records_per_container=64)
    repository.write_point(1, [disk])
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "disk.raw")]) == 0
    assert_holds(tmp_path / "disk.raw", disk)


def test_empty_disks_come_back_empty(tmp_path: Path) -> None:
    repository = HandmadeRepository(tmp_path)
    disks = [HandmadeDisk(10 * SEGMENT_BYTES + 5, {}), HandmadeDisk(0, {})]
    repository.write_point(1, disks)
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "out")]) == 0
    for number, disk in enumerate(disks):
        assert_holds(tmp_path / "out" / f"disk-{number}.raw", disk)


def test_several_disks_become_a_directory_and_one_of_them_a_file(tmp_path: Path) -> None:
    repository, disks = HandmadeRepository(tmp_path), [small_disk(10), small_disk(20)]
    repository.write_point(1, disks)
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["disk-0.raw", "disk-1.raw"]
    for number, disk in enumerate(disks):
        assert_holds(tmp_path / "out" / f"disk-{number}.raw", disk)
    assert recover.main([*repository.arguments, "1", "--disk", "1", "--to", str(tmp_path / "one.raw")]) == 0
    assert_holds(tmp_path / "one.raw", disks[1])


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository, disk, path = HandmadeRepository(tmp_path), small_disk(), tmp_path / "disk.raw"
    repository.write_point(1, [disk])
    path.write_text("mine")
    assert recover.main([*repository.arguments, "1", "--to", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "exists" in capsys.readouterr().err
    assert recover.main([*repository.arguments, "1", "--to", str(path), "--overwrite"]) == 0
    assert_holds(path, disk)


def test_a_fault_leaves_no_temporary_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [small_disk()])
    before = sorted(tmp_path.iterdir())
    repository.path("rpd/0000000001").unlink()
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "disk.raw")]) == 1
    assert capsys.readouterr().err.startswith("recover: [media.object_missing] rpd/0000000001: not in ")
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "no" / "disk.raw")]) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_cannot_grow_is_named_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [small_disk()])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        code = recover.main([*repository.arguments, "1", "--to", str(tmp_path / "disk.raw")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert f"{tmp_path / 'disk.raw'}: cannot be written: File too large" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.raw*")) + list(tmp_path.glob(".*"))


def test_an_interruption_is_quiet_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [small_disk()])
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(recover.DiskRestore, "_progress", interrupted)
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "disk.raw")]) == 130
    assert capsys.readouterr() == ("", "")
    assert sorted(tmp_path.iterdir()) == before


def test_the_list_tells_points_and_leaves_out_what_expired_or_never_committed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = HandmadeRepository(tmp_path)
    for sid, machine in ((1, "web"), (2, "mail"), (10, "web")):
        repository.write_point(sid, [small_disk()], machine=machine)
    repository.write_expiry(1)
    repository.write_register(11, {"kind": "tombstone", "nonce": "00", "time": "now", "reason": "gone"})
    repository.write_register(12, {"kind": "collector commit"})
    repository.write("rp/notes.txt", b"not an object of ours")
    assert recover.main([*repository.arguments, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)
    assert [(point["id"], point["machine"]["name"]) for point in points] == [
        ("0000000002", "mail"),
        ("000000000a", "web"),
    ]
    assert points[0]["disks"] == [{"disk": 0, "key": "scsi0:0", "size_bytes": small_disk().size_bytes}]
    assert recover.main(repository.arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0000000002", "000000000a"]
    for name in ("1", "b", "c", "ff", "latest:none", "what"):
        assert recover.main([*repository.arguments, name, "--to", str(tmp_path / "disk.raw")]) == 1
        assert name in capsys.readouterr().err


def test_latest_is_the_highest_id_and_may_be_of_one_machine(tmp_path: Path) -> None:
    repository = HandmadeRepository(tmp_path)
    for sid, machine in ((1, "web"), (2, "mail"), (3, "web")):
        repository.write_point(sid, [small_disk(sid * 10)], machine=machine)
    for name, sid in (("latest", 3), ("latest:mail", 2), ("latest:vm-mail", 2), ("0000000001", 1), ("01", 1)):
        path = tmp_path / f"{sid}.raw"
        assert recover.main([*repository.arguments, name, "--to", str(path), "--overwrite"]) == 0
        assert_holds(path, small_disk(sid * 10))


def test_latest_is_not_told_past_a_newer_register_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = HandmadeRepository(tmp_path)
    repository.write_point(1, [small_disk()])
    repository.write_point(2, [small_disk()])
    repository.path("rp/0000000002").write_bytes(b"torn")
    assert recover.main([*repository.arguments, "latest", "--to", str(tmp_path / "disk.raw")]) == 1
    assert "rp/0000000002" in capsys.readouterr().err
    assert recover.main([*repository.arguments]) == 3
    assert recover.main([*repository.arguments, "1", "--to", str(tmp_path / "disk.raw")]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["1"], ["--to", "x"], ["1", "--to", "x", "--json"], ["--disk", "1"], ["1", "--to", "x", "--key-file", "k"]],
)
def test_what_does_not_go_together_is_a_usage_error(tmp_path: Path, arguments: list[str]) -> None:
    repository = HandmadeRepository(tmp_path)
    with pytest.raises(SystemExit) as caught:
        recover.main([*repository.arguments, *arguments])
    assert caught.value.code == 2


def test_a_copy_of_the_program_runs_alone_with_the_passphrase_file_in_the_environment(tmp_path: Path) -> None:
    repository, disk = HandmadeRepository(tmp_path), small_disk()
    repository.write_point(1, [disk])
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(recover.__file__, tmp_path / "elsewhere" / "recover.py")
    arguments = [sys.executable, "-I", copy, *repository.arguments[:2], "latest", "--to", str(tmp_path / "disk.raw")]
    environment = {"INGOT_PASSPHRASE_FILE": str(tmp_path / "passphrase")}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert_holds(tmp_path / "disk.raw", disk)


def test_the_program_imports_only_the_standard_library_cryptography_and_zstandard() -> None:
    imported = set()
    for node in ast.walk(ast.parse(Path(recover.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names == {"cryptography", "zstandard"}
