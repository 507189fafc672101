"""Making and opening a pool: one `init` wins, an interrupted one does not matter, the last key is never removed."""

from __future__ import annotations

import json
import threading
import unicodedata

import pytest

from media.faults import (
    FormatTooNew,
    KeyNeeded,
    KeyUnfit,
    KeyWrong,
    ObjectCorrupt,
    ObjectMissing,
    RepositoryExists,
    RepositoryMissing,
    RepositoryTampered,
)
from media.key_slots import KeyFile, NoSecret, Passphrase, Secret, list_slots
from media.pool import Pool, add_slot, create_pool, open_pool, remove_slot
from media.repository.memory import MemoryRepository
from runtime.faults import Fault
from tests.media.fakes import Around, FakeClock, OnPut, SparseDisk
from tests.media.workbench import OPEN, SECRET, SMALL, Workbench, noise

CHEAP = {"name": "scrypt", "n": 2, "r": 1, "p": 1}


def passphrase(text: str) -> Passphrase:
    return Passphrase(text, CHEAP)


def create(repository: MemoryRepository | Around, secret: Secret = SECRET) -> Pool:
    return create_pool(repository, secret, SMALL, FakeClock())


def slots(repository: MemoryRepository | Around) -> list[str]:
    return [entry.name for entry in repository.list("keys/")]


def test_a_passphrase_is_the_same_however_it_is_composed_and_with_or_without_its_newline() -> None:
    bench = MemoryRepository()
    text = "Zwölf Boxkämpfer"
    create(bench, passphrase(text))
    for form in ("NFC", "NFD"):
        for end in ("", "\n"):
            assert open_pool(bench, passphrase(unicodedata.normalize(form, text) + end))
    for wrong in (text + "\n\n", text + " ", text + "\r\n", text.lower(), "x"):
        with pytest.raises(KeyWrong):
            open_pool(bench, passphrase(wrong))


@pytest.mark.parametrize("text", ["", "\n", "\udcff"])
def test_what_cannot_be_a_passphrase_is_refused(text: str) -> None:
    with pytest.raises(KeyUnfit, match="passphrase"):
        passphrase(text)


def test_the_wrong_kind_of_secret_says_which_kinds_there_are() -> None:
    bench = MemoryRepository()
    create(bench)
    with pytest.raises(KeyWrong, match="passphrase"):
        open_pool(bench, KeyFile(KeyFile.generate()))
    with pytest.raises(KeyNeeded, match="passphrase"):
        open_pool(bench, NoSecret())
    for slot in slots(bench):
        bench.delete(slot)
    with pytest.raises(KeyWrong, match="no slot at all"):
        open_pool(bench, SECRET)


def test_a_secret_is_for_an_encrypted_repository_and_only_for_one() -> None:
    with pytest.raises(KeyUnfit):
        create(MemoryRepository(), NoSecret())
    with pytest.raises(KeyUnfit):
        create_pool(MemoryRepository(), SECRET, OPEN, FakeClock())
    bench = Workbench(OPEN)
    assert open_pool(bench.memory, NoSecret()).keys.master == bench.pool.keys.master
    with pytest.raises(KeyUnfit, match="open"):
        open_pool(bench.memory, SECRET)
    with pytest.raises(KeyUnfit, match="not encrypted"):
        add_slot(bench.pool, SECRET, bench.clock)


@pytest.mark.parametrize(
    "kdf",
    [
        {"name": "scrypt", "n": 1 << 30, "r": 8, "p": 1},
        {"name": "scrypt", "n": 1 << 20, "r": 32, "p": 1},
        {"name": "scrypt", "n": 1 << 17, "r": 8, "p": 1 << 20},
        {"name": "scrypt", "n": 3, "r": 1, "p": 1},
        {"name": "scrypt", "n": 0, "r": 1, "p": 1},
        {"name": "scrypt", "n": -2, "r": 1, "p": 1},
        {"name": "scrypt", "n": 2, "r": 0, "p": 1},
        {"name": "scrypt", "n": float("inf"), "r": 1, "p": 1},
        {"name": "scrypt", "n": float("nan"), "r": 1, "p": 1},
        {"name": "scrypt", "n": None, "r": 1, "p": 1},
        {"name": "scrypt", "r": 1, "p": 1},
        {"name": "pbkdf2-hmac-sha256", "iterations": 10**12},
        {"name": "pbkdf2-hmac-sha256", "iterations": 0},
    ],
)
def test_parameters_out_of_bounds_are_refused_before_memory_is_taken(kdf: dict) -> None:
    bench = MemoryRepository()
    create(bench)
    (name,) = slots(bench)
    slot = json.loads(bench.get(name))
    slot["kdf"] = {**kdf, "salt": "00" * 16}
    bench.delete(name)
    bench.put_new(name, json.dumps(slot).encode())
    with pytest.raises(ObjectCorrupt, match=name):
        open_pool(bench, SECRET)


def test_slots_of_later_versions_are_said_to_be_and_hide_no_other() -> None:
    bench = MemoryRepository()
    pool = create(bench)
    (name,) = slots(bench)
    slot = json.loads(bench.get(name))
    for number, change in enumerate(({"format": 2}, {"kdf": {"name": "argon2id", "salt": "00"}}, {"kind": "kms"})):
        bench.put_new(f"keys/{number}", json.dumps({**slot, **change}).encode())
    assert open_pool(bench, SECRET).keys == pool.keys
    bench.delete(name)
    with pytest.raises(FormatTooNew):
        open_pool(bench, SECRET)


def test_secrets_come_and_go_and_each_opens_the_same_pool() -> None:
    bench = Workbench()
    key_file = KeyFile(KeyFile.generate())
    first = slots(bench.memory)[0]
    second = add_slot(bench.pool, passphrase("another"), bench.clock)
    third = add_slot(bench.pool, key_file, bench.clock)
    for secret in (SECRET, passphrase("another"), key_file, KeyFile(key_file.text.strip().upper())):
        assert open_pool(bench.memory, secret).keys == bench.pool.keys
    assert sorted(slot.kind for slot in list_slots(bench.memory)) == ["key file", "passphrase", "passphrase"]
    remove_slot(bench.pool, first)
    with pytest.raises(KeyWrong):
        open_pool(bench.memory, SECRET)
    remove_slot(bench.pool, second)
    with pytest.raises(KeyUnfit, match="last"):
        remove_slot(bench.pool, third)
    with pytest.raises(KeyUnfit, match="no such"):
        remove_slot(bench.pool, first)
    assert open_pool(bench.memory, key_file).keys == bench.pool.keys


def test_a_damaged_slot_or_one_of_an_interrupted_init_is_not_what_keeps_the_pool_open() -> None:
    memory = MemoryRepository()
    interrupt_init(memory)
    pool = create(memory)
    memory.put_new("keys/00", b"rubbish")
    ours = next(slot.name for slot in list_slots(memory) if slot.repository == str(pool.id))
    assert len(slots(memory)) == 3
    with pytest.raises(KeyUnfit, match="last"):
        remove_slot(pool, ours)
    for name in slots(memory):
        if name != ours:
            remove_slot(pool, name)
    assert open_pool(memory, SECRET).keys == pool.keys


def test_of_two_slots_that_are_removed_at_once_one_stays() -> None:
    bench = Workbench()
    one = slots(bench.memory)[0]
    two = add_slot(bench.pool, passphrase("another"), bench.clock)

    class Racing(Around):
        def delete(self, name: str) -> None:
            self.inner.delete(two)
            self.inner.delete(name)

    bench.behind(Racing(bench.memory))
    with pytest.raises(KeyUnfit, match="last"):
        remove_slot(bench.pool, one)
    assert open_pool(bench.memory, SECRET).keys == bench.pool.keys


def test_a_slot_that_is_removed_while_slots_are_tried_is_passed_over() -> None:
    bench = Workbench()
    add_slot(bench.pool, SECRET, bench.clock)
    gone = slots(bench.memory)[0]

    class Removing(Around):
        def get(self, name: str) -> bytes:
            if name == gone:
                raise ObjectMissing(name)
            return super().get(name)

    assert open_pool(Removing(bench.memory), SECRET).keys == bench.pool.keys
    assert len(list_slots(Removing(bench.memory))) == 1


def interrupt_init(memory: MemoryRepository, before: str = "ingot.json") -> None:
    def stop(name: str) -> None:
        if name == before:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(OnPut(memory, stop))


@pytest.mark.parametrize("before", ["keys/", "RESTORE/recover.py", "RESTORE/format.md", "ingot.json"])
def test_an_interrupted_init_is_no_repository_and_does_not_stand_in_the_way_of_the_next(before: str) -> None:
    memory = MemoryRepository()
    if before != "keys/":
        interrupt_init(memory, before)
    with pytest.raises(RepositoryMissing, match="init"):
        open_pool(memory, SECRET)
    pool = create(memory)
    assert open_pool(memory, SECRET).keys == pool.keys


def test_of_two_inits_at_once_one_wins_and_the_loser_leaves_no_slot() -> None:
    memory = MemoryRepository()
    barrier = threading.Barrier(2)

    def meet(name: str) -> None:
        if name == "ingot.json":
            barrier.wait()

    won: list[Pool] = []
    lost: list[Fault] = []

    def one() -> None:
        try:
            won.append(create(OnPut(memory, meet)))
        except RepositoryExists as fault:
            lost.append(fault)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 1)
    assert len(slots(memory)) == 1
    assert open_pool(memory, SECRET).keys == won[0].keys


def test_a_place_that_holds_something_is_no_place_for_a_repository() -> None:
    for name in ("readme", "c/0000000001/000000", "RESTORE/recover.py", "ingot.json"):
        memory = MemoryRepository()
        memory.put_new(name, b"something")
        with pytest.raises(RepositoryExists):
            create(memory)
        assert [entry.name for entry in memory.list("")] in ([name], [*slots(memory), name], [name, *slots(memory)])


def test_a_slot_with_another_master_opens_nothing() -> None:
    """As if somebody had put a slot of their own: what it opens did not sign the parameters."""
    bench = Workbench()
    other = Workbench(seed=2)
    for name in slots(bench.memory):
        bench.memory.delete(name)
    bench.memory.put_new(slots(other.memory)[0], other.memory.get(slots(other.memory)[0]))
    with pytest.raises(RepositoryTampered):
        open_pool(bench.memory, SECRET)


def test_what_one_pool_wrote_another_with_the_same_passphrase_cannot_read() -> None:
    bench, other = Workbench(), Workbench(seed=2)
    bench.backup(SparseDisk.of(noise(1, 5000)))
    assert bench.pool.keys.sign("x") != other.pool.keys.sign("x")
    assert len({bench.pool.keys.chunking, bench.pool.keys.fingerprint, bench.pool.keys.page}) == 3


def test_secrets_are_not_shown() -> None:
    bench, key = Workbench(), KeyFile.generate()
    shown = repr([SECRET, KeyFile(key), bench.pool.keys, bench.pool])
    assert SECRET.text not in shown
    assert key.strip() not in shown
    assert repr(bench.pool.keys.master) not in shown
