"""How our own server answers one request."""

from __future__ import annotations

import base64
import contextlib
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler
from typing import Any
from xml.sax.saxutils import escape

from tests.s3.objects import Bucket, Version
from tests.s3.own_server import OwnServer, reset, sha256_of
from tests.s3.signatures import signature

_ERRORS = {
    "throttle": (503, "SlowDown"),
    "fail": (500, "InternalError"),
    "conflict": (409, "ConditionalRequestConflict"),
    "deny": (403, "AccessDenied"),
    "expire": (400, "ExpiredToken"),
    "be of another time": (403, "RequestTimeTooSkewed"),
    "be full": (403, "QuotaExceeded"),
    "be elsewhere": (301, "PermanentRedirect"),
    "be frozen": (403, "InvalidObjectState"),
}


class Answer(BaseHTTPRequestHandler):
    """Checks who asks, does what is asked, or what was planned instead."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: OwnServer

    def do_PUT(self) -> None:
        self._take()

    def do_GET(self) -> None:
        self._take()

    def do_DELETE(self) -> None:
        self._take()

    def handle_expect_100(self) -> bool:
        """At once: a client that hears nothing waits a second."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _take(self) -> None:
        self.sent = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(self.sent.get("content-length", "0")))
        refusal = self._refusal(body)
        if refusal is not None:
            self._error(*refusal)
            return
        path, _, query = self.path.partition("?")
        _, bucket, key = (urllib.parse.unquote(path) + "/").split("/", 2)
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.server.headers_by_key[key.rstrip("/")] = self.sent
        self._how = self.server.plan_for(self._operation(key, asked), key.rstrip("/"))
        if self._how in _ERRORS:
            self._error(*_ERRORS[self._how])
        elif self._how == "reset":
            self._hang_up()
        elif self._how == "lie" and self.command != "GET":
            self._send(200, b"", etag='"lie"')
        else:
            if self._how == "be late":
                self.server.late.wait()
            self._do(bucket, key.rstrip("/"), asked, body)

    def _operation(self, key: str, asked: dict[str, str]) -> str:
        if not key:
            return "list" if "list-type" in asked or "versions" in asked else "look"
        return self.command.lower()

    def _refusal(self, body: bytes) -> tuple[int, str] | None:
        authorization = self.sent.get("authorization", "")
        access_key = authorization.partition("Credential=")[2].partition("/")[0]
        secret = self.server.secret_by_access_key.get(access_key)
        if secret is None:
            return 403, "InvalidAccessKeyId"
        if not authorization.endswith(signature(secret, self.command, self.path, self.sent, authorization)):
            return 403, "SignatureDoesNotMatch"
        if not self.server.accepts_token(self.sent.get("x-amz-security-token")):
            return 400, "ExpiredToken"
        if self.sent["x-amz-content-sha256"] not in ("UNSIGNED-PAYLOAD", sha256_of(body)):
            return 400, "XAmzContentSHA256Mismatch"
        crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        if self.sent.get("x-amz-checksum-crc32", crc) != crc:
            return 400, "BadDigest"
        return None

    def _do(self, name: str, key: str, asked: dict[str, str], body: bytes) -> None:
        if self.command == "PUT" and not key:
            self._change_bucket(name, asked, body)
            return
        bucket = self.server.buckets.get(name)
        if bucket is None:
            self._error(404, "NoSuchBucket")
        elif "versioning" in asked:
            status = "<Status>Enabled</Status>" if bucket.keeps_versions else ""
            self._xml("VersioningConfiguration", status)
        elif "object-lock" in asked:
            self._error(404, "ObjectLockConfigurationNotFoundError")
        elif "versions" in asked:
            self._versions(bucket, asked)
        elif not key:
            self._list(bucket, asked)
        elif self.command == "PUT":
            self._put(bucket, key, body)
        elif self.command == "DELETE":
            bucket.delete(key, asked.get("versionId", ""))
            self._send(204, b"")
        else:
            self._get(bucket.get(key, asked.get("versionId", "")), versioned=bucket.keeps_versions)

    def _change_bucket(self, name: str, asked: dict[str, str], body: bytes) -> None:
        bucket = self.server.buckets.setdefault(name, Bucket())
        if "versioning" in asked:
            bucket.keeps_versions = b"Enabled" in body
        self._send(200, b"")

    def _put(self, bucket: Bucket, key: str, body: bytes) -> None:
        stored = self.sent.get("x-amz-storage-class", "STANDARD")
        version = bucket.put(key, body, stored, if_absent=self.sent.get("if-none-match") == "*")
        if version is None:
            self._error(412, "PreconditionFailed")
            return
        named = {"x_amz_version_id": version.id} if bucket.keeps_versions else {}
        self._send(200, b"", etag='"stored"', **named)

    def _get(self, version: Version | None, *, versioned: bool) -> None:
        if version is None:
            self._error(404, "NoSuchKey")
            return
        body, wanted = version.body, self.sent.get("range", "").removeprefix("bytes=")
        named = {"x_amz_version_id": version.id} if versioned else {}
        if not wanted or self._how == "send everything":
            self._send(200, body, **named)
            return
        first, _, last = wanted.partition("-")
        start = int(first) if first else max(0, len(body) - int(last))
        end = min(len(body), int(last) + 1) if first else len(body)
        if start >= len(body):
            self._error(416, "InvalidRange")
            return
        self._send(206, body[start:end], content_range=f"bytes {start}-{end - 1}/{len(body)}", **named)

    def _list(self, bucket: Bucket, asked: dict[str, str]) -> None:
        after = asked.get("start-after", "")
        newest = dict(reversed(bucket.rows(asked.get("prefix", ""))))
        found = sorted((key, version) for key, version in newest.items() if key > after and not version.is_marker)
        page = found[: self.server.page_size]
        if self._how == "list backwards":
            page = page[::-1]
        elif self._how == "list nothing, and more to come":
            page = []
        contents = "".join(
            f"<Contents><Key>{_quoted(key)}</Key><Size>{len(version.body)}</Size></Contents>" for key, version in page
        )
        more = "true" if len(found) > len(page) else "false"
        self._xml("ListBucketResult", f"<EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{contents}")

    def _versions(self, bucket: Bucket, asked: dict[str, str]) -> None:
        """A page may end within a name: the marker then names the version it ended with."""
        key_marker, version_marker = asked.get("key-marker", ""), asked.get("version-id-marker", "")
        rows = bucket.rows(asked.get("prefix", ""))
        names = [(key, version.id) for key, version in rows]
        if version_marker:
            rows = rows[names.index((key_marker, version_marker)) + 1 :]
        else:
            rows = [(key, version) for key, version in rows if key > key_marker]
        page, rest = rows[: self.server.page_size], rows[self.server.page_size :]
        text = "".join(_row(key, version) for key, version in page)
        more = f"<IsTruncated>{'true' if rest else 'false'}</IsTruncated><EncodingType>url</EncodingType>"
        if rest:
            key, version = page[-1]
            more += f"<NextKeyMarker>{_quoted(key)}</NextKeyMarker>"
            more += f"<NextVersionIdMarker>{version.id}</NextVersionIdMarker>"
        self._xml("ListVersionsResult", more + text)

    def _xml(self, root: str, inner: str) -> None:
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        self._send(200, f'<{root} xmlns="{namespace}">{inner}</{root}>'.encode())

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>as asked</Message></Error>".encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        if self._how == "lose the reply":
            self._hang_up()
            return
        if self._how == "garble":
            status, body = 200, b"<not quite"
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if status != 204:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self._how == "cut":
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
                return
            self.wfile.write(body)
            self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        reset(self.connection)

    _how: str | None = None


def _row(key: str, version: Version) -> str:
    kind = "DeleteMarker" if version.is_marker else "Version"
    size = "" if version.is_marker else f"<Size>{len(version.body)}</Size>"
    return f"<{kind}><Key>{_quoted(key)}</Key><VersionId>{version.id}</VersionId>{size}</{kind}>"


def _quoted(key: str) -> str:
    return escape(urllib.parse.quote(key))
