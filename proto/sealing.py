"""Secrets sealed to an agent: whoever carries them cannot read them.

    sealed = version (1 byte: 1) . ephemeral public key (65 bytes, uncompressed point) . nonce (12) . AES-256-GCM
    key    = HKDF-SHA-256 of the ECDH of ephemeral key and agent's key, salt = both public keys, info = the context

The context says whose secret it is and for whom (`hypervisor:<id>`, the agent's URI), so that one sealed secret cannot
be shown as another. P-256 throughout.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from runtime.certificates import new_key
from runtime.faults import Fault

_VERSION = b"\x01"
_POINT_BYTES = 65
_NONCE_BYTES = 12
_INFO = b"ingot sealed secret 1"


class SealBroken(Fault):
    """A sealed secret is not one, is for another agent, or for another use."""

    code = "proto.seal_broken"


def seal(secret: bytes, public_key: bytes, owner: str, agent_uri: str) -> bytes:
    """`secret` for the holder of `public_key` (SubjectPublicKeyInfo), and nobody else. Raises SealBroken."""
    theirs = _load(public_key)
    ours = new_key()
    mine = _point(ours.public_key())
    key = _derive(ours, theirs, mine + _point(theirs))
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + mine + nonce + AESGCM(key).encrypt(nonce, secret, _context(owner, agent_uri))


def unseal(sealed: bytes, key: ec.EllipticCurvePrivateKey, owner: str, agent_uri: str) -> bytes:
    """The secret. Raises SealBroken."""
    head = len(_VERSION) + _POINT_BYTES
    point, nonce, body = sealed[len(_VERSION) : head], sealed[head : head + _NONCE_BYTES], sealed[head + _NONCE_BYTES :]
    if sealed[: len(_VERSION)] != _VERSION:
        raise SealBroken("expected a sealed secret of version 1, found something else")
    try:
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        shared = _derive(key, theirs, point + _point(key.public_key()))
        return AESGCM(shared).decrypt(nonce, body, _context(owner, agent_uri))
    except (InvalidTag, ValueError) as error:
        raise SealBroken(f"{owner}: expected a secret sealed to {agent_uri}, found one for somebody else") from error


def _load(public_key: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_der_public_key(public_key)
    except ValueError as error:
        raise SealBroken(f"expected a public key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SealBroken("expected a public key on P-256")
    return key


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _derive(ours: ec.EllipticCurvePrivateKey, theirs: ec.EllipticCurvePublicKey, both: bytes) -> bytes:
    shared = ours.exchange(ec.ECDH(), theirs)
    return HKDF(hashes.SHA256(), 32, both, _INFO).derive(shared)


def _context(owner: str, agent_uri: str) -> bytes:
    return f"{owner}\n{agent_uri}".encode()
