"""Logging in, and being logged out."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from tests.sim.connected import Collector, connected, context, view_spec
from tests.sim.vcenter.sessions import IDLE_SECONDS
from tests.sim.vcenter.vcenter import Vcenter


def greeted(vcenter: Vcenter, trust: ssl.SSLContext) -> bool:
    with (
        socket.create_connection(("127.0.0.1", vcenter.port)) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        return secured.version() is not None


def test_pyvmomi_connects_as_its_documentation_says(vcenter: Vcenter) -> None:
    service = SmartConnect(
        host="127.0.0.1", port=vcenter.port, user=vcenter.user, pwd=vcenter.password, sslContext=context(vcenter)
    )
    assert service.content.rootFolder.name == "Datacenters"
    Disconnect(service)
    service._stub.DropConnections()


def test_a_client_agrees_on_the_version_and_sees_who_answers(vcenter: Vcenter, service: Any) -> None:
    about = service.content.about
    assert (about.apiType, about.apiVersion, about.instanceUuid) == (
        "VirtualCenter",
        "8.0.2.0",
        vcenter.instance_uuid,
    )
    assert service._stub.version == "vim.version.v8_0_2_0"
    assert service.content.sessionManager.currentSession.userName == vcenter.user


def test_a_wrong_password_is_an_invalid_login(vcenter: Vcenter) -> None:
    with pytest.raises(vim.fault.InvalidLogin), connected(vcenter, password="another"):
        pass


def test_the_certificate_is_worth_something(vcenter: Vcenter) -> None:
    assert greeted(vcenter, context(vcenter))
    with pytest.raises(ssl.SSLCertVerificationError):
        greeted(vcenter, ssl.create_default_context())


def test_an_idle_session_ends_after_half_an_hour_and_one_that_is_used_does_not(vcenter: Vcenter, service: Any) -> None:
    for _ in range(3):
        vcenter.clock.advance(IDLE_SECONDS - 60)
        service.CurrentTime()
    vcenter.clock.advance(IDLE_SECONDS + 60)
    with pytest.raises(vim.fault.NotAuthenticated):
        service.CurrentTime()


def test_views_and_collectors_end_with_their_session(vcenter: Vcenter, service: Any) -> None:
    spec = view_spec(service, vim.VirtualMachine, ["name"])
    vcenter.expire_sessions()
    service.content.sessionManager.Login(vcenter.user, vcenter.password)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        service.content.propertyCollector.RetrievePropertiesEx([spec], Collector.RetrieveOptions())


def test_who_did_not_log_in_reads_nothing(vcenter: Vcenter, service: Any) -> None:
    root = service.content.rootFolder
    service.content.sessionManager.Logout()
    with pytest.raises(vim.fault.NotAuthenticated):
        _ = root.childEntity
    assert service.RetrieveContent().about.apiType == "VirtualCenter"


def test_two_vcenters_have_their_own_names_and_certificates(vcenter: Vcenter, tmp_path: Any) -> None:
    with Vcenter(tmp_path / "other", name="vc2") as other:
        assert other.instance_uuid != vcenter.instance_uuid
        with pytest.raises(ssl.SSLCertVerificationError):
            greeted(other, context(vcenter))
