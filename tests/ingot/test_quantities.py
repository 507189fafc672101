"""Sizes, rates and tables for people."""

from __future__ import annotations

from ingot.quantities import count_text, ratio_text, seconds_text, shown, size_text, table


def test_sizes_have_three_digits_and_a_binary_unit() -> None:
    sizes = [0, 1023, 1024, 10_000, 1_023_000, 1 << 20, 5 << 30, 1 << 40, 1 << 60]
    assert [size_text(size) for size in sizes] == [
        "0 B",
        "1023 B",
        "1.00 KiB",
        "9.77 KiB",
        "999 KiB",
        "1.00 MiB",
        "5.00 GiB",
        "1.00 TiB",
        "1024 PiB",
    ]


def test_times_are_in_the_unit_that_people_wait_in() -> None:
    assert [seconds_text(s) for s in (0.123, 12.34, 99.99, 3600, 7500)] == [
        "0.12 s",
        "12.3 s",
        "1 min 40 s",
        "1 h 0 min",
        "2 h 5 min",
    ]


def test_nothing_stored_has_no_ratio() -> None:
    assert ratio_text(10, 4) == "2.5 : 1"
    assert ratio_text(10, 0) == "-"


def test_counts_have_a_noun_that_fits() -> None:
    assert [count_text(n, "chunk") for n in (0, 1, 12345)] == ["0 chunks", "1 chunk", "12 345 chunks"]


def test_what_moves_a_cursor_is_shown_as_digits() -> None:
    assert shown("web\x1b[2J\n") == "web\\x1b[2J\\x0a"


def test_columns_are_aligned() -> None:
    assert table(("A", "SIZE"), [("long", "1"), ("b", "22")], frozenset({1})) == [
        "A     SIZE",
        "long     1",
        "b       22",
    ]
