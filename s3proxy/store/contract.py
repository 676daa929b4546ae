"""The contract between transfers and a store. No code here acts.

Sizes are in bytes. Every method is a coroutine and raises only `StoreError` (or `asyncio.CancelledError`); one that is
given a path, `InvalidKey` too, for a key that has no room in its bucket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from s3proxy.protocol.checksums import Checksum
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, RangeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAttributes:
    """What S3 keeps beside the bytes. `metadata` names are without the `x-amz-meta-` prefix, values US-ASCII.

    The last three say how it keeps the object, None as the bucket's owner chose; they are never read back.
    """

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None
    encryption: str | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object as HEAD shows it. `etag` keeps its quotes, as S3 sends it; `last_modified` is in UTC."""

    size: int
    etag: str
    last_modified: datetime
    attributes: ObjectAttributes
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """Conditions S3 checks at the commit. `if_none_match` is `"*"` or None; `if_match` an ETag with its quotes."""

    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload S3 holds open until it is completed or aborted.

    `retried`: S3 was asked more than once and may hold another upload besides, whose id nobody knows.
    """

    path: ObjectPath
    upload_id: str
    retried: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """A part S3 has stored. `number` counts from 1."""

    number: int
    size: int
    etag: str
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the store said when it committed an object. `checksum` is the store's own, when it gave one."""

    etag: str
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class ListedObject:
    """A row of a listing."""

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a bucket. `cursor` asks for the next page; None on the last."""

    objects: Sequence[ListedObject]
    prefixes: Sequence[str]
    cursor: str | None


class Body(Protocol):
    """Bytes ready to be sent, read by one executor thread at a time, possibly more than once (retries rewind).

    `read` returns the next stretch, of a length the body chooses, at most as long as what remains; empty at the end.
    `readinto` fills the buffer it is given as far as the stretch goes. What either raises ends the call, untried again.
    """

    def __len__(self) -> int: ...
    def read(self, size: int = -1, /) -> bytes | memoryview: ...
    def readinto(self, buffer: memoryview, /) -> int: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


class ObjectStream(Protocol):
    """An object, or one range of it, being read.

    `info` describes the whole object; `first` is the offset of the first byte read and `length` how many follow.
    """

    @property
    def info(self) -> ObjectInfo: ...
    @property
    def first(self) -> int: ...
    @property
    def length(self) -> int: ...

    async def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with the next bytes; returns how many, 0 only when all `length` were read.

        A caller that is cancelled leaves the buffer to the store, which may still be writing into it. Raises
        `StoreBroken` or `StoreTimeout` when the connection breaks; what was read before stays valid. A stream that has
        to go on over another connection raises what `ObjectStore.open` with `if_match` does.
        """
        ...

    def close(self) -> None:
        """Let go of the connection at once, also with a read under way. Never blocks; may be called twice.

        A read under way fails or ends early, and every later one raises `StoreBroken`.
        """
        ...


class ObjectStore(Protocol):
    """Objects in buckets, written whole or not at all."""

    async def put(
        self,
        path: ObjectPath,
        body: Body,
        attributes: ObjectAttributes,
        *,
        checksum: Checksum | None = None,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        """Store a whole object in one request (S3: at most 5 GiB), replacing any other of that key.

        Raises `BucketNotFound`, `StorePreconditionFailed` (for `if_match` also where there is no object),
        `WriteConflict` and the general `StoreError`s.
        """
        ...

    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """Open a multipart upload. Raises `BucketNotFound`."""
        ...

    async def put_part(
        self, upload: MultipartUpload, number: int, body: Body, *, checksum: Checksum | None = None
    ) -> CompletedPart:
        """Store part `number`, replacing an earlier one of that number. Raises `UploadNotFound`."""
        ...

    async def complete_upload(
        self,
        upload: MultipartUpload,
        parts: Sequence[CompletedPart],
        *,
        size: int,
        checksum: Checksum | None = None,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        """Join the parts, given in ascending order, into the object. `size` and `checksum` are of the whole.

        Raises as `put`, and `UploadNotFound`, which also answers a repeated call that succeeded the first time.
        """
        ...

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Drop the upload and its parts. Returns when the store no longer knows it; gone already is no error.

        No `put_part` of the upload may be under way. Raises when it could not be done; call again later.
        """
        ...

    async def list_uploads(self, bucket: str, prefix: str) -> Sequence[tuple[MultipartUpload, datetime]]:
        """All open uploads to keys that begin with `prefix`, and when each was begun. Raises `BucketNotFound`."""
        ...

    async def head(self, path: ObjectPath) -> ObjectInfo:
        """Raises `ObjectNotFound`, also where the bucket is missing (HEAD cannot tell)."""
        ...

    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectStream:
        """Start reading an object. With `if_match`, another version raises `StorePreconditionFailed`.

        Raises `ObjectNotFound`, `BucketNotFound`, `StoreRangeNotSatisfiable`.
        """
        ...

    async def presign(self, path: ObjectPath, *, seconds: float, response: Mapping[str, str]) -> str:
        """A URL with which anyone may GET the object from the store itself, for `seconds` from now.

        `response` replaces headers of that answer: `Cache-Control`, `Content-Disposition`, `Content-Encoding`,
        `Content-Language`, `Content-Type`, `Expires`. Asks the store nothing, so there need not be an object.
        """
        ...

    async def delete(self, path: ObjectPath) -> None:
        """Remove the object. Removing none is no error. Raises `BucketNotFound`."""
        ...

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000, cursor: str | None = None
    ) -> Listing:
        """One page, in UTF-8 binary order, of at most `limit` (1 to 1,000) objects and prefixes together.

        Raises `BucketNotFound`, and `BadRequest` for a cursor that is none of this store's.
        """
        ...

    async def check(self) -> None:
        """Return when the store answers and takes our credentials; raise the `StoreError` that says why not."""
        ...

    async def close(self) -> None:
        """Let go of threads and connections. Nothing may be called after."""
        ...
