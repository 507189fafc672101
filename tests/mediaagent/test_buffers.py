"""Memory for containers that arrive."""

import mmap

import numpy as np

from mediaagent.buffers import Buffers
from proto.channels import Caller


def test_a_buffer_begins_at_a_page_so_that_containers_are_written_past_the_page_cache() -> None:
    buffers = Buffers(4, 64 << 10, 0.0)
    taken = [buffers.take(Caller("vsa", "5a")) for _ in range(3)]
    assert [np.frombuffer(buffer, np.uint8).ctypes.data % mmap.PAGESIZE for buffer in taken] == [0, 0, 0]
    assert [len(buffer) for buffer in taken] == [64 << 10] * 3
