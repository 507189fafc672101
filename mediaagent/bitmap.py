"""Numbers as bits: number n is bit n mod 8, the lowest first, of byte n / 8."""

from __future__ import annotations

import numpy as np


def bitmap(numbers: list[int]) -> bytes:
    """The bytes up to the last number."""
    bits = np.zeros(max(numbers, default=-1) + 1, np.uint8)
    bits[numbers] = 1
    return np.packbits(bits, bitorder="little").tobytes()
