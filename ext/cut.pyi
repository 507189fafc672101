from typing import Final

from typing_extensions import Buffer

SECTOR_BYTES: Final[int]
BLOCK_BYTES: Final[int]
SECRETS_BYTES: Final[int]
AVERAGE_BYTES_MAX: Final[int]
MET: Final[int]
MORE: Final[int]
ENDED: Final[int]

def kernels() -> list[str]: ...
def kernel() -> str: ...

class Cutter:
    def __init__(self, secrets: Buffer, average_bytes: int, kernel: str | None = None) -> None: ...
    @property
    def average_bytes(self) -> int: ...
    @property
    def min_bytes(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    def capacity(self, length: int) -> int: ...
    def segment(self, data: Buffer, offsets: Buffer, lengths: Buffer) -> int: ...
    def resume(
        self,
        data: Buffer,
        origin: int,
        start: int,
        final: bool,
        last: int,
        boundaries: Buffer,
        offsets: Buffer,
        lengths: Buffer,
    ) -> tuple[int, int, int]: ...
