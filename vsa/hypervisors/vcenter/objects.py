"""vSphere's data objects as JSON and back, lossless, so that a machine's description outlives the vCenter.

    data object       {"_type": "vim.vm.device.VirtualDisk", "key": 2000, ...}    members that are set, by name
    managed object    {"_ref": "vim.Datastore", "id": "datastore-12"}            a hint: it means nothing elsewhere
    time              {"_time": "2026-11-24T10:00:00Z"}
    bytes             {"_bytes": base64}
    type              {"_kind": "vim.VirtualMachine"}
    text, numbers, truth, arrays and enumerations as themselves

Names of types are vSphere's own; a reader without them still reads JSON. What a later vSphere says and this build's
pyVmomi does not know is not read, and `from_json` names it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pyVmomi import VmomiSupport

from vsa.faults import DescriptionInvalid

_TYPE, _REF, _TIME, _BYTES, _KIND = "_type", "_ref", "_time", "_bytes", "_kind"
_SKIPPED = frozenset({"dynamicType", "dynamicProperty"})


def to_json(value: Any) -> Any:
    """A data object, or what one may hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list):
        return [to_json(each) for each in value]
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            return write(value)
    return str(value)


def _object_to_json(value: Any) -> Any:
    members = {name: getattr(value, name) for name in _names(type(value))}
    said = {name: to_json(member) for name, member in members.items() if _is_set(member)}
    return {_TYPE: VmomiSupport.GetVmodlName(type(value)), **said}


def _reference_to_json(value: Any) -> Any:
    return {_REF: VmomiSupport.GetVmodlName(type(value)), "id": value._GetMoId()}  # its only name


_WRITERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (VmomiSupport.DataObject, _object_to_json),
    (VmomiSupport.ManagedObject, _reference_to_json),
    (datetime, lambda value: {_TIME: VmomiSupport.Iso8601.ISO8601Format(value)}),
    (bytes, lambda value: {_BYTES: base64.b64encode(value).decode()}),
    (type, lambda value: {_KIND: VmomiSupport.GetVmodlName(value)}),
    (int, int),
    (float, float),
)


def from_json(value: Any, where: str = "config") -> Any:
    """What `to_json` wrote. Raises DescriptionInvalid: where, expected, found."""
    return _read(value, object, where)


def _read(value: Any, wanted: type, where: str) -> Any:
    if isinstance(value, dict):
        return _read_object(value, where)
    if isinstance(value, list):
        item = getattr(wanted, "Item", object)
        items = [_read(each, item, f"{where}[{number}]") for number, each in enumerate(value)]
        return wanted(items) if issubclass(wanted, list) else items
    if value is None or wanted is object:
        return value
    try:
        return value if isinstance(value, wanted) else wanted(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise DescriptionInvalid(f"{where}: expected {wanted.__name__}, found {value!r:.60}") from error


def _read_object(value: dict[str, Any], where: str) -> Any:
    if _TIME in value:
        return VmomiSupport.Iso8601.ParseISO8601(value[_TIME])
    if _BYTES in value:
        return VmomiSupport.binary(base64.b64decode(value[_BYTES]))
    if _KIND in value:
        return _type(value[_KIND], where)
    if _REF in value:
        return _type(value[_REF], where)(value["id"])
    kind = _type(value.get(_TYPE), where)
    properties = {each.name: each.type for each in kind._GetPropertyList()}
    made = kind()
    for name, member in value.items():
        if name == _TYPE:
            continue
        if name not in properties:
            raise DescriptionInvalid(f"{where}: {value[_TYPE]} has no member {name!r} in this build's vSphere")
        setattr(made, name, _read(member, properties[name], f"{where}.{name}"))
    return made


def _type(name: Any, where: str) -> Any:
    try:
        return VmomiSupport.GetVmodlType(name)
    except (KeyError, AttributeError, TypeError) as error:
        raise DescriptionInvalid(f"{where}: expected a type of vSphere, found {name!r:.80}") from error


def _names(kind: Any) -> list[str]:
    return [each.name for each in kind._GetPropertyList() if each.name not in _SKIPPED]


def _is_set(member: Any) -> bool:
    return member is not None and not (isinstance(member, list) and not member)
