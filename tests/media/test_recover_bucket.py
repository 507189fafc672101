"""The recovery program reads an S3 bucket: against a small server that checks every signature in its own way."""

import hashlib
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from media import recover
from tests.media.handmade_repository import HandmadeDisk, HandmadeRepository
from tests.s3.signatures import signature

SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a/session+token=="
PREFIX = "back ups/größe+1"
DISK = HandmadeDisk(200000, {n * 9000: bytes([n + 1]) * 5000 for n in range(20)})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_server_of_these_tests_computes_the_signatures_that_aws_publishes(target: str, expected: str) -> None:
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-amz-date": "20130524T000000Z",
    }
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="
    )
    assert signature(SECRET, "GET", target, headers, authorization) == expected


class Service(ThreadingHTTPServer):
    """A bucket whose objects lie in a folder. Lists come two keys at a time; `failures` answers are 503 before."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.failures = 0
        self.refused = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.server.failures:
            self.server.failures -= 1
            self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        authorization = headers.get("authorization", "")
        expected = signature(SECRET, "GET", self.path, headers, authorization)
        if not authorization.endswith(f"Signature={expected}") or headers.get("x-amz-security-token") != TOKEN:
            self.server.refused += 1
            self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            return
        path, _, query = self.path.partition("?")
        _, bucket, key = urllib.parse.unquote(path).split("/", 2)
        assert bucket == "bucket"
        if query:
            self.list(dict(urllib.parse.parse_qsl(query)))
        else:
            self.get(key, headers.get("range"))

    def get(self, key: str, wanted: str | None) -> None:
        file = self.server.folder / key.removeprefix(PREFIX + "/")
        if not key.startswith(PREFIX + "/") or not file.is_file():
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        data = file.read_bytes()
        if wanted is None:
            self.answer(200, data)
            return
        first, last = wanted.removeprefix("bytes=").rsplit("-", 1)
        if first == "":
            self.answer(206, data[-int(last) :])
        elif int(first) >= len(data):
            self.answer(416, b"<Error><Code>InvalidRange</Code></Error>")
        else:
            self.answer(206, data[int(first) : int(last) + 1])

    def list(self, query: dict[str, str]) -> None:
        assert query["list-type"] == "2"
        files = (path for path in self.server.folder.rglob("*") if path.is_file())
        names = sorted(f"{PREFIX}/{path.relative_to(self.server.folder)}" for path in files)
        names = [name for name in names if name.startswith(query["prefix"])]
        start = int(query.get("continuation-token", "0+/=").removesuffix("+/="))
        more = f"<NextContinuationToken>{start + 2}+/=</NextContinuationToken>" if names[start + 2 :] else ""
        contents = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in names[start : start + 2])
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        self.answer(200, f'<ListBucketResult xmlns="{namespace}">{contents}{more}</ListBucketResult>'.encode())


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setattr(recover.time, "sleep", lambda _: None)
    served = Service(tmp_path / "repository")
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def arguments(service: Service, repository: HandmadeRepository) -> list[str]:
    address = f"s3://bucket/{PREFIX}?endpoint=http://127.0.0.1:{service.server_port}&region=eu-north-1"
    return ["--repository", address, *repository.arguments[2:]]


@pytest.fixture
def repository(tmp_path: Path) -> HandmadeRepository:
    made = HandmadeRepository(tmp_path)
    for sid in (1, 2, 3, 4, 5):
        made.write_point(sid, [DISK])
    made.write_expiry(5)
    return made


def content(disk: HandmadeDisk) -> bytes:
    expected = bytearray(disk.size_bytes)
    for offset, plain in disk.chunks.items():
        expected[offset : offset + len(plain)] = plain
    return bytes(expected)


def test_a_bucket_is_listed_and_restored_like_a_folder(
    service: Service, repository: HandmadeRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recover.main(arguments(service, repository)) == 0
    assert [line[:10] for line in capsys.readouterr().out.splitlines()] == [f"{sid:010x}" for sid in (1, 2, 3, 4)]
    assert recover.main([*arguments(service, repository), "latest", "--to", str(tmp_path / "disk.raw")]) == 0
    assert (tmp_path / "disk.raw").read_bytes() == content(DISK)
    assert service.refused == 0


def test_a_busy_service_is_asked_again(service: Service, repository: HandmadeRepository, tmp_path: Path) -> None:
    service.failures = 4
    assert recover.main([*arguments(service, repository), "1", "--to", str(tmp_path / "disk.raw")]) == 0
    assert (tmp_path / "disk.raw").read_bytes() == content(DISK)


def test_a_missing_or_empty_container_costs_its_extents(
    service: Service, repository: HandmadeRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.path("c/0000000001/000000").unlink()
    repository.path("c/0000000001/000001").write_bytes(b"")
    assert recover.main([*arguments(service, repository), "1", "--to", str(tmp_path / "disk.raw")]) == 3
    assert capsys.readouterr().err.count("lost: disk 0: 5000 bytes at ") == 6
    assert (tmp_path / "disk.raw").read_bytes()[54000:] == content(DISK)[54000:]


def test_wrong_credentials_and_a_service_that_is_gone_stop_the_program(
    service: Service,
    repository: HandmadeRepository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = ["1", "--to", str(tmp_path / "disk.raw")]
    service.failures = 10**6
    assert recover.main([*arguments(service, repository), *to]) == 1
    assert "status 503" in capsys.readouterr().err
    service.failures = 0
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert recover.main([*arguments(service, repository), *to]) == 1
    assert "SignatureDoesNotMatch" in capsys.readouterr().err
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert recover.main([*arguments(service, repository), *to]) == 1
    assert "AWS_ACCESS_KEY_ID is not set" in capsys.readouterr().err
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    gone = ["--repository", "s3://bucket/x?endpoint=http://127.0.0.1:1"]
    assert recover.main([*gone, *to]) == 1
    assert capsys.readouterr().err.startswith("recover: [media.fault] 127.0.0.1:1/bucket/x/ingot.json: ")
    assert not (tmp_path / "disk.raw").exists()
