"""What a place can do, tried: before a repository is made there, and whenever somebody asks.

The argument of safety rests on put-if-absent, reads that see what was put, and listings that do. What lacks them is
RepositoryUnfit. That we may not delete is no fault: backups never do.

What is put for this is `probe-<nonce>-<n>`; where it cannot be deleted it stays, and is nobody's.
"""

from __future__ import annotations

import os
import threading

from media.faults import DeleteDenied, ObjectExists, ObjectMissing, RepositoryFault, RepositoryUnfit
from media.ids import PROBES
from media.repository import Repository

RACERS = 16

Abilities = dict[str, str]  # by name, `yes`, `no` or what was found: for people and for `ingot.json`


def probe(place: Repository) -> Abilities:
    """Raises RepositoryUnfit, and what the calls of the place raise."""
    nonce = os.urandom(8).hex()
    try:
        _put_twice(place, f"{PROBES}{nonce}-0")
        _race(place, f"{PROBES}{nonce}-1")
        _list(place, f"{PROBES}{nonce}-")
    finally:
        deletes = _delete(place, f"{PROBES}{nonce}-")
    return {"put_if_absent": "yes", "race": f"one of {RACERS} wins", "listing": "consistent", "delete": deletes}


def _put_twice(place: Repository, name: str) -> None:
    body = os.urandom(1000)
    place.put_new(name, body)
    _expect_body(place, name, body)
    for other in (os.urandom(1000), b""):
        try:
            place.put_new(name, other)
        except ObjectExists:
            _expect_body(place, name, body)
            continue
        raise _unfit(place, f"put {name}: expected the second put to be refused, found that it was taken")
    if place.get_tail(name, 10) != (body[-10:], 1000) or place.get_extent(name, 10, 20) != body[10:30]:
        raise _unfit(place, f"get {name}: expected the bytes of a range, found others")


def _race(place: Repository, name: str) -> None:
    """Many put one name at once: one wins, and the others find its bytes."""
    start = threading.Barrier(RACERS)
    bodies = [os.urandom(64) for _ in range(RACERS)]
    won: list[bytes] = []
    failed: list[BaseException] = []

    def run(body: bytes) -> None:
        start.wait()
        try:
            place.put_new(name, body)
            won.append(body)
        except ObjectExists:
            pass
        except BaseException as failure:  # noqa: BLE001 # carried to the caller, whole
            failed.append(failure)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    if len(won) != 1:
        raise _unfit(place, f"put {name}: expected one of {RACERS} at once to win, found {len(won)}")
    _expect_body(place, name, won[0])


def _list(place: Repository, prefix: str) -> None:
    found = [entry.name for entry in place.list(prefix)]
    if found != [f"{prefix}0", f"{prefix}1"]:
        raise _unfit(place, f"list {prefix}: expected the two objects that were put, found {found}")


def _delete(place: Repository, prefix: str) -> str:
    """Best effort; whether it is possible."""
    try:
        for entry in list(place.list(prefix)):
            place.delete(entry.name)
        return "yes" if next(iter(place.list(prefix)), None) is None else "no: what was deleted is still there"
    except DeleteDenied as fault:
        return f"denied: {fault.__cause__ or fault}"
    except RepositoryFault as fault:
        return f"failed: {fault}"


def _expect_body(place: Repository, name: str, body: bytes) -> None:
    try:
        found = place.get(name)
    except ObjectMissing:
        raise _unfit(place, f"get {name}: expected what was put a moment ago, found nothing") from None
    if found != body:
        raise _unfit(place, f"get {name}: expected what was put first, found other bytes")


def _unfit(place: Repository, what: str) -> RepositoryUnfit:
    return RepositoryUnfit(f"{place.url}: {what}")
