"""What an `s3://` URL says: `s3://bucket/prefix?endpoint=https://host:port&region=name`, and how to store.

Bucket and prefix are taken as they stand, as other programs for S3 take them; only what follows `?` is decoded.
Credentials are never in it: other people read URLs, in lists of processes and in logs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from media.faults import RepositoryUrlUnknown

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}  # a restore would wait for hours, and so would every look at a footer
_CHOICES = {
    "addressing": {"path", "virtual"},
    "fips": {"yes", "no"},
    "sse": {"AES256", "aws:kms", "aws:kms:dsse"},
}


@dataclass(frozen=True)
class S3Url:
    """Where a bucket is, how one speaks with it, and how it shall keep what is put. "" says nothing."""

    bucket: str
    prefix: str  # "" or with a slash at its end
    endpoint: str = ""
    region: str = ""
    addressing: str = ""  # `path`: host/bucket/name; `virtual`: bucket.host/name
    ca: str = ""  # a file of certificates to trust
    fips: str = ""
    storage_class: str = ""  # of containers of data; all else is read often, and stays in the bucket's own class
    sse: str = ""
    kms_key: str = ""

    @property
    def text(self) -> str:
        """The URL again."""
        query = urlencode({name: getattr(self, name) for name in _SETTINGS if getattr(self, name)}, safe=":/")
        return f"s3://{self.bucket}/{self.prefix.rstrip('/')}" + (f"?{query}" if query else "")

    @property
    def encrypted_transport(self) -> bool:
        """Whether nobody on the way reads or changes what we send."""
        return not self.endpoint.startswith("http://")


_SETTINGS = tuple(field.name for field in fields(S3Url) if field.name not in {"bucket", "prefix"})


def parse_s3_url(url: str) -> S3Url:
    """Raises RepositoryUrlUnknown, whose message never repeats what may be a secret."""
    rest, _, query = url.removeprefix("s3://").partition("?")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        raise RepositoryUrlUnknown(
            "s3: expected no credentials in the URL, found some before @; "
            "they come from the environment, ~/.aws or the machine's role"
        )
    if not url.startswith("s3://") or _BUCKET.fullmatch(bucket) is None:
        raise RepositoryUrlUnknown(f"s3: expected s3://bucket/prefix, found no bucket's name in {bucket!r}")
    prefix = prefix.strip("/")
    if _PRINTABLE.fullmatch(prefix) is None or "//" in prefix or "#" in prefix:
        raise RepositoryUrlUnknown(f"s3: expected a prefix as a/b, found {prefix!r}")
    return S3Url(bucket, prefix + "/" if prefix else "", **_settings(query))


def _settings(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise RepositoryUrlUnknown("s3: expected name=value&name=value after ?, found something else") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in _SETTINGS:  # its value may be a secret
            raise RepositoryUrlUnknown(
                f"s3: expected settings among {', '.join(_SETTINGS)}, found {name!r}; "
                "credentials come from the environment, ~/.aws or the machine's role, never from a URL"
            )
        if name in found or not value:
            raise RepositoryUrlUnknown(f"s3: expected one value of {name}, found {'two' if value else 'none'}")
        if value not in _CHOICES.get(name, {value}):
            raise RepositoryUrlUnknown(f"s3: {name}: expected {' or '.join(sorted(_CHOICES[name]))}, found {value!r}")
        found[name] = value
    _check(found)
    return found


def _check(found: dict[str, str]) -> None:
    endpoint = urlsplit(found.get("endpoint", "https://host"))
    if endpoint.scheme not in {"http", "https"} or not endpoint.hostname or endpoint.query or endpoint.fragment:
        raise RepositoryUrlUnknown("s3: endpoint: expected http://host:port or https://host:port")
    if endpoint.username is not None:
        raise RepositoryUrlUnknown("s3: endpoint: expected no credentials in it, found some before @")
    if found.get("storage_class", "").upper() in _ARCHIVES:
        raise RepositoryUrlUnknown(
            f"s3: storage_class: expected one that is read at once, as STANDARD_IA or GLACIER_IR, "
            f"found {found['storage_class']}"
        )
    if "kms_key" in found and found.setdefault("sse", "aws:kms") == "AES256":
        raise RepositoryUrlUnknown("s3: kms_key: expected sse=aws:kms beside it, found sse=AES256")
    if "ca" in found and not Path(found["ca"]).is_file():
        raise RepositoryUrlUnknown(f"s3: ca: {found['ca']}: expected a file of certificates, found none")
