"""Copies of data objects, far faster than copy.deepcopy makes them."""

from __future__ import annotations

from typing import Any

from pyVmomi import VmomiSupport

_PLAIN = frozenset((str, int, bool, float, type(None)))


def clone(value: Any) -> Any:
    """The same data in other objects; references to managed objects stay what they are."""
    if isinstance(value, VmomiSupport.DataObject):
        made = type(value).__new__(type(value))  # __init__ would fill every property first, which is most of the cost
        made.__dict__.update(
            {name: each if type(each) in _PLAIN else clone(each) for name, each in value.__dict__.items()}
        )
        return made
    if isinstance(value, list):
        copied = [clone(each) for each in value]
        return type(value)(copied) if isinstance(value, VmomiSupport.Array) else copied
    return value
