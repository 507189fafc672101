"""`ingot mount`: the disks of a recovery point as NBD exports, read-only, until Ctrl-C."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ingot.cli import options
from ingot.cli.disks import DiskOption, chosen_disks
from ingot.cli.exits import Exit
from ingot.cli.screen import screen_of
from ingot.cli.show import PointArgument
from ingot.quantities import shown, size_text

if TYPE_CHECKING:
    from ingot.mounting import Mounted
    from media.recovery_point import DiskTree, RecoveryPoint


def mount(
    context: typer.Context,
    point: PointArgument,
    repository: options.Repository,
    disk: DiskOption = None,
    socket: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The Unix socket to make. Without it: one in a directory of its own."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve on a TCP port instead; on 127.0.0.1 unless HOST says otherwise. Port 0 takes a free one.",
        ),
    ] = None,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Serve the disks of a recovery point over NBD, read-only, until Ctrl-C.

    Nothing is restored first: what is read is fetched. `qemu-img`, `qemu-nbd`, `nbd-client`, `guestmount` and virtual
    machines use the URLs at once. What is lost in the repository fails the reads that touch it, and is named.

    Examples:

        ingot mount latest:web1 --repository /backup/vms

        ingot mount 2a --disk 1 --listen 10809 --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from ingot.embedded import read_beside_index
    from ingot.faults import UsageWrong
    from ingot.mounting import mounted, private_socket
    from media.recovery_point import list_points, read_point
    from vsa.nbd.listening import TcpAddress, UnixAddress, parse_address

    screen = screen_of(context, json)
    if socket is not None and listen is not None:
        raise UsageWrong("expected one place to listen, found --socket and --listen")
    wanted = UnixAddress(socket.absolute()) if socket is not None else parse_address(listen) if listen else None
    repo = open_named(repository, passphrase_file, key_file, screen)
    found = read_point(repo.pool, list_points(repo.pool).find(point))
    read_beside_index(repo, found)
    faults: list[Exception] = []

    def tell(fault: Exception) -> None:
        faults.append(fault)
        screen.tell(f"cannot be read: {fault}")

    with ExitStack() as stack:
        address = wanted or stack.enter_context(private_socket())
        if isinstance(address, TcpAddress) and not address.is_loopback:
            screen.note(f"whoever reaches {address} can read these disks: no password, no encryption")
        up = stack.enter_context(mounted(repo, found, chosen_disks(found, disk), address, tell))
        document = {
            "recovery_point": found.id,
            "machine": found.machine.name,
            "disks": [{"disk": each.disk, "size": each.size, "url": up.url(each)} for each in up.disks],
        }
        with suppress(KeyboardInterrupt):  # the way to end it, from the moment that somebody is told of it
            screen.result(document, _lines(found, up))
            sys.stdout.flush()
            up.serve()
    return Exit.PARTIAL if faults else Exit.GOOD


def _lines(point: RecoveryPoint, up: Mounted) -> list[str]:
    """The URLs, and what to do with the first."""
    lines = [f"serving {point.id} of {shown(point.machine.name)}, read-only; Ctrl-C ends it"]
    lines += [f"  disk {disk.disk}   {size_text(disk.size)}   {up.url(disk)}" for disk in up.disks]
    first = up.disks[0]
    url = quote(up.url(first))
    copy, overlay = f"disk-{first.disk}.qcow2", f"overlay-{first.disk}.qcow2"
    return [
        *lines,
        "copy it",
        f"  qemu-img convert -O qcow2 {url} {copy}",
        "boot it; what it writes goes to the overlay",
        f"  qemu-img create -f qcow2 -F raw -b {url} {overlay}",
        f"  qemu-system-x86_64 -m 2048 -nic none -drive file={overlay}",
        "look into it, with libguestfs",
        f"  guestmount --ro --format=raw -a {url} -i DIRECTORY",
        "have it as a file, with nbdfuse",
        f"  nbdfuse --readonly DIRECTORY/disk-{first.disk}.raw {url}",
        "have it as a block device, as root, after modprobe nbd",
        f"  qemu-nbd --connect=/dev/nbd0 --read-only --format=raw {url}",
        f"  {_nbd_client(up, first)}",
    ]


def _nbd_client(up: Mounted, disk: DiskTree) -> str:
    from vsa.nbd.listening import UnixAddress

    if isinstance(up.address, UnixAddress):
        where = f"-unix {quote(str(up.address))}"
    else:
        where = f"{up.address.host} {up.address.port}"
    return f"nbd-client {where} /dev/nbd0 -readonly -name {disk.disk}"
