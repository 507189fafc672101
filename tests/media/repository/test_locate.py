"""From URLs to places."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.faults import RepositoryUnfit, RepositoryUrlUnknown
from media.repository.locate import open_place


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "file://LOCALHOST{}", "file:{}"])
def test_all_ways_to_name_a_directory_open_the_same_place(tmp_path: Path, form: str) -> None:
    assert open_place(form.format(tmp_path)).url == tmp_path.as_uri()


def test_a_url_leads_back_to_its_place_whatever_the_directory_is_called(tmp_path: Path) -> None:
    place = open_place(str(tmp_path / "mine & yours #1 100% ü?"))
    assert open_place(place.url).url == place.url


def test_a_plain_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_place("a/b").url == (tmp_path / "a" / "b").as_uri()


def test_to_open_a_place_makes_nothing(tmp_path: Path) -> None:
    open_place(f"file://{tmp_path}/not/there")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["", "S4://bucket/path", "s3:bucket", "sftp://user@host/", "file://otherhost/path", "file:relative", "file://",
     "file:///a?b", "file:///a#b", "file:///a%00b", "a\0b", "http://[broken"],
)  # fmt: skip
def test_what_is_no_known_kind_is_refused_and_the_known_ones_are_named(url: str) -> None:
    with pytest.raises(RepositoryUrlUnknown, match="file:///path"):
        open_place(url)


def test_a_refused_url_does_not_show_its_secrets() -> None:
    with pytest.raises(RepositoryUrlUnknown) as raised:
        open_place("sftp://key:hidden@host/path")
    assert "hidden" not in str(raised.value)


def test_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RepositoryUnfit, match=r"irectory"):
            open_place(str(path))
