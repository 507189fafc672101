"""What every managed object here has: an id, a type of pyVmomi's, properties, and methods that clients may call.

`shown` names the properties that an object has values for; any other property of its type is unset, as in a vCenter
where it does not apply. `@serves` gives a method of the wire to a function of a room. Every method that is served has
a line in behaviours.md; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pyVmomi import VmomiSupport, vmodl

if TYPE_CHECKING:
    from tests.sim.vcenter.sessions import Session
    from tests.sim.vcenter.vcenter import Vcenter

VERSION = "vim.version.v8_0_2_0"
FREE = ""  # the privilege of a method that anybody who has a session may call


class Simulated:
    """A managed object. `revision` grows with every change that a property shows."""

    kind: ClassVar[type[VmomiSupport.ManagedObject]]
    shown: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    _all_shown: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    def __init_subclass__(cls) -> None:
        cls._all_shown = {}
        for each in reversed(cls.__mro__):
            cls._all_shown.update(vars(each).get("shown", {}))

    def __init__(self, vcenter: Vcenter, moid: str) -> None:
        self.vcenter = vcenter
        self.moid = moid
        self.revision = 0
        self.written: dict[str, str | None] = {}  # by path: a property as it goes over the wire

    @property
    def ref(self) -> Any:
        return self.kind(self.moid)

    def touch(self) -> None:
        """A property changed: whoever waits for updates looks again."""
        self.written.clear()
        self.vcenter.changes.note(self)

    def likeness(self, path: str) -> tuple[bool, str | None]:
        """A property as it goes over the wire, where that is known without looking; and whether it is."""
        return False, None

    def value(self, path: str) -> Any:
        """The value at a path, None where it is unset. Raises InvalidProperty."""
        first, _, rest = path.partition(".")
        if first not in properties_of(self.kind):
            raise vmodl.query.InvalidProperty(name=path)
        show = self._all_shown.get(first)
        return along(show(self) if show is not None else None, rest, path)


def steps(path: str) -> list[str]:
    """The parts of a path; a key in brackets may have dots."""
    return re.findall(r"(?:[^.\[]|\[[^\]]*\])+", path)


def along(value: Any, path: str, whole: str) -> Any:
    """Follow a path from a value on."""
    for step in steps(path):
        name, _, key = step.partition("[")
        if value is None:
            return None
        if not isinstance(value, VmomiSupport.DataObject) or name not in properties_of(type(value)):
            raise vmodl.query.InvalidProperty(name=whole)
        value = getattr(value, name)
        if key:
            wanted = key.rstrip("]").strip('"')
            value = next((each for each in value if str(each.key) == wanted), None)
    return value


_properties: dict[type, frozenset[str]] = {}


def properties_of(kind: type) -> frozenset[str]:
    """The names of a type's properties."""
    if kind not in _properties:
        _properties[kind] = frozenset(info.name for info in kind._GetPropertyList())
    return _properties[kind]


@dataclass
class Call:
    """Who calls what."""

    vcenter: Vcenter
    session: Session | None
    method: str
    agent: str = ""

    @property
    def user(self) -> str:
        assert self.session is not None
        return self.session.user


@dataclass(frozen=True)
class Served:
    """A method of the wire, and what answers it."""

    kind: type
    method: str
    privilege: str
    answer: Callable[..., Any]
    needs_session: bool


_served: dict[tuple[type, str], Served] = {}


def serves(kind: type, method: str, privilege: str = FREE, *, needs_session: bool = True) -> Callable[[Any], Any]:
    """The decorated function answers `method` of objects of `kind`: called with the call, the object, and arguments by
    the names that pyVmomi gives them. `privilege` must be held on the object.
    """

    def decorate(answer: Callable[..., Any]) -> Callable[..., Any]:
        _served[kind, method] = Served(kind, method, privilege, answer, needs_session)
        return answer

    return decorate


def served(kind: type, method: str) -> Served | None:
    """What answers a method of this type, or of one that it extends."""
    for each in kind.__mro__:
        if (each, method) in _served:
            return _served[each, method]
    return None


def all_served() -> list[Served]:
    """Everything that is answered."""
    return list(_served.values())
