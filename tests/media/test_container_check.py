"""A container that somebody else made is taken only when every reader would take it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from media.container import ContainerWriter, Kind, decode_footer, decode_trailer
from media.container_check import ContainerCheck
from media.faults import DamageFault
from media.ids import cid_of, container_name
from media.keys import SealingKey
from media.record import Codec, Type
from media.session_log import Terms
from tests.media.fakes import SparseDisk
from tests.media.workbench import OPEN, SEGMENT, SMALL, Workbench, noise, text

CID = cid_of(1, 0)


def stored(bench: Workbench) -> tuple[bytes, dict[int, SealingKey]]:
    """The first container of a backup, and the keys of its session."""
    bench.backup(SparseDisk.of(text(1, SEGMENT // 2) + noise(1, SEGMENT // 2)))
    body = bench.memory.get(container_name(CID))
    table = bench.containers.header(CID).wrapped_keys
    keys = {id_: key for id_ in table or (0,) if (key := bench.pool.keys.data_key(id_, table)) is not None}
    return body, keys


@pytest.mark.parametrize("every", [0, 1, 3])
@pytest.mark.parametrize("parameters", [SMALL, OPEN], ids=["sealed", "unsealed"])
def test_what_our_writer_made_is_taken_and_its_footer_is_told(parameters, every: int) -> None:
    bench = Workbench(parameters)
    body, keys = stored(bench)
    footer = ContainerCheck(Terms.of(bench.pool), every).check(memoryview(body), CID, keys)
    assert (footer == bench.containers.footer(CID)).all()


def flips(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 37):
        damaged = bytearray(body)
        damaged[at] ^= 1 << at % 8
        yield bytes(damaged)


@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize("parameters", [SMALL, OPEN], ids=["sealed", "unsealed"])
def test_no_flipped_bit_and_no_cut_is_taken(parameters, every: int) -> None:
    bench = Workbench(parameters)
    body, keys = stored(bench)
    check = ContainerCheck(Terms.of(bench.pool), every)
    for damaged in (*flips(body), body[:-1], body[:200], b"", body + b"\0" * 8):
        with pytest.raises(DamageFault):
            check.check(memoryview(damaged), CID, keys)


class Crafted:
    """A container whose hashes are right, whatever it says."""

    def __init__(self, bench: Workbench, kind: Kind = Kind.DATA, cid: int = CID) -> None:
        self.bench = bench
        self.key = bench.pool.keys.new_data_key()
        self.writer = ContainerWriter(memoryview(bytearray(SEGMENT)), cid, kind, bench.pool.id, self.key)

    def add(
        self, plain: bytes, fingerprint: bytes | None = None, type_: Type = Type.CHUNK, plain_len: int | None = None
    ) -> Crafted:
        from ext.fingerprint import Fingerprinter

        if fingerprint is None:
            fingerprint = Fingerprinter(self.bench.pool.keys.fingerprint).one(plain)
        self.writer.append(type_, Codec.RAW, plain, len(plain) if plain_len is None else plain_len, fingerprint)
        return self

    def assert_refused(self, keys: dict[int, SealingKey] | None = None, every: int = 1) -> None:
        container, _ = self.writer.finish()
        if keys is None:
            keys = {self.key.key_id: self.key}
        with pytest.raises(DamageFault):
            ContainerCheck(Terms.of(self.bench.pool), every).check(container, CID, keys)


def test_containers_that_are_whole_and_wrong_are_not_taken() -> None:
    bench = Workbench()
    Crafted(bench, Kind.PAGES).add(noise(1, 5000)).assert_refused()
    Crafted(bench, cid=cid_of(2, 0)).add(noise(1, 5000)).assert_refused()
    Crafted(bench).assert_refused()  # nothing is in it
    Crafted(bench).add(noise(1, 5000)).assert_refused(keys={})  # sealed with somebody else's key
    Crafted(bench).add(noise(1, 5000)).add(noise(2, 5000), fingerprint=b"x" * 32).assert_refused()
    Crafted(bench).add(noise(1, 5000), type_=Type.PAGE).assert_refused(every=0)
    Crafted(bench).add(noise(1, 5000), plain_len=4999).assert_refused(every=0)
    Crafted(bench).add(noise(1, 8193)).assert_refused(every=0)  # twice the average is the most that is ever cut
    Crafted(bench).add(b"").assert_refused(every=0)


def test_a_key_that_is_the_sessions_and_whose_wrap_is_not_is_refused() -> None:
    """Or nobody could open the container when the session is over."""
    bench = Workbench()
    crafted = Crafted(bench).add(noise(1, 5000))
    other = bench.pool.keys.new_data_key()
    assert other.wrapped
    other.wrapped, other.key_id = other.wrapped[::-1], crafted.key.key_id
    crafted.assert_refused(keys={crafted.key.key_id: other})


def test_what_is_not_opened_is_still_consistent() -> None:
    bench = Workbench()
    crafted = Crafted(bench).add(noise(1, 5000)).add(noise(2, 5000), fingerprint=b"x" * 32)
    container, _ = crafted.writer.finish()
    footer = ContainerCheck(Terms.of(bench.pool), 2).check(container, CID, {crafted.key.key_id: crafted.key})
    trailer = decode_trailer(container, CID, len(container))
    end = trailer.footer_offset + trailer.footer_len
    assert (footer == decode_footer(bytes(container[trailer.footer_offset : end]), trailer, CID)).all()
