"""A certificate authority for tests, with the names that ours gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proto.channels import COMMSERVE_NAME, COMMSERVE_URI, Caller
from runtime.certificates import Identity, key_pem, new_key


class Authority:
    """Issues what a test asks for, wrong things too."""

    def __init__(self) -> None:
        self._key = new_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def commserve(self) -> Identity:
        """The CommServe's."""
        return self.issue(COMMSERVE_URI, COMMSERVE_NAME, serves=True)

    def agent(self, role: str, name: str) -> Identity:
        """An agent's."""
        caller = Caller(role, name)
        return self.issue(caller.uri, caller.tls_name, serves=role == "mediaagent")

    def issue(
        self, uri: str, tls_name: str, *, serves: bool, days: int = 30, public_key: bytes | None = None
    ) -> Identity:
        """Any name; `days` below zero for a certificate that is over. For `public_key`, where given, not a new one."""
        key, now = new_key(), datetime.now(UTC)
        holder = key.public_key() if public_key is None else serialization.load_der_public_key(public_key)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), x509.DNSName(tls_name)]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, tls_name)]))
            .issuer_name(self._name)
            .public_key(holder)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Identity(key_pem(key), certificate.public_bytes(serialization.Encoding.PEM), self.pem)
