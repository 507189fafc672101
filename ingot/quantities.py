"""Sizes, rates, ratios and names as people read them."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(count: int) -> str:
    """`4.00 GiB`: three digits and a binary unit; bytes as they are."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if value < 999.5 or unit == _UNITS[-1]:
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def rate_text(count: int, seconds: float) -> str:
    """`512 MiB/s`."""
    return f"{size_text(int(count / max(seconds, 1e-6)))}/s"


def seconds_text(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ratio_text(before: int, after: int) -> str:
    """`2.4 : 1`; a dash where nothing was stored."""
    return f"{before / after:.1f} : 1" if after else "-"


def count_text(count: int, noun: str) -> str:
    """`1 chunk`, `12 345 chunks`."""
    return f"{count:,}".replace(",", " ") + f" {noun}{'' if count == 1 else 's'}"


def shown(text: str) -> str:
    """Text that others chose (names of machines, notes), without what would move a terminal's cursor."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def time_text(time: str) -> str:
    """A time of the repository, to the second; still UTC."""
    return shown(time.partition(".")[0].replace("T", " ").removesuffix("Z"))


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: frozenset[int] = frozenset()) -> list[str]:
    """Lines of aligned columns, two spaces apart; the columns in `right` end flush."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
