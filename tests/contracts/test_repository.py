"""What holds for every `Repository`."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.faults import ObjectExists, ObjectMissing
from media.repository import Entry, Repository
from media.repository.local import LocalRepository
from media.repository.memory import MemoryRepository
from tests.s3.buckets import Service

Maker = Callable[[Path], Repository]  # a new empty place each time, perhaps in a directory

KINDS = ("local", "memory", "moto", "radosgw", "own", "own, versions")
# Names of which some are prefixes of others, and whose order as wholes is not that of their parts.
NAMES = [
    "RESTORE/format.md",
    "c/0000000001/000000",
    "c/0000000001/000001",
    "c/0000000002/000000",
    "c/000000000a/00000f",
    "c.json",
    "ingot.json",
    "rp/0000000001",
    "rpm/0000000001/000001",
    "rpx/0000000001",
    "sess/0000000001",
    "sess/0000000001.1",
    "sess/0000000001.10",
    "sess/0000000001.2",
    "sess/0000000002",
    "sess-old/1",
]
PREFIXES = ["", "c", "c/", "c/0000000001/", "c/00000000", "rp", "rp/", "sess", "sess/", "sess/0000000001", "none/", "t"]


def _in_bucket(service: Service, *, versions: bool) -> Maker:
    bucket, numbers = service.new_bucket(), itertools.count()
    if versions:
        service.keep_versions(bucket)
    return lambda directory: service.repository(bucket, f"place-{next(numbers)}")


@pytest.fixture(scope="module", params=KINDS)
def maker(request: pytest.FixtureRequest) -> Maker:
    if request.param == "local":
        return lambda directory: LocalRepository(directory / "repository")
    if request.param == "memory":
        return lambda directory: MemoryRepository()
    name, _, versions = request.param.partition(", ")
    return _in_bucket(request.getfixturevalue(name), versions=versions != "")


@pytest.fixture
def repository(maker: Maker, tmp_path: Path) -> Repository:
    return maker(tmp_path)


@pytest.fixture
def filled(repository: Repository) -> Repository:
    for name in reversed(NAMES):
        repository.put_new(name, name.encode())
    return repository


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 5000])
def test_what_was_put_is_what_one_gets(repository: Repository, body: bytes) -> None:
    repository.put_new("c/0000000001/000000", body)
    assert repository.get("c/0000000001/000000") == body


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_put_and_changed_afterwards(repository: Repository, kind: Callable[[bytes], bytes]) -> None:
    source = bytearray(b"before")
    repository.put_new("rp/0000000001", kind(source))
    source[:] = b"after!"
    assert repository.get("rp/0000000001") == b"before"


def test_a_name_is_taken_once_and_keeps_its_first_body(repository: Repository) -> None:
    repository.put_new("rp/0000000001", b"first")
    for body in (b"second", b"first", b""):
        with pytest.raises(ObjectExists, match="rp/0000000001"):
            repository.put_new("rp/0000000001", body)
    assert repository.get("rp/0000000001") == b"first"


@pytest.mark.parametrize("name", ["rp/0000000001", "rp", "sess/0000000001/x", "none/none/none"])
def test_what_was_not_put_is_missing(repository: Repository, name: str) -> None:
    repository.put_new("sess/0000000001", b"a file where a directory would be")
    with pytest.raises(ObjectMissing, match=name):
        repository.get(name)
    with pytest.raises(ObjectMissing, match=name):
        repository.get_extent(name, 0, 1)
    with pytest.raises(ObjectMissing, match=name):
        repository.get_tail(name, 1)


def test_an_extent_ends_where_the_object_ends(repository: Repository) -> None:
    body = bytes(range(200))
    repository.put_new("c/0000000001/000000", body)
    for offset, length in [(0, 0), (0, 1), (0, 200), (0, 10**12), (17, 30), (199, 1), (199, 2), (200, 1), (5000, 10)]:
        assert repository.get_extent("c/0000000001/000000", offset, length) == body[offset : offset + length]


def test_a_tail_comes_with_the_size_and_is_all_there_is_at_most(repository: Repository) -> None:
    body = bytes(range(200))
    repository.put_new("c/0000000001/000000", body)
    repository.put_new("c/0000000001/000001", b"")
    for length in (0, 1, 199, 200, 201, 131072):
        assert repository.get_tail("c/0000000001/000000", length) == (body[max(0, 200 - length) :], 200)
    assert repository.get_tail("c/0000000001/000001", 64) == (b"", 0)


def test_an_empty_place_lists_nothing(repository: Repository) -> None:
    assert list(repository.list("")) == []
    assert list(repository.list("sess/")) == []


def test_a_listing_has_every_name_with_the_prefix_in_order_of_bytes(filled: Repository) -> None:
    for prefix in PREFIXES:
        expected = sorted((name for name in NAMES if name.startswith(prefix)), key=str.encode)
        assert list(filled.list(prefix)) == [Entry(name, len(name)) for name in expected], prefix


def test_a_listing_goes_on_after_any_name_there_or_not(filled: Repository) -> None:
    for prefix, after in itertools.product(
        PREFIXES, [*NAMES, *PREFIXES, "c/0000000001", "c/0000000001/0", "sess/0000000001.", "~", "tmp/"]
    ):
        expected = sorted(name for name in NAMES if name.startswith(prefix) and name > after)
        assert [entry.name for entry in filled.list(prefix, after)] == expected, (prefix, after)


def test_an_object_put_before_the_listing_began_is_in_it(repository: Repository) -> None:
    for number in range(1, 9):
        repository.put_new(f"sess/{number:010x}", b"")
        assert [entry.name for entry in repository.list("sess/")][-1] == f"sess/{number:010x}"


def test_what_is_deleted_while_it_is_listed_ends_no_listing(filled: Repository) -> None:
    listing = filled.list("sess/")
    first = next(listing)
    for name in ("sess/0000000001.1", "sess/0000000001.10"):
        filled.delete(name)
    rest = [entry.name for entry in listing]
    assert first.name == "sess/0000000001"
    assert {"sess/0000000001.2", "sess/0000000002"} <= set(rest)


def test_a_deleted_object_is_missing_and_its_name_is_free(filled: Repository) -> None:
    filled.delete("sess/0000000001")
    with pytest.raises(ObjectMissing):
        filled.get("sess/0000000001")
    assert filled.get("sess/0000000001.1") == b"sess/0000000001.1"
    assert "sess/0000000001" not in [entry.name for entry in filled.list("sess/")]
    filled.put_new("sess/0000000001", b"again")
    assert filled.get("sess/0000000001") == b"again"


@pytest.mark.parametrize("name", ["rp/0000000009", "none/x", "ingot.json/x"])
def test_to_delete_what_is_not_there_does_nothing(filled: Repository, name: str) -> None:
    filled.delete(name)
    assert len(list(filled.list(""))) == len(NAMES)


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", ".hidden", "a/.b", "tmp/x", "tmp", "ä", "a b", "a\0", "a\n"],
)
def test_a_name_that_no_object_can_have_is_a_mistake_of_the_program(repository: Repository, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: repository.put_new(name, b""),
        lambda: repository.get(name),
        lambda: repository.get_extent(name, 0, 1),
        lambda: repository.get_tail(name, 1),
        lambda: repository.delete(name),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="no object name"):
            call()


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a//", ".h"])
def test_a_prefix_of_no_name_is_a_mistake_of_the_program(repository: Repository, prefix: str) -> None:
    with pytest.raises(ValueError, match="no prefix"):
        list(repository.list(prefix))


@pytest.mark.parametrize("turn", range(5))
def test_sixteen_threads_race_for_a_name_and_one_wins(repository: Repository, turn: int) -> None:
    start = threading.Barrier(16)
    winners: list[bytes] = []
    found: list[bytes] = []

    def run(me: bytes) -> None:
        start.wait()
        try:
            repository.put_new("rp/0000000001", me)
            winners.append(me)
        except ObjectExists:
            found.append(repository.get("rp/0000000001"))

    threads = [threading.Thread(target=run, args=(b"%d" % me,)) for me in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert found == winners * 15


_name = st.sampled_from(NAMES)
_operation = st.one_of(
    st.tuples(st.just("put"), _name, st.binary(max_size=20)),
    st.tuples(st.just("get"), _name),
    st.tuples(st.just("extent"), _name, st.integers(0, 25), st.integers(0, 25)),
    st.tuples(st.just("tail"), _name, st.integers(0, 25)),
    st.tuples(st.just("list"), st.sampled_from(PREFIXES), st.sampled_from(["", *NAMES, *PREFIXES])),
    st.tuples(st.just("delete"), _name),
)


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(operations=st.lists(_operation, max_size=30))
def test_it_behaves_as_a_dictionary_does(maker: Maker, operations: list[tuple[str, ...]]) -> None:
    oracle: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as directory:
        repository = maker(Path(directory))
        for operation in operations:
            assert _outcome(lambda o=operation: _do(repository, *o)) == _outcome(lambda o=operation: _ask(oracle, *o))


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (ObjectMissing, KeyError):
        return "missing"
    except (ObjectExists, FileExistsError):
        return "exists"


def _do(repository: Repository, call: str, name: str, *rest: object) -> object:
    calls = {
        "put": repository.put_new,
        "get": repository.get,
        "extent": repository.get_extent,
        "tail": repository.get_tail,
        "list": lambda prefix, after: list(repository.list(prefix, after)),
        "delete": repository.delete,
    }
    return calls[call](name, *rest)


def _ask(oracle: dict[str, bytes], call: str, name: str, *rest: object) -> object:
    match call, rest:
        case "put", (body,):
            if name in oracle:
                raise FileExistsError
            oracle[name] = body
            return None
        case "get", ():
            return oracle[name]
        case "extent", (offset, length):
            return oracle[name][offset : offset + length]
        case "tail", (length,):
            return oracle[name][max(0, len(oracle[name]) - length) :], len(oracle[name])
        case "list", (after,):
            return [Entry(n, len(b)) for n, b in sorted(oracle.items()) if n.startswith(name) and n > after]
        case _:
            oracle.pop(name, None)
            return None
