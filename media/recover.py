"""Restore machines from an Ingot repository with this one file, the repository, and its key.

    pip install cryptography zstandard                                             (Python 3.11 or later)
    python recover.py --repository PATH --passphrase-file FILE                     lists the recovery points
    python recover.py --repository PATH --passphrase-file FILE 000000001a --to disk.raw

It only reads the repository, and shares no code with the product: it was written from format.md, which lies beside
it, and the sections named below are the sections of that page. Before you give it a key, compare its SHA-256 with the
one in the release notes. PATH is a folder (a synced copy of a bucket will do), or
s3://bucket/prefix?endpoint=https://host:port&region=name&ca=FILE with the credentials in AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; FILE holds certificates to trust, where the system does not know them.

Nothing is written that was not verified: the HMAC of ingot.json and of every frame with its name, the tag and the
length of every record, and the fingerprint (a keyed HMAC) of every page and chunk. XXH3 is not in the standard
library: where only an XXH3 guards a header, a footer or the places in a page, a wrong value leads to a record whose
fingerprint does not match, never to wrong bytes. A record that is lost costs the bytes it holds and nothing else;
they read as zero and are reported, and the exit code is 3.

Exit codes: 0 good, 1 fault, 2 usage, 3 something is lost or cannot be read, 130 interrupted.
"""

import argparse
import contextlib
import datetime
import functools
import getpass
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import ssl
import struct
import sys
import threading
import time
import unicodedata
import urllib.parse
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from xml.etree import ElementTree

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

FORMAT = 1
SEGMENT_BYTES = 33554432
CHUNK, PAGE, DESCRIPTION = 1, 2, 3  # types of record
REGISTER, DETAIL, EXPIRY = 3, 4, 6  # kinds of frame

FRAME = struct.Struct("<8sHH16sI")  # magic, kind, format, repository, body length
RECORD = struct.Struct("<4sBBBBII32sQ12sI")  # magic, type, codec, seal, flags, lengths, fingerprint, key, nonce, check
CONTAINER = struct.Struct("<8sHBBIQ16sQ")  # magic, format, kind, flags, header_len, cid, repository, sid
ENTRY_BYTES = 48  # of a footer: fingerprint 32, offset u32, stored_len u32, and what the record says again
TRAILER = struct.Struct("<8sQIIII32x")  # magic, cid, footer offset, footer length, records, reserved, three hashes

RECORD_LIMIT_BYTES = 64 << 20  # of a chunk or a page, stored or plain: a longer one is damage
CONTAINER_LIMIT_BYTES = 256 << 20  # what is searched for records when a container's footer does not help
HEAD_BYTES, TAIL_BYTES = 16 << 10, 128 << 10
RUN_BYTES, RUN_GAP_BYTES = 8 << 20, 256 << 10  # records near each other are read together; memory is RUN x threads
WINDOW_SEGMENTS = 32  # 1 GiB of the disk: within it each container is visited once


class Fault(Exception):
    """Something is wrong, and the message says what, where, and what was expected and found."""

    code = "media.fault"


class KeyWrong(Fault):
    code = "media.key_wrong"


class RepositoryTampered(Fault):
    code = "media.repository_tampered"


class FormatTooNew(Fault):
    code = "media.format_too_new"


class Missing(Fault):
    code = "media.object_missing"


class Damaged(Fault):
    code = "media.object_damaged"


def warn(message: str) -> None:
    sys.stderr.write(f"recover: {message}\n")  # in one piece: several threads speak


# Section 1: objects. A store reads them by name; nothing here ever writes to it.


class Store(Protocol):
    def get(self, name: str) -> bytes:
        """All of an object. Raises Missing."""

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`, or the last `-start` bytes when it is negative. Raises Missing."""

    def list(self, prefix: str) -> Iterable[str]:
        """Names of the objects under a prefix that ends in "/"."""


class Folder:
    """A repository in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, name: str) -> bytes:
        return self.get_range(name, 0, -1)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                file.seek(start if start >= 0 else max(0, file.seek(0, os.SEEK_END) + start))
                return file.read(length)
        except FileNotFoundError:
            raise Missing(f"{name}: not in {self._path}") from None
        except OSError as error:
            raise Damaged(f"{name}: cannot be read: {error.strerror}") from None

    def list(self, prefix: str) -> Iterable[str]:
        folder = self._path / prefix
        return sorted(prefix + entry.name for entry in folder.iterdir()) if folder.is_dir() else []


class Bucket:
    """A repository in an S3 bucket: GET and ListObjectsV2, path-style, signed with AWS Signature Version 4."""

    def __init__(self, address: str, environment: dict[str, str]) -> None:
        parts = urllib.parse.urlsplit(address)
        options = dict(urllib.parse.parse_qsl(parts.query))
        self._region = options.get("region", "us-east-1")
        endpoint = options.get("endpoint", f"https://s3.{self._region}.amazonaws.com")
        self._endpoint = urllib.parse.urlsplit(endpoint)
        secure = self._endpoint.scheme == "https"
        self._connection: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        if secure:
            context = ssl.create_default_context(cafile=options.get("ca"))
            self._connection = functools.partial(http.client.HTTPSConnection, context=context)
        if self._endpoint.scheme not in ("http", "https") or not self._endpoint.netloc:
            raise Fault(f"endpoint: expected http://... or https://..., found {endpoint!r}")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        try:
            self._key_id = environment["AWS_ACCESS_KEY_ID"].strip()
            self._secret = environment["AWS_SECRET_ACCESS_KEY"].strip()
        except KeyError as error:
            raise Fault(f"{address}: credentials are needed: {error.args[0]} is not set") from None
        self._token = environment.get("AWS_SESSION_TOKEN")

    def get(self, name: str) -> bytes:
        return self._request(self._prefix + name, {}, None)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        wanted = f"bytes={start}-{start + length - 1}" if start >= 0 else f"bytes={start}"
        return self._request(self._prefix + name, {}, wanted)

    def list(self, prefix: str) -> Iterator[str]:
        query = {"list-type": "2", "prefix": self._prefix + prefix}
        while query:
            try:
                answer = ElementTree.fromstring(self._request("", query, None))
            except ElementTree.ParseError as error:
                raise Fault(f"{self._endpoint.netloc}: expected a list of objects in XML: {error}") from None
            for key in answer.iterfind("{*}Contents/{*}Key"):
                yield (key.text or "").removeprefix(self._prefix)
            more = answer.findtext("{*}NextContinuationToken")
            query = {**query, "continuation-token": more} if more else {}

    def _request(self, key: str, query: dict[str, str], wanted: str | None) -> bytes:
        path = urllib.parse.quote(f"/{self._bucket}/{key}", safe="/-_.~")
        canonical = "&".join(f"{k}={urllib.parse.quote(v, safe='-_.~')}" for k, v in sorted(query.items()))
        why = ""
        for attempt in range(6):
            time.sleep((0, 0.2, 1, 3, 9, 27)[attempt])
            try:
                with contextlib.closing(self._connection(self._endpoint.netloc, timeout=60)) as connection:
                    headers = self._sign(path, canonical) | ({"range": wanted} if wanted else {})
                    connection.request("GET", f"{path}?{canonical}" if canonical else path, headers=headers)
                    response = connection.getresponse()
                    body = response.read()
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
                continue
            if response.status in (200, 206):
                return body
            if response.status == 416:  # the object ends before the range begins
                return b""
            if response.status == 404:
                raise Missing(f"{key}: not in bucket {self._bucket}")
            why = f"status {response.status} {body[:200].decode(errors='replace')!r}"
            if response.status < 500 and response.status != 429:
                break
        raise ConnectionError(f"{self._endpoint.netloc}{path}: {why}")  # the way is lost, not the object: stop

    def _sign(self, path: str, query: str) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        empty = hashlib.sha256(b"").hexdigest()
        headers = {"host": self._endpoint.netloc, "x-amz-content-sha256": empty, "x-amz-date": now}
        headers |= {"x-amz-security-token": self._token} if self._token else {}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = hashlib.sha256(f"GET\n{path}\n{query}\n{lines}\n{names}\n{empty}".encode()).hexdigest()
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        key = f"AWS4{self._secret}".encode()
        for part in scope.split("/"):
            key = mac(key, part.encode())
        signature = mac(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{request}".encode()).hex()
        credential = f"Credential={self._key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        return headers | {"authorization": f"AWS4-HMAC-SHA256 {credential}"}


# Sections 2 and 3: ingot.json, and the keys.


class Secret(NamedTuple):
    """What opens the repository: its kind is the kind of the key slots to try."""

    kind: str  # "passphrase", "key file" or "none"
    value: bytes


def mac(key: bytes, *parts: bytes | memoryview) -> bytes:
    return hmac.digest(key, parts[0] if len(parts) == 1 else b"".join(parts), "sha256")


def hkdf(key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=info).derive(key)


def parse_json(name: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Damaged(f"{name}: expected JSON, found {data[:32]!r}...") from None
    if not isinstance(value, dict):
        raise Damaged(f"{name}: expected a JSON object, found {type(value).__name__}")
    return value


def open_slot(slot: dict[str, Any], secret: bytes) -> bytes:
    """The master that a key slot wraps. Raises InvalidUnwrap for the wrong secret, KeyError and so on for nonsense."""
    if slot["kind"] == "none":
        return bytes.fromhex(slot["master"])
    if slot["kind"] == "key file":
        wrapping = hkdf(secret, b"ingot key file" + bytes.fromhex(slot["salt"]))
    elif slot["kdf"]["name"] == "scrypt":
        n, r, p = (int(slot["kdf"][parameter]) for parameter in "nrp")
        if not (1 < n <= 1 << 20 and n & (n - 1) == 0 and 1 <= r <= 32 and 1 <= p <= 16 and 128 * n * r <= 1 << 30):
            raise ValueError(f"scrypt n {n} r {r} p {p} are out of bounds")
        wrapping = Scrypt(salt=bytes.fromhex(slot["kdf"]["salt"]), length=32, n=n, r=r, p=p).derive(secret)
    elif slot["kdf"]["name"] == "pbkdf2-hmac-sha256":
        iterations = int(slot["kdf"]["iterations"])
        if not 1 <= iterations <= 10**8:
            raise ValueError(f"{iterations} PBKDF2 iterations are out of bounds")
        wrapping = hashlib.pbkdf2_hmac("sha256", secret, bytes.fromhex(slot["kdf"]["salt"]), iterations)
    else:
        raise ValueError(f"unknown function {slot['kdf']['name']!r}")
    return aes_key_unwrap(wrapping, bytes.fromhex(slot["wrapped_master"]))


class Keys:
    """The sub-keys that reading needs."""

    def __init__(self, master: bytes, repository: uuid.UUID) -> None:
        self.fingerprint = hkdf(master, repository.bytes + b"fingerprint")
        self.page = hkdf(master, repository.bytes + b"page")
        self.signing = hkdf(master, repository.bytes + b"signing")
        self.wrapping = hkdf(master, repository.bytes + b"wrapping")


def open_keys(store: Store, parameters: dict[str, Any], repository: uuid.UUID, secret: Secret) -> Keys:
    """Try the key slots of the secret's kind; the HMAC of ingot.json tells whether the right one opened."""
    body = {member: value for member, value in parameters.items() if member != "hmac"}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    why, opened = f"no key slot of kind {secret.kind!r}", False
    for name in store.list("keys/"):
        try:
            slot = parse_json(name, store.get(name))
            if slot["kind"] != secret.kind:
                continue
            if slot["format"] > FORMAT:
                raise ValueError(f"format {slot['format']} is newer than this program's {FORMAT}")
            master = open_slot(slot, secret.value)
            if len(master) != 32:
                raise ValueError(f"master: expected 32 bytes, found {len(master)}")
        except InvalidUnwrap:
            why = f"the {secret.kind} given opens none of the key slots"
            continue
        except (Fault, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
            warn(f"key slot {name} is skipped: {error!s} ({type(error).__name__})")
            continue
        keys, opened = Keys(master, repository), True
        if hmac.compare_digest(mac(keys.signing, b"ingot.json\0", canonical).hex(), str(parameters.get("hmac"))):
            return keys
    if opened:
        raise RepositoryTampered("ingot.json: a key slot opens, but the HMAC does not match")
    raise KeyWrong(f"keys/: {why}")


def decompress(where: str, content: bytes, plain_len: int) -> bytes:
    try:
        declared = zstandard.frame_content_size(content)
        if declared not in (-1, plain_len):
            raise Damaged(f"{where}: expected {plain_len} plain bytes, the frame declares {declared}")
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=plain_len, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(f"{where}: expected one zstd frame: {error}") from None


class Repository:
    """An opened repository: parameters verified, keys at hand."""

    def __init__(self, store: Store, ask: Callable[[bool], Secret]) -> None:
        """`ask(encrypted)` is called once, when ingot.json has been read."""
        parameters = parse_json("ingot.json", store.get("ingot.json"))
        number = parameters.get("format")
        if isinstance(number, int) and number > FORMAT:
            raise FormatTooNew(f"ingot.json: expected format {FORMAT}, found {number}: a newer program is needed")
        try:
            repository = uuid.UUID(parameters["repository"])
            encryption, segment_bytes = parameters["pool"]["encryption"], parameters["pool"]["segment_bytes"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Damaged("ingot.json: expected repository, pool.encryption and pool.segment_bytes") from None
        self.store = store
        self.id = repository.bytes
        self.encrypted = encryption != "none"
        self.keys = open_keys(store, parameters, repository, ask(self.encrypted))
        if encryption not in ("aes-256-gcm", "none") or segment_bytes != SEGMENT_BYTES or number != FORMAT:
            raise Damaged(f"ingot.json: format {number}, encryption {encryption!r}, segment_bytes {segment_bytes}")
        self.data_keys: dict[int, bytes] = {}  # every data key met so far, by key id
        self.container = functools.lru_cache(maxsize=256)(self._read_container)

    def learn_keys(self, table: bytes | memoryview) -> tuple[dict[int, bytes], int]:
        """Unwrap a key table: the data keys by id, and the length of the table. What does not unwrap is left out."""
        found, at = {}, 8
        for _ in range(int.from_bytes(table[:4], "little")):
            if at + 10 > len(table):
                break
            key_id, length = struct.unpack_from("<QH", table, at)
            with contextlib.suppress(InvalidUnwrap, ValueError):
                found[key_id] = aes_key_unwrap(self.keys.wrapping, bytes(table[at + 10 : at + 10 + length]))
            at += 10 + length
        self.data_keys |= found
        return found, at + -at % 8

    # Section 4: records.

    def open_record(self, where: str, data: memoryview, kind: int, want: bytes, keys: dict[int, bytes]) -> bytes:
        """The plain bytes of the record that `data` begins with, verified to be those with fingerprint `want`."""
        if len(data) < RECORD.size:
            raise Damaged(f"{where}: expected {RECORD.size} bytes of header, found {len(data)}")
        magic, type_, codec, seal, flags, plain_len, stored_len, found, key_id, nonce, _ = RECORD.unpack_from(data)
        if magic != b"IREC" or type_ != kind or found != want:
            raise Damaged(f"{where}: expected IREC {kind} {want.hex()}, found {magic!r} {type_} {found.hex()}")
        if flags or codec > 1 or seal > 1:
            raise FormatTooNew(f"{where}: codec {codec}, seal {seal}, flags {flags}: damaged or of a newer format")
        if kind != DESCRIPTION and max(plain_len, stored_len) > RECORD_LIMIT_BYTES:
            raise Damaged(
                f"{where}: expected at most {RECORD_LIMIT_BYTES} bytes, found {plain_len}, {stored_len} stored"
            )
        payload = data[RECORD.size : RECORD.size + stored_len]
        if len(payload) < stored_len or stored_len < 16:
            raise Damaged(f"{where}: expected a payload of {stored_len} bytes and a tag in it, found {len(payload)}")
        if seal:
            content = self._unseal(where, keys.get(key_id) or self.data_keys.get(key_id), nonce, payload, data[:56])
        elif self.encrypted:
            raise Damaged(f"{where}: expected a sealed record, found an unsealed one in an encrypted repository")
        else:
            content = bytes(payload[:-16])  # an XXH3-128 follows, see the top of this file
        plain = decompress(where, content, plain_len) if codec else content
        if len(plain) != plain_len:
            raise Damaged(f"{where}: expected {plain_len} plain bytes, found {len(plain)}")
        if kind == CHUNK:
            found = mac(self.keys.fingerprint, plain)
        else:  # a page's fingerprint does not cover the places at its end
            found = mac(self.keys.page, memoryview(plain)[: covered_length(where, plain) if kind == PAGE else None])
        if not hmac.compare_digest(found, want):
            raise Damaged(f"{where}: expected plain bytes with fingerprint {want.hex()}, found {found.hex()}")
        return plain

    def _unseal(self, where: str, key: bytes | None, nonce: bytes, payload: memoryview, header: memoryview) -> bytes:
        if key is None:
            raise Damaged(f"{where}: its data key is in no key table that could be read")
        try:
            return AESGCM(key).decrypt(nonce, payload, header)
        except InvalidTag:
            raise Damaged(f"{where}: the AES-GCM tag does not match") from None

    # Section 5: containers.

    def _read_container(self, cid: int) -> "Container":
        """Header and footer. A wrong header or tail is only reported: records are found and verified without them."""
        name = container_name(cid)
        head = self.store.get_range(name, 0, HEAD_BYTES)
        keys: dict[int, bytes] = {}
        if len(head) >= CONTAINER.size:
            magic, number, _, flags, header_len, number_cid, repository, sid = CONTAINER.unpack_from(head)
            if magic == b"INGOTCN1" and (number > FORMAT or flags):
                raise FormatTooNew(f"{name}: expected format {FORMAT} flags 0, found {number} {flags}")
            if (magic, number_cid, repository, sid) != (b"INGOTCN1", cid, self.id, cid >> 24):
                warn(f"{name}: header: expected INGOTCN1 of cid {cid:016x} here, found {magic!r} {number_cid:016x}")
            if HEAD_BYTES < header_len <= RECORD_LIMIT_BYTES:
                head = self.store.get_range(name, 0, header_len)
            keys, _ = self.learn_keys(head[CONTAINER.size :])
        if not keys and self.encrypted:
            self._learn_keys_of_session(cid)
        tail = self.store.get_range(name, -TAIL_BYTES, TAIL_BYTES)
        footer = b""
        if len(tail) >= TRAILER.size:
            magic, number_cid, _, length, records, _ = TRAILER.unpack_from(tail, len(tail) - TRAILER.size)
            if magic == b"INGOTTR1" and number_cid == cid and length == records * ENTRY_BYTES:
                if length + TRAILER.size > len(tail) and length <= RECORD_LIMIT_BYTES:
                    tail = self.store.get_range(name, -length - TRAILER.size, length + TRAILER.size)
                footer = tail[-length - TRAILER.size : -TRAILER.size]
        if not footer:
            warn(f"{name}: expected a footer and INGOTTR1 at the end, found none: searching for records")
        return Container(name, keys, footer)

    def _learn_keys_of_session(self, cid: int) -> None:
        """The header of a container lost its keys; the same stand in every other object that uses them."""
        warn(f"{container_name(cid)}: no key can be read from its header: looking at the session's other objects")
        for name in self.store.list(f"c/{cid >> 24:010x}/"):
            with contextlib.suppress(Fault):
                self.learn_keys(self.store.get_range(name, CONTAINER.size, HEAD_BYTES))
        with contextlib.suppress(Fault):
            self.learn_keys(self.store.get_range(f"rpd/{cid >> 24:010x}", FRAME.size, HEAD_BYTES))

    def collect(self, cid: int, wants: list["Want"], deliver: "Deliver") -> list[tuple["Want", Fault]]:
        """Deliver the wanted records of one container, from whichever thread calls; returns those it could not."""
        try:
            container = self.container(cid)
        except Fault as fault:
            return [(want, fault) for want in wants]
        lost: dict[Want, Fault] = {}
        places: list[tuple[int, int, Want]] = []  # offset, length, what is expected there
        for want in wants:
            place = container.find(want)
            if place is None:
                lost[want] = Damaged(f"{container.name}: {want.what} {want.fingerprint.hex()} is not in it")
            else:
                places.append((*place, want))
        for run in runs(sorted(places)):
            start, end = run[0][0], max(offset + length for offset, length, _ in run)
            try:
                data = memoryview(self.store.get_range(container.name, start, end - start))
            except Fault as fault:
                lost |= {want: fault for _, _, want in run}
                continue
            for offset, length, want in run:
                try:
                    self._deliver(container, offset, data[offset - start : offset - start + length], want, deliver)
                except Fault as fault:
                    lost[want] = fault
        if lost:
            self._search(container, lost, deliver)
        return list(lost.items())

    def _search(self, container: "Container", lost: dict["Want", Fault], deliver: "Deliver") -> None:
        """The footer may be wrong: look for the records themselves, and take off `lost` what is found."""
        with contextlib.suppress(Fault):
            data = memoryview(self.store.get_range(container.name, 0, CONTAINER_LIMIT_BYTES))
            offsets = scan(data)
            for want in list(lost):
                for offset in offsets[want.fingerprint]:
                    try:
                        self._deliver(container, offset, data[offset:], want, deliver)
                    except Fault as fault:
                        lost[want] = fault
                    else:
                        del lost[want]
                        break

    def _deliver(self, container: "Container", at: int, data: memoryview, want: "Want", deliver: "Deliver") -> None:
        where = f"{container.name}: record at {at}"
        deliver(where, want, self.open_record(where, data, want.kind, want.fingerprint, container.keys))

    # Section 7: frames, recovery points.

    def read_frame(self, name: str, kind: int) -> bytes:
        """The body of a small object, verified to be the one written under this name."""
        data = self.store.get(name)
        if len(data) < FRAME.size + 32:
            raise Damaged(f"{name}: expected a frame of at least {FRAME.size + 32} bytes, found {len(data)}")
        magic, kind_found, number, repository, length = FRAME.unpack_from(data)
        if magic == b"INGOTOBJ" and number > FORMAT:
            raise FormatTooNew(f"{name}: expected format {FORMAT}, found {number}: a newer program is needed")
        if (magic, kind_found, number, repository) != (b"INGOTOBJ", kind, FORMAT, self.id):
            raise Damaged(f"{name}: expected INGOTOBJ of kind {kind} here, found {magic!r} {kind_found}")
        if len(data) != FRAME.size + length + 32:
            raise Damaged(f"{name}: expected {FRAME.size + length + 32} bytes, found {len(data)}")
        if not hmac.compare_digest(mac(self.keys.signing, name.encode(), b"\0", data[:-32]), data[-32:]):
            raise Damaged(f"{name}: the HMAC does not match: damaged, forged or written under another name")
        return data[FRAME.size : -32]

    def read_points(self) -> tuple[list["Point"], dict[int, Fault]]:
        """The recovery points in order, and the registers that could not be read."""
        expired = {int(name[4:], 16) for name in self.store.list("rpx/") if re.fullmatch("rpx/[0-9a-f]{10}", name)}
        points, unreadable = [], {}
        for name in self.store.list("rp/"):
            if not re.fullmatch("rp/[0-9a-f]{10}", name) or (int(name[3:], 16) in expired and self._expired(name[3:])):
                continue
            try:
                register = parse_json(name, self.read_frame(name, REGISTER))
                if register.get("kind") == "commit":
                    machine = register["machine"]
                    points.append(Point(name[3:], register["time"], machine["id"], machine["name"], register["detail"]))
            except Fault as fault:
                unreadable[int(name[3:], 16)] = fault
            except (KeyError, TypeError) as error:
                unreadable[int(name[3:], 16)] = Damaged(f"{name}: body: {error!r}")
        return points, unreadable

    def _expired(self, sid: str) -> bool:
        try:
            return bool(self.read_frame(f"rpx/{sid}", EXPIRY)) or True
        except Fault as fault:
            warn(f"{fault}: not taken as an expiry")
            return False

    def read_detail(self, point: "Point") -> dict[str, Any]:
        name = f"rpd/{point.sid}"
        body = memoryview(self.read_frame(name, DETAIL))
        keys, table_length = self.learn_keys(body)
        try:
            fingerprint = bytes.fromhex(point.detail)
        except (TypeError, ValueError):
            raise Damaged(f"rp/{point.sid}: detail: expected a fingerprint, found {point.detail!r}") from None
        plain = self.open_record(f"{name}: record", body[table_length:], DESCRIPTION, fingerprint, keys)
        return parse_json(name, plain)

    def read_disks(self, point: "Point") -> list["Disk"]:
        try:
            found = self.read_detail(point)["disks"]
            disks = [Disk(d["disk"], d["key"], d["size"], d["depth"], d["root"]) for d in found]
            for disk in disks:
                if disk.depth != depth_of(disk.size_bytes):
                    raise ValueError(f"depth {disk.depth} of a disk of {disk.size_bytes} bytes")
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"rpd/{point.sid}: disks: {error!r}") from None
        return disks


class Point(NamedTuple):
    """A recovery point, as its register tells."""

    sid: str
    time: str
    machine_id: str
    machine_name: str
    detail: str


class Disk(NamedTuple):
    """A disk of a recovery point, as the detail tells."""

    number: int
    key: str
    size_bytes: int
    depth: int
    root: dict[str, Any] | None


class Want(NamedTuple):
    """A chunk or page that a disk needs: what it is, where it should lie, and the bytes of the disk it stands for."""

    kind: int
    fingerprint: bytes
    cid: int
    slot: int
    start: int
    length: int
    level: int = 0  # of a page

    @property
    def what(self) -> str:
        return "chunk" if self.kind == CHUNK else "page"


Deliver = Callable[[str, Want, bytes], None]  # where it was, what was wanted, plain bytes; may raise Fault


class Container(NamedTuple):
    name: str
    keys: dict[int, bytes]
    footer: bytes  # empty when it could not be read

    def find(self, want: Want) -> tuple[int, int] | None:
        """Offset and length of a record. The slot is a hint; the fingerprint decides."""
        at = want.slot * ENTRY_BYTES
        if self.footer[at : at + 32] != want.fingerprint:
            at = self.footer.find(want.fingerprint)
        while at >= 0 and at % ENTRY_BYTES:
            at = self.footer.find(want.fingerprint, at + 1)
        if at < 0:
            return None
        offset, stored_len = struct.unpack_from("<II", self.footer, at + 32)
        return (offset, RECORD.size + stored_len) if stored_len <= RECORD_LIMIT_BYTES else None


def container_name(cid: int) -> str:
    return f"c/{cid >> 24:010x}/{cid & 0xFFFFFF:06x}"


def scan(data: memoryview) -> dict[bytes, list[int]]:
    """Offsets of all that looks like a record, by fingerprint. Opening one tells whether it is."""
    offsets = defaultdict(list)
    for match in re.finditer(b"IREC", data):
        if match.start() % 8 == 0:
            offsets[bytes(data[match.start() + 16 : match.start() + 48])].append(match.start())
    return offsets


def runs(places: list[tuple[int, int, Want]]) -> Iterator[list[tuple[int, int, Want]]]:
    """Cut places, sorted by offset, into those worth reading together."""
    run: list[tuple[int, int, Want]] = []
    for place in places:
        offset, length, _ = place
        if run and (offset + length - run[0][0] > RUN_BYTES or offset > run[-1][0] + run[-1][1] + RUN_GAP_BYTES):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


# Section 6: pages.


def depth_of(size_bytes: int) -> int:
    segments, depth = -(-size_bytes // SEGMENT_BYTES), 1
    while 256**depth < segments:
        depth += 1
    return depth


def covered_length(where: str, plain: bytes) -> int:
    """The length of a page's covered part."""
    if len(plain) >= 16:
        level, n = struct.unpack_from("<II", plain)
        length: int = 16 + (40 * n if level == 0 else 36 * n + -(36 * n) % 8)
        if length + 8 <= len(plain):
            return length
    raise Damaged(f"{where}: expected a page, found {len(plain)} bytes")


def read_page(where: str, want: Want, plain: bytes, size_bytes: int) -> list[Want]:
    """What a page lists: the chunks of a segment, or the children of an interior page."""
    level, n, index = struct.unpack_from("<IIQ", plain)
    at = covered_length(where, plain)
    (m,) = struct.unpack_from("<I", plain, at)
    if len(plain) != at + 8 + 8 * m + 8 * n:
        raise Damaged(f"{where}: page: expected {at + 8 + 8 * m + 8 * n} bytes, found {len(plain)}")
    cids = struct.unpack_from(f"<{m}Q", plain, at + 8)
    which = struct.unpack_from(f"<{n}I", plain, at + 8 + 8 * m)
    slots = struct.unpack_from(f"<{n}I", plain, at + 8 + 8 * m + 4 * n)
    if level != want.level or index * span(level) != want.start or max(which, default=-1) >= m:
        raise Damaged(f"{where}: page: expected level {want.level} for offset {want.start}, found {level} {index}")
    firsts = struct.unpack_from(f"<{n}I", plain, 16)
    if level == 0:
        lengths = struct.unpack_from(f"<{n}I", plain, 16 + 4 * n)
        starts = [want.start + first for first in firsts]
        kind, fingerprints_at = CHUNK, 16 + 8 * n
    else:
        starts = [want.start + child * span(level - 1) for child in firsts]
        lengths = tuple(min(span(level - 1), size_bytes - start) for start in starts)
        kind, fingerprints_at = PAGE, 16 + 4 * n
    end, entries = want.start, []
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        if start < end or length <= 0 or start + length > want.start + want.length:
            raise Damaged(f"{where}: page: expected ascending entries from {end}, found {length} bytes at {start}")
        end, fingerprint = start + length, plain[fingerprints_at + 32 * i : fingerprints_at + 32 * i + 32]
        entries.append(Want(kind, fingerprint, cids[which[i]], slots[i], start, length, max(level - 1, 0)))
    return entries


def span(level: int) -> int:
    """Bytes of the disk under one page of a level."""
    return SEGMENT_BYTES << 8 * level  # 256 children a page


class DiskRestore:
    """Write one disk to a file; `lost` is how many bytes could not be."""

    def __init__(self, repository: Repository, disk: Disk, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._repository = repository
        self._disk = disk
        self._file = file
        self._pool = pool
        self._lock = threading.Lock()
        self.lost_bytes = 0

    def run(self) -> None:
        disk = self._disk
        self._file.truncate(disk.size_bytes)  # holes are never written
        if disk.root is None:
            return
        try:
            fingerprint, cid = bytes.fromhex(disk.root["page"]), int(disk.root["cid"], 16)
            root = Want(PAGE, fingerprint, cid, disk.root["slot"], 0, disk.size_bytes, disk.depth)
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"disk {disk.number}: root: {error!r}") from None
        leaves = self._leaves(root)
        while window := list(islice(leaves, WINDOW_SEGMENTS)):
            self._fetch([chunk for chunks in self._pages(window).values() for chunk in chunks], self._write)
            self._progress(window[-1].start + window[-1].length)

    def _leaves(self, want: Want) -> Iterator[Want]:
        if want.level == 0:
            yield want
            return
        for children in self._pages([want]).values():
            for child in children:
                yield from self._leaves(child)

    def _pages(self, wants: list[Want]) -> dict[Want, list[Want]]:
        entries: dict[Want, list[Want]] = {}

        def keep(where: str, want: Want, plain: bytes) -> None:
            entries[want] = read_page(where, want, plain, self._disk.size_bytes)

        self._fetch(wants, keep)
        return {want: entries[want] for want in wants if want in entries}

    def _write(self, where: str, want: Want, plain: bytes) -> None:
        if len(plain) != want.length:
            raise Damaged(f"{where}: the page expects a chunk of {want.length} bytes, found {len(plain)}")
        with self._lock:
            self._file.seek(want.start)
            self._file.write(plain)

    def _fetch(self, wants: list[Want], deliver: Deliver) -> None:
        """Deliver what is wanted, container by container, in the pool's threads; report the extents that are lost."""
        by_container: dict[int, list[Want]] = defaultdict(list)
        for want in wants:
            by_container[want.cid].append(want)
        collect = self._repository.collect
        tasks = [self._pool.submit(collect, cid, of_it, deliver) for cid, of_it in by_container.items()]
        lost = [(want.start, want.length, str(why)) for task in as_completed(tasks) for want, why in task.result()]
        merged: list[tuple[int, int, str]] = []
        for start, length, why in sorted(lost):
            if merged and merged[-1][2] == why and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + length, why)
            else:
                merged.append((start, length, why))
        for start, length, why in merged:
            warn(f"lost: disk {self._disk.number}: {length} bytes at {start}: {why}")
            self.lost_bytes += length

    def _progress(self, done_bytes: int) -> None:
        if sys.stderr.isatty():
            done, size = done_bytes / 2**30, self._disk.size_bytes / 2**30
            print(f"disk {self._disk.number}: {done:.1f} of {size:.1f} GiB", end="\r", file=sys.stderr, flush=True)


# The command line.


def restore(repository: Repository, point: Point, to: Path, number: int | None, overwrite: bool) -> int:
    disks = repository.read_disks(point)
    chosen = [disk for disk in disks if number is None or disk.number == number]
    if not chosen:
        raise Fault(f"{point.sid}: expected disk {number}, found {[disk.number for disk in disks]}")
    folder = number is None and len(disks) > 1
    if to.exists():
        if not overwrite:
            raise Fault(f"{to}: exists; --overwrite replaces it")
        if not (to.is_dir() if folder else to.is_file()):
            raise Fault(f"{to}: expected a {'directory' if folder else 'regular file'} to overwrite")
    if folder:
        to.mkdir(exist_ok=True)
    results = [restore_disk(repository, d, to / f"disk-{d.number}.raw" if folder else to) for d in chosen]
    return 3 if any(results) else 0


def restore_disk(repository: Repository, disk: Disk, path: Path) -> int:
    """Write under a temporary name, and rename when done. Returns how many bytes are lost."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with part.open("xb") as file:
            task = DiskRestore(repository, disk, file, pool)
            task.run()
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno is None:  # the way to the repository is lost, not the file
            raise
        raise Fault(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
        pool.shutdown(cancel_futures=True)
    loss = f", {task.lost_bytes} of them LOST, they read as zero" if task.lost_bytes else ""
    print(f"disk {disk.number}: {disk.size_bytes} bytes restored to {path}{loss}")
    return task.lost_bytes


def choose(repository: Repository, name: str) -> Point:
    """The recovery point that a sid (leading zeros may be left out), `latest` or `latest:MACHINE` names."""
    points, unreadable = repository.read_points()
    latest, _, machine = name.partition(":")
    if latest == "latest":
        fitting = [p for p in points if not machine or machine in (p.machine_id, p.machine_name)]
        newer = {sid: fault for sid, fault in unreadable.items() if not fitting or sid > int(fitting[-1].sid, 16)}
        if newer:
            raise Fault(f"{name}: cannot be told, give the id of a point: {next(iter(newer.values()))}")
        if not fitting:
            raise Fault(f"{name}: no such recovery point")
        return fitting[-1]
    if not re.fullmatch("[0-9a-fA-F]{1,10}", name):
        raise Fault(f"{name}: expected up to 10 hexadecimal digits, latest or latest:MACHINE")
    if int(name, 16) in unreadable:
        raise unreadable[int(name, 16)]
    for point in points:
        if int(point.sid, 16) == int(name, 16):
            return point
    raise Fault(f"{name}: not a recovery point: there is none of this id, or it expired, or never committed")


def list_points(repository: Repository, as_json: bool) -> int:
    points, unreadable = repository.read_points()
    rows: list[dict[str, Any]] = []
    for point in points:
        machine = {"id": point.machine_id, "name": point.machine_name}
        row: dict[str, Any] = {"id": point.sid, "time": point.time, "machine": machine, "disks": []}
        try:
            found = repository.read_disks(point)
            row["disks"] = [{"disk": d.number, "key": d.key, "size_bytes": d.size_bytes} for d in found]
        except Fault as fault:
            unreadable[int(point.sid, 16)] = fault
            row["fault"] = str(fault)
        rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=2))
    for row in [] if as_json else rows:
        disks = ", ".join(f"{d['disk']}: {d['size_bytes'] / 2**30:.2f} GiB ({d['key']})" for d in row["disks"])
        print(f"{row['id']}  {row['time']}  {row['machine']['name']}  {disks}")
    for why in unreadable.values():
        warn(f"[{why.code}] {why}")
    return 3 if unreadable else 0


def ask_secret(options: argparse.Namespace, encrypted: bool) -> Secret:
    """The secret to try: what is given, or nothing for an unencrypted repository, or a passphrase that is asked for."""
    if options.key_file:
        try:
            return Secret("key file", bytes.fromhex(options.key_file.read_text().strip()))
        except ValueError:
            raise Fault(f"{options.key_file}: expected 64 hexadecimal digits and a newline") from None
    if not options.passphrase_file and not encrypted:
        return Secret("none", b"")
    path = options.passphrase_file or os.environ.get("INGOT_PASSPHRASE_FILE")
    if not path and not sys.stdin.isatty():
        raise KeyWrong("the repository is encrypted: --passphrase-file or --key-file is needed")
    try:
        text = Path(path).read_bytes().decode() if path else getpass.getpass("Passphrase: ")
    except (UnicodeDecodeError, EOFError):
        raise KeyWrong(f"{path or 'prompt'}: expected a passphrase in UTF-8") from None
    return Secret("passphrase", unicodedata.normalize("NFC", text.removesuffix("\n")).encode())


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recover", description="Restore from an Ingot repository without Ingot.")
    parser.add_argument("--repository", required=True, metavar="PATH", help="a folder, or s3://bucket/prefix?endpoint=")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--passphrase-file", type=Path, metavar="FILE")
    key.add_argument("--key-file", type=Path, metavar="FILE")
    parser.add_argument("point", nargs="?", metavar="RP", help="an id, latest, or latest:MACHINE; without it: list")
    parser.add_argument("--to", type=Path, metavar="PATH", help="the raw file, or the directory for several disks")
    parser.add_argument("--disk", type=int, metavar="N", help="only this disk")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--json", action="store_true", help="list as JSON")
    options = parser.parse_args(arguments)
    if (options.point is None) != (options.to is None):
        parser.error("RP and --to go together")
    if options.point is None and (options.disk is not None or options.overwrite):
        parser.error("--disk and --overwrite go with RP")
    if options.point is not None and options.json:
        parser.error("--json goes with the list")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        remote = options.repository.startswith("s3://")
        store: Store = Bucket(options.repository, dict(os.environ)) if remote else Folder(Path(options.repository))
        repository = Repository(store, functools.partial(ask_secret, options))
        if options.point is None:
            return list_points(repository, options.json)
        return restore(repository, choose(repository, options.point), options.to, options.disk, options.overwrite)
    except Fault as fault:
        warn(f"[{fault.code}] {fault}")
        return 1
    except (OSError, MemoryError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        warn(f"[{Fault.code}] {where}{getattr(error, 'strerror', None) or error or 'out of memory'}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
