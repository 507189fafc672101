"""What pyVmomi and its connections raise, in our words. The one place where their names become ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from xml.parsers.expat import ExpatError

from pyVmomi import pbm, vim, vmodl

from runtime.faults import Fault
from vsa.faults import (
    CertificateRefused,
    DatastoreFull,
    HypervisorBusy,
    HypervisorFailed,
    HypervisorRefused,
    HypervisorUnreachable,
    MachineMissing,
    ObjectMissing,
    PrivilegeMissing,
    SessionLost,
    TaskCancelled,
)

_CUT = (OSError, HTTPException, ExpatError)
BROKEN = (vmodl.MethodFault, *_CUT)

# The first that fits, from the special to the general.
_NAMED: tuple[tuple[type[Exception], type[Fault]], ...] = (
    (vim.fault.NotAuthenticated, SessionLost),
    (vim.fault.InvalidLogin, HypervisorRefused),
    (vim.fault.NoPermission, PrivilegeMissing),
    (pbm.fault.NoPermission, PrivilegeMissing),
    (vim.fault.NoDiskSpace, DatastoreFull),
    (vim.fault.InsufficientStorageSpace, DatastoreFull),
    (vmodl.fault.RequestCanceled, TaskCancelled),
    (vim.fault.TaskInProgress, HypervisorBusy),
    (vim.fault.ResourceInUse, HypervisorBusy),
    (vim.fault.ConcurrentAccess, HypervisorBusy),
)


@contextmanager
def translating(address: str) -> Iterator[None]:
    """What is raised inside comes out as a Fault whose cause is the original."""
    try:
        yield
    except BROKEN as error:
        raise translated(address, error) from error


def translated(address: str, error: Exception) -> Fault:
    """The fault for what was raised by a call, or is the error of a task."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateRefused(f"{address}: {error.verify_message or error}")
    if isinstance(error, _CUT):
        return HypervisorUnreachable(f"{address}: {str(error) or type(error).__name__}")
    if isinstance(error, vmodl.fault.ManagedObjectNotFound):
        missing = MachineMissing if isinstance(error.obj, vim.VirtualMachine) else ObjectMissing
        return missing(f"{address}: {_moid(error.obj)} is not there any more")
    if isinstance(error, vim.fault.NoPermission) and not isinstance(error, vim.fault.NotAuthenticated):
        return PrivilegeMissing(f"{address}: privilege {error.privilegeId} is missing on {_moid(error.object)}")
    text = f"{address}: {_words(error)}"
    for theirs, ours in _NAMED:
        if isinstance(error, theirs):
            return ours(text)
    return HypervisorFailed(text, fault_name(error))


def fault_name(error: Exception) -> str:
    """As the API's documentation writes it: `InvalidState`."""
    return type(error).__name__.rpartition(".")[2]


def _words(error: Exception) -> str:
    """Its name and what it says of itself, which is often half of it each."""
    said = getattr(error, "msg", None) or getattr(error, "localizedMessage", None) or ""
    reason = getattr(error, "reason", None)
    told = [said] if said else []
    told += [str(reason)] if isinstance(reason, str) and reason and reason not in said else []
    told += [each.message for each in getattr(error, "faultMessage", None) or [] if each.message]
    return ": ".join([fault_name(error), *told])


def _moid(moved: object) -> str:
    """`VirtualMachine vm-12`."""
    if moved is None:
        return "an object"
    return f"{getattr(type(moved), '_wsdlName', type(moved).__name__)} {getattr(moved, '_moId', '')}"
