"""Cut points of disks: the chunker s512/1 (page "The data path").

The face of `cut_scan.c`: checks, releases the GIL once a call, translates states. Segments are cut independently, so a
`Cutter` is immutable and may be used by any number of threads at once. Positions are relative to the segment.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "sector_value.h" nogil:
    int _SECTOR_BYTES "SECTOR_BYTES"
    ctypedef void sector_values
    struct sector_kernel:
        const char *name
        bint (*runs_here)()
        sector_values *values
    const sector_kernel sector_kernels[]
    const size_t sector_kernel_count

cdef extern from "cut_scan.h" nogil:
    int CUT_BLOCK_BYTES
    int CUT_SECRETS_BYTES
    struct cut_rule:
        size_t min_bytes
        size_t max_bytes
    struct cut_window:
        const uint8_t *data
        size_t origin
        size_t length
        bint final
    struct cut_meeting:
        size_t last
        const uint32_t *boundaries
        size_t count
    struct cut_list:
        uint32_t *offsets
        uint32_t *lengths
        size_t capacity
        size_t count
    enum cut_state:
        CUT_MET
        CUT_MORE
        CUT_ENDED
    void cut_rule_init(cut_rule *rule, const uint8_t *secrets, size_t average_bytes, sector_values *values)
    cut_state cut_scan(
        const cut_rule *rule, const cut_window *window, const cut_meeting *meeting, size_t *position, cut_list *chunks
    )

SECTOR_BYTES = _SECTOR_BYTES
BLOCK_BYTES = CUT_BLOCK_BYTES
SECRETS_BYTES = CUT_SECRETS_BYTES
AVERAGE_BYTES_MAX = 1 << 20
MET = <int> CUT_MET
MORE = <int> CUT_MORE
ENDED = <int> CUT_ENDED

# Positions are u32, and `start + max` must not wrap either.
cdef size_t _SEGMENT_BYTES_MAX = 1 << 31


def kernels():
    """Names of the variants that this processor can run, fastest first; "scalar" is always the last."""
    return [sector_kernels[i].name.decode() for i in range(sector_kernel_count) if sector_kernels[i].runs_here()]


def kernel():
    """Name of the variant that a `Cutter` uses unless told otherwise."""
    return kernels()[0]


cdef sector_values *_values_of(str name) except NULL:
    for i in range(sector_kernel_count):
        if sector_kernels[i].name.decode() == name and sector_kernels[i].runs_here():
            return sector_kernels[i].values
    raise ValueError(f"kernel {name!r} does not run here, only {kernels()}")


cdef cut_list _list_over(uint32_t[::1] offsets, uint32_t[::1] lengths) except *:
    cdef cut_list chunks
    if offsets.shape[0] != lengths.shape[0]:
        raise ValueError(f"room for {offsets.shape[0]} offsets but {lengths.shape[0]} lengths")
    chunks.offsets = &offsets[0] if offsets.shape[0] else NULL
    chunks.lengths = &lengths[0] if lengths.shape[0] else NULL
    chunks.capacity = offsets.shape[0]
    chunks.count = 0
    return chunks


cdef class Cutter:
    """Cuts segments with one pool's secrets and target mean.

    Raises ValueError for secrets of a wrong length, for a mean that is not a power of two from one block to 1 MiB, and
    for a kernel that cannot run here.
    """

    cdef cut_rule _rule
    cdef readonly Py_ssize_t average_bytes
    cdef readonly Py_ssize_t min_bytes
    cdef readonly Py_ssize_t max_bytes

    def __cinit__(self, const uint8_t[::1] secrets, Py_ssize_t average_bytes, str kernel=None):
        if secrets.shape[0] != CUT_SECRETS_BYTES:
            raise ValueError(f"{secrets.shape[0]} bytes of secrets, expected {CUT_SECRETS_BYTES}")
        if not CUT_BLOCK_BYTES <= average_bytes <= AVERAGE_BYTES_MAX or average_bytes & (average_bytes - 1):
            raise ValueError(
                f"average of {average_bytes} bytes is no power of two from {CUT_BLOCK_BYTES} to {AVERAGE_BYTES_MAX}"
            )
        name = kernel if kernel is not None else kernels()[0]
        cut_rule_init(&self._rule, &secrets[0], average_bytes, _values_of(name))
        self.average_bytes = average_bytes
        self.min_bytes = self._rule.min_bytes
        self.max_bytes = self._rule.max_bytes

    def capacity(self, Py_ssize_t length):
        """Upper bound of the number of chunks that `length` bytes give.

        Every chunk is at least `min_bytes` long but the last of each data extent, and extents are a block at least and
        a hole apart.
        """
        if length < 0:
            raise ValueError(f"length of {length} bytes")
        blocks = -(-length // CUT_BLOCK_BYTES)
        return length // self.min_bytes + (blocks + 1) // 2

    def segment(self, const uint8_t[::1] data, uint32_t[::1] offsets, uint32_t[::1] lengths):
        """Cuts one whole segment; writes offset and length of its chunks in order and returns their count.

        Raises ValueError if the arrays are shorter than `capacity(len(data))`.
        """
        cdef cut_list chunks = _list_over(offsets, lengths)
        if offsets.shape[0] < self.capacity(data.shape[0]):
            raise ValueError(
                f"room for {offsets.shape[0]} chunks; {data.shape[0]} bytes may give {self.capacity(data.shape[0])}"
            )
        if data.shape[0] > <Py_ssize_t> _SEGMENT_BYTES_MAX:
            raise ValueError(f"segment of {data.shape[0]} bytes, at most {_SEGMENT_BYTES_MAX}")
        cdef cut_meeting nowhere = cut_meeting(last=0, boundaries=NULL, count=0)
        cdef size_t position = 0
        self._scan(data, 0, True, &nowhere, &position, &chunks)
        return chunks.count

    def resume(
        self,
        const uint8_t[::1] data,
        size_t origin,
        size_t start,
        bint final,
        size_t last,
        const uint32_t[::1] boundaries,
        uint32_t[::1] offsets,
        uint32_t[::1] lengths,
    ):
        """Cuts on from `start` in a window of a segment; returns the count of chunks, where it stopped and why.

        `data` holds [origin, origin + len(data)) of the segment; both ends are multiples of a block, except that the
        last is the segment's end if `final`. `boundaries` (sorted) are those of the old list. The state is

        MET: the position, at or past `last`, is an old boundary; the old list holds from there on.
        MORE: come back with start=position: with more data after it, or with empty arrays if they are full
            (count == len(offsets)). A window that holds the whole block at position + max_bytes makes progress.
        ENDED: nothing but holes remains in the segment; the position is its end.

        `start` is a multiple of a sector, as every chunk start is, or the window's end. The same call for the same
        bytes gives the same answer. Raises ValueError where these shapes do not hold.
        """
        cdef cut_list chunks = _list_over(offsets, lengths)
        cdef size_t position = start
        cdef cut_meeting meeting
        cdef size_t end = origin + data.shape[0]
        if origin > _SEGMENT_BYTES_MAX or end > _SEGMENT_BYTES_MAX:
            raise ValueError(f"window of {data.shape[0]} bytes at {origin} reaches past {_SEGMENT_BYTES_MAX}")
        if origin % CUT_BLOCK_BYTES or (end % CUT_BLOCK_BYTES and not final):
            raise ValueError(f"window [{origin}, {end}) does not lie on blocks of {CUT_BLOCK_BYTES}")
        if not origin <= start <= end:
            raise ValueError(f"start {start} lies outside the window [{origin}, {end})")
        if start % _SECTOR_BYTES and start != end:
            raise ValueError(f"start {start} is not a multiple of a sector")
        meeting.last = last
        meeting.boundaries = &boundaries[0] if boundaries.shape[0] else NULL
        meeting.count = boundaries.shape[0]
        cdef cut_state state = self._scan(data, origin, final, &meeting, &position, &chunks)
        return chunks.count, position, <int> state

    cdef cut_state _scan(
        self,
        const uint8_t[::1] data,
        size_t origin,
        bint final,
        const cut_meeting *meeting,
        size_t *position,
        cut_list *chunks,
    ) noexcept:
        cdef cut_window window
        cdef cut_state state
        window.data = &data[0] if data.shape[0] else NULL
        window.origin = origin
        window.length = data.shape[0]
        window.final = final
        with nogil:
            state = cut_scan(&self._rule, &window, meeting, position, chunks)
        return state
