"""What a server of S3 can do besides: tried with requests that no backup makes. None of it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from media.ids import PROBES
from media.repository.probe import Abilities
from media.repository.s3_client import Connection, connect, connect_with_wrong_secret
from media.repository.s3_faults import code_of, translated
from media.repository.s3_url import S3Url

_WRONG = "AAAAAA=="  # a CRC-32 that what is sent does not have
_NO_LOCK = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented"}


def probe_server(url: S3Url, connecting: Callable[[S3Url], Connection] = connect) -> Abilities:
    """Raises what the way to the server raises; what the server refuses is an answer."""
    name = f"{PROBES}{os.urandom(8).hex()}"
    with translated("probe", name, url.text):
        connection = connecting(url)
        impostor = connect_with_wrong_secret(url, connection).client
        return _answers(connection.client, impostor, url.bucket, url.prefix + name)


def _answers(client: Any, impostor: Any, bucket: str, key: str) -> Abilities:
    own = {"Bucket": bucket, "Key": key}
    versions: list[str] = []

    def put(**how: str) -> None:
        versions.append(client.put_object(**own, Body=b"probe", **how).get("VersionId", ""))

    try:
        header = _refusal(lambda: put(ChecksumCRC32=_WRONG))
        trailer = _refusal(lambda: put(ChecksumAlgorithm="CRC32"))
        stranger = _refusal(lambda: impostor.get_object(**own))
        return {
            "checksum_header": {"": "ignored", "BadDigest": "checked"}.get(header, f"refused: {header}"),
            "checksum_trailer": f"refused: {trailer}" if trailer else "taken",
            "signature": "checked" if stranger else "NOT CHECKED: anybody may read",
            "versions": _versions(client, bucket),
            "object_lock": _object_lock(client, bucket),
        }
    finally:
        for version in versions:
            named = {"VersionId": version} if version else {}
            _refusal(partial(client.delete_object, **own, **named))


def _refusal(ask: Callable[[], object]) -> str:
    """What the server calls its refusal; "" when it did what was asked."""
    try:
        ask()
    except ClientError as error:
        return code_of(error)
    return ""


def _versions(client: Any, bucket: str) -> str:
    try:
        return str(client.get_bucket_versioning(Bucket=bucket).get("Status", "none")).lower()
    except ClientError as error:
        return f"unknown: {code_of(error)}"


def _object_lock(client: Any, bucket: str) -> str:
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        code = code_of(error)
        return "none" if code in _NO_LOCK else f"unknown: {code}"
    return str(answer["ObjectLockConfiguration"].get("ObjectLockEnabled", "none")).lower()
