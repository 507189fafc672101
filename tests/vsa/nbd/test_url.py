"""URLs of exports: what they mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsa.faults import NbdUrlWrong
from vsa.nbd.url import is_nbd_url, parse_nbd_url


def test_a_tcp_url_names_host_port_and_export() -> None:
    url = parse_nbd_url("nbd://host.example:1234/vda")
    assert (url.host, url.port, url.export, url.socket, url.tls) == ("host.example", 1234, "vda", None, False)
    assert parse_nbd_url("nbd://[::1]").host == "::1"
    assert parse_nbd_url("nbd://host").port == 10809
    assert parse_nbd_url("nbd://host").export == ""


def test_a_unix_url_names_socket_and_export() -> None:
    url = parse_nbd_url("nbd+unix:///a%20b/c?socket=/run/my%20vm.sock")
    assert (url.socket, url.export, url.tls) == (Path("/run/my vm.sock"), "a b/c", False)


def test_a_tls_url_says_where_certificates_lie_and_whose_the_servers_must_be() -> None:
    url = parse_nbd_url("nbds+unix:///vda?socket=s&tls-certificates=/etc/pki&tls-hostname=kvm1")
    assert (url.tls, url.certificates, url.tls_hostname) == (True, Path("/etc/pki"), "kvm1")
    assert parse_nbd_url("nbds://kvm2/vda").tls_hostname == "kvm2"
    assert parse_nbd_url("nbds+unix:///vda?socket=s").tls_hostname == "localhost"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://host/vda", "expected one of nbd://"),
        ("nbd:host", "expected one of nbd://"),
        ("nbd:///vda", "found no host"),
        ("nbd://host:x/vda", "Port"),
        ("nbd://host:70000/vda", "ort"),
        ("nbd://[::1/vda", "IPv6"),
        ("nbd+unix:///vda", "expected nbd+unix:///export?socket=/path"),
        ("nbd+unix:///vda?socket=", "expected a value of socket"),
        ("nbd+unix://run/vda?socket=s", "expected nbd+unix:///export?socket=/path"),
        ("nbd+unix:///vda?socket=s&socket=t", "once"),
        ("nbd://host/vda?socket=s", "expected nothing after ?, found socket"),
        ("nbd://host/vda?tls-certificates=d", "found tls-certificates"),
        ("nbd://host/vda#1", "expected nothing after #"),
        ("nbd://host/%ff", "utf-8"),
        ("nbd://host/" + "x" * 4097, "4096 bytes at most"),
    ],
)
def test_what_is_no_url_of_an_export_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(NbdUrlWrong) as raised:
        parse_nbd_url(text)
    assert message in str(raised.value)


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(NbdUrlWrong) as raised:
        parse_nbd_url("nbd://me:secret@host/vda")
    assert "secret" not in str(raised.value)


def test_paths_are_no_urls() -> None:
    assert [is_nbd_url(text) for text in ("disk.raw", "nbd:x", "/nbd://", "NBD://h", "nbds+unix:///")] == [
        False,
        False,
        False,
        True,
        True,
    ]


@given(st.text() | st.text().map("nbd://h/".__add__) | st.text().map("nbds+unix:///x?socket=".__add__))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = parse_nbd_url(text)
    except NbdUrlWrong:
        return
    assert (url.socket is None) == bool(url.host)
