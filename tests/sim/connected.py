"""A client of a simulated vCenter, with pyVmomi as it comes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVim.connect import SmartStubAdapter
from pyVmomi import vim, vmodl

from tests.sim.vcenter.vcenter import Vcenter

Collector = vmodl.query.PropertyCollector


def context(vcenter: Vcenter) -> ssl.SSLContext:
    """Trusts this vCenter and no other."""
    return ssl.create_default_context(cafile=str(vcenter.certificate))


@contextmanager
def connected(vcenter: Vcenter, user: str = "", password: str = "") -> Iterator[Any]:
    """A service instance that is logged in."""
    stub = SmartStubAdapter(host="127.0.0.1", port=vcenter.port, sslContext=context(vcenter))
    service = vim.ServiceInstance("ServiceInstance", stub)
    try:
        service.content.sessionManager.Login(user or vcenter.user, password or vcenter.password)
        yield service
        if service.content.sessionManager.currentSession is not None:
            service.content.sessionManager.Logout()
    finally:
        stub.DropConnections()


def result(task: Any) -> Any:
    """What a task returns, when it is done; its fault is raised."""
    pause = threading.Event()
    while (info := task.info).state in ("queued", "running"):
        pause.wait(0.005)
    if info.error is not None:
        raise info.error
    return info.result


def machine_of(service: Any, moid: str) -> Any:
    return vim.VirtualMachine(moid, service._stub)


def view_spec(service: Any, kind: Any, paths: list[str]) -> Any:
    """A filter of everything of a kind, through a view."""
    content = service.content
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    walk = Collector.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    return Collector.FilterSpec(
        propSet=[Collector.PropertySpec(type=kind, pathSet=paths, all=False)],
        objectSet=[Collector.ObjectSpec(obj=view, skip=True, selectSet=[walk])],
    )
