"""From a URL, as a person writes it, to a repository. Opens; never makes anything."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from media.faults import RepositoryUrlUnknown
from media.repository import Repository
from media.repository.counted import Counted, Counts
from media.repository.local import LocalRepository
from media.repository.paced import Paced
from media.repository.probe import Abilities, probe
from media.repository.retrying import Retrying
from media.repository.s3_credentials import Credentials
from runtime.pacing import Pace

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_KNOWN = "known are s3://bucket/prefix, file:///path and a plain path"


def open_place(
    url: str, counts: Counts | None = None, pace: Pace | None = None, credentials: Credentials = lambda: None
) -> Repository:
    """The place that `url` names; whether a repository lies there is decided by its ingot.json.

    A directory that does not exist is a place too: an empty one. Nobody is asked yet whether a bucket exists, to which
    `credentials` are shown. Raises RepositoryUrlUnknown, RepositoryDenied, and RepositoryUnfit when something that is
    no directory lies there.
    """
    in_bucket = url.startswith("s3://")
    place = _bucket(url, credentials) if in_bucket else LocalRepository(_path(url))
    if counts is not None:
        place = Counted(place, counts)
    if pace is not None:
        place = Paced(place, pace)
    return Retrying(place) if in_bucket else place  # outermost: what is asked again is paced and counted again


def place_name(url: str) -> str:
    """The URL in the one form that the place itself would say. Raises RepositoryUrlUnknown."""
    if url.startswith("s3://"):
        from media.repository.s3_url import parse_s3_url  # noqa: PLC0415 # as below

        return parse_s3_url(url).text
    return _path(url).absolute().as_uri()


def probe_place(url: str) -> Abilities:
    """Try what the place at `url` can do. Raises RepositoryUnfit, and what its calls raise."""
    found = probe(open_place(url))
    if url.startswith("s3://"):
        from media.repository.s3_probe import probe_server  # noqa: PLC0415 # as below
        from media.repository.s3_url import parse_s3_url  # noqa: PLC0415

        found |= probe_server(parse_s3_url(url))
    return found


def _bucket(url: str, credentials: Credentials) -> Repository:
    from media.repository.s3 import S3Repository  # noqa: PLC0415 # half a second that a local disk need not wait for
    from media.repository.s3_client import connecting_with  # noqa: PLC0415
    from media.repository.s3_url import parse_s3_url  # noqa: PLC0415

    return S3Repository(parse_s3_url(url), connecting_with(credentials))


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
