"""Many objects in few calls: a view of all of a kind, and their properties in pages.

Reading attributes of objects one by one costs a round trip each. A page is parsed, given out and forgotten before the
next one is asked for, so memory does not grow with the inventory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pyVmomi import vim, vmodl

from runtime.faults import Fault
from vsa.faults import HypervisorFailed, ObjectMissing, SessionLost
from vsa.hypervisors.vcenter.calling import Calling

Row = tuple[Any, dict[str, Any]]

PAGE = 250  # objects
_TRIES = 3  # of a retrieval whose session ends under it


def retrieve(connection: Calling, kind: Any, paths: Sequence[str], container: Any = None) -> Iterator[Row]:
    """Each object, as pyVmomi's `ManagedObject`, with what it has of `paths`.

    A view and the token of a next page end with the session: then all is asked for again, and what was given out before
    is not given out twice.
    """
    given: set[str] = set()
    for left in reversed(range(_TRIES)):
        try:
            for managed, values in _retrieve_once(connection, kind, paths, container):
                if managed._moId not in given:
                    given.add(managed._moId)
                    yield managed, values
            return
        except (SessionLost, ObjectMissing, HypervisorFailed) as fault:
            if not left or (isinstance(fault, HypervisorFailed) and fault.name != "InvalidArgument"):
                raise


def _retrieve_once(connection: Calling, kind: Any, paths: Sequence[str], container: Any) -> Iterator[Row]:
    collect = vmodl.query.PropertyCollector
    collector = connection.content.propertyCollector
    with view_of(connection, kind, container) as view:
        spec = view_filter(view, kind, paths)
        options = collect.RetrieveOptions(maxObjects=PAGE)
        page = connection.read(collector.RetrievePropertiesEx, [spec], options)
        while page is not None:
            token = page.token
            try:
                for content in page.objects:
                    yield content.obj, {each.name: each.val for each in content.propSet or []}
            except GeneratorExit:
                with suppress(Fault):
                    if token:
                        connection.read(collector.CancelRetrievePropertiesEx, token)
                raise
            page = connection.call(collector.ContinueRetrievePropertiesEx, token) if token else None


@contextmanager
def view_of(connection: Calling, kind: Any, container: Any = None) -> Iterator[Any]:
    """All objects of a kind below a container, else below the root."""
    root = container or connection.content.rootFolder
    view = connection.read(connection.content.viewManager.CreateContainerView, root, [kind], True)
    try:
        yield view
    finally:
        with suppress(Fault):  # it may have ended with its session
            connection.call(view.DestroyView)


def view_filter(view: Any, kind: Any, paths: Sequence[str]) -> Any:
    """For a property collector: `paths` of what is in the view."""
    collect = vmodl.query.PropertyCollector
    into = collect.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    start = collect.ObjectSpec(obj=view, skip=True, selectSet=[into])
    return collect.FilterSpec(objectSet=[start], propSet=[collect.PropertySpec(type=kind, pathSet=list(paths))])
