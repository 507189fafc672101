"""A footer comes back as it was put, or not at all."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from media.ids import cid_of
from mediaagent.ddb.footer_cache import FooterCache

UUID = bytes(range(16))
CID = cid_of(0x12AB, 7)
PLACE = "footers/00000012ab/000007"


def always(_sid: int) -> bool:
    return True


def test_a_footer_comes_back_also_to_another_cache_of_the_place(tmp_path: Path) -> None:
    FooterCache(tmp_path, UUID, always).put(CID, b"footer")
    assert (tmp_path / PLACE).is_file()
    assert FooterCache(tmp_path, UUID, always).get(CID) == b"footer"
    assert FooterCache(tmp_path, UUID, always).get(CID + 1) is None


def test_a_footer_of_no_entries_is_not_a_miss(tmp_path: Path) -> None:
    cache = FooterCache(tmp_path, UUID, always)
    cache.put(CID, b"")
    assert cache.get(CID) == b""


def test_a_forgotten_footer_is_a_miss_and_its_directory_goes_with_the_last(tmp_path: Path) -> None:
    cache = FooterCache(tmp_path, UUID, always)
    cache.put(CID, b"one")
    cache.put(CID + 1, b"two")
    cache.forget([CID, CID + 9])
    assert (cache.get(CID), cache.get(CID + 1)) == (None, b"two")
    cache.forget([CID + 1])
    assert not (tmp_path / PLACE).parent.exists()


def test_a_footer_of_another_repository_or_container_is_a_miss(tmp_path: Path) -> None:
    cache = FooterCache(tmp_path, UUID, always)
    cache.put(CID, b"footer")
    assert FooterCache(tmp_path, bytes(16), always).get(CID) is None
    (tmp_path / PLACE).rename((tmp_path / PLACE).with_name("000008"))
    assert cache.get(CID + 1) is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(footer=st.binary(max_size=100), data=st.data())
def test_any_flip_and_any_truncation_is_a_miss(footer: bytes, data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        check_flip_and_truncation(Path(name), footer, data)


def check_flip_and_truncation(directory: Path, footer: bytes, data: st.DataObject) -> None:
    cache = FooterCache(directory, UUID, always)
    cache.put(CID, footer)
    whole = (directory / PLACE).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), whole[:at], whole + b"\0"):
        (directory / PLACE).write_bytes(damaged)
        assert cache.get(CID) is None
    cache.put(CID, footer)
    assert cache.get(CID) == footer


def test_a_footer_of_a_session_that_cannot_be_noted_is_not_kept(tmp_path: Path) -> None:
    FooterCache(tmp_path, UUID, lambda sid: sid != 0x12AB).put(CID, b"footer")
    assert FooterCache(tmp_path, UUID, always).get(CID) is None


def test_a_place_that_cannot_be_written_is_a_cache_of_misses(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = FooterCache(tmp_path / "file", UUID, always)
    cache.put(CID, b"footer")
    cache.forget([CID])
    assert cache.get(CID) is None


def test_a_directory_in_place_of_the_file_is_a_miss(tmp_path: Path) -> None:
    (tmp_path / PLACE).mkdir(parents=True)
    cache = FooterCache(tmp_path, UUID, always)
    cache.put(CID, b"footer")
    cache.forget([CID])
    assert cache.get(CID) is None
