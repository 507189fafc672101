"""/folder: files of datastores over HTTPS, read in ranges and written whole."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.sim.vcenter import files
from tests.sim.vcenter.inventory import Datacenter, Datastore

if TYPE_CHECKING:
    from tests.sim.vcenter.endpoint import Answering

BINARY = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PIECE = 1 << 20


class FolderRoom:
    """GET, HEAD, PUT and DELETE of `/folder/PATH?dcPath=&dsName=`, for whoever has a session or says who he is."""

    def __init__(self, vcenter: Any) -> None:
        self._vcenter = vcenter

    def answer(self, ask: Answering, verb: str, path: str, query: dict[str, list[str]]) -> None:
        vcenter = self._vcenter
        vcenter.faults.meet(f"folder.{verb}", path)
        with vcenter.changes.lock:
            user = self._user(ask)
            store = self._datastore(query)
            inside = path.removeprefix("/folder").strip("/")
            if user is None:
                ask.answer(401, b"", "text/plain", {"WWW-Authenticate": 'Basic realm="VMware HTTP server"'})
                return
            if store is None or ".." in Path(inside).parts:
                ask.answer(404, b"", "text/plain")
                return
            privilege = "Datastore.Browse" if verb in ("GET", "HEAD") else "Datastore.FileManagement"
            if not vcenter.authorization.holds(user, privilege, store):
                ask.answer(403, b"", "text/plain")
                return
            found = files.find(vcenter, store, inside)
            can_write = files.has_directory(vcenter, store, inside.rpartition("/")[0])
        if verb == "PUT":
            self._put(ask, store, inside, can_write=can_write)
        elif found is None:
            ask.answer(404, b"", "text/plain")
        elif verb == "DELETE":
            found.unlink()
            ask.answer(204, b"", "text/plain")
        else:
            _give(ask, found)

    def _put(self, ask: Answering, store: Datastore, inside: str, *, can_write: bool) -> None:
        body = ask.body()
        if not can_write:
            ask.answer(404, b"", "text/plain")
        elif store.free_bytes < len(body):
            ask.answer(507, b"", "text/plain")
        else:
            place = store.path / inside
            existed = place.exists()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            ask.answer(200 if existed else 201, b"", "text/plain")

    def _user(self, ask: Answering) -> str | None:
        session = self._vcenter.sessions.find(ask.cookie())
        if session is not None:
            return str(session.user)
        scheme, _, rest = (ask.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        user, _, password = base64.b64decode(rest).decode().partition(":")
        try:
            self._vcenter.sessions.check(user, password)
        except vim.fault.InvalidLogin:
            return None
        return user.lower()

    def _datastore(self, query: dict[str, list[str]]) -> Datastore | None:
        center = (query.get("dcPath") or [""])[0].strip("/").rpartition("/")[2]
        name = (query.get("dsName") or [""])[0]
        for store in self._vcenter.each(Datastore):
            if store.name == name and any(
                isinstance(each, Datacenter) and each.name == center for each in store.ancestors()
            ):
                return store
        return None


def _give(ask: Answering, place: Path) -> None:
    size = place.stat().st_size
    first, end, status = 0, size, 200
    wanted = _RANGE.fullmatch(ask.headers.get("Range") or "")
    headers = {"Accept-Ranges": "bytes"}
    if wanted is not None:
        first = int(wanted[1])
        end = min(size, int(wanted[2]) + 1) if wanted[2] else size
        if first >= end:
            ask.answer(416, b"", "text/plain", {"Content-Range": f"bytes */{size}"})
            return
        status, headers["Content-Range"] = 206, f"bytes {first}-{end - 1}/{size}"
    with place.open("rb") as file:
        file.seek(first)
        ask.begin(status, end - first, BINARY, headers)
        if ask.command != "HEAD":
            for at in range(first, end, _PIECE):
                ask.wfile.write(file.read(min(_PIECE, end - at)))
