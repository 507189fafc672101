"""The certificate authority of one CommServe, and its ticket key: key files of mode 0600 in the state directory.

    authority/pair.pem    the authority's key and certificate, ten years
    authority/ticket.pem  the key that signs tickets
    server/               the CommServe's own certificate, issued by the authority, renewed at every start when due

A certificate says who its holder is by a URI, and what it may do by its extended key usage; everything else of a
signing request is ignored.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from commserve.faults import JoinRefused, StateUnfit
from proto.channels import COMMSERVE_NAME, COMMSERVE_URI, Caller
from runtime.certificates import (
    Identity,
    IdentityUnfit,
    fingerprint,
    key_pem,
    load_identity,
    load_key,
    new_key,
    public_der,
    save_identity,
    write_private,
)

AGENT_DAYS = 90
_AUTHORITY_DAYS = 3650
_SLACK = timedelta(minutes=10)  # clocks of agents differ


class Authority:
    """Issues certificates. Threads share it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, ticket_key: bytes) -> None:
        self._key = key
        self._certificate = certificate
        self.ticket_key = load_key(ticket_key)

    @property
    def pem(self) -> bytes:
        """What agents trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """What a join token pins."""
        return fingerprint(self._certificate)

    @property
    def site(self) -> str:
        """A UUID for what this site's agents leave behind elsewhere: as long as the authority lives, it is the same."""
        return str(uuid.UUID(hex=self.fingerprint[:32]))

    @property
    def ticket_public_key(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return public_der(self.ticket_key.public_key())

    def certify(self, caller: Caller, csr: bytes, now: datetime) -> tuple[bytes, datetime]:
        """An agent's certificate in PEM for the key of its request, and when it ends. Raises JoinRefused."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(caller.uri), x509.DNSName(caller.tls_name)]
        end = now + timedelta(days=AGENT_DAYS)
        pem = self._issue(_key_of(csr), caller.tls_name, names, now, end, serves=caller.role == "mediaagent")
        return pem, end

    def server_identity(self, directory: Path, hosts: Sequence[str], now: datetime) -> Identity:
        """The CommServe's own certificate, kept in `directory`; a new one when that is due or names other hosts."""
        wanted = _server_names(hosts)
        try:
            kept = load_identity(directory)
            names = kept.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if not kept.renewal_due(now) and list(names) == wanted and kept.authority == self.pem:
                return kept
        except (IdentityUnfit, x509.ExtensionNotFound):
            pass  # there is none yet, or not one that serves: a new one costs nothing
        key = new_key()
        end = now + timedelta(days=AGENT_DAYS)
        chain = self._issue(key.public_key(), COMMSERVE_NAME, wanted, now, end, serves=True)
        identity = Identity(key_pem(key), chain, self.pem)
        save_identity(directory, identity)
        return identity

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        names: Sequence[x509.GeneralName],
        now: datetime,
        end: datetime,
        *,
        serves: bool,
    ) -> bytes:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def open_authority(directory: Path, now: datetime) -> Authority:
    """The authority that lies in `directory`; a new one where there is none. Raises StateUnfit."""
    pair, ticket = directory / "pair.pem", directory / "ticket.pem"
    if not pair.exists() and not ticket.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = new_key()
        write_private(ticket, key_pem(new_key()))
        write_private(pair, key_pem(key) + _self_signed(key, now))
    try:
        raw = pair.read_bytes()
        certificate = x509.load_pem_x509_certificate(raw[raw.index(b"-----BEGIN CERTIFICATE-----") :])
        key = load_key(raw)
        authority = Authority(key, certificate, ticket.read_bytes())
    except (OSError, ValueError, IdentityUnfit) as error:
        raise StateUnfit(f"{directory}: expected the authority's keys: {error}") from error
    if certificate.public_key() != key.public_key():
        raise StateUnfit(f"{pair}: the certificate is of another key")
    return authority


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ingot authority")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_of(csr: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a request whose signature shows that the sender has it. Raises JoinRefused."""
    try:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise JoinRefused(f"csr: expected a signing request in PEM: {error}") from error
    if not signed:
        raise JoinRefused("csr: its signature is not that of its key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise JoinRefused("csr: expected a key on P-256")
    return key


def _server_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(COMMSERVE_URI), x509.DNSName(COMMSERVE_NAME)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names
