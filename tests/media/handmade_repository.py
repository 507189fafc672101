"""A small repository written by hand from docs/format.md.

It packs every structure here, with nothing of the product and nothing of the recovery program, so that what both read
is what the page says. Randomness comes from a seed: the same calls write the same bytes.
"""

import hashlib
import hmac
import json
import random
import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

SEGMENT_BYTES = 33554432
CHUNK, PAGE, DESCRIPTION = 1, 2, 3
DATA, PAGES = 1, 2
REGISTER, DETAIL, MARK, EXPIRY = 3, 4, 5, 6
PASSPHRASE = "correct hor\N{LATIN SMALL LETTER E WITH ACUTE} battery"
TIME = "2026-11-23T05:06:38.123456Z"


class Place(NamedTuple):
    fingerprint: bytes
    cid: int
    slot: int


class HandmadeDisk(NamedTuple):
    size_bytes: int
    chunks: Mapping[int, bytes]  # by offset; none crosses a segment, none overlaps


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(key: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"", info=info).derive(key)


def xxh3_64(data: bytes) -> bytes:
    return struct.pack("<Q", xxhash.xxh3_64_intdigest(data))


def xxh3_128(data: bytes) -> bytes:
    return xxhash.xxh3_128_digest(data)


def container_name(cid: int) -> str:
    return f"c/{cid >> 24:010x}/{cid & 0xFFFFFF:06x}"


class HandmadeRepository:
    """`secret`: passphrase, pbkdf2, key file or none; encrypted unless it is none, or `sealed` says otherwise."""

    def __init__(
        self,
        root: Path,
        secret: str = "passphrase",
        *,
        sealed: bool | None = None,
        records_per_container: int = 3,
        seed: int = 1,
    ) -> None:
        self.root = root
        self.sealed = secret != "none" if sealed is None else sealed
        self.records_per_container = records_per_container
        self._random = random.Random(seed)
        self.uuid = uuid.UUID(bytes=self._random.randbytes(16), version=4)
        self.master = self._random.randbytes(32)
        self.key = {
            purpose: hkdf(self.master, self.uuid.bytes + purpose.encode())
            for purpose in ("chunking", "fingerprint", "page", "signing", "wrapping")
        }
        self.data_key, self.data_key_id = self._random.randbytes(32), self._random.getrandbits(64) | 1
        self.arguments: list[str] = ["--repository", str(root / "repository")]
        (root / "repository").mkdir(parents=True)
        self._write_slot(secret)
        self.write_parameters()

    # Objects, ingot.json, keys

    def path(self, name: str) -> Path:
        return self.root / "repository" / name

    def write(self, name: str, data: bytes) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(data)

    def names(self) -> list[str]:
        top = self.root / "repository"
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())

    def write_parameters(self, **changed: Any) -> None:
        parameters = {
            "format": 1,
            "repository": str(self.uuid),
            "created_at": TIME,
            "pool": {
                "chunker": "s512/1",
                "average_chunk_bytes": 65536,
                "segment_bytes": SEGMENT_BYTES,
                "container_bytes": 33554432,
                "encryption": "aes-256-gcm" if self.sealed else "none",
            },
            "recovery_program_sha256": "00" * 32,
        } | changed
        canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":")).encode()
        signed = parameters | {"hmac": mac(self.key["signing"], b"ingot.json\x00" + canonical).hex()}
        self.write("ingot.json", json.dumps(signed, indent=2).encode())

    def _write_slot(self, secret: str) -> None:
        salt = self._random.randbytes(16)
        slot: dict[str, Any] = {"format": 1, "repository": str(self.uuid), "created_at": TIME}
        if secret == "none":
            self.write_slot(slot | {"kind": "none", "master": self.master.hex()})
            return
        if secret == "key file":
            key = self._random.randbytes(32)
            (self.root / "key").write_text(key.hex() + "\n")
            self.arguments += ["--key-file", str(self.root / "key")]
            slot |= {"kind": "key file", "salt": salt.hex()}
            wrapping = hkdf(key, b"ingot key file" + salt)
        else:
            (self.root / "passphrase").write_bytes(PASSPHRASE.encode() + b"\n")
            self.arguments += ["--passphrase-file", str(self.root / "passphrase")]
            slot["kind"] = "passphrase"
            if secret == "pbkdf2":
                slot["kdf"] = {"name": "pbkdf2-hmac-sha256", "iterations": 10, "salt": salt.hex()}
                wrapping = hashlib.pbkdf2_hmac("sha256", PASSPHRASE.encode(), salt, 10)
            else:
                slot["kdf"] = {"name": "scrypt", "n": 16, "r": 8, "p": 1, "salt": salt.hex()}
                wrapping = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=16, r=8, p=1, dklen=32)
        self.write_slot(slot | {"wrapped_master": aes_key_wrap(wrapping, self.master).hex()})

    def write_slot(self, slot: dict[str, Any]) -> None:
        self.write(f"keys/{self._random.randbytes(16).hex()}", json.dumps(slot).encode())

    def key_table(self) -> bytes:
        if not self.sealed:
            return struct.pack("<II", 0, 0)
        wrapped = aes_key_wrap(self.key["wrapping"], self.data_key)
        return padded(struct.pack("<II", 1, 0) + struct.pack("<QH", self.data_key_id, len(wrapped)) + wrapped)

    # Records and containers

    def record(
        self, kind: int, plain: bytes, fingerprint: bytes, *, codec: int = 1, sealed: bool | None = None
    ) -> bytes:
        sealed = self.sealed if sealed is None else sealed
        content = zstandard.ZstdCompressor().compress(plain) if codec else plain
        nonce, key_id = (self._random.randbytes(12), self.data_key_id) if sealed else (bytes(12), 0)
        header = b"IREC" + struct.pack("<BBBB", kind, codec, sealed, 0)
        header += struct.pack("<II", len(plain), len(content) + 16) + fingerprint + struct.pack("<Q", key_id)
        assert len(header) == 56
        if sealed:
            payload = AESGCM(self.data_key).encrypt(nonce, content, header)
        else:
            payload = content + xxh3_128(header + content)
        header += nonce
        return padded(header + xxh3_64(header)[:4] + payload)

    def container(self, cid: int, kind: int, records: list[bytes]) -> bytes:
        """HEADER | RECORD ... | FOOTER | TRAILER"""
        table = self.key_table()
        header = b"INGOTCN1" + struct.pack("<HBBIQ", 1, kind, 0, 48 + len(table) + 8, cid)
        header += self.uuid.bytes + struct.pack("<Q", cid >> 24) + table
        body, footer = header + xxh3_64(header), b""
        for record in records:
            plain_len, stored_len = struct.unpack_from("<II", record, 8)
            footer += record[16:48] + struct.pack("<III", len(body), stored_len, plain_len) + record[4:8]
            body += record
        trailer = b"INGOTTR1" + struct.pack("<QIIII", cid, len(body), len(footer), len(records), 0)
        trailer += xxh3_128(body) + xxh3_64(footer)
        return body + footer + trailer + xxh3_64(trailer)

    def store_records(self, sid: int, kind: int, records: list[bytes]) -> list[Place]:
        """Put records into new containers of a session."""
        places, folder = [], self.path(f"c/{sid:010x}")
        for i in range(0, len(records), self.records_per_container):
            seq = len(list(folder.iterdir())) if folder.exists() else 0
            group, cid = records[i : i + self.records_per_container], sid << 24 | seq
            self.write(container_name(cid), self.container(cid, kind, group))
            places += [Place(record[16:48], cid, slot) for slot, record in enumerate(group)]
        return places

    # Pages

    def page(self, level: int, index: int, numbers: list[tuple[int, ...]], places: list[Place]) -> tuple[bytes, bytes]:
        """Plain bytes and fingerprint. `numbers`: (offset, length) of the chunks of a leaf, else (child,)."""
        covered = struct.pack("<IIQ", level, len(places), index)
        covered += b"".join(struct.pack(f"<{len(column)}I", *column) for column in zip(*numbers, strict=True))
        covered = padded(covered + b"".join(place.fingerprint for place in places))
        cids = sorted({place.cid for place in places})
        tail = struct.pack(f"<II{len(cids)}Q", len(cids), 0, *cids)
        tail += b"".join(struct.pack("<I", cids.index(place.cid)) for place in places)
        tail += b"".join(struct.pack("<I", place.slot) for place in places)
        return covered + tail, mac(self.key["page"], covered)

    def store_disk(self, sid: int, disk: HandmadeDisk) -> tuple[int, Place | None]:
        """Depth and root."""
        offsets = sorted(disk.chunks)
        records = [
            self.record(CHUNK, plain, mac(self.key["fingerprint"], plain), codec=i % 2)
            for i, plain in enumerate(disk.chunks[offset] for offset in offsets)
        ]
        below = dict(zip(offsets, self.store_records(sid, DATA, records), strict=True))
        depth = 1
        while 256**depth < -(-disk.size_bytes // SEGMENT_BYTES):
            depth += 1
        for level in range(depth + 1):
            by_index: dict[int, list[int]] = {}
            for number in sorted(below):
                by_index.setdefault(number // (256 if level else SEGMENT_BYTES), []).append(number)
            pages, indices = [], []
            for index, members in by_index.items():
                if level == 0:
                    numbers = [(m - index * SEGMENT_BYTES, len(disk.chunks[m])) for m in members]
                    plain, fingerprint = self.page(0, index, list(numbers), [below[m] for m in members])
                else:
                    children = [(m % 256,) for m in members]
                    plain, fingerprint = self.page(level, index, list(children), [below[m] for m in members])
                pages.append(self.record(PAGE, plain, fingerprint))
                indices.append(index)
            below = dict(zip(indices, self.store_records(sid, PAGES, pages), strict=True))
        return depth, below.get(0)

    # Frames, recovery points

    def write_frame(self, name: str, kind: int, body: bytes, number: int = 1) -> None:
        header = b"INGOTOBJ" + struct.pack("<HH", kind, number) + self.uuid.bytes + struct.pack("<I", len(body))
        self.write(name, header + body + mac(self.key["signing"], name.encode() + b"\x00" + header + body))

    def write_point(
        self, sid: int, disks: list[HandmadeDisk], *, machine: str = "web", description: dict[str, Any] | None = None
    ) -> None:
        head = {"machine": {"id": f"vm-{machine}", "name": machine}, "parent": None, "time": TIME}
        rows = []
        for number, disk in enumerate(disks):
            depth, root = self.store_disk(sid, disk)
            row: dict[str, Any] = {"disk": number, "key": f"scsi0:{number}", "size": disk.size_bytes}
            row |= {"chunker": "s512/1", "average_chunk_bytes": 65536, "depth": depth, "change_id": None}
            row["chunking_key"] = mac(self.key["chunking"], b"ingot key id")[:8].hex()
            row["root"] = root and {"page": root.fingerprint.hex(), "cid": f"{root.cid:016x}", "slot": root.slot}
            rows.append(row)
        detail = head | {"disks": rows, "description": description or {}, "statistics": {}}
        detail["containers"] = {"base": None, "data": {}, "pages": {}}
        plain = json.dumps(detail).encode()
        fingerprint = mac(self.key["page"], plain)
        record = self.record(DESCRIPTION, plain, fingerprint)
        self.write_frame(f"rpd/{sid:010x}", DETAIL, self.key_table() + record)
        register = head | {"kind": "commit", "nonce": "00" * 16, "detail": fingerprint.hex()}
        self.write_register(sid, register)

    def write_register(self, sid: int, body: dict[str, Any]) -> None:
        self.write_frame(f"rp/{sid:010x}", REGISTER, json.dumps(body).encode())

    def write_expiry(self, sid: int) -> None:
        self.write_frame(f"rpx/{sid:010x}", EXPIRY, json.dumps({"time": TIME, "who": "someone"}).encode())
