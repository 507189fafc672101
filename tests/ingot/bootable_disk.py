"""A disk that boots: boot loader, a Debian kernel, an initramfs, and a root file system that says its marker.

Made with Debian's packages, as anybody and with nothing mounted: FAT by mtools and syslinux, ext4 by mke2fs.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_PROGRAMS = ("mke2fs", "mformat", "mcopy", "syslinux", "qemu-system-x86_64", "qemu-img")
_BUSYBOX = Path("/bin/busybox")
_BOOT_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")

_MIB = 1 << 20
_BOOT, _ROOT = (_MIB, 40 * _MIB), (41 * _MIB, 23 * _MIB)  # offset and length of the partitions
DISK_BYTES = 64 * _MIB

_LOADER = """\
serial 0 115200
default ingot
label ingot
 kernel vmlinuz
 append initrd=initrd console=ttyS0 quiet panic=-1 mitigations=off
"""
_FIRST = """\
#!/bin/sh
mount -t devtmpfs none /dev
for module in {modules}; do insmod /modules/$module; done
mount -t ext4 /dev/vda2 /root || exec poweroff -f
exec switch_root /root /sbin/init
"""
_INIT = """\
#!/bin/sh
mount -t proc none /proc
echo "the disk says: $(cat /marker)"
if [ -e /written ]; then echo "found again: $(cat /written)"; fi
echo "by the machine" >/written
sync
echo "written: $(cat /written)"
mount -o remount,ro /
poweroff -f
"""


def missing() -> list[str]:
    """What this machine lacks to make and boot the disk."""
    lacking = [program for program in _PROGRAMS if not shutil.which(program)]
    lacking += [str(path) for path in (_BUSYBOX, _BOOT_CODE) if not path.exists()]
    return lacking if _kernel() else [*lacking, "a kernel in /boot"]


def _kernel() -> str | None:
    """The release of an installed kernel whose modules lie here as well."""
    for image in sorted(Path("/boot").glob("vmlinuz-*-cloud-amd64")):
        release = image.name.removeprefix("vmlinuz-")
        if Path("/lib/modules", release, "modules.dep").exists():
            return release
    return None


def make_disk(path: Path, marker: str) -> None:
    """Make the disk as a raw image at `path`; works in the directory that holds it."""
    release = _kernel()
    assert release is not None
    with path.open("wb") as disk:
        disk.truncate(DISK_BYTES)
        disk.write(_BOOT_CODE.read_bytes().ljust(440, b"\0")[:440])
        disk.seek(446)
        disk.write(_partition(0x80, 0x0E, *_BOOT) + _partition(0, 0x83, *_ROOT) + bytes(32) + b"\x55\xaa")
    _make_root(path, path.parent / "root", marker)
    _make_boot(path, release, _make_initramfs(path.parent / "initramfs", release))


def _partition(flag: int, kind: int, offset: int, length: int) -> bytes:
    """An entry of the partition table, by sector numbers alone."""
    return struct.pack("<B3sB3sII", flag, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", offset // 512, length // 512)


def _make_root(disk: Path, tree: Path, marker: str) -> None:
    _make_system(tree)
    (tree / "marker").write_text(marker + "\n")
    _write_program(tree / "sbin" / "init", _INIT)
    offset, length = _ROOT
    features = ["-q", "-t", "ext4", "-O", "^metadata_csum", "-E", f"offset={offset},root_owner=0:0", "-d", tree]
    _run("mke2fs", *features, disk, f"{length // 1024}k")


def _make_initramfs(tree: Path, release: str) -> Path:
    _make_system(tree)
    (tree / "modules").mkdir()
    modules = _modules(Path("/lib/modules", release), ["virtio_pci", "virtio_blk"])
    for module in modules:
        shutil.copy(module, tree / "modules" / module.name)
    _write_program(tree / "init", _FIRST.format(modules=" ".join(module.name for module in modules)))
    names = "\n".join(str(each.relative_to(tree)) for each in sorted(tree.rglob("*")))
    archive = subprocess.run(
        [_BUSYBOX, "cpio", "-o", "-H", "newc"], cwd=tree, input=names.encode(), check=True, capture_output=True
    ).stdout
    packed = tree.with_suffix(".cpio")
    packed.write_bytes(archive)
    return packed


def _modules(directory: Path, wanted: list[str]) -> list[Path]:
    """Files of kernel modules, each behind those that it needs."""
    needs_by_file = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        file, _, needs = line.partition(":")
        needs_by_file[file] = needs.split()
    files = []
    for name in wanted:
        (file,) = [each for each in needs_by_file if Path(each).name.partition(".")[0] == name]
        files += [*reversed(needs_by_file[file]), file]
    return [directory / file for file in dict.fromkeys(files)]


def _make_system(tree: Path) -> None:
    """Busybox and its names."""
    for name in ("bin", "sbin", "dev", "root", "proc"):
        (tree / name).mkdir(parents=True)
    shutil.copy(_BUSYBOX, tree / "bin" / "busybox")
    for name in ("sh", "cat", "echo", "mount", "insmod", "poweroff", "switch_root", "sync"):
        (tree / "bin" / name).symlink_to("busybox")


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _make_boot(disk: Path, release: str, initramfs: Path) -> None:
    offset, length = _BOOT
    volume = f"{disk}@@{offset}"
    loader = disk.parent / "syslinux.cfg"
    loader.write_text(_LOADER)
    _run("mformat", "-i", volume, "-T", str(length // 512), "-h", "64", "-s", "32", "-H", str(offset // 512), "::")
    _run("mcopy", "-i", volume, f"/boot/vmlinuz-{release}", "::vmlinuz")
    _run("mcopy", "-i", volume, initramfs, "::initrd")
    _run("mcopy", "-i", volume, loader, "::syslinux.cfg")
    _run("syslinux", "--offset", str(offset), "--install", disk)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
