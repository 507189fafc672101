"""Clients that mean no good: whatever they send, the server keeps its memory, its patience and its other clients."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.media.workbench import noise
from tests.vsa.nbd.served import Client, MemoryDisk, Serving, serving
from vsa.faults import NbdMalformed
from vsa.nbd.exports import Export, Exports
from vsa.nbd.negotiation import Agreed, Negotiation
from vsa.nbd.numbers import Command, Option, OptionReply
from vsa.nbd.transmission import Job, Pieces, Transmission
from vsa.nbd.wire import (
    CLIENT_FLAGS,
    REQUEST,
    Request,
    encode_info_request,
    encode_meta_request,
    encode_option,
    encode_request,
)

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
IMAGE = noise(1, 10_000)
EXPORTS = Exports({name: Export(name, "", MemoryDisk(IMAGE)) for name in ("0", "1")})
HELLO = CLIENT_FLAGS.pack(3)

OPTIONS = st.one_of(
    st.builds(encode_option, st.integers(0, 12), st.binary(max_size=60)),
    st.builds(encode_option, st.sampled_from([6, 7]), st.builds(encode_info_request, st.text(max_size=3))),
    st.builds(
        encode_option,
        st.sampled_from([9, 10]),
        st.builds(
            encode_meta_request, st.sampled_from("0127"), st.lists(st.sampled_from(["base:allocation", "base:"]))
        ),
    ),
    st.just(encode_option(Option.STRUCTURED_REPLY)),
    st.binary(max_size=40),
)
NUMBERS = st.one_of(st.integers(0, 20), st.integers(0, (1 << 32) - 1))
REQUESTS = st.one_of(
    st.builds(
        lambda *members: encode_request(Request(*members)),
        st.integers(0, 0xFFFF) | st.just(0),
        st.integers(0, 9),
        st.integers(0, (1 << 64) - 1),
        st.integers(0, 12_000) | st.integers(0, (1 << 64) - 1),
        NUMBERS,
    ),
    st.binary(max_size=60),
)


def in_parts(data: bytes, rng: random.Random) -> list[bytes]:
    """As a network may bring it."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    return [data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@UNTIMED
@given(st.lists(OPTIONS, max_size=12), st.booleans(), st.integers(0, 1000))
@example([encode_option(Option.LIST)] * 300, True, 1)
@example([b"IHAVEOPT\0\0\0\7\xff\xff\xff\xff"], True, 1)
def test_any_bytes_at_the_door_are_answered_or_refused(options: list[bytes], hello: bool, seed: int) -> None:
    negotiation = Negotiation(EXPORTS)
    data = HELLO * hello + b"".join(options)
    answered = 0
    try:
        for part in in_parts(data, random.Random(seed)):
            if negotiation.ended or negotiation.agreed is not None:
                break
            answered += len(negotiation.received(part))
            assert len(negotiation.rest) <= len(data)
            assert answered <= 40 * len(data)  # an option of 16 bytes is answered with a list
    except NbdMalformed:
        return
    if negotiation.agreed is not None:
        assert negotiation.agreed.export in list(EXPORTS)


@UNTIMED
@given(st.lists(REQUESTS, max_size=12), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_any_bytes_after_it_are_answered_or_refused(
    requests: list[bytes], structured: bool, is_here: bool, seed: int
) -> None:
    disk = MemoryDisk(IMAGE)
    disk.is_here = is_here
    transmission = Transmission(Agreed(Export("0", "", disk), structured, structured))
    left = b""
    try:
        for part in in_parts(b"".join(requests), random.Random(seed)):
            left += part
            while True:
                replies: Pieces = []
                jobs: list[Job] = []
                taken = transmission.take(memoryview(left), replies, jobs)
                left = left[taken:]
                for job in jobs:
                    answered = transmission.answer(job)
                    assert answered.fault is None
                    replies += answered.reply
                    transmission.done(job)
                assert sum(map(len, replies)) <= len(part + left) * len(IMAGE)
                if not taken:
                    break
    except NbdMalformed:
        return
    assert transmission.is_idle
    assert transmission.ended or len(left) < REQUEST.size


def assert_serves(served: Serving) -> None:
    with served.client() as client:
        assert_answers(client.go())


def assert_answers(client: Client) -> None:
    client.say(Request(0, Command.READ, 7, 100, 5000))
    head, payload = client.chunk()
    assert (head.cookie, payload[8:]) == (7, IMAGE[100:5100])


@pytest.mark.parametrize("seed", range(20))
def test_clients_that_send_rubbish_cost_nobody_else_anything(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with serving(tmp_path, MemoryDisk(IMAGE)) as served, served.client() as friend:
        friend.go()
        for _ in range(10):
            with served.client() as client:
                if rng.random() < 0.5:
                    client.go(structured=rng.random() < 0.5)
                elif rng.random() < 0.5:
                    client.greet()
                rubbish = bytearray(rng.randbytes(rng.randrange(3000)))
                if rng.random() < 0.7:
                    rubbish[:0] = encode_request(
                        Request(rng.randrange(4), rng.randrange(9), 1, rng.randrange(20_000), rng.randrange(1 << 32))
                    )
                client.socket.sendall(rubbish)
                assert_answers(friend)
        assert_serves(served)


def test_a_client_that_takes_no_replies_is_not_prepared_for_without_end(tmp_path: Path) -> None:
    disk = MemoryDisk(bytes(1 << 20))
    friend_disk = MemoryDisk(IMAGE)
    with serving(tmp_path, friend_disk, disk) as served, served.client() as greedy:
        greedy.go(export="1")
        requests = b"".join(encode_request(Request(0, Command.READ, n, 0, 1 << 20)) for n in range(2000))
        greedy.socket.setblocking(False)
        sent = greedy.socket.send(requests)
        assert sent > 50 * REQUEST.size
        assert_serves(served)
        with served.client() as client:
            assert_answers(client.go(export="0"))
        assert disk.given_bytes <= 16 << 20
        greedy.socket.settimeout(20)
        for _ in range(sent // REQUEST.size):
            assert greedy.chunk()[0].length == (1 << 20) + 8


def test_a_length_that_is_claimed_takes_no_memory(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(IMAGE)) as served:
        tracemalloc.start()
        try:
            for begun in (b"IHAVEOPT\0\0\0\7\xff\xff\xff\xf0", b"IHAVEOPT\0\0\0\1\x7f\xff\xff\xff"):
                with served.client() as client:
                    client.greet()
                    client.socket.sendall(begun)
                    client.take(20)  # too big
                    assert client.is_closed()
            with served.client() as client:
                client.go()
                client.say(Request(0, Command.WRITE, 1, 0, 0xFFFFFFFF))
                assert client.is_closed()
            assert_serves(served)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


def test_who_does_not_finish_the_handshake_loses_the_place(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(IMAGE)) as served, served.client() as silent, served.client() as friend:
        silent.greet()
        assert silent.ask(Option.STRUCTURED_REPLY)[0][0] == OptionReply.ACK
        friend.go()
        served.clock.seconds = 19
        assert_answers(friend)
        assert silent.ask(Option.STRUCTURED_REPLY)[0][0] == OptionReply.ACK
        served.clock.seconds = 21
        assert_answers(friend)
        assert silent.is_closed()
        assert_answers(friend)


def test_who_opens_connections_and_says_nothing_keeps_nobody_out(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(IMAGE)) as served, served.client() as friend:
        friend.go()
        silent = [served.client() for _ in range(100)]
        try:
            assert_serves(served)
            assert_answers(friend)
        finally:
            for each in silent:
                each.socket.close()


def test_no_more_clients_are_served_than_there_are_places_for(tmp_path: Path) -> None:
    with serving(tmp_path, MemoryDisk(IMAGE)) as served:
        clients = [served.client().go() for _ in range(64)]
        try:
            with served.client() as late:
                assert late.is_closed()
            for each in clients:
                assert_answers(each)
        finally:
            for each in clients:
                each.socket.close()
        with served.client() as next_one:
            assert_answers(next_one.go())
