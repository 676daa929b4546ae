"""The error table: what can go wrong, its stable code, its HTTP status and what the client may read.

The first split says whose fault it is. A `RequestError` is the client's; a `StoreError` is S3's answer or its
silence. Anything else that leaves the service is our bug and becomes a 500.

The message of every error here is safe to send: it never holds text from S3, an endpoint or a credential.

    S3ProxyError
    ├── RequestError
    │   ├── BadRequest, InvalidKey, BadForm, EmptyFile, ChecksumMismatch          400
    │   ├── Unauthorized, Forbidden                                               401, 403
    │   ├── RequestTimeout                                                        408
    │   ├── PreconditionFailed                                                    412
    │   ├── TooLarge                                                              413
    │   ├── TypeNotAllowed                                                        415
    │   ├── RangeNotSatisfiable                                                   416
    │   ├── QuotaExceeded                                                         429
    │   ├── NotFound, MethodNotAllowed                                            404, 405
    │   └── Busy, ShuttingDown, AccessUnavailable                                 503
    └── StoreError
        ├── ObjectNotFound, BucketNotFound, UploadNotFound                        404, 404, 502
        ├── WriteConflict                                                         409
        ├── StoreRefused, StoreBroken, ObjectChanged                              502
        ├── StoreThrottled                                                        503
        └── StoreTimeout                                                          504
"""

from __future__ import annotations

import math
from typing import ClassVar


class S3ProxyError(Exception):
    """An outcome with a place in the error table.

    `message` is what the client reads as `detail`; `retry_after` is in seconds and becomes a header when set.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    summary: ClassVar[str] = "Internal error."
    retry_after: int | None = None

    def __init__(self, message: str | None = None) -> None:
        self.message = message or self.summary
        super().__init__(self.message)


class RequestError(S3ProxyError):
    """The request cannot be served as it was sent."""

    status = 400
    code = "bad_request"
    summary = "The request is not valid."


class BadRequest(RequestError):
    """A header, query argument or body is malformed."""


class InvalidKey(RequestError):
    """The object key cannot be stored, or has two meanings."""

    code = "invalid_key"
    summary = "The object key is not valid."


class BadForm(RequestError):
    """The multipart form is malformed, truncated or incomplete (RFC 7578)."""

    code = "bad_form"
    summary = "The form is not valid."


class EmptyFile(RequestError):
    """A form came without a file, or with an empty one."""

    code = "empty_file"
    summary = "File is empty or not readable."


class ChecksumMismatch(RequestError):
    """The body is not what the client's own checksum says."""

    code = "checksum_mismatch"
    summary = "The body does not match the checksum sent with it. Nothing was stored."


class NotFound(RequestError):
    """No such page or call in this service."""

    status = 404
    code = "not_found"
    summary = "Not found."


class MethodNotAllowed(RequestError):
    """The call exists, with other methods."""

    status = 405
    code = "method_not_allowed"
    summary = "Method not allowed."


class Unauthorized(RequestError):
    """No credential, or none that is valid (RFC 9110 section 15.5.2). Why is for the log only."""

    status = 401
    code = "unauthorized"
    summary = "A valid credential is needed."


class Forbidden(RequestError):
    """The principal may not do this. Says nothing about what exists."""

    status = 403
    code = "forbidden"
    summary = "Not allowed."


class RequestTimeout(RequestError):
    """The client stopped sending."""

    status = 408
    code = "request_timeout"
    summary = "No data arrived for too long. Nothing was stored."


class PreconditionFailed(RequestError):
    """An `If-Match`, `If-None-Match` or `If-Unmodified-Since` does not hold (RFC 9110 section 13)."""

    status = 412
    code = "precondition_failed"
    summary = "A precondition of the request does not hold."


class TooLarge(RequestError):
    """The object is larger than this service or S3 takes."""

    status = 413
    code = "too_large"
    summary = "The object is too large."


class TypeNotAllowed(RequestError):
    """The bucket, or the link, takes only objects of other types."""

    status = 415
    code = "type_not_allowed"
    summary = "Objects of this type are not taken here."


class QuotaExceeded(RequestError):
    """The principal, or its address, has had what it may have for now."""

    status = 429
    code = "quota_exceeded"
    summary = "That is more than is allowed. Try again later."
    retry_after = 1

    def __init__(self, message: str | None = None, *, retry_after: float = 1) -> None:
        super().__init__(message)
        self.retry_after = max(1, math.ceil(retry_after))


class RangeNotSatisfiable(RequestError):
    """The range lies outside the object. `size` is the object's length in bytes."""

    status = 416
    code = "range_not_satisfiable"
    summary = "The range lies outside the object."

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class Busy(RequestError):
    """Memory, spool or another limit of this process is used up for now."""

    status = 503
    code = "busy"
    summary = "The service is at its limit. Try again shortly."
    retry_after = 2


class ShuttingDown(RequestError):
    """This process is draining and the transfer did not end in time."""

    status = 503
    code = "shutting_down"
    summary = "The service is restarting. Try again."
    retry_after = 2


class AccessUnavailable(RequestError):
    """What is needed to decide who may do what cannot be reached. Nobody is let in meanwhile."""

    status = 503
    code = "access_unavailable"
    summary = "Access cannot be decided right now. Try again shortly."
    retry_after = 5


class StoreError(S3ProxyError):
    """S3 did not do what was asked.

    `reason` is S3's own error code (such as `AccessDenied`) or a word of ours; it is safe to show.
    `ambiguous` is true when the call may have taken effect although it failed: an answer that was lost, or a
    refusal that answers a retry of a call whose first answer was lost.
    """

    status = 502
    code = "store_error"
    summary = "The store did not do what was asked."

    def __init__(self, message: str | None = None, *, reason: str = "", ambiguous: bool = False) -> None:
        super().__init__(message)
        self.reason = reason or self.code
        self.ambiguous = ambiguous


class ObjectNotFound(StoreError):
    """There is no object of that key (S3 `NoSuchKey`)."""

    status = 404
    code = "object_not_found"
    summary = "File not found."


class BucketNotFound(StoreError):
    """There is no bucket of that name (S3 `NoSuchBucket`)."""

    status = 404
    code = "bucket_not_found"
    summary = "Bucket does not exist."


class UploadNotFound(StoreError):
    """The multipart upload is gone: aborted, or already completed (S3 `NoSuchUpload`)."""

    code = "upload_lost"
    summary = "The store lost the upload. Nothing was stored."


class StorePreconditionFailed(StoreError):
    """S3 found a precondition false when it committed (S3 `PreconditionFailed`)."""

    status = 412
    code = "precondition_failed"
    summary = PreconditionFailed.summary


class StoreRangeNotSatisfiable(StoreError):
    """S3 found the range outside the object (S3 `InvalidRange`)."""

    status = 416
    code = "range_not_satisfiable"
    summary = RangeNotSatisfiable.summary


class WriteConflict(StoreError):
    """Another writer was at the same key at the same moment (S3 `ConditionalRequestConflict`)."""

    status = 409
    code = "write_conflict"
    summary = "Another upload to the same key got in between. Nothing was stored."


class StoreRefused(StoreError):
    """S3 answered 4xx: our credentials, our permission or our request are wrong. Never the client's 403."""

    code = "store_refused"
    summary = "The store refused the request."


class StoreBroken(StoreError):
    """S3 answered 5xx or nonsense, or broke the connection, also after retries."""

    code = "store_broken"
    summary = "The store is not working."


class ObjectChanged(StoreError):
    """The object was replaced or deleted while it was being read."""

    code = "object_changed"
    summary = "The object changed while it was being read."


class StoreThrottled(StoreError):
    """S3 asks for fewer requests (503 `SlowDown` and its kin)."""

    status = 503
    code = "store_throttled"
    summary = "The store asks to slow down. Try again shortly."
    retry_after = 2


class StoreTimeout(StoreError):
    """S3 did not answer in time."""

    status = 504
    code = "store_timeout"
    summary = "The store did not answer in time."
