"""S3 on a bad day, against a server that misbehaves as it is asked to. What holds on a good day is in the contract."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Callable
from dataclasses import replace

import boto3
import pytest

from media.container import Kind
from media.faults import (
    BucketMissing,
    CertificateRefused,
    ClockSkewed,
    CredentialsExpired,
    CredentialsMissing,
    CredentialsWrong,
    DeleteDenied,
    ObjectArchived,
    ObjectExists,
    ObjectMissing,
    RegionWrong,
    RepositoryBusy,
    RepositoryDenied,
    RepositoryFault,
    RepositoryFull,
    RepositoryTimeout,
    RepositoryUnfit,
    RepositoryUnreachable,
    TransferCorrupt,
)
from media.repository import Repository
from media.repository.s3 import S3Repository
from media.repository.s3_client import Connection, connect
from media.repository.s3_url import S3Url, parse_s3_url
from tests.s3.buckets import Service
from tests.s3.own_server import ACCESS_KEY, SECRET_KEY, Misbehaviour, OwnServer

NAME = "rp/0000000001"


def sessions(access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, token: str | None = None) -> boto3.Session:
    return boto3.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, aws_session_token=token)


def bare(service: Service, bucket: str, session: boto3.Session | None = None) -> S3Repository:
    """Without retries: the first fault is the last."""
    return S3Repository(parse_s3_url(service.url(bucket)), lambda url: connect(url, session or sessions()))


@pytest.fixture
def bucket(own_server: OwnServer) -> str:
    return own_server.service.new_bucket()


@pytest.fixture
def repository(own_server: OwnServer, bucket: str) -> S3Repository:
    repository = bare(own_server.service, bucket)
    repository.put_new("sess/0000000001", b"who puts first finds out what the server is")
    return repository


CALLS: dict[str, Callable[[Repository], object]] = {
    "put": lambda repository: repository.put_new(NAME, b"body"),
    "get": lambda repository: repository.get("sess/0000000001"),
    "list": lambda repository: list(repository.list("")),
    "delete": lambda repository: repository.delete("sess/0000000001"),
}
OF_ANY_CALL: dict[Misbehaviour, type[RepositoryFault]] = {
    "throttle": RepositoryBusy,
    "fail": RepositoryUnreachable,
    "conflict": RepositoryBusy,
    "reset": RepositoryUnreachable,
    "lose the reply": RepositoryUnreachable,
    "expire": CredentialsExpired,
    "be of another time": ClockSkewed,
    "be elsewhere": RegionWrong,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", OF_ANY_CALL)
def test_what_goes_wrong_with_any_call_has_a_name(
    repository: S3Repository, own_server: OwnServer, how: Misbehaviour, call: str
) -> None:
    own_server.misbehave(how)
    with pytest.raises(OF_ANY_CALL[how]) as raised:
        CALLS[call](repository)
    assert type(raised.value) is OF_ANY_CALL[how]
    assert call in str(raised.value)
    assert repository.url in str(raised.value)


@pytest.mark.parametrize(
    ("how", "call", "fault"),
    [
        ("deny", "put", RepositoryDenied),
        ("deny", "get", RepositoryDenied),
        ("deny", "list", RepositoryDenied),
        ("deny", "delete", DeleteDenied),
        ("be full", "put", RepositoryFull),
        ("be frozen", "get", ObjectArchived),
        ("cut", "get", RepositoryUnreachable),
        ("cut", "list", RepositoryUnreachable),
        ("garble", "list", RepositoryUnreachable),
    ],
)
def test_what_goes_wrong_with_one_call_has_a_name(
    repository: S3Repository, own_server: OwnServer, how: Misbehaviour, call: str, fault: type[RepositoryFault]
) -> None:
    own_server.misbehave(how)
    with pytest.raises(fault) as raised:
        CALLS[call](repository)
    assert type(raised.value) is fault


def test_a_wrong_secret_and_an_unknown_key_are_wrong_credentials(own_server: OwnServer, bucket: str) -> None:
    for session in (sessions(secret_key="wrong"), sessions(access_key="UNKNOWN")):
        with pytest.raises(CredentialsWrong) as raised:
            bare(own_server.service, bucket, session).get(NAME)
        assert "wrong" not in str(raised.value)


def test_a_bucket_that_is_not_there_is_missing_as_a_repository_is(own_server: OwnServer) -> None:
    with pytest.raises(BucketMissing, match=r"get ingot\.json: s3://nobody/vms"):
        bare(own_server.service, "nobody").get("ingot.json")


def test_no_credentials_anywhere_is_told_before_the_network_is_asked(
    own_server: OwnServer, bucket: str, credentials: pytest.MonkeyPatch
) -> None:
    repository = S3Repository(parse_s3_url(own_server.service.url(bucket)))
    asked = len(own_server.seen)
    with pytest.raises(CredentialsMissing):
        repository.get(NAME)
    credentials.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(CredentialsMissing, match="nobody"):
        S3Repository(parse_s3_url(own_server.service.url(bucket)))
    assert len(own_server.seen) == asked


def test_credentials_come_from_the_environment(
    own_server: OwnServer, bucket: str, credentials: pytest.MonkeyPatch
) -> None:
    credentials.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    credentials.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    repository = S3Repository(parse_s3_url(own_server.service.url(bucket)))
    repository.put_new(NAME, b"body")
    assert repository.get(NAME) == b"body"


def test_a_token_that_expires_in_the_middle_is_exchanged_for_the_newer_one_of_the_chain(
    own_server: OwnServer, bucket: str
) -> None:
    own_server.accepts_token = lambda token: token == "first"
    tokens = iter(["first", "second"])

    def connecting(url: S3Url) -> Connection:
        return connect(url, sessions(token=next(tokens)))

    repository = S3Repository(parse_s3_url(own_server.service.url(_bucket_of(own_server))), connecting)
    repository.put_new(NAME, b"body")
    own_server.accepts_token = lambda token: token == "second"
    assert repository.get(NAME) == b"body"
    repository.put_new("rp/0000000002", b"body")


def test_a_token_that_expires_and_has_no_successor_is_a_fault_that_says_so(own_server: OwnServer) -> None:
    own_server.accepts_token = lambda token: token == "first"
    repository = bare(own_server.service, _bucket_of(own_server), sessions(token="first"))
    repository.put_new(NAME, b"body")
    own_server.accepts_token = lambda token: token == "second"
    with pytest.raises(CredentialsExpired):
        repository.get(NAME)


def _bucket_of(server: OwnServer) -> str:
    from tests.s3.objects import Bucket

    server.buckets["ours"] = Bucket()
    return "ours"


def test_a_server_that_takes_no_conditions_is_refused_by_its_first_put(own_server: OwnServer, bucket: str) -> None:
    own_server.buckets[bucket].takes_conditions = False
    with pytest.raises(RepositoryUnfit, match="If-None-Match"):
        bare(own_server.service, bucket).put_new(NAME, b"body")


def test_conditions_are_tried_once_and_no_later_put_is_made_twice(
    repository: S3Repository, own_server: OwnServer
) -> None:
    assert own_server.count("put") == 2
    repository.put_new(NAME, b"body")
    assert own_server.count("put") == 3


def test_a_server_that_does_not_answer_in_time_is_a_timeout(own_server: OwnServer, bucket: str) -> None:
    from media.repository import s3_client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_client, "READ_SECONDS", 0.2)
        repository = S3Repository(parse_s3_url(own_server.service.url(bucket)), lambda url: connect(url, sessions()))
    own_server.misbehave("be late", "get")
    with pytest.raises(RepositoryTimeout):
        repository.get(NAME)


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"s3://bucket/x?endpoint=http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RepositoryUnreachable):
            S3Repository(parse_s3_url(url), lambda url: connect(url, sessions())).get(NAME)


def test_the_real_server_refuses_a_clock_that_is_an_hour_off(radosgw: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = radosgw.repository(radosgw.new_bucket())
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: ahead)
    with pytest.raises(ClockSkewed):
        repository.get(NAME)


def test_a_certificate_that_nobody_vouches_for_is_refused(radosgw: Service) -> None:
    stranger = replace(parse_s3_url(radosgw.url("bucket")), ca="")
    with pytest.raises(CertificateRefused):
        S3Repository(stranger, lambda url: connect(url, sessions())).get(NAME)


def test_bytes_that_changed_on_their_way_are_not_stored(
    own_server: OwnServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media.repository.s3.crc32_of", lambda body: "AAAAAA==")
    with pytest.raises(TransferCorrupt):
        bare(own_server.service, bucket).put_new(NAME, b"body")
    assert own_server.buckets[bucket].rows("") == []


def test_an_extent_of_a_server_that_knows_no_ranges_is_cut_out_here(
    repository: S3Repository, own_server: OwnServer
) -> None:
    repository.put_new(NAME, bytes(range(100)))
    own_server.misbehave("send everything", "get", times=2)
    assert repository.get_extent(NAME, 10, 5) == bytes(range(10, 15))
    assert repository.get_tail(NAME, 7) == (bytes(range(93, 100)), 100)


def test_what_others_keep_below_the_prefix_is_not_listed(repository: S3Repository, own_server: OwnServer) -> None:
    client = own_server.service.client()
    for key in ("vms/", "vms/notes of mine.txt", "vms/tmp/0123", "vms/größe", "other/rp/0000000009"):
        client.put_object(Bucket=own_server.only_bucket, Key=key, Body=b"")
    assert [entry.name for entry in repository.list("")] == ["sess/0000000001"]


def test_a_policy_that_hides_whether_versions_are_kept_is_told_which_action_is_missing(
    own_server: OwnServer, bucket: str
) -> None:
    own_server.misbehave("deny", "look")
    with pytest.raises(RepositoryDenied, match="s3:GetBucketVersioning"):
        bare(own_server.service, bucket).get(NAME)


def test_a_listing_that_makes_no_sense_is_no_listing(repository: S3Repository, own_server: OwnServer) -> None:
    repository.put_new("sess/0000000002", b"")
    own_server.misbehave("list backwards", "list")
    with pytest.raises(RepositoryUnfit, match="expected names in order"):
        list(repository.list(""))
    own_server.misbehave("list nothing, and more to come", "list")
    with pytest.raises(RepositoryUnfit, match="expected names on each page"):
        list(repository.list(""))


def test_how_to_store_is_said_with_every_put(own_server: OwnServer, bucket: str) -> None:
    settings = {"sse": "aws:kms", "kms_key": "arn:aws:kms:eu-west-1:1:key/2"}
    own_server.service.repository(bucket, **settings).put_new(NAME, b"body")
    sent = own_server.headers_by_key[f"vms/{NAME}"]
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == settings["kms_key"]
    assert sent["if-none-match"] == "*"
    assert "x-amz-storage-class" not in sent
    assert "x-amz-trailer" not in sent


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://bucket/x?region=eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("s3://bucket/x?region=us-gov-west-1&fips=yes", "https://s3-fips.us-gov-west-1.amazonaws.com"),
    ],
)
def test_a_region_leads_to_the_services_own_endpoint(url: str, endpoint: str) -> None:
    assert connect(parse_s3_url(url), sessions()).client.meta.endpoint_url == endpoint


def test_only_containers_of_data_go_to_the_other_class_of_storage(own_server: OwnServer, bucket: str) -> None:
    repository = own_server.service.repository(bucket, storage_class="STANDARD_IA")
    big = bytes(200 << 10)
    data = b"INGOTCN1\1\0" + bytes([Kind.DATA]) + big
    pages = b"INGOTCN1\1\0" + bytes([Kind.PAGES]) + big
    for number, body in enumerate((data, pages, big, data[:1000])):
        repository.put_new(f"c/0000000001/{number:06x}", body)
    rows = own_server.buckets[bucket].rows("")
    assert [version.storage_class for _, version in rows] == ["STANDARD_IA", "STANDARD", "STANDARD", "STANDARD"]


def test_what_was_put_over_an_object_in_a_bucket_with_versions_changes_nothing(own_server: OwnServer) -> None:
    service = own_server.service
    bucket = service.new_bucket()
    service.keep_versions(bucket)
    repository = bare(service, bucket)
    repository.put_new(NAME, b"the first")
    service.client().put_object(Bucket=bucket, Key=f"vms/{NAME}", Body=b"an intruder's")
    service.client().delete_object(Bucket=bucket, Key=f"vms/{NAME}")
    assert repository.get(NAME) == b"the first"
    assert repository.get_tail(NAME, 5) == (b"first", 9)
    assert [(entry.name, entry.size) for entry in repository.list("rp/")] == [(NAME, 9)]
    with pytest.raises(ObjectExists):
        repository.put_new(NAME, b"another")  # a condition alone looks at the marker, and takes it
    assert repository.get(NAME) == b"the first"
    repository.delete(NAME)
    with pytest.raises(ObjectMissing):
        repository.get(NAME)
    repository.put_new(NAME, b"again")
    assert repository.get(NAME) == b"again"


def test_the_real_server_that_ignores_conditions_where_it_keeps_versions_is_refused(radosgw: Service) -> None:
    bucket = radosgw.new_bucket()
    radosgw.keep_versions(bucket)
    with pytest.raises(RepositoryUnfit, match="If-None-Match"):
        radosgw.repository(bucket).put_new(NAME, b"body")
