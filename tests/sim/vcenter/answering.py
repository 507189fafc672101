"""From a request to the function that answers it: who asks, of what, and whether he may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.objects import Call, Served, Simulated, served
from tests.sim.vcenter.soap import Request


def answered(call: Call, request: Request, find: Callable[[str], Simulated | None]) -> Any:
    """What the method returns; `find` knows the objects of the service. With the lock held. Raises faults."""
    on = _object(call, request, find)
    answer = _method(call, request, on)
    session = call.session
    if session is None:
        return answer.answer(call, on, **request.arguments)
    session.calls += 1
    try:
        return answer.answer(call, on, **request.arguments)
    finally:
        session.calls -= 1
        session.seen = call.vcenter.clock.seconds()


def not_authenticated(ref: Any) -> Any:
    """The fault of who has no session, or none any more."""
    return vim.fault.NotAuthenticated(object=ref, privilegeId="System.View", msg="The session is not authenticated.")


def _object(call: Call, request: Request, find: Callable[[str], Simulated | None]) -> Simulated:
    found = find(request.moid)
    if found is not None and issubclass(found.kind, request.kind):
        return found
    ref = request.kind(request.moid)
    raise not_authenticated(ref) if call.session is None else vmodl.fault.ManagedObjectNotFound(obj=ref)


def _method(call: Call, request: Request, on: Simulated) -> Served:
    answer = served(on.kind, request.method)
    if answer is None:
        raise vmodl.fault.NotImplemented(msg=f"{request.kind.__name__}.{request.method} is not simulated")
    if answer.needs_session and call.session is None:
        raise not_authenticated(on.ref)
    if answer.privilege:
        call.vcenter.authorization.need(call.user, answer.privilege, on)
    return answer
