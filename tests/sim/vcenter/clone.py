"""Copies of data objects, far faster than copy.deepcopy makes them."""

from __future__ import annotations

from typing import Any

from pyVmomi import VmomiSupport


def clone(value: Any) -> Any:
    """The same data in other objects; references to managed objects stay what they are."""
    if isinstance(value, VmomiSupport.DataObject):
        made = type(value)()
        for name, each in value.__dict__.items():
            made.__dict__[name] = clone(each)
        return made
    if isinstance(value, list):
        copied = [clone(each) for each in value]
        return type(value)(copied) if isinstance(value, VmomiSupport.Array) else copied
    return value
