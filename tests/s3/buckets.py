"""Buckets for tests: a fresh one for each, at any server, and the client that makes it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from media.repository.retrying import Retrying
from media.repository.s3 import S3Repository
from media.repository.s3_client import Connection, connect
from media.repository.s3_url import S3Url, parse_s3_url
from runtime.clock import Waiting

_numbers = itertools.count(1)
_connections: dict[object, Connection] = {}


class Service(NamedTuple):
    """Where a server listens, and who may speak with it."""

    endpoint: str
    access_key: str
    secret_key: str
    ca: str = ""

    def client(self, access_key: str = "", secret_key: str = "") -> Any:
        """A client of boto3's own making, to look at a server past everything of ours."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            verify=self.ca or None,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def new_bucket(self, **how: Any) -> str:
        """The name of a bucket that is made now."""
        name = f"bucket-{next(_numbers)}"
        self.client().create_bucket(Bucket=name, **how)
        return name

    def keep_versions(self, bucket: str) -> None:
        """From now on."""
        status = {"Status": "Enabled"}
        self.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration=status)

    def repository(self, bucket: str, prefix: str = "vms", clock: Waiting | None = None, **settings: str) -> Retrying:
        """A repository as the front door opens one, with this service's credentials."""

        url = parse_s3_url(self.url(bucket, prefix, **settings))
        return Retrying(S3Repository(url, self._connect), clock)

    def _connect(self, url: S3Url) -> Connection:
        """A client takes a third of a second to make, and one does for all repositories with the same settings."""
        settings = (self, replace(url, bucket="", prefix=""))
        if settings not in _connections:
            session = boto3.Session(aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key)
            _connections[settings] = connect(url, session)
        return _connections[settings]

    def url(self, bucket: str, prefix: str = "vms", **settings: str) -> str:
        """As a person writes it."""
        query = {"endpoint": self.endpoint, **({"ca": self.ca} if self.ca else {}), **settings}
        return f"s3://{bucket}/{prefix}?" + "&".join(f"{name}={value}" for name, value in query.items())
