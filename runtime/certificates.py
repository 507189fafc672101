"""Keys and certificates of services, on disk and in memory: ECDSA P-256, PEM, X.509.

An identity is a directory of two files: `pair.pem` (key and certificate chain, replaced together) and `authority.pem`.
Who issues certificates is another room's matter; here is what both ends need.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.faults import Fault

_PAIR = "pair.pem"
_AUTHORITY = "authority.pem"


class IdentityUnfit(Fault):
    """The files of a service's certificate are missing, damaged, or do not belong together."""

    code = "runtime.identity_unfit"


@dataclass(frozen=True)
class Identity:
    """Who we are to others, and whom we believe: PEM each."""

    key: bytes
    chain: bytes
    authority: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.chain)[0]

    @property
    def uri(self) -> str:
        """The name in the certificate, `ingot://agent/vsa/...`. Raises IdentityUnfit."""
        return uri_of(self.certificate)

    def renewal_due(self, now: datetime) -> bool:
        """Whether two thirds of the certificate's life are over."""
        first, last = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return now >= first + (last - first) * 2 / 3


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS 8, unencrypted: its file's permissions protect it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises IdentityUnfit."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityUnfit(f"expected a private key in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityUnfit(f"expected an elliptic-curve key, found {type(key).__name__}")
    return key


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hexadecimal: names an authority across its certificates."""
    der = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A CSR in PEM. What else the certificate says is the authority's to decide."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def uri_of(certificate: x509.Certificate) -> str:
    """The one URI among the certificate's names. Raises IdentityUnfit."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise IdentityUnfit(f"certificate {certificate.serial_number:x}: expected one URI that names us") from error
    return uri


def load_identity(directory: Path) -> Identity:
    """Raises IdentityUnfit."""
    try:
        pair = (directory / _PAIR).read_bytes()
        authority = (directory / _AUTHORITY).read_bytes()
    except OSError as error:
        raise IdentityUnfit(f"{directory}: {error.strerror}: {error.filename}") from error
    at = pair.find(b"-----BEGIN CERTIFICATE-----")
    identity = Identity(pair[: max(at, 0)], pair[max(at, 0) :], authority)
    try:
        key, certificate = load_key(identity.key), identity.certificate
        x509.load_pem_x509_certificates(authority)
    except (IdentityUnfit, ValueError, IndexError) as error:
        raise IdentityUnfit(f"{directory}: {error}") from error
    if certificate.public_key() != key.public_key():
        raise IdentityUnfit(f"{directory}: the certificate is of another key")
    return identity


def save_identity(directory: Path, identity: Identity) -> None:
    """Durable on return; a crash leaves the identity before or this one."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / _AUTHORITY, identity.authority)
    write_private(directory / _PAIR, identity.key + identity.chain)


def write_private(path: Path, body: bytes) -> None:
    """Put `body` at `path`, readable by its owner only, whole or not at all; durable on return."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
