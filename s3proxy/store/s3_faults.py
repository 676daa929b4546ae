"""What S3 and boto3 say went wrong, in the words of our error table. No text of theirs passes."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from s3proxy import errors
from s3proxy.store.s3_retries import GaveUp

BY_CODE: dict[str, type[errors.StoreError]] = {
    "NoSuchKey": errors.ObjectNotFound,
    "NoSuchBucket": errors.BucketNotFound,
    "NoSuchUpload": errors.UploadNotFound,
    "PreconditionFailed": errors.StorePreconditionFailed,
    "ConditionalRequestConflict": errors.WriteConflict,
    "OperationAborted": errors.WriteConflict,
    "InvalidRange": errors.StoreRangeNotSatisfiable,
    "SlowDown": errors.StoreThrottled,
    "ServiceUnavailable": errors.StoreThrottled,
    "Throttling": errors.StoreThrottled,
    "ThrottlingException": errors.StoreThrottled,
    "RequestLimitExceeded": errors.StoreThrottled,
    "BandwidthLimitExceeded": errors.StoreThrottled,
    "RequestTimeout": errors.StoreTimeout,
    "BadDigest": errors.StoreBroken,
    "XAmzContentChecksumMismatch": errors.StoreBroken,
    "XAmzContentSHA256Mismatch": errors.StoreBroken,
    "IncompleteBody": errors.StoreBroken,
}
"""By S3's error code (AWS S3 API reference, "Error responses")."""

BY_STATUS: dict[int, type[errors.StoreError]] = {
    404: errors.ObjectNotFound,
    409: errors.WriteConflict,
    412: errors.StorePreconditionFailed,
    416: errors.StoreRangeNotSatisfiable,
    429: errors.StoreThrottled,
    503: errors.StoreThrottled,
}
"""By HTTP status, where the code says nothing: an answer to HEAD has no body to hold one."""

FAULTS = (ClientError, BotoCoreError, ResponseParserError, HTTPError, GaveUp, OSError, ValueError, RecursionError)
"""All that a call or a read can raise.

`ValueError` is a read of a response that was closed meanwhile; `RecursionError` botocore's search for a bucket's
region, in a store that redirects without end.
"""


def translate(fault: Exception) -> errors.StoreError:
    """The `StoreError` that says what `fault` means for us."""
    if isinstance(fault, ClientError):
        return _answer(fault)
    if isinstance(fault, NoCredentialsError | PartialCredentialsError):
        return errors.StoreRefused(reason="NoCredentials")
    if isinstance(fault, ParamValidationError):
        return errors.StoreRefused(reason="InvalidRequest")
    if isinstance(fault, ConnectTimeoutError):
        # Of the last try; the answer to one before it may have been lost.
        return errors.StoreTimeout(reason="ConnectTimeout", ambiguous=True)
    if isinstance(fault, ReadTimeoutError | TimeoutError):
        return errors.StoreTimeout(reason="ReadTimeout", ambiguous=True)
    if isinstance(fault, GaveUp):
        return errors.StoreBroken(reason="BodyGaveUp", ambiguous=True)
    if isinstance(fault, RecursionError):
        return errors.StoreBroken(reason="RedirectLoop")
    if isinstance(fault, EndpointConnectionError):
        return errors.StoreBroken(reason="ConnectionRefused", ambiguous=True)
    return errors.StoreBroken(reason="ConnectionBroken", ambiguous=True)


def _answer(fault: ClientError) -> errors.StoreError:
    code = fault.response.get("Error", {}).get("Code", "")
    metadata = fault.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 500)
    kind = BY_CODE.get(code) or BY_STATUS.get(status)
    if kind is None:
        kind = errors.StoreBroken if status >= 500 or status < 400 else errors.StoreRefused
    # A refusal of a retry may answer the effect of the first try.
    ambiguous = status >= 500 or status < 400 or metadata.get("RetryAttempts", 0) > 0
    return kind(reason=code if code.isalnum() else "", ambiguous=ambiguous)
