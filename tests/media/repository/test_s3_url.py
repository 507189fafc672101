"""What an `s3://` URL may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.faults import RepositoryUrlUnknown
from media.repository.s3_url import S3Url, parse_s3_url


def test_bucket_prefix_and_settings_are_read_and_written_again() -> None:
    url = "s3://bucket/a/b?endpoint=https://host:9000&region=eu-north-1&storage_class=STANDARD_IA&sse=aws:kms&kms_key=k"
    parsed = parse_s3_url(url)
    assert parsed == S3Url(
        "bucket", "a/b/", "https://host:9000", "eu-north-1", storage_class="STANDARD_IA", sse="aws:kms", kms_key="k"
    )
    assert parsed.text == url
    assert parse_s3_url(parsed.text) == parsed


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket//", "s3://bucket?region=x"])
def test_a_bucket_may_be_a_repository_as_a_whole(url: str) -> None:
    assert parse_s3_url(url).prefix == ""


def test_prefixes_are_taken_as_they_stand() -> None:
    assert parse_s3_url("s3://bucket/back ups/größe+1%20").prefix == "back ups/größe+1%20/"


def test_a_key_of_the_key_service_asks_for_its_encryption() -> None:
    assert parse_s3_url("s3://bucket/x?kms_key=arn:aws:kms:eu-west-1:1:key/2").sse == "aws:kms"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://key:hidden@bucket/x", "no credentials in the URL"),
        ("s3://bucket/x?endpoint=https://key:hidden@host", "no credentials in it"),
        ("s3://bucket/x?secret_access_key=hidden", "never from a URL"),
        ("s3://bucket/x?access_key=hidden&region=x", "never from a URL"),
    ],
)
def test_credentials_are_refused_and_not_repeated(url: str, says: str) -> None:
    with pytest.raises(RepositoryUrlUnknown, match=says) as raised:
        parse_s3_url(url)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "no bucket's name"),
        ("s3:///x", "no bucket's name"),
        ("s3://b/x", "no bucket's name"),
        ("s3://buc ket/x", "no bucket's name"),
        ("s3://bucket/a//b", "expected a prefix"),
        ("s3://bucket/a\nb", "expected a prefix"),
        ("s3://bucket/x?region", "name=value"),
        ("s3://bucket/x?region=", "found none"),
        ("s3://bucket/x?region=a&region=b", "found two"),
        ("s3://bucket/x?endpoint=host:9000", "expected http://host:port"),
        ("s3://bucket/x?endpoint=ftp://host", "expected http://host:port"),
        ("s3://bucket/x?addressing=auto", "expected path or virtual"),
        ("s3://bucket/x?fips=true", "expected no or yes"),
        ("s3://bucket/x?sse=aes", "expected AES256 or aws:kms"),
        ("s3://bucket/x?sse=AES256&kms_key=k", "expected sse=aws:kms"),
        ("s3://bucket/x?storage_class=DEEP_ARCHIVE", "read at once"),
        ("s3://bucket/x?ca=/not/there.pem", "expected a file of certificates"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(url: str, says: str) -> None:
    with pytest.raises(RepositoryUrlUnknown, match=says):
        parse_s3_url(url)


def test_a_file_of_certificates_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    assert parse_s3_url(f"s3://bucket/x?ca={tmp_path}/ca.pem").ca == f"{tmp_path}/ca.pem"
