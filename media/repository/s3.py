"""A repository in a bucket of S3, or of a server that speaks it.

An object is put with one PutObject and `If-None-Match: *`, never in parts: real servers differ in what a condition
means on CompleteMultipartUpload. A server that takes no conditions would replace what is there and say so to nobody, so
the first put of each object of this class is made twice, and a server that takes the second is RepositoryUnfit.

In a bucket that keeps versions an object is its oldest version: what was put over it, or a delete marker, changes
nothing. To delete is to delete every version.

Nothing is tried again here but with newer credentials: that is for `media.repository.retrying`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from media.container import is_of_data
from media.faults import (
    DeleteDenied,
    ObjectExists,
    ObjectMissing,
    RepositoryDenied,
    RepositoryUnfit,
)
from media.repository import Buffer, Entry
from media.repository.names import checked_name, checked_prefix, is_object_name
from media.repository.s3_body import Body, crc32_of
from media.repository.s3_client import Connection, connect
from media.repository.s3_faults import code_of, translated
from media.repository.s3_url import S3Url
from media.repository.s3_versions import Versions

T = TypeVar("T")

_COLD_BYTES = 128 << 10  # cheaper classes of storage bill every object as if it had so many


class S3Repository:
    """Objects below a prefix of a bucket. Safe to use from several threads; each request takes a connection."""

    def __init__(self, url: S3Url, connecting: Callable[[S3Url], Connection] = connect) -> None:
        """Asks nobody yet. Raises CredentialsMissing and RepositoryUrlUnknown for what this machine's settings lack."""
        self._url = url
        self._connecting = connecting
        self._connection = self._connect()
        self._reconnecting = threading.Lock()
        self._versions = Versions(url, self._asking)
        self._keeps_versions: bool | None = None
        self._takes_conditions = False

    @property
    def url(self) -> str:
        return self._url.text

    def put_new(self, name: str, body: Buffer) -> None:
        """One request; two for the first, and one more where versions are kept."""
        request = {"Bucket": self._url.bucket, "Key": self._key(name), "IfNoneMatch": "*"}
        request |= {"ChecksumCRC32": crc32_of(body), **self._how_to_store(body)}

        def put(client: Any) -> str | None:
            answer: dict[str, Any] = client.put_object(Body=Body(body), **request)
            return answer.get("VersionId")

        versions = self._kept_versions("put", name)
        version = self._asking("put", name, put)
        if versions is not None and versions.oldest("put", name) != version:
            raise ObjectExists(f"put {name}: {self.url}: the name was taken, by a version that was covered")
        if not self._takes_conditions:
            self._check_conditions(name, put)

    def get(self, name: str) -> bytes:
        return self._get(name, {})[0]

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        body, start, _ = self._get(name, {"Range": f"bytes={offset}-{offset + max(length, 1) - 1}"}, offset)
        return body[offset - start :][:length]

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        body, _, size = self._get(name, {"Range": f"bytes=-{max(length, 1)}"})
        return body[max(0, len(body) - length) :], size

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Pages of a thousand, each of which goes on after the last name of the one before."""
        checked_prefix(prefix)
        versions = self._kept_versions("list", prefix)
        entries = self._list(prefix, after) if versions is None else versions.list(prefix, after)
        last = after or None  # a key that is the prefix itself, as consoles make for a folder, has an empty name
        for entry in entries:
            if last is not None and entry.name <= last:
                raise RepositoryUnfit(f"list {prefix}: {self.url}: expected names in order, found {entry.name!r} again")
            last = entry.name
            if is_object_name(entry.name):
                yield entry

    def delete(self, name: str) -> None:
        key = self._key(name)
        versions = self._kept_versions("delete", name)
        if versions is not None:
            versions.delete(name)
            return
        self._asking("delete", name, lambda client: client.delete_object(Bucket=self._url.bucket, Key=key))

    def _get(self, name: str, extent: dict[str, str], offset: int = 0) -> tuple[bytes, int, int]:
        """Bytes, where in the object they begin, and its size. A server that knows no ranges sends everything."""
        request = {"Bucket": self._url.bucket, "Key": self._key(name), **extent}
        versions = self._kept_versions("get", name)
        if versions is not None:
            oldest = versions.oldest("get", name)
            if oldest is None:
                raise ObjectMissing(f"get {name}: {self.url}: no such object")
            request["VersionId"] = oldest

        def ask(client: Any) -> tuple[bytes, int, int]:
            try:
                answer = client.get_object(**request)
            except ClientError as error:
                if code_of(error) != "InvalidRange":
                    raise
                return b"", offset, 0  # the object ends before; a tail of nothing is nothing
            body = answer["Body"].read()
            if "ContentRange" not in answer:
                return body, 0, len(body)
            where, _, size = answer["ContentRange"].removeprefix("bytes ").partition("/")
            return body, int(where.partition("-")[0]), int(size)

        return self._asking("get", name, ask)

    def _list(self, prefix: str, after: str) -> Iterator[Entry]:
        request = {"Bucket": self._url.bucket, "Prefix": self._url.prefix + prefix}
        if after:
            request["StartAfter"] = self._url.prefix + after
        while True:
            page = self._asking("list", prefix, lambda client: client.list_objects_v2(**request))
            found = page.get("Contents", [])
            for entry in found:
                yield Entry(entry["Key"].removeprefix(self._url.prefix), entry["Size"])
            if not page.get("IsTruncated"):
                return
            if not found:
                raise RepositoryUnfit(f"list {prefix}: {self.url}: expected names on each page but the last")
            request["StartAfter"] = found[-1]["Key"]

    def _check_conditions(self, name: str, put: Callable[[Any], object]) -> None:
        """Put the same bytes over themselves: who takes conditions refuses."""
        try:
            self._asking("put", name, put)
        except ObjectExists:
            self._takes_conditions = True
            return
        raise RepositoryUnfit(
            f"put {name}: {self.url}: expected the second put to be refused (If-None-Match: *), found that the server "
            "takes it: two writers could not see each other"
        )

    def _how_to_store(self, body: Buffer) -> dict[str, str]:
        found = {"StorageClass": self._url.storage_class, "ServerSideEncryption": self._url.sse}
        found["SSEKMSKeyId"] = self._url.kms_key
        if len(body) < _COLD_BYTES or not is_of_data(body):
            del found["StorageClass"]
        return {parameter: value for parameter, value in found.items() if value}

    def _kept_versions(self, operation: str, name: str) -> Versions | None:
        """None where the bucket keeps none. Asked once, or by each of the first threads."""

        def ask(client: Any) -> bool:
            try:
                return "Status" in client.get_bucket_versioning(Bucket=self._url.bucket)
            except ClientError as error:
                if code_of(error) in {"NotImplemented", "MethodNotAllowed"}:
                    return False
                raise

        if self._keeps_versions is None:
            try:
                self._keeps_versions = self._asking(operation, name, ask)
            except RepositoryDenied as fault:
                if type(fault) not in (RepositoryDenied, DeleteDenied):
                    raise
                raise RepositoryDenied(f"{fault}; a policy must allow s3:GetBucketVersioning") from fault
        return self._versions if self._keeps_versions else None

    def _key(self, name: str) -> str:
        return self._url.prefix + checked_name(name)

    def _connect(self) -> Connection:
        with translated("connect", self._url.bucket, self.url):
            return self._connecting(self._url)

    def _asking(self, operation: str, name: str, ask: Callable[[Any], T]) -> T:
        """The answer to one request; asked a second time where there are newer credentials than those refused."""
        connection = self._connection
        try:
            with translated(operation, name, self.url):
                return ask(connection.client)
        except RepositoryDenied:
            with self._reconnecting:
                if self._connection is connection:  # no other thread was here before
                    self._connection = self._connect()
                newer = self._connection
            if newer == connection:
                raise
            with translated(operation, name, self.url):
                return ask(newer.client)
