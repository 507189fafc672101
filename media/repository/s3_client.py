"""A client of boto3 for one bucket. Retries are not its business: `media.repository.retrying` reads our faults."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from media.repository.s3_credentials import Credentials
from media.repository.s3_url import S3Url

CONNECTIONS = 64  # as many as requests in flight: one more would be opened, used once and thrown away
_CONNECT_SECONDS = 10
READ_SECONDS = 60  # without a byte


@dataclass(frozen=True)
class Connection:
    """A client, and the credentials it began with: what tells later whether there are newer ones."""

    client: Any = field(compare=False)
    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


def connect_with_wrong_secret(url: S3Url, connection: Connection) -> Connection:
    """As somebody who knows the access key and not its secret."""
    secret = "not-" + secrets.token_hex(18)
    return connect(
        url,
        boto3.Session(
            aws_access_key_id=connection.access_key,
            aws_secret_access_key=secret,
            aws_session_token=connection.token,
        ),
    )


def connect(url: S3Url, session: boto3.Session | None = None) -> Connection:
    """A new client with credentials from a session, or a new one, and so from the usual chain: environment, ~/.aws,
    the machine's role.

    Checksums: ours, in a header. boto3's own would be sent in a trailer, at twice the CPU, and some servers answer
    that with 411. On the way back none is asked for, because every record is checked by its seal.
    """
    config = Config(
        max_pool_connections=CONNECTIONS,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        retries={"mode": "standard", "total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        use_fips_endpoint=url.fips == "yes" or None,
        user_agent_extra="ingot",
        s3={
            "addressing_style": url.addressing or ("path" if url.endpoint else "auto"),
            "payload_signing_enabled": not url.encrypted_transport,  # TLS covers the bytes on their way already
        },
    )
    session = session or boto3.Session()
    client = session.client(
        "s3",
        region_name=url.region or session.region_name or "us-east-1",
        endpoint_url=url.endpoint or None,
        verify=url.ca or None,
        config=config,
    )
    credentials = session.get_credentials()
    frozen = None if credentials is None else credentials.get_frozen_credentials()
    return Connection(client, *((frozen.access_key, frozen.secret_key, frozen.token) if frozen else ("", "", None)))


def connecting_with(credentials: Credentials) -> Callable[[S3Url], Connection]:
    """`connect`, with what `credentials` gives each time."""

    def connect_with(url: S3Url) -> Connection:
        given = credentials()
        if given is None:
            return connect(url)
        session = boto3.Session(
            aws_access_key_id=given.access_key_id,
            aws_secret_access_key=given.secret_access_key,
            aws_session_token=given.session_token,
        )
        return connect(url, session)

    return connect_with
