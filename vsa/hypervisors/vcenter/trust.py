"""Whom we take for the vCenter: whose certificate an authority vouches for, or exactly one certificate. Never anybody.

The pin is checked in every handshake of the context. pyVmomi's own check of a thumbprint happens only on the first
connection whose certificate fails otherwise, and switches the context's checks off for all that follow.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass
from typing import cast

from vsa.faults import CertificateRefused

FINGERPRINT_DIGITS = 64


@dataclass(frozen=True)
class Trust:
    """`authority` is PEM of certificates to trust instead of the system's; `fingerprint` is the SHA-256 of the one
    certificate that may be shown, 64 hexadecimal digits. With a fingerprint nothing else of a certificate is looked at.
    """

    authority: str | None = None
    fingerprint: str | None = None

    def context(self) -> ssl.SSLContext:
        """For connections to it, by any library. Raises CertificateRefused where `authority` is no certificate."""
        if self.fingerprint is not None:
            return _PinnedContext(self.fingerprint)
        try:
            return ssl.create_default_context(cadata=self.authority)
        except (ssl.SSLError, ValueError) as error:
            raise CertificateRefused(f"authority: expected certificates in PEM: {error}") from error


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
        expected = cast(_PinnedContext, self.context).fingerprint
        if not hmac.compare_digest(shown, expected):
            self.close()
            error = ssl.SSLCertVerificationError(f"expected a certificate with fingerprint {expected}, found {shown}")
            error.verify_message = str(error.args[0])
            raise error


class _PinnedContext(ssl.SSLContext):
    fingerprint: str

    def __new__(cls, fingerprint: str) -> _PinnedContext:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.fingerprint = fingerprint
        context.check_hostname = False  # the pin says more than a name
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _PinnedSocket
        return context

    def __init__(self, fingerprint: str) -> None:
        """SSLContext is made in `__new__`."""
