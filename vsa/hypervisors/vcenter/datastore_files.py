"""Small files of a machine on its datastore, by the vCenter's own /folder over HTTPS: nvram and vmx.

Source: vSphere Web Services SDK programming guide, access to datastore files over HTTPS:
`/folder/PATH?dcPath=..&dsName=..` with the session's cookie.
"""

from __future__ import annotations

from http.client import HTTPException, HTTPSConnection
from urllib.parse import quote

from vsa.faults import DatastoreFileFailed, HypervisorUnreachable
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.stub import split_address

_SECONDS = 60.0
FILE_BYTES_MAX = 512 << 10  # an nvram with secure boot's keys has 270 KiB


def split_path(path: str) -> tuple[str, str]:
    """`[ds1] web1/web1.nvram` -> `ds1`, `web1/web1.nvram`."""
    datastore, _, file = path.partition("] ")
    return datastore.removeprefix("["), file


def read_file(connection: Connection, datacenter: str, path: str) -> bytes:
    """Raises DatastoreFileFailed, also for a file that is too large; HypervisorUnreachable."""
    return _ask(connection, "GET", datacenter, path, b"")


def write_file(connection: Connection, datacenter: str, path: str, content: bytes) -> None:
    """Make or replace it, in a folder that is there; may be called twice.

    Raises DatastoreFileFailed, HypervisorUnreachable.
    """
    _ask(connection, "PUT", datacenter, path, content)


def _ask(connection: Connection, method: str, datacenter: str, path: str, content: bytes) -> bytes:
    datastore, file = split_path(path)
    url = f"/folder/{quote(file)}?dcPath={quote(datacenter, safe='')}&dsName={quote(datastore, safe='')}"
    host, port = split_address(connection.address)
    headers = {"Cookie": str(connection.stub.cookie), "Content-Type": "application/octet-stream"}
    http = HTTPSConnection(host, port, context=connection.context, timeout=_SECONDS)
    try:
        http.request(method, url, body=content or None, headers=headers)
        reply = http.getresponse()
        body = reply.read(FILE_BYTES_MAX + 1)
    except (OSError, HTTPException) as error:
        raise HypervisorUnreachable(f"{connection.address}: {method} {path}: {error}") from error
    finally:
        http.close()
    if reply.status not in (200, 201, 204):
        raise DatastoreFileFailed(f"{connection.address}: {method} {path}: HTTP status {reply.status} {reply.reason}")
    if len(body) > FILE_BYTES_MAX:
        raise DatastoreFileFailed(f"{path}: expected at most {FILE_BYTES_MAX} bytes, found more")
    return body
