"""Stores without S3: `MemoryStore` keeps the contract, `FaultyStore` breaks it where a test says so."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

from s3proxy.errors import (
    BadRequest,
    BucketNotFound,
    ObjectNotFound,
    RangeNotSatisfiable,
    StoreBroken,
    StoreError,
    StorePreconditionFailed,
    StoreRangeNotSatisfiable,
    StoreRefused,
    UploadNotFound,
)
from s3proxy.protocol.checksums import Checksum, RunningChecksum
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.parts import MAX_PARTS
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import (
    Body,
    CompletedPart,
    ListedObject,
    Listing,
    MultipartUpload,
    ObjectAttributes,
    ObjectInfo,
    ObjectStore,
    ObjectStream,
    StoredObject,
    WriteConditions,
)

P = ParamSpec("P")
T = TypeVar("T")

Operation = Literal[
    "put",
    "create_upload",
    "put_part",
    "complete_upload",
    "abort_upload",
    "list_uploads",
    "head",
    "open",
    "read",
    "presign",
    "delete",
    "list",
    "check",
]
"""The calls of `ObjectStore`, and `read` of its streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryObject:
    """An object as it is kept: `given` is what came with it; `part_sizes` is empty where it came in one piece."""

    data: bytes
    info: ObjectInfo
    given: ObjectAttributes
    part_sizes: tuple[int, ...] = ()


@dataclass(slots=True)
class OpenUpload:
    """A multipart upload neither completed nor aborted."""

    path: ObjectPath
    attributes: ObjectAttributes
    began: datetime
    parts: dict[int, tuple[bytes, CompletedPart]] = field(default_factory=dict)
    under_way: list[str] = field(default_factory=list)

    @contextmanager
    def busy(self, call: str) -> Iterator[None]:
        """Remember that `call` is under way."""
        self.under_way.append(call)
        try:
            yield
        finally:
            self.under_way.remove(call)


def _counted(
    method: Callable[Concatenate[MemoryStore, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[MemoryStore, P], Coroutine[Any, Any, T]]:
    """Count the call, and let it take effect also when its caller is cancelled, as a thread would."""
    name = method.__name__

    @functools.wraps(method)
    async def call(self: MemoryStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.closed:
            raise AssertionError("the store was used after it was closed")
        self.calls[name] += 1
        self.under_way[name] += 1
        self.most_under_way[name] = max(self.most_under_way[name], self.under_way[name])
        work = asyncio.ensure_future(method(self, *args, **kwargs))
        work.add_done_callback(lambda _: self.under_way.subtract([name]))
        return await asyncio.shield(work)

    return call


class MemoryStore:
    """Keeps `ObjectStore` in memory, as strictly as S3: part limits, checksums, sizes and conditions are all checked.

    `part_minimum` is the least size of all parts but the last (S3: 5 MiB). `body_reads` is how often a body is read,
    as by a client that retries, `read_limit` the most that one read of a stream brings. `calls` counts calls by name,
    `most_under_way` how many there were at once. `misuse` tells what S3 takes without a word and keeps parts for ever
    over: an upload ended while a call of it was under way.
    """

    def __init__(
        self,
        *buckets: str,
        part_minimum: int = 0,
        max_parts: int = MAX_PARTS,
        body_reads: int = 1,
        read_limit: int | None = None,
    ) -> None:
        self.buckets = set(buckets or ("bucket",))
        self.part_minimum = part_minimum
        self.max_parts = max_parts
        self.body_reads = body_reads
        self.read_limit = read_limit
        self.objects: dict[ObjectPath, MemoryObject] = {}
        self.uploads: dict[str, OpenUpload] = {}
        self.streams: list[MemoryStream] = []
        self.calls: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most_under_way: Counter[str] = Counter()
        self.misuse: list[str] = []
        self.closed = False
        self._upload_ids = 0

    @property
    def open_streams(self) -> int:
        """How many streams hold a connection: neither closed nor read to their end."""
        return sum(stream.is_open for stream in self.streams)

    def seed(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        attributes: ObjectAttributes = ObjectAttributes(),  # noqa: B008 - frozen
        last_modified: datetime | None = None,
    ) -> ObjectInfo:
        """Put an object there without a call."""
        self.buckets.add(bucket)
        return self._keep(ObjectPath(bucket, key), data, attributes, last_modified=last_modified).info

    def data(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an object; None when there is none."""
        kept = self.objects.get(ObjectPath(bucket, key))
        return None if kept is None else kept.data

    @_counted
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
        data = await self._receive(body)
        self._check_bucket(path.bucket)
        _verify(data, checksum)
        self._check(path, conditions)
        info = self._keep(path, data, attributes, checksum=checksum).info
        await asyncio.sleep(0)
        return StoredObject(info.etag, info.checksum)

    @_counted
    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """See `ObjectStore.create_upload`."""
        await asyncio.sleep(0)
        self._check_bucket(path.bucket)
        self._upload_ids += 1
        upload_id = f"upload-{self._upload_ids}"
        self.uploads[upload_id] = OpenUpload(path, attributes, datetime.now(UTC))
        await asyncio.sleep(0)
        return MultipartUpload(path, upload_id)

    @_counted
    async def put_part(
        self, upload: MultipartUpload, number: int, body: Body, *, checksum: Checksum | None = None
    ) -> CompletedPart:
        """See `ObjectStore.put_part`."""
        with self._known(upload).busy("put_part"):
            data = await self._receive(body)
        known = self._known(upload)
        if not 1 <= number <= self.max_parts:
            raise StoreRefused(reason="InvalidArgument")
        _verify(data, checksum)
        part = CompletedPart(number, len(data), f'"{_md5(data).hex()}"', checksum)
        known.parts[number] = data, part
        await asyncio.sleep(0)
        return part

    @_counted
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
        with self._known(upload).busy("complete_upload"):
            await asyncio.sleep(0)
        known = self._known(upload)
        self.misuse += [f"completed with {call} under way" for call in known.under_way]
        pieces = self._pieces(known, parts)
        data = b"".join(pieces)
        if len(data) != size:
            raise StoreRefused(reason="InvalidRequest")
        _verify(data, checksum)
        self._check(upload.path, conditions)
        del self.uploads[upload.upload_id]
        etag = f'"{_md5(b"".join(map(_md5, pieces))).hex()}-{len(pieces)}"'
        sizes = tuple(map(len, pieces))
        info = self._keep(upload.path, data, known.attributes, checksum=checksum, etag=etag, part_sizes=sizes).info
        await asyncio.sleep(0)
        return StoredObject(info.etag, info.checksum)

    @_counted
    async def abort_upload(self, upload: MultipartUpload) -> None:
        """See `ObjectStore.abort_upload`."""
        if known := self.uploads.pop(upload.upload_id, None):
            self.misuse += [f"aborted with {call} under way" for call in known.under_way]
        await asyncio.sleep(0)

    @_counted
    async def list_uploads(self, bucket: str, prefix: str) -> Sequence[tuple[MultipartUpload, datetime]]:
        """See `ObjectStore.list_uploads`."""
        await asyncio.sleep(0)
        self._check_bucket(bucket)
        return [
            (MultipartUpload(upload.path, upload_id), upload.began)
            for upload_id, upload in self.uploads.items()
            if upload.path.bucket == bucket and upload.path.key.startswith(prefix)
        ]

    @_counted
    async def head(self, path: ObjectPath) -> ObjectInfo:
        """See `ObjectStore.head`."""
        await asyncio.sleep(0)
        return self._find(path).info

    @_counted
    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectStream:
        """See `ObjectStore.open`."""
        await asyncio.sleep(0)
        self._check_bucket(path.bucket)
        kept = self._find(path)
        if if_match not in (None, kept.info.etag):
            raise StorePreconditionFailed(reason="PreconditionFailed")
        first, end = 0, len(kept.data)
        if byte_range is not None:
            try:
                span = RangeRequest(byte_range.first, byte_range.last).resolve(len(kept.data))
            except RangeNotSatisfiable:
                raise StoreRangeNotSatisfiable(reason="InvalidRange") from None
            first, end = span.first, span.last + 1
        stream = MemoryStream(self, kept.info, first, kept.data[first:end])
        self.streams.append(stream)
        return stream

    @_counted
    async def presign(self, path: ObjectPath, *, seconds: float, response: Mapping[str, str]) -> str:
        """See `ObjectStore.presign`."""
        query = {f"response-{name.lower()}": value for name, value in response.items()} | {"seconds": f"{seconds:g}"}
        return f"https://store.invalid/{path.bucket}/{quote(path.key)}?{urlencode(query, quote_via=quote)}"

    @_counted
    async def delete(self, path: ObjectPath) -> None:
        """See `ObjectStore.delete`."""
        await asyncio.sleep(0)
        self._check_bucket(path.bucket)
        self.objects.pop(path, None)

    @_counted
    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000, cursor: str | None = None
    ) -> Listing:
        """See `ObjectStore.list`."""
        await asyncio.sleep(0)
        self._check_bucket(bucket)
        rows: dict[str, ListedObject | None] = {}
        for path, kept in sorted(self.objects.items(), key=lambda item: item[0].key.encode()):
            if path.bucket != bucket or not path.key.startswith(prefix):
                continue
            head, mark, _ = path.key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if mark:
                rows[prefix + head + mark] = None
            else:
                info = kept.info
                rows[path.key] = ListedObject(path.key, info.size, info.etag, info.last_modified)
        names = list(rows)
        start = names.index(_after(cursor, names)) + 1 if cursor is not None else 0
        page = names[start : start + limit]
        return Listing(
            [row for name in page if (row := rows[name]) is not None],
            [name for name in page if rows[name] is None],
            page[-1].encode().hex() if names[start + limit :] else None,
        )

    @_counted
    async def check(self) -> None:
        """See `ObjectStore.check`."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """See `ObjectStore.close`."""
        self.closed = True

    async def _receive(self, body: Body) -> bytes:
        start = body.tell()
        try:
            for _ in range(self.body_reads):
                body.seek(start)
                pieces = []
                while piece := body.read(16 * 1024):
                    pieces.append(bytes(piece))
                    await asyncio.sleep(0)
        except Exception:
            # boto3 cannot tell either why a body could not be read.
            raise StoreBroken(reason="ConnectionBroken", ambiguous=True) from None
        await asyncio.sleep(0)
        data = b"".join(pieces)
        if len(data) != len(body):
            raise StoreBroken(reason="IncompleteBody")
        return data

    def _pieces(self, known: OpenUpload, parts: Sequence[CompletedPart]) -> Sequence[bytes]:
        if not parts:
            raise StoreRefused(reason="MalformedXML")
        if any(before.number >= after.number for before, after in pairwise(parts)):
            raise StoreRefused(reason="InvalidPartOrder")
        for part in parts:
            if part.number not in known.parts or part != known.parts[part.number][1]:
                raise StoreRefused(reason="InvalidPart")
        pieces = [known.parts[part.number][0] for part in parts]
        if any(len(piece) < self.part_minimum for piece in pieces[:-1]):
            raise StoreRefused(reason="EntityTooSmall")
        return pieces

    def _keep(
        self,
        path: ObjectPath,
        data: bytes,
        attributes: ObjectAttributes,
        *,
        checksum: Checksum | None = None,
        etag: str | None = None,
        part_sizes: tuple[int, ...] = (),
        last_modified: datetime | None = None,
    ) -> MemoryObject:
        info = ObjectInfo(
            size=len(data),
            etag=etag or f'"{_md5(data).hex()}"',
            last_modified=last_modified or datetime.now(UTC).replace(microsecond=0),
            # S3 gives what is kept without a type this one.
            attributes=replace(
                attributes,
                content_type=attributes.content_type or "binary/octet-stream",
                storage_class=None,
                encryption=None,
                kms_key_id=None,
            ),
            checksum=checksum,
        )
        kept = self.objects[path] = MemoryObject(data=data, info=info, given=attributes, part_sizes=part_sizes)
        return kept

    def _check_bucket(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise BucketNotFound(reason="NoSuchBucket")

    def _check(self, path: ObjectPath, conditions: WriteConditions) -> None:
        kept = self.objects.get(path)
        if conditions.if_match is not None and (kept is None or kept.info.etag != conditions.if_match):
            raise StorePreconditionFailed(reason="PreconditionFailed")
        if conditions.if_none_match is not None and kept is not None:
            raise StorePreconditionFailed(reason="PreconditionFailed")

    def _known(self, upload: MultipartUpload) -> OpenUpload:
        known = self.uploads.get(upload.upload_id)
        if known is None or known.path != upload.path:
            raise UploadNotFound(reason="NoSuchUpload")
        return known

    def _find(self, path: ObjectPath) -> MemoryObject:
        kept = self.objects.get(path)
        if kept is None:
            raise ObjectNotFound(reason="NoSuchKey")
        return kept


class MemoryStream:
    """Keeps `ObjectStream`."""

    def __init__(self, store: MemoryStore, info: ObjectInfo, first: int, data: bytes) -> None:
        self.info = info
        self.first = first
        self.length = len(data)
        self._store = store
        self._data = data
        self._offset = 0
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it still holds a connection."""
        return not self._closed and self._offset < self.length

    async def readinto(self, buffer: memoryview) -> int:
        """See `ObjectStream.readinto`."""
        self._store.calls["read"] += 1
        await asyncio.sleep(0)
        if self._closed:
            raise StoreBroken(reason="ConnectionBroken", ambiguous=True)
        limit = len(buffer) if self._store.read_limit is None else self._store.read_limit
        data = self._data[self._offset : self._offset + min(len(buffer), limit)]
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def close(self) -> None:
        """See `ObjectStream.close`."""
        self._closed = True


class Gate:
    """Where a call stops until it is let through. `reached` is set when one has come."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let through who waits and who comes later."""
        self._open.set()

    async def strike(self) -> None:
        """Be the call that stops here."""
        self.reached.set()
        await self._open.wait()


@dataclass(frozen=True, slots=True)
class _Failure:
    fault: StoreError

    async def strike(self) -> None:
        raise self.fault


@dataclass(frozen=True, slots=True)
class _Rule:
    operation: Operation
    calls: range
    what: Gate | _Failure
    after: bool


@dataclass(slots=True)
class _Break:
    offset: int
    times: int
    what: Gate | _Failure


class FaultyStore:
    """Any store, with the faults a test asks for. Without any it behaves as the store it wraps.

    `calls` counts calls by name, the failed ones too, and `most_under_way` how many there were at once; `seconds` says
    how long each call of a name takes at least.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.calls: Counter[Operation] = Counter()
        self.under_way: Counter[Operation] = Counter()
        self.most_under_way: Counter[Operation] = Counter()
        self.seconds: dict[Operation, float] = {}
        self._rules: list[_Rule] = []
        self._breaks: list[_Break] = []

    def fail(
        self, operation: Operation, fault: StoreError, *, nth: int = 1, times: int = 1, after: bool = False
    ) -> None:
        """The `nth` call from now on and those after it, `times` in all, raise `fault`: without any effect, or `after`
        they took effect."""
        first = self.calls[operation] + nth
        self._rules.append(_Rule(operation, range(first, first + times), _Failure(fault), after))

    def hang(self, operation: Operation, *, nth: int = 1, times: int = 1, after: bool = False) -> Gate:
        """The same calls stop at the gate that is returned."""
        gate = Gate()
        first = self.calls[operation] + nth
        self._rules.append(_Rule(operation, range(first, first + times), gate, after))
        return gate

    def break_streams(self, offset: int, fault: StoreError | None = None, *, times: int = 1) -> None:
        """The next `times` streams that come to byte `offset` of their object break off there."""
        what = _Failure(fault or StoreBroken(reason="ConnectionBroken", ambiguous=True))
        self._breaks.append(_Break(offset, times, what))

    def hang_streams(self, offset: int, *, times: int = 1) -> Gate:
        """The same streams stop there at the gate that is returned."""
        gate = Gate()
        self._breaks.append(_Break(offset, times, gate))
        return gate

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
        return await self._call("put", self.store.put, path, body, attributes, checksum=checksum, conditions=conditions)

    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """See `ObjectStore.create_upload`."""
        return await self._call("create_upload", self.store.create_upload, path, attributes)

    async def put_part(
        self, upload: MultipartUpload, number: int, body: Body, *, checksum: Checksum | None = None
    ) -> CompletedPart:
        """See `ObjectStore.put_part`."""
        return await self._call("put_part", self.store.put_part, upload, number, body, checksum=checksum)

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
        complete = self.store.complete_upload
        return await self._call(
            "complete_upload", complete, upload, parts, size=size, checksum=checksum, conditions=conditions
        )

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """See `ObjectStore.abort_upload`."""
        await self._call("abort_upload", self.store.abort_upload, upload)

    async def list_uploads(self, bucket: str, prefix: str) -> Sequence[tuple[MultipartUpload, datetime]]:
        """See `ObjectStore.list_uploads`."""
        return await self._call("list_uploads", self.store.list_uploads, bucket, prefix)

    async def head(self, path: ObjectPath) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self._call("head", self.store.head, path)

    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectStream:
        """See `ObjectStore.open`."""
        stream = await self._call("open", self.store.open, path, byte_range=byte_range, if_match=if_match)
        return FaultyStream(self, stream)

    async def presign(self, path: ObjectPath, *, seconds: float, response: Mapping[str, str]) -> str:
        """See `ObjectStore.presign`."""
        return await self._call("presign", self.store.presign, path, seconds=seconds, response=response)

    async def delete(self, path: ObjectPath) -> None:
        """See `ObjectStore.delete`."""
        await self._call("delete", self.store.delete, path)

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000, cursor: str | None = None
    ) -> Listing:
        """See `ObjectStore.list`."""
        return await self._call(
            "list", self.store.list, bucket, prefix=prefix, delimiter=delimiter, limit=limit, cursor=cursor
        )

    async def check(self) -> None:
        """See `ObjectStore.check`."""
        await self._call("check", self.store.check)

    async def close(self) -> None:
        """See `ObjectStore.close`."""
        await self.store.close()

    async def _call(
        self, operation: Operation, call: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        # As a thread: who waits for it may be cancelled, it goes on.
        return await asyncio.shield(asyncio.ensure_future(self.perform(operation, call, *args, **kwargs)))

    async def perform(
        self, operation: Operation, call: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """One call with all that is to happen to it."""
        self.calls[operation] += 1
        rules = [rule for rule in self._rules if rule.operation == operation and self.calls[operation] in rule.calls]
        with self._busy(operation):
            if operation in self.seconds:
                await asyncio.sleep(self.seconds[operation])
            for rule in rules:
                if not rule.after:
                    await rule.what.strike()
            result = await call(*args, **kwargs)
            for rule in rules:
                if rule.after:
                    await rule.what.strike()
            return result

    @contextmanager
    def _busy(self, operation: Operation) -> Iterator[None]:
        self.under_way[operation] += 1
        self.most_under_way[operation] = max(self.most_under_way[operation], self.under_way[operation])
        try:
            yield
        finally:
            self.under_way[operation] -= 1

    def _next_break(self, offset: int) -> _Break | None:
        ahead = [each for each in self._breaks if each.times and each.offset >= offset]
        return min(ahead, key=lambda each: each.offset, default=None)


class FaultyStream:
    """Keeps `ObjectStream`, up to the next break of its store."""

    def __init__(self, store: FaultyStore, stream: ObjectStream) -> None:
        self.info = stream.info
        self.first = stream.first
        self.length = stream.length
        self._store = store
        self._stream = stream
        self._offset = stream.first
        self._closed = asyncio.Event()

    async def readinto(self, buffer: memoryview) -> int:
        """See `ObjectStream.readinto`."""
        # As a thread that is woken when its connection closes.
        reading = asyncio.ensure_future(self._store.perform("read", self._readinto, buffer))
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait([reading, closing], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise StoreBroken(reason="ConnectionBroken", ambiguous=True)
            return reading.result()
        finally:
            reading.cancel()
            closing.cancel()

    async def _readinto(self, buffer: memoryview) -> int:
        coming = self._store._next_break(self._offset)
        if coming is not None and coming.offset == self._offset:
            coming.times -= 1
            await coming.what.strike()
            coming = self._store._next_break(self._offset)
        if coming is not None and coming.offset > self._offset:
            buffer = buffer[: coming.offset - self._offset]
        size = await self._stream.readinto(buffer)
        self._offset += size
        return size

    def close(self) -> None:
        """See `ObjectStream.close`."""
        self._closed.set()
        self._stream.close()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _verify(data: bytes, checksum: Checksum | None) -> None:
    if checksum is not None:
        running = RunningChecksum(checksum.algorithm)
        running.update(data)
        if running.checksum != checksum:
            raise StoreBroken(reason="BadDigest")


def _after(cursor: str, names: Sequence[str]) -> str:
    """The last name of the page before."""
    try:
        last = bytes.fromhex(cursor).decode()
    except ValueError:
        raise BadRequest("The cursor is not one of this listing's.") from None
    if last not in names:
        raise BadRequest("The cursor is not one of this listing's.")
    return last
