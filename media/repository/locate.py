"""From a URL, as a person writes it, to a repository. Opens; never makes anything."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from media.faults import RepositoryUrlUnknown
from media.repository import Repository
from media.repository.local import LocalRepository
from media.repository.retrying import Retrying

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_KNOWN = "known are s3://bucket/prefix, file:///path and a plain path"


def open_place(url: str) -> Repository:
    """The place that `url` names; whether a repository lies there is decided by its ingot.json.

    A directory that does not exist is a place too: an empty one. Raises RepositoryUrlUnknown, RepositoryDenied, and
    RepositoryUnfit when something that is no directory lies there.
    """
    if url.startswith("s3://"):
        return Retrying(_bucket(url))
    return LocalRepository(_path(url))


def _bucket(url: str) -> Repository:
    from media.repository.s3 import S3Repository  # noqa: PLC0415 # half a second that a local disk need not wait for
    from media.repository.s3_url import parse_s3_url  # noqa: PLC0415

    return S3Repository(parse_s3_url(url))


def _path(url: str) -> Path:
    if not url or "\0" in url:
        raise RepositoryUrlUnknown(f"{url!r} names no repository: {_KNOWN}")
    if _SCHEME.match(url) is None:
        return Path(url)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RepositoryUrlUnknown(f"the URL cannot be read: {error}; {_KNOWN}") from error
    if parts.scheme != "file":
        raise RepositoryUrlUnknown(f"repositories of kind {parts.scheme}: are unknown; {_KNOWN}")  # it may hold secrets
    path = unquote(parts.path)
    if parts.netloc.lower() not in {"", "localhost"} or parts.query or parts.fragment or not path.startswith("/"):
        raise RepositoryUrlUnknown(
            f"{url!r} is no file URL of this machine: expected file:///path, # and ? written %23 and %3F"
        )
    if "\0" in path:
        raise RepositoryUrlUnknown(f"{url!r} names no repository: {_KNOWN}")
    return Path(path)
