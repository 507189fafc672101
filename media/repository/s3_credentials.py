"""Credentials of S3 that somebody gave, instead of those that the usual chain finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Credentials:
    """Permanent, or temporary with a token. Nothing of it but the access key is shown."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)


# Asked at every connection, so that newer ones are found. None: the usual chain.
Credentials = Callable[[], S3Credentials | None]
