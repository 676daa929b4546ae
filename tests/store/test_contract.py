"""The specification of `ObjectStore`, held by `MemoryStore`, `FaultyStore` without faults, `S3Store`, and
`MountedStore` over them.

What the fakes promise in the other tests is true because they pass here beside S3.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from s3proxy.errors import (
    BadRequest,
    BucketNotFound,
    ObjectNotFound,
    StoreBroken,
    StoreError,
    StorePreconditionFailed,
    StoreRangeNotSatisfiable,
    StoreRefused,
    UploadNotFound,
)
from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import (
    CompletedPart,
    Listing,
    MultipartUpload,
    ObjectAttributes,
    ObjectInfo,
    ObjectStore,
    ObjectStream,
    StoredObject,
    WriteConditions,
)
from tests.bodies import BytesBody, checksum_of, pattern, read_some
from tests.store.conftest import Backend

MIB = 1024 * 1024
PLAIN = ObjectAttributes()
ONLY_NEW = WriteConditions(if_none_match="*")
WRONG = Checksum(ChecksumAlgorithm.CRC64NVME, "AAAAAAAAAAA=")
SMALL = pattern(1_000)
LARGE = pattern(700_000)
"""Larger than what S3Store reads with the call that opens an object."""

KEYS = [
    "plain.txt",
    "with space",
    "plus+plus",
    "percent%2Fpercent%25",
    "colon:semi;comma,",
    "{curly}(round)[square]<angle>",
    "quote'double\"back`tick",
    "back\\slash",
    "question?hash#amp&equals=",
    "ümläut-日本語-🙂",
    "e\u0301-decomposed",
    " leading and trailing ",
    "deep/er/and/deeper",
    "empty//segment",
    "folder/",
    "~tilde*star!bang@at$dollar^caret|pipe",
]


def multipart_etag(*parts: bytes) -> str:
    """As S3 makes it."""
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
    return f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'


async def put(
    store: ObjectStore, path: ObjectPath, data: bytes = SMALL, attributes: ObjectAttributes = PLAIN
) -> StoredObject:
    return await store.put(path, BytesBody(data), attributes, checksum=checksum_of(data))


async def read_all(stream: ObjectStream, size: int = 100_000) -> bytes:
    pieces = []
    while piece := await read_some(stream, size):
        assert len(piece) <= size
        pieces.append(piece)
    stream.close()
    return b"".join(pieces)


async def get(store: ObjectStore, path: ObjectPath) -> bytes:
    return await read_all(await store.open(path))


async def fails_with(kind: type[StoreError], store: ObjectStore, path: ObjectPath) -> None:
    """Neither HEAD nor GET find the object."""
    with pytest.raises(ObjectNotFound):
        await store.head(path)
    with pytest.raises(kind):
        await store.open(path)


@pytest.fixture
def path(bucket: str) -> ObjectPath:
    return ObjectPath(bucket, "folder/object.bin")


@pytest.fixture
def nowhere() -> ObjectPath:
    return ObjectPath("bucket-that-is-not", "object")


class TestPut:
    @pytest.mark.parametrize(
        "size", [0, 1, 1_000, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 700_000]
    )
    async def test_what_was_put_is_read_back(self, store: ObjectStore, path: ObjectPath, size: int) -> None:
        data = pattern(size)
        stored = await put(store, path, data)
        assert await get(store, path) == data
        assert stored.etag == f'"{hashlib.md5(data).hexdigest()}"'

    async def test_the_checksum_is_kept_and_told(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("keep checksums of objects in one piece")
        stored = await put(backend.store, path)
        assert stored.checksum == checksum_of(SMALL)
        assert (await backend.store.head(path)).checksum == checksum_of(SMALL)

    @pytest.mark.parametrize("key", KEYS)
    async def test_a_key_is_kept_byte_for_byte(self, store: ObjectStore, bucket: str, key: str) -> None:
        path = ObjectPath(bucket, key)
        await put(store, path)
        assert await get(store, path) == SMALL
        assert [row.key for row in (await store.list(bucket)).objects] == [key]

    async def test_a_key_may_be_as_long_as_there_is_room(self, backend: Backend, bucket: str) -> None:
        path = ObjectPath(bucket, "k" * backend.longest_key)
        await put(backend.store, path)
        assert await get(backend.store, path) == SMALL

    async def test_the_attributes_are_kept(self, store: ObjectStore, path: ObjectPath) -> None:
        attributes = ObjectAttributes(
            content_type="text/plain; charset=utf-8",
            cache_control="max-age=60",
            content_disposition='attachment; filename="a b.txt"',
            content_encoding="gzip",
            content_language="de",
            metadata={"colour": "blue", "with-dash": "a b  c"},
        )
        await put(store, path, SMALL, attributes)
        assert (await store.head(path)).attributes == attributes
        stream = await store.open(path)
        stream.close()
        assert stream.info.attributes == attributes

    async def test_attributes_not_given_are_none_but_for_a_general_type(
        self, store: ObjectStore, path: ObjectPath
    ) -> None:
        await put(store, path)
        info = await store.head(path)
        assert info.attributes == ObjectAttributes(content_type="binary/octet-stream")

    async def test_another_object_of_that_key_is_replaced_whole(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path, LARGE, ObjectAttributes(content_language="de", metadata={"old": "1"}))
        await put(store, path, SMALL, ObjectAttributes(cache_control="no-store"))
        info = await store.head(path)
        assert await get(store, path) == SMALL
        assert info.attributes.cache_control == "no-store"
        assert info.attributes.content_language is None
        assert info.attributes.metadata == {}

    async def test_keys_that_differ_in_normalisation_only_are_two_objects(
        self, store: ObjectStore, bucket: str
    ) -> None:
        await put(store, ObjectPath(bucket, "\u00e9"), b"composed")
        await put(store, ObjectPath(bucket, "e\u0301"), b"decomposed")
        assert await get(store, ObjectPath(bucket, "\u00e9")) == b"composed"
        assert await get(store, ObjectPath(bucket, "e\u0301")) == b"decomposed"

    async def test_a_missing_bucket_is_not_found(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        with pytest.raises(BucketNotFound):
            await put(store, nowhere)

    async def test_a_large_body_for_a_missing_bucket_is_not_found(
        self, store: ObjectStore, nowhere: ObjectPath
    ) -> None:
        with pytest.raises(BucketNotFound):
            await put(store, nowhere, LARGE)

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_only_new_stores_where_there_is_nothing(
        self, store: ObjectStore, path: ObjectPath, data: bytes
    ) -> None:
        await store.put(path, BytesBody(data), PLAIN, conditions=ONLY_NEW)
        assert await get(store, path) == data

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_only_new_leaves_what_is_there(self, store: ObjectStore, path: ObjectPath, data: bytes) -> None:
        await put(store, path, b"old")
        with pytest.raises(StorePreconditionFailed):
            await store.put(path, BytesBody(data), PLAIN, conditions=ONLY_NEW)
        assert await get(store, path) == b"old"

    async def test_if_match_replaces_that_version(self, store: ObjectStore, path: ObjectPath) -> None:
        old = await put(store, path, b"old")
        await store.put(path, BytesBody(SMALL), PLAIN, conditions=WriteConditions(if_match=old.etag))
        assert await get(store, path) == SMALL

    async def test_if_match_leaves_another_version(self, store: ObjectStore, path: ObjectPath) -> None:
        old = await put(store, path, b"old")
        await put(store, path, b"newer")
        with pytest.raises(StorePreconditionFailed):
            await store.put(path, BytesBody(SMALL), PLAIN, conditions=WriteConditions(if_match=old.etag))
        assert await get(store, path) == b"newer"

    async def test_if_match_fails_where_there_is_nothing(self, store: ObjectStore, path: ObjectPath) -> None:
        with pytest.raises(StorePreconditionFailed):
            await store.put(path, BytesBody(SMALL), PLAIN, conditions=WriteConditions(if_match='"abc"'))
        await fails_with(ObjectNotFound, store, path)

    async def test_a_wrong_checksum_stores_nothing(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("verify checksums")
        with pytest.raises(StoreBroken) as fault:
            await backend.store.put(path, BytesBody(SMALL), PLAIN, checksum=WRONG)
        assert fault.value.reason == "BadDigest"
        await fails_with(ObjectNotFound, backend.store, path)


class TestMultipartUpload:
    async def begin(
        self, store: ObjectStore, path: ObjectPath, *datas: bytes
    ) -> tuple[MultipartUpload, list[CompletedPart]]:
        upload = await store.create_upload(path, PLAIN)
        numbered = list(enumerate(datas, 1))
        # In no order, as parts arrive.
        parts = [
            await store.put_part(upload, number, BytesBody(data), checksum=checksum_of(data))
            for number, data in reversed(numbered)
        ]
        return upload, parts[::-1]

    async def complete(
        self,
        store: ObjectStore,
        path: ObjectPath,
        *datas: bytes,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        upload, parts = await self.begin(store, path, *datas)
        whole = b"".join(datas)
        try:
            return await store.complete_upload(
                upload, parts, size=len(whole), checksum=checksum_of(whole), conditions=conditions
            )
        except StoreError:
            await store.abort_upload(upload)
            raise

    async def test_the_parts_are_joined_in_order(self, store: ObjectStore, path: ObjectPath) -> None:
        first, second, last = pattern(5 * MIB, 1), pattern(6 * MIB, 2), b"end"
        stored = await self.complete(store, path, first, second, last)
        whole = first + second + last
        assert await get(store, path) == whole
        info = await store.head(path)
        assert info.size == len(whole)
        assert info.etag == stored.etag == multipart_etag(first, second, last)
        assert info.checksum == checksum_of(whole)
        assert stored.checksum in (checksum_of(whole), None)

    async def test_one_part_may_be_small(self, store: ObjectStore, path: ObjectPath) -> None:
        await self.complete(store, path, b"x")
        assert await get(store, path) == b"x"

    async def test_numbers_may_have_gaps(self, store: ObjectStore, path: ObjectPath) -> None:
        upload = await store.create_upload(path, PLAIN)
        first = await store.put_part(upload, 3, BytesBody(pattern(5 * MIB)))
        last = await store.put_part(upload, 10_000, BytesBody(b"end"))
        await store.complete_upload(upload, [first, last], size=5 * MIB + 3)
        assert await get(store, path) == pattern(5 * MIB) + b"end"

    async def test_a_part_says_what_it_holds(self, store: ObjectStore, path: ObjectPath) -> None:
        upload, parts = await self.begin(store, path, SMALL)
        etag = f'"{hashlib.md5(SMALL).hexdigest()}"'
        assert parts == [CompletedPart(1, len(SMALL), etag, checksum_of(SMALL))]
        await store.abort_upload(upload)

    async def test_a_later_part_of_a_number_replaces_the_earlier(self, store: ObjectStore, path: ObjectPath) -> None:
        upload, _ = await self.begin(store, path, LARGE)
        part = await store.put_part(upload, 1, BytesBody(SMALL), checksum=checksum_of(SMALL))
        await store.complete_upload(upload, [part], size=len(SMALL), checksum=checksum_of(SMALL))
        assert await get(store, path) == SMALL

    async def test_the_attributes_are_kept(self, store: ObjectStore, path: ObjectPath) -> None:
        attributes = ObjectAttributes(content_type="image/png", cache_control="no-cache", metadata={"a": "b"})
        upload = await store.create_upload(path, attributes)
        part = await store.put_part(upload, 1, BytesBody(SMALL))
        await store.complete_upload(upload, [part], size=len(SMALL))
        assert (await store.head(path)).attributes == attributes

    async def test_nothing_shows_before_complete(self, store: ObjectStore, path: ObjectPath) -> None:
        upload, _ = await self.begin(store, path, SMALL)
        await fails_with(ObjectNotFound, store, path)
        assert (await store.list(path.bucket)).objects == []
        await store.abort_upload(upload)

    async def test_the_old_object_stays_until_complete(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path, b"old")
        upload, parts = await self.begin(store, path, SMALL)
        assert await get(store, path) == b"old"
        await store.complete_upload(upload, parts, size=len(SMALL))
        assert await get(store, path) == SMALL

    async def test_two_uploads_of_a_key_do_not_mix(self, store: ObjectStore, path: ObjectPath) -> None:
        one, one_parts = await self.begin(store, path, b"one")
        two, two_parts = await self.begin(store, path, b"two")
        assert one.upload_id != two.upload_id
        await store.complete_upload(two, two_parts, size=3)
        await store.complete_upload(one, one_parts, size=3)
        assert await get(store, path) == b"one"

    async def test_a_missing_bucket_is_not_found(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        with pytest.raises(BucketNotFound):
            await store.create_upload(nowhere, PLAIN)

    async def test_a_part_of_no_upload_is_refused(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("know NoSuchUpload here (it fails with a KeyError)")
        store = backend.store
        with pytest.raises(UploadNotFound):
            await store.put_part(MultipartUpload(path, "no-such-id"), 1, BytesBody(SMALL))

    async def test_a_part_of_an_aborted_upload_is_refused(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("know NoSuchUpload here (it fails with a KeyError)")
        store = backend.store
        upload, _ = await self.begin(store, path, SMALL)
        await store.abort_upload(upload)
        with pytest.raises(UploadNotFound):
            await store.put_part(upload, 2, BytesBody(SMALL))

    async def test_an_aborted_upload_cannot_be_completed(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("know NoSuchUpload here (it fails with a KeyError)")
        store = backend.store
        upload, parts = await self.begin(store, path, SMALL)
        await store.abort_upload(upload)
        with pytest.raises(UploadNotFound):
            await store.complete_upload(upload, parts, size=len(SMALL))
        await fails_with(ObjectNotFound, store, path)

    async def test_a_second_complete_finds_no_upload(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("refuse a second Complete")
        upload, parts = await self.begin(backend.store, path, SMALL)
        await backend.store.complete_upload(upload, parts, size=len(SMALL))
        with pytest.raises(UploadNotFound):
            await backend.store.complete_upload(upload, parts, size=len(SMALL))

    async def test_a_part_that_never_arrived_cannot_be_joined(self, store: ObjectStore, path: ObjectPath) -> None:
        upload, parts = await self.begin(store, path, SMALL)
        never = CompletedPart(2, 3, f'"{hashlib.md5(b"end").hexdigest()}"', None)
        with pytest.raises(StoreRefused) as fault:
            await store.complete_upload(upload, [*parts, never], size=len(SMALL) + 3)
        assert fault.value.reason == "InvalidPart"
        await store.abort_upload(upload)

    async def test_a_part_under_the_minimum_that_is_not_the_last_is_refused(
        self, store: ObjectStore, path: ObjectPath
    ) -> None:
        with pytest.raises(StoreRefused) as fault:
            await self.complete(store, path, pattern(5 * MIB - 1), b"end")
        assert fault.value.reason == "EntityTooSmall"
        await fails_with(ObjectNotFound, store, path)

    async def test_a_part_with_a_wrong_checksum_is_refused(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("verify checksums")
        upload = await backend.store.create_upload(path, PLAIN)
        with pytest.raises(StoreBroken):
            await backend.store.put_part(upload, 1, BytesBody(SMALL), checksum=WRONG)
        await backend.store.abort_upload(upload)

    @pytest.mark.parametrize("wrong", ["size", "checksum"])
    async def test_a_wrong_size_or_checksum_stores_nothing(
        self, backend: Backend, path: ObjectPath, wrong: str
    ) -> None:
        backend.needs("verify sizes and checksums")
        store = backend.store
        upload, parts = await self.begin(store, path, SMALL)
        size = len(SMALL) - (wrong == "size")
        checksum = WRONG if wrong == "checksum" else checksum_of(SMALL)
        with pytest.raises((StoreRefused, StoreBroken)):
            await store.complete_upload(upload, parts, size=size, checksum=checksum)
        await store.abort_upload(upload)
        await fails_with(ObjectNotFound, store, path)

    async def test_only_new_stores_where_there_is_nothing(self, store: ObjectStore, path: ObjectPath) -> None:
        await self.complete(store, path, SMALL, conditions=ONLY_NEW)
        assert await get(store, path) == SMALL

    async def test_only_new_leaves_what_came_meanwhile(self, store: ObjectStore, path: ObjectPath) -> None:
        upload, parts = await self.begin(store, path, SMALL)
        await put(store, path, b"meanwhile")
        with pytest.raises(StorePreconditionFailed):
            await store.complete_upload(upload, parts, size=len(SMALL), conditions=ONLY_NEW)
        await store.abort_upload(upload)
        assert await get(store, path) == b"meanwhile"

    async def test_if_match_replaces_that_version(self, store: ObjectStore, path: ObjectPath) -> None:
        old = await put(store, path, b"old")
        await self.complete(store, path, SMALL, conditions=WriteConditions(if_match=old.etag))
        assert await get(store, path) == SMALL

    async def test_if_match_leaves_another_version(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("honour If-Match on Complete")
        store = backend.store
        await put(store, path, b"old")
        with pytest.raises(StorePreconditionFailed):
            await self.complete(store, path, SMALL, conditions=WriteConditions(if_match='"other"'))
        assert await get(store, path) == b"old"

    async def test_if_match_fails_where_there_is_nothing(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("honour If-Match on Complete")
        store = backend.store
        with pytest.raises(StorePreconditionFailed):
            await self.complete(store, path, SMALL, conditions=WriteConditions(if_match='"other"'))
        await fails_with(ObjectNotFound, store, path)


class TestAbort:
    async def test_an_upload_can_be_aborted_twice(self, store: ObjectStore, path: ObjectPath) -> None:
        upload = await store.create_upload(path, PLAIN)
        await store.put_part(upload, 1, BytesBody(SMALL))
        await store.abort_upload(upload)
        await store.abort_upload(upload)
        await fails_with(ObjectNotFound, store, path)

    async def test_an_upload_nobody_knows_is_gone(self, store: ObjectStore, path: ObjectPath) -> None:
        await store.abort_upload(MultipartUpload(path, "no-such-id"))

    async def test_an_upload_in_a_bucket_that_is_gone_is_gone(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        await store.abort_upload(MultipartUpload(nowhere, "no-such-id"))

    async def test_a_completed_upload_keeps_its_object(self, store: ObjectStore, path: ObjectPath) -> None:
        upload = await store.create_upload(path, PLAIN)
        part = await store.put_part(upload, 1, BytesBody(SMALL))
        await store.complete_upload(upload, [part], size=len(SMALL))
        await store.abort_upload(upload)
        assert await get(store, path) == SMALL

    async def test_another_upload_of_the_key_goes_on(self, store: ObjectStore, path: ObjectPath) -> None:
        one = await store.create_upload(path, PLAIN)
        two = await store.create_upload(path, PLAIN)
        await store.abort_upload(one)
        part = await store.put_part(two, 1, BytesBody(SMALL))
        await store.complete_upload(two, [part], size=len(SMALL))
        assert await get(store, path) == SMALL


class TestListUploads:
    async def test_what_is_open_under_a_prefix_is_listed(self, store: ObjectStore, bucket: str) -> None:
        paths = [ObjectPath(bucket, key) for key in ("a/1", "a/1", "a/2 +ü", "b")]
        uploads = [await store.create_upload(path, PLAIN) for path in paths]
        listed = [upload for upload, _ in await store.list_uploads(bucket, "a/")]
        assert sorted(listed, key=str) == sorted(uploads[:3], key=str)
        for upload in uploads:
            await store.abort_upload(upload)
        assert await store.list_uploads(bucket, "") == []

    async def test_a_completed_upload_is_not_open(self, store: ObjectStore, path: ObjectPath) -> None:
        upload = await store.create_upload(path, PLAIN)
        part = await store.put_part(upload, 1, BytesBody(SMALL))
        await store.complete_upload(upload, [part], size=len(SMALL))
        assert await store.list_uploads(path.bucket, path.key) == []

    async def test_each_has_the_time_it_was_begun(self, backend: Backend, path: ObjectPath) -> None:
        backend.needs("tell when uploads were begun (all in 2010)")
        before = datetime.now(UTC)
        upload = await backend.store.create_upload(path, PLAIN)
        ((found, began),) = await backend.store.list_uploads(path.bucket, path.key)
        await backend.store.abort_upload(upload)
        assert found == upload
        assert before <= began <= datetime.now(UTC)

    async def test_a_missing_bucket_is_not_found(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        with pytest.raises(BucketNotFound):
            await store.list_uploads(nowhere.bucket, nowhere.key)


class TestHead:
    async def test_it_describes_the_object(self, store: ObjectStore, path: ObjectPath) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        stored = await put(store, path)
        info = await store.head(path)
        assert info == ObjectInfo(
            size=len(SMALL),
            etag=stored.etag,
            last_modified=info.last_modified,
            attributes=ObjectAttributes(content_type="binary/octet-stream"),
            checksum=info.checksum,
        )
        assert info.checksum in (checksum_of(SMALL), None)
        assert info.etag.startswith('"')
        assert info.etag.endswith('"')
        assert info.last_modified.tzinfo is UTC
        assert before <= info.last_modified <= datetime.now(UTC)

    async def test_a_missing_object_is_not_found(self, store: ObjectStore, path: ObjectPath) -> None:
        with pytest.raises(ObjectNotFound):
            await store.head(path)

    async def test_a_missing_bucket_is_an_object_not_found(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        with pytest.raises(ObjectNotFound):
            await store.head(nowhere)


class TestOpen:
    async def test_the_stream_describes_the_object(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path)
        stream = await store.open(path)
        stream.close()
        info = await store.head(path)
        assert (stream.first, stream.length) == (0, len(SMALL))
        assert (stream.info.size, stream.info.etag, stream.info.last_modified, stream.info.attributes) == (
            info.size,
            info.etag,
            info.last_modified,
            info.attributes,
        )

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    @pytest.mark.parametrize("size", [7_001, 100_000, 10_000_000])
    async def test_a_read_brings_at_most_what_it_is_asked_for(
        self, store: ObjectStore, path: ObjectPath, data: bytes, size: int
    ) -> None:
        await put(store, path, data)
        stream = await store.open(path)
        assert await read_all(stream, size) == data

    @pytest.mark.parametrize("data", [b"", SMALL, LARGE])
    async def test_reads_after_the_end_stay_empty(self, store: ObjectStore, path: ObjectPath, data: bytes) -> None:
        await put(store, path, data)
        stream = await store.open(path)
        assert await read_all(stream) == data
        stream = await store.open(path)
        while await read_some(stream, 100_000):
            pass
        assert await read_some(stream, 1) == b""
        assert await read_some(stream, 1) == b""
        stream.close()

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [
            (ByteRange(0, 0), 0, 0),
            (ByteRange(10, 19), 10, 19),
            (ByteRange(0, 999), 0, 999),
            (ByteRange(990, 10_000_000), 990, None),
            (RangeRequest(10, 19), 10, 19),
            (RangeRequest(10, None), 10, None),
            (RangeRequest(0, None), 0, None),
            (RangeRequest(None, 5), -5, None),
            (RangeRequest(None, 10_000_000), 0, None),
        ],
    )
    async def test_a_range_is_cut_out(
        self,
        store: ObjectStore,
        path: ObjectPath,
        data: bytes,
        asked: ByteRange | RangeRequest,
        first: int,
        last: int | None,
    ) -> None:
        await put(store, path, data)
        stream = await store.open(path, byte_range=asked)
        start = first % len(data)
        expected = data[start : len(data) if last is None else last + 1]
        assert (stream.first, stream.length, stream.info.size) == (start, len(expected), len(data))
        assert await read_all(stream) == expected

    @pytest.mark.parametrize("asked", [ByteRange(1_000, 1_001), RangeRequest(1_000, None), RangeRequest(5_000, 6_000)])
    async def test_a_range_behind_the_end_is_not_satisfiable(
        self, store: ObjectStore, path: ObjectPath, asked: ByteRange | RangeRequest
    ) -> None:
        await put(store, path)
        with pytest.raises(StoreRangeNotSatisfiable):
            await store.open(path, byte_range=asked)

    async def test_an_empty_object_has_no_range(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path, b"")
        with pytest.raises(StoreRangeNotSatisfiable):
            await store.open(path, byte_range=RangeRequest(0, None))

    @pytest.mark.parametrize("asked", [None, ByteRange(1, 2)])
    async def test_if_match_opens_that_version(
        self, store: ObjectStore, path: ObjectPath, asked: ByteRange | None
    ) -> None:
        stored = await put(store, path)
        stream = await store.open(path, byte_range=asked, if_match=stored.etag)
        assert await read_all(stream) == (SMALL if asked is None else SMALL[1:3])

    @pytest.mark.parametrize("asked", [None, ByteRange(1, 2)])
    async def test_if_match_does_not_open_another_version(
        self, store: ObjectStore, path: ObjectPath, asked: ByteRange | None
    ) -> None:
        stored = await put(store, path, b"old")
        await put(store, path, b"new")
        with pytest.raises(StorePreconditionFailed):
            await store.open(path, byte_range=asked, if_match=stored.etag)

    async def test_a_missing_object_is_not_found(self, store: ObjectStore, path: ObjectPath) -> None:
        with pytest.raises(ObjectNotFound):
            await store.open(path)
        with pytest.raises(ObjectNotFound):
            await store.open(path, byte_range=ByteRange(0, 1))

    async def test_a_missing_bucket_is_not_found(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        with pytest.raises(BucketNotFound):
            await store.open(nowhere)

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_a_closed_stream_cannot_be_read(self, store: ObjectStore, path: ObjectPath, data: bytes) -> None:
        await put(store, path, data)
        stream = await store.open(path)
        stream.close()
        with pytest.raises(StoreBroken):
            await read_some(stream, 10)

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_a_stream_may_be_closed_at_any_point_and_twice(
        self, store: ObjectStore, path: ObjectPath, data: bytes
    ) -> None:
        await put(store, path, data)
        unread = await store.open(path)
        unread.close()
        unread.close()
        begun = await store.open(path)
        assert await read_some(begun, 10) == data[:10]
        begun.close()
        begun.close()
        assert await get(store, path) == data

    async def test_two_streams_do_not_mix(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path, LARGE)
        one = await store.open(path)
        two = await store.open(path, byte_range=ByteRange(400_000, 699_999))
        assert await read_some(one, 100) == LARGE[:100]
        assert await read_all(two) == LARGE[400_000:]
        assert await read_all(one) == LARGE[100:]


class TestPresign:
    async def test_a_url_names_the_object_and_need_not_have_one(self, store: ObjectStore, bucket: str) -> None:
        for key in ("a/b.txt", "ü +%"):
            url = await store.presign(ObjectPath(bucket, key), seconds=60, response={"Content-Type": "text/plain"})
            assert urlsplit(url).path.endswith("/" + quote(key))
            assert parse_qs(urlsplit(url).query)["response-content-type"] == ["text/plain"]


class TestDelete:
    async def test_the_object_is_gone(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path)
        await store.delete(path)
        await fails_with(ObjectNotFound, store, path)

    async def test_removing_none_is_no_error(self, store: ObjectStore, path: ObjectPath) -> None:
        await store.delete(path)

    async def test_only_that_key_is_gone(self, store: ObjectStore, bucket: str) -> None:
        for key in ("a", "a/b", "a/"):
            await put(store, ObjectPath(bucket, key))
        await store.delete(ObjectPath(bucket, "a/"))
        assert [row.key for row in (await store.list(bucket)).objects] == ["a", "a/b"]

    async def test_a_missing_bucket_is_not_found(self, store: ObjectStore, nowhere: ObjectPath) -> None:
        with pytest.raises(BucketNotFound):
            await store.delete(nowhere)


class TestList:
    NAMES = ("B", "a", "a+b", "a/1", "a/2", "a/b/3", "b%2F", "b/4", "é", "日", "🙂")
    """In UTF-8 order, which is not that of UTF-16: the last is above U+FFFF."""

    async def fill(self, store: ObjectStore, bucket: str, names: tuple[str, ...] = NAMES) -> None:
        for name in reversed(names):
            await put(store, ObjectPath(bucket, name), name.encode())

    async def pages(self, store: ObjectStore, bucket: str, **arguments: str | int) -> list[Listing]:
        pages = [await store.list(bucket, **arguments)]  # type: ignore[arg-type]
        while (cursor := pages[-1].cursor) is not None:
            pages.append(await store.list(bucket, cursor=cursor, **arguments))  # type: ignore[arg-type]
            assert len(pages) < 100
        return pages

    async def test_an_empty_bucket(self, store: ObjectStore, bucket: str) -> None:
        page = await store.list(bucket)
        assert (list(page.objects), list(page.prefixes), page.cursor) == ([], [], None)

    async def test_keys_come_in_the_order_of_their_bytes(self, store: ObjectStore, bucket: str) -> None:
        await self.fill(store, bucket)
        page = await store.list(bucket)
        assert tuple(row.key for row in page.objects) == self.NAMES
        assert list(page.prefixes) == []
        assert page.cursor is None

    async def test_a_row_describes_its_object(self, store: ObjectStore, path: ObjectPath) -> None:
        await put(store, path)
        info = await store.head(path)
        (row,) = (await store.list(path.bucket)).objects
        assert (row.key, row.size, row.etag) == (path.key, info.size, info.etag)
        assert row.last_modified.replace(microsecond=0) == info.last_modified
        assert row.last_modified.tzinfo is UTC

    @pytest.mark.parametrize(
        ("prefix", "names"),
        [
            ("a", ("a", "a+b", "a/1", "a/2", "a/b/3")),
            ("a/", ("a/1", "a/2", "a/b/3")),
            ("b%2F", ("b%2F",)),
            ("日", ("日",)),
            ("none", ()),
        ],
    )
    async def test_a_prefix_selects(self, store: ObjectStore, bucket: str, prefix: str, names: tuple[str, ...]) -> None:
        await self.fill(store, bucket)
        assert tuple(row.key for row in (await store.list(bucket, prefix=prefix)).objects) == names

    @pytest.mark.parametrize(
        ("prefix", "names", "prefixes"),
        [
            ("", ("B", "a", "a+b", "b%2F", "é", "日", "🙂"), ("a/", "b/")),
            ("a", ("a", "a+b"), ("a/",)),
            ("a/", ("a/1", "a/2"), ("a/b/",)),
        ],
    )
    async def test_a_delimiter_folds_what_has_it_after_the_prefix(
        self, store: ObjectStore, bucket: str, prefix: str, names: tuple[str, ...], prefixes: tuple[str, ...]
    ) -> None:
        await self.fill(store, bucket)
        page = await store.list(bucket, prefix=prefix, delimiter="/")
        assert tuple(row.key for row in page.objects) == names
        assert tuple(page.prefixes) == prefixes

    @pytest.mark.parametrize("limit", [1, 3, 9])
    @pytest.mark.parametrize("delimiter", ["", "/"])
    async def test_pages_hold_everything_once(
        self, store: ObjectStore, bucket: str, limit: int, delimiter: str
    ) -> None:
        await self.fill(store, bucket)
        whole = await store.list(bucket, delimiter=delimiter)
        pages = await self.pages(store, bucket, limit=limit, delimiter=delimiter)
        assert [row.key for page in pages for row in page.objects] == [row.key for row in whole.objects]
        assert [prefix for page in pages for prefix in page.prefixes] == list(whole.prefixes)
        rows = [len(page.objects) + len(page.prefixes) for page in pages]
        assert all(count == limit for count in rows[:-1])
        assert 0 < rows[-1] <= limit

    async def test_a_full_last_page_has_no_cursor(self, store: ObjectStore, bucket: str) -> None:
        await self.fill(store, bucket, ("a", "b"))
        assert (await store.list(bucket, limit=2)).cursor is None

    async def test_a_cursor_outlives_changes_behind_it(self, store: ObjectStore, bucket: str) -> None:
        await self.fill(store, bucket, ("a", "b", "c"))
        page = await store.list(bucket, limit=2)
        await put(store, ObjectPath(bucket, "a2"))
        rest = await store.list(bucket, limit=2, cursor=page.cursor)
        assert [row.key for row in rest.objects] == ["c"]

    async def test_a_cursor_of_nothing_is_a_bad_request(self, backend: Backend, bucket: str) -> None:
        backend.needs("refuse cursors (it fails with a TypeError)")
        store = backend.store
        await self.fill(store, bucket, ("a", "b"))
        with pytest.raises(BadRequest):
            await store.list(bucket, cursor="no cursor of ours")

    async def test_a_missing_bucket_is_not_found(self, store: ObjectStore) -> None:
        with pytest.raises(BucketNotFound):
            await store.list("bucket-that-is-not")


async def test_a_store_that_answers_passes_the_check(store: ObjectStore) -> None:
    await store.check()
