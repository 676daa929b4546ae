"""S3 through boto3: blocking calls in threads of their own.

Three pools keep one kind of trouble from becoming another's: `writes` send bodies, `reads` receive them, `calls` do
everything that is short. A store that hangs in the middle of bodies leaves the calls free.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import boto3
from botocore.config import Config

from s3proxy.errors import BadRequest, ObjectNotFound, StoreBroken, StoreRefused, UploadNotFound
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
from s3proxy.store.s3_faults import FAULTS, translate

P = ParamSpec("P")
T = TypeVar("T")

EAGER_SIZE = 256 * 1024
"""Objects up to this many bytes are read by the call that opens them, which saves a hop between threads."""

COMPLETE_PATIENCE = 10
"""How many read timeouts a Complete may take; S3 says it can take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """How to reach S3. Times in seconds; secrets stay out of `repr`."""

    region: str
    endpoint_url: str | None = None
    addressing_style: str = "auto"
    ca_bundle: Path | None = None
    credentials: Mapping[str, str] | None = None
    checksum: ChecksumAlgorithm = ChecksumAlgorithm.CRC64NVME
    sign_payload: bool = False
    conditional_writes: bool = True
    connect_timeout: float = 5
    read_timeout: float = 30
    attempts: int = 3
    threads: int = 16

    def __repr__(self) -> str:
        return f"S3Options(region={self.region!r}, endpoint_url={self.endpoint_url!r})"


def has_credentials() -> bool:
    """Whether boto3 finds credentials on this machine, asking no network."""
    session = boto3.session.Session()
    providers = session._session.get_component("credential_provider")
    for remote in ("iam-role", "container-role"):
        providers.remove(remote)
    return session.get_credentials() is not None


class S3Store:
    """S3 or a store that speaks its API. Keeps `ObjectStore`."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._checksums = options.checksum is not ChecksumAlgorithm.NONE
        self._client = self._make_client(options.read_timeout)
        self._completer = self._make_client(options.read_timeout * COMPLETE_PATIENCE)
        self._writes, self._reads, self._calls = (
            ThreadPoolExecutor(options.threads, thread_name_prefix=f"s3-{name}") for name in ("write", "read", "call")
        )

    def _make_client(self, read_timeout: float) -> Any:
        options = self._options
        credentials: Any = options.credentials or {}
        client = boto3.session.Session(region_name=options.region, **credentials).client(
            "s3",
            endpoint_url=options.endpoint_url,
            verify=str(options.ca_bundle) if options.ca_bundle else None,
            config=Config(
                connect_timeout=options.connect_timeout,
                read_timeout=read_timeout,
                max_pool_connections=3 * options.threads,
                retries={"mode": "standard", "total_max_attempts": options.attempts},
                # Checksums are ours, computed while the bytes arrive; boto3 need not read the body again.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                tcp_keepalive=True,
                user_agent_extra="s3proxy",
                s3={"addressing_style": options.addressing_style, "payload_signing_enabled": options.sign_payload},
            ),
        )
        # The body is at hand, and a whole part of it; asking first costs a round trip for each part.
        client.meta.events.register_last("before-call.s3", _send_without_asking)
        return client

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(call, *args, **kwargs))
        except FAULTS as fault:
            raise translate(fault) from None

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
        arguments = _target(path) | _attributes(attributes) | _checksum(checksum) | self._conditions(conditions)
        answer = await self._run(self._writes, self._client.put_object, Body=body, **arguments)
        return StoredObject(answer["ETag"], self._stored_checksum(answer))

    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """See `ObjectStore.create_upload`."""
        arguments = _target(path) | _attributes(attributes)
        if self._checksums:
            arguments |= {"ChecksumAlgorithm": self._options.checksum.upper(), "ChecksumType": "FULL_OBJECT"}
        answer = await self._run(self._calls, self._client.create_multipart_upload, **arguments)
        return MultipartUpload(path, answer["UploadId"])

    async def put_part(
        self, upload: MultipartUpload, number: int, body: Body, *, checksum: Checksum | None = None
    ) -> CompletedPart:
        """See `ObjectStore.put_part`."""
        arguments = _upload(upload) | _checksum(checksum)
        answer = await self._run(self._writes, self._client.upload_part, PartNumber=number, Body=body, **arguments)
        return CompletedPart(number, len(body), answer["ETag"], checksum)

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
        arguments = _upload(upload) | _checksum(checksum) | self._conditions(conditions)
        if checksum is not None:
            arguments["ChecksumType"] = "FULL_OBJECT"
        listed = [{"PartNumber": part.number, "ETag": part.etag, **_checksum(part.checksum)} for part in parts]
        answer = await self._run(
            self._calls,
            self._completer.complete_multipart_upload,
            MultipartUpload={"Parts": listed},
            MpuObjectSize=size,
            **arguments,
        )
        return StoredObject(answer["ETag"], self._stored_checksum(answer))

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """See `ObjectStore.abort_upload`."""
        try:
            await self._run(self._calls, self._client.abort_multipart_upload, **_upload(upload))
            await self._run(self._calls, self._client.list_parts, MaxParts=1, **_upload(upload))
        except UploadNotFound:
            return
        except StoreRefused as refusal:
            if refusal.reason != "AccessDenied":
                raise
            return  # The abort was taken; only the look afterwards is not allowed to us.
        raise StoreBroken(reason="UploadStillThere")

    async def head(self, path: ObjectPath) -> ObjectInfo:
        """See `ObjectStore.head`."""
        arguments = _target(path)
        if self._checksums:
            arguments["ChecksumMode"] = "ENABLED"
        answer = await self._run(self._calls, self._client.head_object, **arguments)
        return self._info(answer, answer["ContentLength"])

    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectStream:
        """See `ObjectStore.open`."""
        arguments = _target(path)
        if byte_range is not None:
            arguments["Range"] = byte_range.header
        if if_match is not None:
            arguments["IfMatch"] = if_match
        return await self._run(self._reads, self._open, arguments)

    def _open(self, arguments: dict[str, Any]) -> S3Stream:
        answer: Any = self._client.get_object(**arguments)
        length = answer["ContentLength"]
        first, size = 0, length
        if "ContentRange" in answer:
            span, _, total = answer["ContentRange"].removeprefix("bytes ").partition("/")
            first, size = int(span.partition("-")[0]), int(total)
        eager = answer["Body"].read() if length <= EAGER_SIZE else b""
        return S3Stream(self, self._info(answer, size), first, length, answer["Body"], eager)

    async def delete(self, path: ObjectPath) -> None:
        """See `ObjectStore.delete`."""
        await self._run(self._calls, self._client.delete_object, **_target(path))

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000, cursor: str | None = None
    ) -> Listing:
        """See `ObjectStore.list`."""
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter, "MaxKeys": limit}
        if cursor is not None:
            arguments["ContinuationToken"] = cursor
        try:
            answer = await self._run(self._calls, self._client.list_objects_v2, **arguments)
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
            await self._run(self._calls, self._client.list_buckets, MaxBuckets=1)
        except StoreRefused as refusal:
            if refusal.reason != "AccessDenied":  # It knows us, and that is what was asked.
                raise

    async def close(self) -> None:
        """See `ObjectStore.close`. Threads that hang in a call are left behind."""
        for pool in (self._writes, self._reads, self._calls):
            pool.shutdown(wait=False, cancel_futures=True)
        for client in (self._client, self._completer):
            client.close()

    async def read(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking read of a body. For `S3Stream` only."""
        return await self._run(self._reads, call, *args, **kwargs)

    def _conditions(self, conditions: WriteConditions) -> dict[str, Any]:
        arguments = {}
        if self._options.conditional_writes:
            if conditions.if_match is not None:
                arguments["IfMatch"] = conditions.if_match
            if conditions.if_none_match is not None:
                arguments["IfNoneMatch"] = conditions.if_none_match
        return arguments

    def _info(self, answer: Mapping[str, Any], size: int) -> ObjectInfo:
        return ObjectInfo(
            size=size,
            etag=answer["ETag"],
            last_modified=answer["LastModified"].astimezone(UTC),
            attributes=ObjectAttributes(
                **{name: answer.get(field) for name, field in FIELDS.items()},
                metadata=answer.get("Metadata", {}),
            ),
            checksum=self._stored_checksum(answer),
        )

    def _stored_checksum(self, answer: Mapping[str, Any]) -> Checksum | None:
        """The checksum of the whole object in an answer; not one composed of parts' checksums, which end in `-N`."""
        value = answer.get(f"Checksum{self._options.checksum.upper()}")
        return Checksum(self._options.checksum, value) if value and "-" not in value else None


class S3Stream:
    """The body of one GetObject. Keeps `ObjectStream`."""

    def __init__(self, store: S3Store, info: ObjectInfo, first: int, length: int, body: Any, eager: bytes) -> None:
        self.info = info
        self.first = first
        self.length = length
        self._store = store
        self._body = body
        self._eager = eager
        self._reading = False
        self._closed = False

    async def read(self, size: int) -> bytes:
        """See `ObjectStream.read`."""
        if self._eager:
            data, self._eager = self._eager[:size], self._eager[size:]
            return data
        self._reading = True
        try:
            data = await self._store.read(self._body.read, size)
        finally:
            self._reading = False
            if self._closed:
                self._body.close()
        return data

    def close(self) -> None:
        """See `ObjectStream.close`."""
        if self._closed:
            return
        self._closed = True
        if self._reading:
            # Closing would wait for the thread that reads; this wakes it up.
            self._body._raw_stream.shutdown()
        else:
            self._body.close()


FIELDS = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
}
"""Attributes of ours and what boto3 calls them."""


def _target(path: ObjectPath) -> dict[str, Any]:
    return {"Bucket": path.bucket, "Key": path.key}


def _upload(upload: MultipartUpload) -> dict[str, Any]:
    return _target(upload.path) | {"UploadId": upload.upload_id}


def _attributes(attributes: ObjectAttributes) -> dict[str, Any]:
    fields = {field: getattr(attributes, name) for name, field in FIELDS.items()}
    return {field: value for field, value in fields.items() if value} | {"Metadata": dict(attributes.metadata)}


def _checksum(checksum: Checksum | None) -> dict[str, Any]:
    return {} if checksum is None else {f"Checksum{checksum.algorithm.upper()}": checksum.value}


def _send_without_asking(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)
