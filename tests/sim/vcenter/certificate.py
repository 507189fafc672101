"""An authority and a certificate of its own for every simulated vCenter, as the VMCA makes them."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=3650)


class Certificate:
    """`authority` is the file that a client trusts; `fingerprint` is of the server's own certificate, SHA-256."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = directory / "authority.pem"
        self._chain, self._key = directory / "machine.pem", directory / "machine.key"
        if not self._key.exists():
            self._make(name)
        leaf = ssl.PEM_cert_to_DER_cert(self._chain.read_text().partition("-----END CERTIFICATE-----")[0] + _END)
        self.fingerprint = hashlib.sha256(leaf).hexdigest()
        self.thumbprint = hashlib.sha1(leaf).digest().hex(":").upper()

    def context(self) -> ssl.SSLContext:
        """The server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain, self._key)
        return context

    def _make(self, name: str) -> None:
        now = datetime.now(UTC) - timedelta(days=1)
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {name}")])
        root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())

        def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(root_name)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now)
                .not_valid_after(now + _LIFE)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
            )

        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        root = (
            begin(root_name, root_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(root_id, critical=False)
            .sign(root_key, hashes.SHA256())
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        leaf = (
            begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        self.authority.write_bytes(root.public_bytes(pem))
        self._chain.write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
        self._key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


_END = "-----END CERTIFICATE-----\n"
