"""Raw messages: what was packed is unpacked, and anything else is a named fault."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.data_plane import (
    End,
    FramedLeaf,
    Holes,
    Losses,
    MessageMalformed,
    Records,
    RestoredRecord,
    RestoreMessage,
    frame_leaf,
    joined,
    leaves_in,
    pack_restore,
    slices,
    unpack_restore,
)

U32 = st.integers(0, 2**32 - 1)
EXTENTS = st.lists(st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)), max_size=5)
RECORDS = st.builds(
    RestoredRecord,
    st.lists(st.integers(0, 2**63), max_size=4).map(tuple),
    st.integers(0, 1),
    U32,
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=50),
)
MESSAGES = st.one_of(
    st.lists(RECORDS, max_size=4).map(Records),
    EXTENTS.map(Holes),
    st.builds(Losses, EXTENTS, st.text(max_size=20), st.text(max_size=50)),
    st.just(End()),
)


def plain(message: RestoreMessage) -> RestoreMessage:
    if isinstance(message, Records):
        return Records([record._replace(content=bytes(record.content)) for record in message.records])
    return message


@given(MESSAGES)
def test_a_message_of_a_restore_is_what_was_packed(message: RestoreMessage) -> None:
    assert plain(unpack_restore(pack_restore(message))) == message


@given(st.lists(st.builds(FramedLeaf, U32, U32, st.binary(max_size=40)), max_size=6))
def test_leaves_are_what_was_framed_however_they_were_joined(leaves: list[FramedLeaf]) -> None:
    for size in (1, 60, 10_000):
        messages = list(joined((frame_leaf(leaf) for leaf in leaves), size))
        assert [leaf for message in messages for leaf in leaves_in(message)] == leaves


@given(MESSAGES, st.randoms(use_true_random=False))
def test_a_message_that_is_cut_or_damaged_is_a_fault_and_nothing_else(
    message: RestoreMessage, chance: random.Random
) -> None:
    raw = bytearray(pack_restore(message))
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    for damaged in (bytes(raw), bytes(raw[: chance.randrange(len(raw))])):
        try:
            unpack_restore(damaged)
        except MessageMalformed:
            continue


def test_frames_that_promise_more_than_there_is_are_refused() -> None:
    frame = frame_leaf(FramedLeaf(1, 2, b"page"))
    for cut in range(1, len(frame)):
        with pytest.raises(MessageMalformed):
            list(leaves_in(frame[:cut]))


def test_a_body_is_sliced_from_where_it_goes_on() -> None:
    body = memoryview(bytes(range(100)))
    for offset in (0, 1, 50, 99, 100):
        assert b"".join(slices(body, offset, 7)) == bytes(range(offset, 100))
