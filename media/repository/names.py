"""Which object names there are: `/`-separated words of ASCII letters, digits, `.`, `_` and `-` that begin with no dot.

The same set is safe on every kind of repository, and in it the order of characters is the order of bytes. To ask for
another name is a mistake in the program, so it is a ValueError and no fault; what lies in a directory under another
name is no object.
"""

from __future__ import annotations

import re

TEMPORARY = "tmp"

_WORD = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}"
_NAME = re.compile(rf"{_WORD}(?:/{_WORD})*")
_PREFIX = re.compile(rf"(?:{_WORD}/)*(?:{_WORD})?")
_MAX_CHARS = 1024


def is_object_name(name: str) -> bool:
    """Whether an object can have this name."""
    return _NAME.fullmatch(name) is not None and len(name) <= _MAX_CHARS and name.partition("/")[0] != TEMPORARY


def checked_name(name: str) -> str:
    """`name`, if an object can have it; ValueError otherwise."""
    if not is_object_name(name):
        raise ValueError(f"no object name: {name!r}")
    return name


def checked_prefix(prefix: str) -> str:
    """`prefix`, if an object's name can start with it; ValueError otherwise."""
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"no prefix of an object name: {prefix!r}")
    return prefix
