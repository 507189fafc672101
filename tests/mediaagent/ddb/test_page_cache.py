"""A page comes back as it was put, or not at all; all of them take no more than they may."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.ids import cid_of
from mediaagent.ddb.page_cache import PageCache

UUID = bytes(range(16))
CID = cid_of(0x12AB, 7)
PLACE = "pages/00000012ab/000007"
ENTRY_BYTES = 32  # beyond the page itself


def always(_sid: int) -> bool:
    return True


def cache_at(directory: Path, most_bytes: int = 1 << 20) -> PageCache:
    return PageCache(directory, UUID, always, most_bytes)


def held(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / "pages").rglob("*") if path.is_file())


def test_pages_come_back_by_their_slots_also_to_another_cache_of_the_place(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.put(CID, [(3, b"three"), (0, b"")])
    cache.put(CID, [(9, b"nine")])
    for reader in (cache, cache_at(tmp_path)):
        assert [reader.get(CID, slot) for slot in (0, 1, 3, 9)] == [b"", None, b"three", b"nine"]
        assert reader.get(CID + 1, 3) is None


def test_what_another_process_appends_later_is_found(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.put(CID, [(1, b"one")])
    assert cache.get(CID, 2) is None
    cache_at(tmp_path).put(CID, [(2, b"two")])
    assert cache.get(CID, 2) == b"two"


def test_a_file_that_another_process_removed_and_made_again_is_looked_at_anew(tmp_path: Path) -> None:
    cache, other = cache_at(tmp_path), cache_at(tmp_path)
    cache.put(CID, [(1, b"one"), (2, b"two")])
    assert cache.get(CID, 2) == b"two"
    keep = os.open(tmp_path / PLACE, os.O_RDONLY)  # or the new file could get the old one's number
    other.forget([CID])
    other.put(CID, [(2, b"again")])
    assert (cache.get(CID, 1), cache.get(CID, 2)) == (None, b"again")
    os.close(keep)


def test_a_page_of_another_repository_or_container_is_a_miss(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.put(CID, [(1, b"one")])
    (tmp_path / PLACE).rename((tmp_path / PLACE).with_name("000008"))
    assert cache.get(CID + 1, 1) is None
    cache.put(CID, [(1, b"one")])
    assert PageCache(tmp_path, bytes(16), always).get(CID, 1) is None


def test_nothing_is_kept_of_a_session_that_cannot_be_noted(tmp_path: Path) -> None:
    PageCache(tmp_path, UUID, lambda sid: sid != 0x12AB).put(CID, [(1, b"one")])
    assert not (tmp_path / "pages").exists()


def test_forgotten_pages_are_misses_and_their_directory_goes_with_the_last(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.put(CID, [(1, b"one")])
    cache.put(CID + 1, [(1, b"other")])
    cache.forget([CID, CID + 9])
    assert (cache.get(CID, 1), cache.get(CID + 1, 1)) == (None, b"other")
    cache.forget([CID + 1])
    assert not (tmp_path / PLACE).parent.exists()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pages=st.lists(st.binary(max_size=60), min_size=1, max_size=4), data=st.data())
def test_any_flip_or_truncation_is_a_miss_or_the_page_and_heals(pages: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        check_flip_and_truncation(Path(name), pages, data)


def check_flip_and_truncation(directory: Path, pages: list[bytes], data: st.DataObject) -> None:
    cache_at(directory).put(CID, enumerate(pages))
    whole = (directory / PLACE).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    starts = [sum(len(page) + ENTRY_BYTES for page in pages[:number]) for number in range(len(pages) + 1)]
    hit = next(number for number in range(len(pages)) if at < starts[number + 1])
    for damaged in (bytes(flipped), whole[:at]):
        (directory / PLACE).write_bytes(damaged)
        found = cache_at(directory).get(CID, hit)
        assert found is None
        for slot, page in enumerate(pages):
            assert cache_at(directory).get(CID, slot) in (None, page)
        cache = cache_at(directory)
        for _ in range(2):  # a torn end is seen by who reads what was appended to it
            cache.put(CID, enumerate(pages))
            for slot in range(len(pages)):
                assert cache.get(CID, slot) in (None, pages[slot])
        cache.put(CID, enumerate(pages))
        assert [cache.get(CID, slot) for slot in range(len(pages))] == pages


def test_what_was_not_read_from_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    cache = cache_at(tmp_path, most_bytes=16_000)
    for number in range(10):
        cache.put(CID + number, [(0, bytes([number]) * 1000)])
        os.utime(tmp_path / "pages/00000012ab" / f"{7 + number:06x}", (number, number))
    assert cache_at(tmp_path).get(CID, 0) is not None
    for number in range(10, 40):
        cache.put(CID + number, [(0, bytes([number % 256]) * 1000)])
        assert held(tmp_path) <= 16_000
        if number == 16:
            assert cache.get(CID, 0) is not None, "the oldest, but the last one used"
            assert cache.get(CID + 1, 0) is None
    assert cache.get(CID + 39, 0) is not None
    assert held(tmp_path) > 12_000


def test_several_threads_and_caches_put_and_get_at_once(tmp_path: Path) -> None:
    caches = [cache_at(tmp_path, most_bytes=60_000) for _ in range(3)]
    wrong: list[object] = []

    def work(number: int) -> None:
        cache = caches[number % 3]
        for step in range(300):
            cid, slot = CID + step % 7, (step * 5 + number) % 11
            page = f"{cid} {slot} ".encode() * 40
            found = cache.get(cid, slot)
            if found not in (None, page):
                wrong.append(found)
            cache.put(cid, [(slot, page)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert held(tmp_path) <= 60_000 * 9 // 8


def test_a_place_that_cannot_be_written_is_a_cache_of_misses(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = cache_at(tmp_path / "file")
    cache.put(CID, [(1, b"one")])
    cache.forget([CID])
    assert cache.get(CID, 1) is None


def test_a_full_disk_costs_nothing_but_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system takes half of an entry and then no more."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    cache = cache_at(tmp_path)
    cache.put(CID, [(1, b"one" * 100), (2, b"two")])
    assert (cache.get(CID, 1), cache.get(CID, 2)) == (None, None)
    monkeypatch.setattr(os, "write", write)
    cache.put(CID, [(1, b"one")])
    assert cache.get(CID, 1) == b"one"
