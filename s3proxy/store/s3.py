"""S3 through boto3: blocking calls in threads of their own.

Three pools keep one kind of trouble from becoming another's: `writes` send bodies, `reads` ask for them, `calls` do
everything that is short. A store that hangs in the middle of bodies leaves the calls free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from botocore.httpsession import get_cert_path

from s3proxy.errors import (
    BadRequest,
    BucketNotFound,
    ObjectNotFound,
    StoreBroken,
    StorePreconditionFailed,
    StoreRefused,
    UploadNotFound,
)
from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import (
    Body,
    CompletedPart,
    ListedObject,
    Listing,
    MultipartUpload,
    ObjectAttributes,
    ObjectInfo,
    ObjectStream,
    StoredObject,
    WriteConditions,
)
from s3proxy.store.s3_body import S3Body
from s3proxy.store.s3_client import S3Options, open_client, open_session
from s3proxy.store.s3_direct import DirectCalls
from s3proxy.store.s3_fields import (
    attribute_arguments,
    attribute_headers,
    checksum_arguments,
    checksum_headers,
    content_length,
    read_checksum,
    read_info,
    read_span,
    required,
    target,
    upload_target,
)
from s3proxy.store.s3_retries import send
from s3proxy.store.s3_stream import Opening, S3Stream
from s3proxy.store.s3_threads import Threads

HEAD_SIZE = 128 * 1024
"""Bytes that are sent, or read first, without a thread."""

COMPLETE_PATIENCE = 10
"""How many read timeouts a Complete may take; S3 says it can take minutes."""


class S3Store:
    """S3 or a store that speaks its API. Keeps `ObjectStore`."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._checksums = options.checksum is not ChecksumAlgorithm.NONE
        credentials: Any = options.credentials or {}
        self._session = open_session(region_name=options.region, **credentials)
        self._client = open_client(self._session, options, options.read_timeout)
        self._completer = open_client(self._session, options, options.read_timeout * COMPLETE_PATIENCE)
        self._writes, self._reads, self._calls = (
            Threads(name, options.threads, options.read_timeout) for name in ("write", "read", "call")
        )
        self._direct = DirectCalls(
            self._session.get_credentials(),
            options.region,
            self._bucket_address,
            verify=get_cert_path(str(options.ca_bundle) if options.ca_bundle else True),
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            connections=3 * options.threads,
        )

    def _bucket_address(self, bucket: str) -> str:
        """The URL of a bucket, by boto3's own rules for endpoints and addressing styles."""
        url: str = self._client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        return url.partition("?")[0].removesuffix("k")

    async def put(
        self,
        path: ObjectPath,
        body: Body,
        attributes: ObjectAttributes,
        *,
        checksum: Checksum | None = None,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        """See `ObjectStore.put`."""
        checksum = self._known(checksum)
        if len(body) <= HEAD_SIZE and conditions == WriteConditions():
            headers = attribute_headers(attributes) | checksum_headers(checksum)
            direct = await self._direct.put(path, headers, b"".join(iter(body.read, b"")))
            if direct is not None:
                etag = required(direct.headers, "etag")
                return StoredObject(etag, read_checksum(direct.headers, self._options.checksum))
            body.seek(0)
        arguments = (
            target(path) | attribute_arguments(attributes) | checksum_arguments(checksum) | self._conditions(conditions)
        )
        with _if_match(conditions):
            answer = await self._writes.run(send, self._client.put_object, body, arguments)
        return StoredObject(required(answer, "ETag"), read_checksum(_headers(answer), self._options.checksum))

    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """See `ObjectStore.create_upload`."""
        arguments = target(path) | attribute_arguments(attributes)
        if self._checksums:
            arguments |= {"ChecksumAlgorithm": self._options.checksum.upper(), "ChecksumType": "FULL_OBJECT"}
        answer = await self._calls.begin(self._client.create_multipart_upload, **arguments)
        retried = answer["ResponseMetadata"].get("RetryAttempts", 0) > 0
        return MultipartUpload(path, required(answer, "UploadId"), retried)

    async def put_part(
        self, upload: MultipartUpload, number: int, body: Body, *, checksum: Checksum | None = None
    ) -> CompletedPart:
        """See `ObjectStore.put_part`."""
        checksum = self._known(checksum)
        arguments = upload_target(upload) | checksum_arguments(checksum) | {"PartNumber": number}
        answer = await self._writes.run(send, self._client.upload_part, body, arguments)
        return CompletedPart(number, len(body), required(answer, "ETag"), checksum)

    async def complete_upload(
        self,
        upload: MultipartUpload,
        parts: Sequence[CompletedPart],
        *,
        size: int,
        checksum: Checksum | None = None,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        """See `ObjectStore.complete_upload`."""
        checksum = self._known(checksum)
        arguments = upload_target(upload) | checksum_arguments(checksum) | self._conditions(conditions)
        if checksum is not None:
            arguments["ChecksumType"] = "FULL_OBJECT"
        listed = [{"PartNumber": part.number, "ETag": part.etag, **checksum_arguments(part.checksum)} for part in parts]
        with _if_match(conditions):
            answer = await self._calls.run(
                self._completer.complete_multipart_upload,
                MultipartUpload={"Parts": listed},
                MpuObjectSize=size,
                **arguments,
            )
        return StoredObject(required(answer, "ETag"), read_checksum(_headers(answer), self._options.checksum))

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """See `ObjectStore.abort_upload`."""
        try:
            await self._calls.run(self._client.abort_multipart_upload, **upload_target(upload))
        except (UploadNotFound, BucketNotFound):
            return
        try:
            await self._calls.run(self._client.list_parts, MaxParts=1, **upload_target(upload))
        except (UploadNotFound, BucketNotFound):
            return
        except StoreRefused as refusal:
            if refusal.reason != "AccessDenied":
                raise
            return  # The abort was taken; only the look afterwards is not allowed to us.
        raise StoreBroken(reason="UploadStillThere")

    async def list_uploads(self, bucket: str, prefix: str) -> Sequence[tuple[MultipartUpload, datetime]]:
        """See `ObjectStore.list_uploads`."""
        uploads: list[tuple[MultipartUpload, datetime]] = []
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        while True:
            answer = await self._calls.run(self._client.list_multipart_uploads, **arguments)
            uploads += [
                (MultipartUpload(ObjectPath(bucket, row["Key"]), row["UploadId"]), row["Initiated"].astimezone(UTC))
                for row in answer.get("Uploads", [])
            ]
            if not answer.get("IsTruncated"):
                return uploads
            arguments["KeyMarker"] = required(answer, "NextKeyMarker")
            arguments["UploadIdMarker"] = required(answer, "NextUploadIdMarker")

    async def head(self, path: ObjectPath) -> ObjectInfo:
        """See `ObjectStore.head`."""
        arguments = target(path)
        if self._checksums:
            arguments["ChecksumMode"] = "ENABLED"
        answer = await self._calls.begin(self._client.head_object, **arguments)
        return read_info(_headers(answer), content_length(answer), self._options.checksum)

    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectStream:
        """See `ObjectStore.open`."""
        opening = await self._open_directly(path, byte_range, if_match)
        if opening is None:
            opening = await self._reads.begin(self._open, path, byte_range, if_match)
        return S3Stream(self, path, opening)

    async def _open_directly(
        self, path: ObjectPath, byte_range: ByteRange | RangeRequest | None, if_match: str | None
    ) -> Opening | None:
        """The object, or its beginning, without a thread; None where that does not work or does not pay."""
        if byte_range is not None and not (isinstance(byte_range, ByteRange) and byte_range.length <= HEAD_SIZE):
            return None
        headers = {"range": (byte_range or ByteRange(0, HEAD_SIZE - 1)).header}
        if if_match is not None:
            headers["if-match"] = if_match
        answer = await self._direct.get(path, headers)
        if answer is None:
            return None
        first, size = read_span(answer.headers, len(answer.body))
        length = len(answer.body) if byte_range is not None else size
        return Opening(read_info(answer.headers, size, self._options.checksum), first, length, answer.body, None)

    def _open(self, path: ObjectPath, byte_range: ByteRange | RangeRequest | None, if_match: str | None) -> Opening:
        arguments = target(path)
        if byte_range is not None:
            arguments["Range"] = byte_range.header
        if if_match is not None:
            arguments["IfMatch"] = if_match
        answer = self._client.get_object(**arguments)
        headers, length = _headers(answer), content_length(answer)
        first, size = read_span(headers, length)
        body = S3Body(answer["Body"], length, self._options.read_timeout)
        return Opening(read_info(headers, size, self._options.checksum), first, length, b"", body)

    async def open_body(self, path: ObjectPath, byte_range: ByteRange, etag: str) -> S3Body:
        """A connection that sends `byte_range` of the version `etag`. For `S3Stream` only."""
        opening = await self._reads.run(self._open, path, byte_range, etag)
        assert opening.body is not None
        if opening.first != byte_range.first or opening.info.etag != etag:
            opening.body.close()
            raise StoreBroken(reason="RangeIgnored")
        return opening.body

    async def presign(self, path: ObjectPath, *, seconds: float, response: Mapping[str, str]) -> str:
        """See `ObjectStore.presign`."""
        return await self._calls.begin(self._direct.presign, path, seconds, response)

    async def delete(self, path: ObjectPath) -> None:
        """See `ObjectStore.delete`."""
        await self._calls.begin(self._client.delete_object, **target(path))

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000, cursor: str | None = None
    ) -> Listing:
        """See `ObjectStore.list`."""
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter, "MaxKeys": limit}
        if cursor is not None:
            arguments["ContinuationToken"] = cursor
        try:
            answer = await self._calls.begin(self._client.list_objects_v2, **arguments)
        except ObjectNotFound:
            raise StoreBroken(reason="NotFound") from None
        except StoreRefused as refusal:
            if cursor is not None and refusal.reason == "InvalidArgument":
                raise BadRequest("The cursor is not one of this listing's.") from None
            raise
        return Listing(
            [
                ListedObject(row["Key"], row["Size"], row["ETag"], row["LastModified"].astimezone(UTC))
                for row in answer.get("Contents", [])
            ],
            [row["Prefix"] for row in answer.get("CommonPrefixes", [])],
            answer.get("NextContinuationToken"),
        )

    async def check(self) -> None:
        """See `ObjectStore.check`."""
        try:
            await self._calls.begin(self._client.list_buckets, MaxBuckets=1)
        except StoreRefused as refusal:
            if refusal.reason != "AccessDenied":  # It knows us, and that is what was asked.
                raise

    async def close(self) -> None:
        """See `ObjectStore.close`. Threads that hang in a call are left behind."""
        for threads in (self._writes, self._reads, self._calls):
            threads.close()
        for client in (self._client, self._completer):
            client.close()
        await self._direct.close()

    def _known(self, checksum: Checksum | None) -> Checksum | None:
        """The checksum, unless this store knows none while others behind the same uploads do."""
        return checksum if self._checksums else None

    def _conditions(self, conditions: WriteConditions) -> dict[str, Any]:
        arguments = {}
        if self._options.conditional_writes:
            if conditions.if_match is not None:
                arguments["IfMatch"] = conditions.if_match
            if conditions.if_none_match is not None:
                arguments["IfNoneMatch"] = conditions.if_none_match
        return arguments


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """An answer's HTTP headers, names in lower case."""
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers


@contextmanager
def _if_match(conditions: WriteConditions) -> Iterator[None]:
    """Where there is no object, S3 answers `If-Match` with 404; the contract and RFC 9110 say it does not hold."""
    try:
        yield
    except ObjectNotFound as fault:
        if conditions.if_match is None:
            raise
        raise StorePreconditionFailed(reason=fault.reason, ambiguous=fault.ambiguous) from None
