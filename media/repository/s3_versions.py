"""Buckets that keep versions: which version is the object, and how to delete all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from media.faults import RepositoryUnfit
from media.repository import Entry
from media.repository.s3_url import S3Url

Asking = Callable[[str, str, Callable[[Any], dict[str, Any]]], dict[str, Any]]


class _Version(NamedTuple):
    key: str
    version: str
    size: int
    is_marker: bool


class Versions:
    """Requests about versions. `asking` makes one: operation and name for messages, and what to ask a client."""

    def __init__(self, url: S3Url, asking: Asking) -> None:
        self._url = url
        self._asking = asking

    def oldest(self, operation: str, name: str) -> str | None:
        """The version that is the object; None when there is none, whatever markers there are."""
        found = [version.version for version in self._of(operation, name) if not version.is_marker]
        return found[-1] if found else None

    def list(self, prefix: str, after: str) -> Iterator[Entry]:
        """The oldest version of every name, those below a delete marker too, in order."""
        last: _Version | None = None
        for version in self._all("list", prefix, after):
            if version.is_marker:
                continue
            if last is not None and last.key != version.key:
                yield self._entry(last)
            last = version
        if last is not None:
            yield self._entry(last)

    def delete(self, name: str) -> None:
        """Every version and marker, the newest first: whoever reads meanwhile sees the object, whole, or nothing."""
        for version in list(self._of("delete", name)):
            request = {"Bucket": self._url.bucket, "Key": version.key, "VersionId": version.version}
            self._asking("delete", name, partial(_delete, request))

    def _entry(self, version: _Version) -> Entry:
        return Entry(version.key.removeprefix(self._url.prefix), version.size)

    def _of(self, operation: str, name: str) -> Iterator[_Version]:
        """Versions of one name, newest first; names that only begin with it come after."""
        key = self._url.prefix + name
        for version in self._all(operation, name, ""):
            if version.key != key:
                return
            yield version

    def _all(self, operation: str, prefix: str, after: str) -> Iterator[_Version]:
        """By name, and the newest first of each. A page may end within a name."""
        request = {"Bucket": self._url.bucket, "Prefix": self._url.prefix + prefix}
        if after:
            request["KeyMarker"] = self._url.prefix + after
        while True:
            page = self._asking(operation, prefix, lambda client: client.list_object_versions(**request))
            yield from _in_order(page)
            if not page.get("IsTruncated"):
                return
            if page.get("NextKeyMarker", "") < request.get("KeyMarker", ""):
                raise RepositoryUnfit(f"list {prefix}: {self._url.text}: expected a next page, found the one before")
            request["KeyMarker"] = page["NextKeyMarker"]
            request.pop("VersionIdMarker", None)
            if page.get("NextVersionIdMarker"):
                request["VersionIdMarker"] = page["NextVersionIdMarker"]


def _delete(request: dict[str, str], client: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.delete_object(**request)
    return answer


def _in_order(page: dict[str, Any]) -> Iterator[_Version]:
    """Versions and markers come apart; within a name no order between them is needed."""
    versions = [_Version(v["Key"], v["VersionId"], v["Size"], False) for v in page.get("Versions", [])]
    markers = [_Version(m["Key"], m["VersionId"], 0, True) for m in page.get("DeleteMarkers", [])]
    yield from sorted([*versions, *markers], key=lambda version: version.key)
