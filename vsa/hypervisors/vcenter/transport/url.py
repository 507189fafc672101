"""Any NBD server that is there already, found by a URL made from a template."""

from __future__ import annotations

from urllib.parse import quote

from media.faults import DiskResized
from runtime.clock import Clock
from vsa.disks.nbd import NbdDisk
from vsa.disks.nbd_target import NbdOverwritten
from vsa.faults import HypervisorUnknown
from vsa.hypervisors.receiving import OpenTarget
from vsa.hypervisors.vcenter.transport import DiskPlace, OpenDisk
from vsa.nbd.client import connect
from vsa.nbd.url import parse_nbd_url

_NAMES = ("moref", "snapshot", "disk", "file")


class UrlTransport:
    """`template` is a URL with {moref}, {snapshot}, {disk} (the device's key) and {file} where they belong."""

    name = "nbd (url)"

    def __init__(self, template: str, clock: Clock) -> None:
        """Raises HypervisorUnknown where the template is none, NbdUrlWrong where it makes no URL."""
        self._template = template
        self._clock = clock
        parse_nbd_url(self._url(DiskPlace("vm-1", "snapshot-1", 2000, "[d] m/m.vmdk", 1)))

    def unfit(self, place: DiskPlace) -> str | None:  # noqa: ARG002
        return None

    def open(self, place: DiskPlace) -> OpenDisk:
        url = parse_nbd_url(self._url(place))
        client = connect(url, self._clock)
        if client.export.size != place.size:
            client.close()
            raise DiskResized(f"{url}: expected {place.size} bytes, found {client.export.size}")
        return NbdDisk(client, str(url))

    def overwrite(self, place: DiskPlace, *, reads_zero: bool) -> OpenTarget:
        url = parse_nbd_url(self._url(place))
        return NbdOverwritten(connect(url, self._clock), str(url), place.size, reads_zero=reads_zero)

    def _url(self, place: DiskPlace) -> str:
        values = (place.machine, place.snapshot, str(place.device_key), place.file)
        try:
            return self._template.format(**{name: quote(v, safe="") for name, v in zip(_NAMES, values, strict=True)})
        except (KeyError, IndexError, ValueError) as error:
            raise HypervisorUnknown(
                f"nbd.url: expected {', '.join(f'{{{name}}}' for name in _NAMES)} in braces, found {error}"
            ) from error
