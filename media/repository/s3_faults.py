"""The one table from what S3, botocore and urllib3 say to faults."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

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
    RepositoryUrlUnknown,
    TransferCorrupt,
)

_FAULT_BY_CODE: dict[str, type[RepositoryFault]] = {
    "AccessDenied": RepositoryDenied,
    "AccountProblem": RepositoryDenied,
    "AllAccessDisabled": RepositoryDenied,
    "AuthFailure": CredentialsWrong,
    "AuthorizationHeaderMalformed": RegionWrong,
    "BadDigest": TransferCorrupt,
    "ConditionalRequestConflict": RepositoryBusy,
    "ExpiredToken": CredentialsExpired,
    "ExpiredTokenException": CredentialsExpired,
    "IllegalLocationConstraintException": RegionWrong,
    "InsufficientStorage": RepositoryFull,
    "InvalidAccessKeyId": CredentialsWrong,
    "InvalidBucketName": BucketMissing,
    "InvalidObjectState": ObjectArchived,
    "InvalidToken": CredentialsWrong,
    "NoSuchBucket": BucketMissing,
    "NoSuchKey": ObjectMissing,
    "NoSuchVersion": ObjectMissing,
    "OperationAborted": RepositoryBusy,
    "PermanentRedirect": RegionWrong,
    "PreconditionFailed": ObjectExists,
    "QuotaExceeded": RepositoryFull,
    "RequestTimeTooSkewed": ClockSkewed,
    "RequestTimeout": RepositoryTimeout,
    "SignatureDoesNotMatch": CredentialsWrong,
    "SlowDown": RepositoryBusy,
    "Throttling": RepositoryBusy,
    "TokenRefreshRequired": CredentialsExpired,
    "XAmzContentChecksumMismatch": TransferCorrupt,
    "XAmzContentSHA256Mismatch": TransferCorrupt,
}
_FAULT_BY_STATUS: dict[int, type[RepositoryFault]] = {  # for codes that are not above
    301: RegionWrong,
    307: RegionWrong,
    401: CredentialsWrong,
    403: RepositoryDenied,
    404: ObjectMissing,
    409: RepositoryBusy,
    412: ObjectExists,
    429: RepositoryBusy,
    503: RepositoryBusy,
    507: RepositoryFull,
}  # all others of 500 and more: RepositoryUnreachable; of less: RepositoryUnfit
_FAULT_BY_EXCEPTION: tuple[tuple[type[Exception], type[RepositoryFault]], ...] = (  # the first that fits
    (boto.NoCredentialsError, CredentialsMissing),
    (boto.PartialCredentialsError, CredentialsMissing),
    (boto.CredentialRetrievalError, CredentialsMissing),
    (boto.MetadataRetrievalError, CredentialsMissing),
    (boto.TokenRetrievalError, CredentialsMissing),
    (boto.ProfileNotFound, CredentialsMissing),
    (boto.ConfigNotFound, CredentialsMissing),
    (boto.ConfigParseError, CredentialsMissing),
    (boto.SSOError, CredentialsMissing),
    (boto.SSLError, CertificateRefused),
    (boto.ConnectTimeoutError, RepositoryTimeout),
    (boto.ReadTimeoutError, RepositoryTimeout),
    (boto.ConnectionError, RepositoryUnreachable),
    (boto.HTTPClientError, RepositoryUnreachable),
    (boto.IncompleteReadError, RepositoryUnreachable),
    (boto.BotoCoreError, RepositoryUrlUnknown),  # endpoints, regions, parameters: what was asked for
    (ResponseParserError, RepositoryUnreachable),
    (HTTPError, RepositoryUnreachable),
    (http.client.HTTPException, RepositoryUnreachable),
    (OSError, RepositoryUnreachable),
)
_CLIENTS_EXCEPTIONS = (boto.ClientError, *(exception for exception, _ in _FAULT_BY_EXCEPTION))


@contextmanager
def translated(operation: str, name: str, url: str) -> Iterator[None]:
    """Raise the fault for what S3 or the way to it says: which operation on which object, where, and their words."""
    try:
        yield
    except _CLIENTS_EXCEPTIONS as error:
        fault, why = _fault_of(error, operation)
        raise fault(f"{operation} {name}: {url}: {why}") from error


def code_of(error: boto.ClientError) -> str:
    """What S3 calls an error; its status where it has no name for it."""
    return str(error.response.get("Error", {}).get("Code", status_of(error)))


def status_of(error: boto.ClientError) -> int:
    """The status of HTTP."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _fault_of(error: Exception, operation: str) -> tuple[type[RepositoryFault], str]:
    if isinstance(error, boto.ClientError):
        fault, why = _of_answer(error)
        if fault is RepositoryDenied and operation == "delete":
            fault = DeleteDenied
        return fault, why
    fault = next(fault for exception, fault in _FAULT_BY_EXCEPTION if isinstance(error, exception))
    return fault, " ".join(str(error).split()) or type(error).__name__


def _of_answer(error: boto.ClientError) -> tuple[type[RepositoryFault], str]:
    code, status = code_of(error), status_of(error)
    otherwise = RepositoryUnreachable if status >= 500 else RepositoryUnfit
    fault = _FAULT_BY_CODE.get(code) or _FAULT_BY_STATUS.get(status, otherwise)
    if code.startswith("KMS."):
        fault = RepositoryDenied  # the key of the bucket is disabled, gone, or not ours to use
    said = " ".join(str(error.response.get("Error", {}).get("Message") or "").split())
    return fault, f"{code} (status {status})" + (f": {said}" if said else "")
