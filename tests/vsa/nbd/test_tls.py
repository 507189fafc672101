"""TLS with the real qemu-nbd: certificates are checked on both sides, and nothing is said in plain."""

from __future__ import annotations

import datetime
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.clock import SystemClock
from tests.vsa.disks.qemu_images import need_qemu
from vsa.faults import NbdFault, NbdRefused, NbdTlsFailed
from vsa.nbd.client import connect, list_exports
from vsa.nbd.url import NbdUrl, parse_nbd_url

_TAKE_SOCKET = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0 </dev/null'
_WITH_TLS = ("--tls-creds", "tls")
CLOCK = SystemClock()
CONTENT = random.Random(1).randbytes(4 << 20)


class Authority:
    """Makes the certificates of one side: `ca-cert.pem` and whose it signs."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self._name, self._key, None, [])

    def write(self, directory: Path, who: str, host: str) -> None:
        """`who` is server or client, as qemu names the files."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if who == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._signed(name, key, usage, [host])
        directory.mkdir(exist_ok=True)
        (directory / f"{who}-cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / f"{who}-key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def trust(self, directory: Path) -> None:
        """Have `directory` trust this authority."""
        directory.mkdir(exist_ok=True)
        (directory / "ca-cert.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, usage: x509.ObjectIdentifier | None, hosts: list[str]
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=7))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
            .add_extension(_usage(signs=usage is None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            names = [x509.DNSName(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's certificates, a good client's, and some that are not."""
    need_qemu()
    here = tmp_path_factory.mktemp("tls")
    ours, other = Authority("ours"), Authority("other")
    ours.trust(here / "server")
    ours.write(here / "server", "server", "kvm1")
    ours.trust(here / "client")
    ours.write(here / "client", "client", "backup")
    ours.trust(here / "nobody")
    other.trust(here / "distrusts")
    ours.write(here / "distrusts", "client", "backup")
    ours.trust(here / "distrusted")
    other.write(here / "distrusted", "client", "backup")
    (here / "disk.raw").write_bytes(CONTENT)
    return here


@contextmanager
def serving(directory: Path) -> Iterator[int]:
    """qemu-nbd on a port, which demands TLS and a client's certificate."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        credentials = f"tls-creds-x509,id=tls,endpoint=server,dir={directory / 'server'},verify-peer=yes"
        command = ("qemu-nbd", "--persistent", "--shared=4", "-r", "-f", "raw", "--object", credentials, *_WITH_TLS)
        server = subprocess.Popen(
            ("sh", "-c", _TAKE_SOCKET, "sh", *command, directory / "disk.raw"),
            stdin=listening.fileno(),
            stderr=subprocess.DEVNULL,
        )
        port = listening.getsockname()[1]
    try:
        yield port
    finally:
        server.terminate()
        server.wait()


def url(directory: Path, port: int, who: str, *, host: str = "kvm1") -> NbdUrl:
    return parse_nbd_url(f"nbds://127.0.0.1:{port}/?tls-certificates={directory / who}&tls-hostname={host}")


def test_a_disk_is_read_through_tls_by_several_threads(directory: Path) -> None:
    wrong: list[int] = []
    with serving(directory) as port:
        assert list_exports(url(directory, port, "client"), CLOCK) == [("", "")]
        with connect(url(directory, port, "client"), CLOCK) as client:

            def run(seed: int) -> None:
                chance = random.Random(seed)
                for _ in range(20):
                    offset = chance.randrange(len(CONTENT) - 300_000)
                    found = bytearray(300_000)
                    client.read_into(offset, memoryview(found))
                    if found != CONTENT[offset : offset + 300_000]:
                        wrong.append(offset)

            threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("who", "host", "message"),
    [
        ("distrusts", "kvm1", "self.signed certificate|unable to get"),
        ("client", "kvm2", "Hostname mismatch"),
        ("missing", "kvm1", "certificates in .*missing"),
    ],
)
def test_a_server_that_is_not_to_be_trusted_is_refused(directory: Path, who: str, host: str, message: str) -> None:
    with serving(directory) as port, pytest.raises(NbdTlsFailed, match=message):
        connect(url(directory, port, who, host=host), CLOCK)


@pytest.mark.parametrize("who", ["nobody", "distrusted"])
def test_a_server_that_does_not_trust_us_is_a_named_fault(directory: Path, who: str) -> None:
    with serving(directory) as port, pytest.raises(NbdFault):
        connect(url(directory, port, who), CLOCK)


def test_a_server_that_demands_tls_says_so_to_who_comes_without(directory: Path) -> None:
    with serving(directory) as port, pytest.raises(NbdRefused, match="demands TLS"):
        connect(parse_nbd_url(f"nbd://127.0.0.1:{port}/"), CLOCK)
