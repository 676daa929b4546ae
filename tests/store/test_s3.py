"""What `S3Store` adds to the contract: what it puts on the wire, and what it makes of every answer S3 can give."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from urllib3.exceptions import ProtocolError

from s3proxy.errors import (
    BadRequest,
    BucketNotFound,
    ObjectNotFound,
    StoreBroken,
    StoreError,
    StorePreconditionFailed,
    StoreRangeNotSatisfiable,
    StoreRefused,
    StoreThrottled,
    StoreTimeout,
    UploadNotFound,
    WriteConflict,
)
from s3proxy.observe import log
from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import (
    CompletedPart,
    MultipartUpload,
    ObjectAttributes,
    ObjectStore,
    WriteConditions,
)
from s3proxy.store.s3 import S3Store
from s3proxy.store.s3_faults import translate
from s3proxy.store.s3_retries import DAMAGED
from tests.bodies import BytesBody, checksum_of, crc32_of, pattern, read_some
from tests.store.canned import CLOSED, RESET, SILENCE, Answer, CannedServer, Request, canned_server, error
from tests.store.conftest import CREDENTIALS, s3_options

PATH = ObjectPath("bucket", "folder/key")
UPLOAD = MultipartUpload(PATH, "upload-id")
PLAIN = ObjectAttributes()
SMALL = pattern(1_000)
LARGE = pattern(300_000)
"""Too large for the way of small objects."""

CREATED = Answer(body=b"<InitiateMultipartUploadResult><UploadId>upload-id</UploadId></InitiateMultipartUploadResult>")
COMPLETED = Answer(
    body=b"<CompleteMultipartUploadResult><ETag>&quot;etag-1&quot;</ETag></CompleteMultipartUploadResult>"
)
HEADERS = {"ETag": '"etag"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}


@pytest.fixture(scope="module")
def server() -> Iterator[CannedServer]:
    with canned_server() as server:
        yield server


@pytest.fixture
def s3(server: CannedServer) -> Iterator[CannedServer]:
    """The server, as new."""
    server.default = Answer(headers={"ETag": '"etag"'})
    server.answers.clear()
    server.requests.clear()
    yield server
    assert not server.answers, "answers nobody asked for"


@pytest.fixture(scope="module")
def make(loop: asyncio.Runner, server: CannedServer) -> Iterator[Callable[..., S3Store]]:
    """Stores on that server, one for each set of options."""
    stores: dict[str, S3Store] = {}

    def make(**options: object) -> S3Store:
        options = {"attempts": 1, "read_timeout": 5, "threads": 2, **options}
        name = str(sorted(options.items()))
        if name not in stores:
            stores[name] = S3Store(s3_options(server.url, **options))
        return stores[name]

    yield make
    for store in stores.values():
        loop.run(store.close())


@pytest.fixture
def store(make: Callable[..., S3Store]) -> S3Store:
    """A store that tries once."""
    return make()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 tries again at once."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))


def part(number: int = 1, data: bytes = SMALL) -> CompletedPart:
    return CompletedPart(number, len(data), '"part-etag"', checksum_of(data))


class TestOnTheWire:
    def look(self, request: Request, data: bytes) -> None:
        """A body in one plain piece, asked for by nobody first, not encoded, not hashed with SHA-256."""
        assert request.body == data
        assert request.headers["content-length"] == str(len(data))
        for header in (
            "expect",
            "transfer-encoding",
            "content-encoding",
            "x-amz-trailer",
            "x-amz-sdk-checksum-algorithm",
        ):
            assert header not in request.headers
        assert request.headers["x-amz-checksum-crc64nvme"] == checksum_of(data).value
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATESTKEYID/")

    async def test_a_large_object_goes_in_one_unsigned_piece(self, s3: CannedServer, store: S3Store) -> None:
        await store.put(PATH, BytesBody(LARGE), PLAIN, checksum=checksum_of(LARGE))
        (request,) = s3.requests
        assert (request.method, request.target) == ("PUT", "/bucket/folder/key")
        assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        self.look(request, LARGE)

    @pytest.mark.parametrize("data", [b"", SMALL, pattern(128 * 1024)])
    @pytest.mark.parametrize("stretch", [1_000_000, 50_000])
    async def test_a_small_object_goes_in_one_request(
        self, s3: CannedServer, store: S3Store, data: bytes, stretch: int
    ) -> None:
        await store.put(PATH, BytesBody(data, stretch), PLAIN, checksum=checksum_of(data))
        (request,) = s3.requests
        assert (request.method, request.target) == ("PUT", "/bucket/folder/key")
        self.look(request, data)

    @pytest.mark.parametrize("data", [b"", SMALL, LARGE])
    async def test_a_part_goes_in_one_unsigned_piece(self, s3: CannedServer, store: S3Store, data: bytes) -> None:
        done = await store.put_part(UPLOAD, 7, BytesBody(data), checksum=checksum_of(data))
        (request,) = s3.requests
        target, _, query = request.target.partition("?")
        assert (request.method, target) == ("PUT", "/bucket/folder/key")
        assert sorted(query.split("&")) == ["partNumber=7", "uploadId=upload-id"]
        assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        self.look(request, data)
        assert done == CompletedPart(7, len(data), '"etag"', checksum_of(data))

    async def test_a_signed_payload_is_signed_where_that_is_asked_for(
        self, s3: CannedServer, make: Callable[..., S3Store]
    ) -> None:
        store = make(sign_payload=True)
        await store.put_part(UPLOAD, 1, BytesBody(LARGE))
        assert s3.requests[0].headers["x-amz-content-sha256"] == hashlib.sha256(LARGE).hexdigest()

    async def test_another_checksum_is_sent_under_its_name(
        self, s3: CannedServer, make: Callable[..., S3Store]
    ) -> None:
        store = make(checksum=ChecksumAlgorithm.CRC32)
        for data in (SMALL, LARGE):
            await store.put(PATH, BytesBody(data), PLAIN, checksum=crc32_of(data))
            assert s3.requests[-1].headers["x-amz-checksum-crc32"] == crc32_of(data).value
        s3.answers.append(CREATED)
        await store.create_upload(PATH, PLAIN)
        assert s3.requests[-1].headers["x-amz-checksum-algorithm"] == "CRC32"

    async def test_no_checksum_is_sent_where_the_store_knows_none(
        self, s3: CannedServer, make: Callable[..., S3Store]
    ) -> None:
        store = make(checksum=ChecksumAlgorithm.NONE)
        s3.answers.extend([s3.default, s3.default, CREATED, s3.default, COMPLETED])
        await store.put(PATH, BytesBody(SMALL), PLAIN)
        await store.put(PATH, BytesBody(LARGE), PLAIN)
        upload = await store.create_upload(PATH, PLAIN)
        done = await store.put_part(upload, 1, BytesBody(LARGE))
        await store.complete_upload(upload, [done], size=len(LARGE))
        assert len(s3.requests) == 5
        for request in s3.requests:
            assert not [name for name in request.headers if "checksum" in name or "trailer" in name]
            assert request.headers.get("content-encoding") is None

    async def test_create_says_when_it_was_asked_twice(self, s3: CannedServer, make: Callable[..., S3Store]) -> None:
        store = make(attempts=2)
        s3.answers.extend([CREATED, CLOSED, CREATED])
        assert not (await store.create_upload(PATH, PLAIN)).retried
        assert (await store.create_upload(PATH, PLAIN)).retried

    async def test_uploads_are_listed_to_the_last_page(self, s3: CannedServer, store: S3Store) -> None:
        row = "<Upload><Key>k</Key><UploadId>{}</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>"
        pages = [
            "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
            "<NextUploadIdMarker>one</NextUploadIdMarker>" + row.format("one"),
            "<IsTruncated>false</IsTruncated>" + row.format("two"),
        ]
        for page in pages:
            text = f"<ListMultipartUploadsResult>{page}</ListMultipartUploadsResult>"
            s3.answers.append(Answer(body=text.encode()))
        listed = await store.list_uploads("bucket", "k")
        began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert listed == [(MultipartUpload(ObjectPath("bucket", "k"), each), began) for each in ("one", "two")]
        assert "key-marker=k" in s3.requests[1].target
        assert "upload-id-marker=one" in s3.requests[1].target

    async def test_create_asks_for_a_checksum_of_the_whole(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.append(CREATED)
        attributes = ObjectAttributes(content_type="text/css", metadata={"a": "b"})
        assert await store.create_upload(PATH, attributes) == UPLOAD
        (request,) = s3.requests
        assert (request.method, request.target) == ("POST", "/bucket/folder/key?uploads")
        assert request.headers["x-amz-checksum-algorithm"] == "CRC64NVME"
        assert request.headers["x-amz-checksum-type"] == "FULL_OBJECT"
        assert request.headers["content-type"] == "text/css"
        assert request.headers["x-amz-meta-a"] == "b"

    async def test_complete_states_size_checksum_and_parts(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.append(COMPLETED)
        whole = checksum_of(SMALL + LARGE)
        stored = await store.complete_upload(
            UPLOAD,
            [part(1), part(2, LARGE)],
            size=len(SMALL + LARGE),
            checksum=whole,
            conditions=WriteConditions(if_none_match="*", if_match='"old"'),
        )
        (request,) = s3.requests
        assert (request.method, request.target) == ("POST", "/bucket/folder/key?uploadId=upload-id")
        assert request.headers["x-amz-mp-object-size"] == str(len(SMALL + LARGE))
        assert request.headers["x-amz-checksum-crc64nvme"] == whole.value
        assert request.headers["x-amz-checksum-type"] == "FULL_OBJECT"
        assert request.headers["if-none-match"] == "*"
        assert request.headers["if-match"] == '"old"'
        xml = request.body.decode()
        assert xml.index("<PartNumber>1</PartNumber>") < xml.index("<PartNumber>2</PartNumber>")
        assert xml.count("<ETag>&quot;part-etag&quot;</ETag>") + xml.count('<ETag>"part-etag"</ETag>') == 2
        assert f"<ChecksumCRC64NVME>{checksum_of(LARGE).value}</ChecksumCRC64NVME>" in xml
        assert stored.etag == '"etag-1"'

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_conditions_go_with_the_object(self, s3: CannedServer, store: S3Store, data: bytes) -> None:
        await store.put(PATH, BytesBody(data), PLAIN, conditions=WriteConditions(if_none_match="*"))
        await store.put(PATH, BytesBody(data), PLAIN, conditions=WriteConditions(if_match='"old"'))
        first, second = s3.requests
        assert first.headers["if-none-match"] == "*"
        assert second.headers["if-match"] == '"old"'

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_conditions_stay_away_from_stores_that_know_none(
        self, s3: CannedServer, make: Callable[..., S3Store], data: bytes
    ) -> None:
        store = make(conditional_writes=False)
        conditions = WriteConditions(if_none_match="*", if_match='"old"')
        s3.answers.extend([s3.default, COMPLETED])
        await store.put(PATH, BytesBody(data), PLAIN, conditions=conditions)
        await store.complete_upload(UPLOAD, [part()], size=1_000, conditions=conditions)
        assert [name for request in s3.requests for name in request.headers if name.startswith("if-")] == []

    @pytest.mark.parametrize("key", ["a b+c", "ü/日", "%2F", "a//b", "q?x=1&y#z", "~*!()'"])
    async def test_both_ways_to_the_store_write_a_key_alike(self, s3: CannedServer, store: S3Store, key: str) -> None:
        path = ObjectPath("bucket", key)
        await store.put(path, BytesBody(SMALL), PLAIN)
        await store.put(path, BytesBody(LARGE), PLAIN)
        small, large = s3.requests
        assert small.target.lower() == large.target.lower()

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    async def test_attributes_go_as_headers(self, s3: CannedServer, store: S3Store, data: bytes) -> None:
        attributes = ObjectAttributes(
            content_type="text/plain",
            cache_control="no-store",
            content_disposition="attachment",
            content_encoding="br",
            content_language="en",
            metadata={"colour": "blue"},
        )
        await store.put(PATH, BytesBody(data), attributes)
        headers = s3.requests[0].headers
        assert headers["content-type"] == "text/plain"
        assert headers["cache-control"] == "no-store"
        assert headers["content-disposition"] == "attachment"
        assert headers["content-encoding"] == "br"
        assert headers["content-language"] == "en"
        assert headers["x-amz-meta-colour"] == "blue"

    async def test_a_body_is_sent_again_from_its_beginning(
        self, s3: CannedServer, make: Callable[..., S3Store], no_pauses: None
    ) -> None:
        store = make(attempts=3)
        s3.answers.extend([error(500, "InternalError"), error(503, "SlowDown")])
        await store.put_part(UPLOAD, 1, BytesBody(LARGE), checksum=checksum_of(LARGE))
        assert [request.body for request in s3.requests] == [LARGE] * 3

    async def test_a_body_that_gives_up_ends_the_call(self, s3: CannedServer, make: Callable[..., S3Store]) -> None:
        class Withdrawing(BytesBody):
            def read(self, size: int = -1, /) -> memoryview:
                if self.tell() > 100_000:
                    raise RuntimeError("withdrawn")
                return super().read(size)

        started = time.monotonic()
        with pytest.raises(StoreBroken) as caught:
            await make(attempts=3).put_part(UPLOAD, 1, Withdrawing(LARGE))
        assert caught.value.reason == "BodyGaveUp"
        assert time.monotonic() - started < 0.5, "there was a pause before a retry"
        await until(lambda: len(s3.requests) == 1)
        assert len(s3.requests[0].body) < len(LARGE)

    async def test_a_body_given_up_before_its_turn_is_not_sent(self, s3: CannedServer, store: S3Store) -> None:
        class Withdrawn(BytesBody):
            def readinto(self, buffer: memoryview, /) -> int:
                raise RuntimeError("withdrawn")

        with pytest.raises(StoreBroken):
            await store.put_part(UPLOAD, 1, Withdrawn(LARGE))
        assert s3.requests == []

    async def test_a_body_given_up_before_a_retry_is_not_sent_again(
        self, s3: CannedServer, make: Callable[..., S3Store], no_pauses: None
    ) -> None:
        class Withdrawn(BytesBody):
            def readinto(self, buffer: memoryview, /) -> int:
                if s3.requests:
                    raise RuntimeError("withdrawn")
                return super().readinto(buffer)

        s3.default = error(500, "InternalError")
        with pytest.raises(StoreBroken):
            await make(attempts=3).put_part(UPLOAD, 1, Withdrawn(LARGE))
        assert len(s3.requests) == 1

    @pytest.mark.parametrize("code", sorted(DAMAGED))
    async def test_a_part_damaged_on_its_way_is_sent_once_more(
        self, s3: CannedServer, make: Callable[..., S3Store], code: str
    ) -> None:
        s3.answers.append(error(400, code))
        await make(attempts=3).put_part(UPLOAD, 1, BytesBody(LARGE), checksum=checksum_of(LARGE))
        assert [request.body for request in s3.requests] == [LARGE] * 2

    async def test_a_part_that_arrives_damaged_twice_is_broken(
        self, s3: CannedServer, make: Callable[..., S3Store]
    ) -> None:
        s3.default = error(400, "BadDigest")
        with pytest.raises(StoreBroken):
            await make(attempts=3).put_part(UPLOAD, 1, BytesBody(LARGE))
        assert len(s3.requests) == 2

    async def test_where_nothing_is_tried_again_neither_is_a_damaged_part(
        self, s3: CannedServer, store: S3Store
    ) -> None:
        s3.default = error(400, "BadDigest")
        with pytest.raises(StoreBroken):
            await store.put_part(UPLOAD, 1, BytesBody(LARGE))
        assert len(s3.requests) == 1

    async def test_a_small_body_is_sent_again_by_boto3(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.append(error(500, "InternalError"))
        await store.put(PATH, BytesBody(SMALL), PLAIN)
        assert [request.body for request in s3.requests] == [SMALL] * 2

    async def test_a_checksum_in_an_answer_is_told(self, s3: CannedServer, store: S3Store) -> None:
        value = checksum_of(LARGE).value
        s3.default = Answer(headers={**HEADERS, "x-amz-checksum-crc64nvme": value})
        assert (await store.put(PATH, BytesBody(LARGE), PLAIN)).checksum == checksum_of(LARGE)
        assert (await store.put(PATH, BytesBody(SMALL), PLAIN)).checksum == checksum_of(LARGE)
        assert (await store.head(PATH)).checksum == checksum_of(LARGE)

    async def test_a_checksum_of_checksums_is_none_of_the_object(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = Answer(headers={**HEADERS, "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=-3"})
        assert (await store.head(PATH)).checksum is None

    async def test_head_asks_for_the_checksum(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = Answer(headers=HEADERS)
        await store.head(PATH)
        assert s3.requests[0].headers["x-amz-checksum-mode"] == "ENABLED"


async def until(condition: Callable[[], bool]) -> None:
    """Let threads go on until it holds; the test's own timeout bounds it."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0.0001)
    raise AssertionError("it never came true")


def answered(status: int, code: str, retries: int = 0) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "secret"},
            "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": retries},
        },
        "PutObject",
    )


class TestTranslation:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (404, "NoSuchKey", ObjectNotFound),
            (404, "NoSuchBucket", BucketNotFound),
            (404, "NoSuchUpload", UploadNotFound),
            (404, "404", ObjectNotFound),
            (412, "PreconditionFailed", StorePreconditionFailed),
            (412, "412", StorePreconditionFailed),
            (409, "ConditionalRequestConflict", WriteConflict),
            (409, "OperationAborted", WriteConflict),
            (416, "InvalidRange", StoreRangeNotSatisfiable),
            (503, "SlowDown", StoreThrottled),
            (503, "ServiceUnavailable", StoreThrottled),
            (503, "", StoreThrottled),
            (429, "TooManyRequests", StoreThrottled),
            (400, "RequestTimeout", StoreTimeout),
            (400, "BadDigest", StoreBroken),
            (400, "XAmzContentChecksumMismatch", StoreBroken),
            (400, "IncompleteBody", StoreBroken),
            (500, "InternalError", StoreBroken),
            (502, "", StoreBroken),
            (501, "NotImplemented", StoreBroken),
            (200, "InternalError", StoreBroken),
            (301, "PermanentRedirect", StoreBroken),
            (403, "AccessDenied", StoreRefused),
            (403, "InvalidAccessKeyId", StoreRefused),
            (403, "SignatureDoesNotMatch", StoreRefused),
            (403, "RequestTimeTooSkewed", StoreRefused),
            (403, "403", StoreRefused),
            (400, "ExpiredToken", StoreRefused),
            (400, "EntityTooSmall", StoreRefused),
            (400, "InvalidRequest", StoreRefused),
        ],
    )
    def test_an_answer_of_s3(self, status: int, code: str, kind: type[StoreError]) -> None:
        fault = translate(answered(status, code))
        assert type(fault) is kind
        assert fault.reason == (code or kind.code)
        assert fault.ambiguous == (status >= 500 or status < 400)
        assert "secret" not in fault.message

    @pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (404, "NoSuchUpload"), (403, "403")])
    def test_a_refusal_of_a_repeated_call_is_ambiguous(self, status: int, code: str) -> None:
        assert translate(answered(status, code, retries=1)).ambiguous

    @pytest.mark.parametrize(
        ("fault", "kind", "reason", "ambiguous"),
        [
            (NoCredentialsError(), StoreRefused, "NoCredentials", False),
            (PartialCredentialsError(provider="p", cred_var="v"), StoreRefused, "NoCredentials", False),
            (ParamValidationError(report="secret"), StoreRefused, "InvalidRequest", False),
            # Of the last try: a try before it may have reached the store.
            (EndpointConnectionError(endpoint_url="secret"), StoreBroken, "ConnectionRefused", True),
            (HTTPClientError(error=ValueError("secret")), StoreBroken, "ConnectionBroken", True),
            (ProtocolError("secret"), StoreBroken, "ConnectionBroken", True),
            (ConnectionResetError("secret"), StoreBroken, "ConnectionBroken", True),
            (ValueError("I/O operation on closed file"), StoreBroken, "ConnectionBroken", True),
        ],
    )
    def test_no_answer(self, fault: Exception, kind: type[StoreError], reason: str, ambiguous: bool) -> None:
        translated = translate(fault)
        assert type(translated) is kind
        assert (translated.reason, translated.ambiguous) == (reason, ambiguous)
        assert "secret" not in translated.message

    @pytest.mark.parametrize("code", ["<script>", "A B", "http://s3.internal/", "é-", ""])
    def test_a_reason_that_is_no_word_is_not_passed_on(self, code: str) -> None:
        assert translate(answered(400, code)).reason == "store_refused"


CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "put small": lambda store: store.put(PATH, BytesBody(SMALL), PLAIN),
    "put large": lambda store: store.put(PATH, BytesBody(LARGE), PLAIN),
    "create_upload": lambda store: store.create_upload(PATH, PLAIN),
    "put_part": lambda store: store.put_part(UPLOAD, 1, BytesBody(LARGE)),
    "complete_upload": lambda store: store.complete_upload(UPLOAD, [part()], size=1_000),
    "abort_upload": lambda store: store.abort_upload(UPLOAD),
    "head": lambda store: store.head(PATH),
    "open": lambda store: store.open(PATH),
    "open range": lambda store: store.open(PATH, byte_range=RangeRequest(5, None)),
    "open small range": lambda store: store.open(PATH, byte_range=ByteRange(5, 9), if_match='"etag"'),
    "delete": lambda store: store.delete(PATH),
    "list": lambda store: store.list("bucket"),
    "check": lambda store: store.check(),
}
EVERY_CALL = pytest.mark.parametrize("call", list(CALLS.values()), ids=list(CALLS))


class TestFaults:
    @EVERY_CALL
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (error(500, "InternalError"), StoreBroken),
            (error(503, "SlowDown"), StoreThrottled),
            (error(400, "ExpiredToken"), StoreRefused),
            (CLOSED, StoreBroken),
            (RESET, StoreBroken),
        ],
        ids=["500", "503", "400", "closed", "reset"],
    )
    async def test_every_call_translates_every_fault(
        self,
        s3: CannedServer,
        store: S3Store,
        call: Callable[[ObjectStore], Awaitable[object]],
        answer: Answer,
        kind: type[StoreError],
    ) -> None:
        s3.default = answer
        with pytest.raises(StoreError) as fault:
            await call(store)
        assert type(fault.value) is kind
        assert "Secret" not in str(fault.value)
        assert fault.value.__cause__ is None
        assert fault.value.__suppress_context__

    @EVERY_CALL
    @pytest.mark.parametrize(
        "answer",
        [
            Answer(body=b"<html><body>Welcome to the Internet</body></html>", headers={"Content-Type": "text/html"}),
            Answer(body=b"not even markup"),
            Answer(),
            Answer(206, b"x" * 5, {"Content-Range": "bytes everything/*", **HEADERS}),
            Answer(body=b"x" * 5, headers={"ETag": '"etag"', "Last-Modified": "yesterday"}),
        ],
        ids=["html", "text", "nothing", "range", "date"],
    )
    async def test_nonsense_is_a_store_error_or_a_value(
        self, s3: CannedServer, store: S3Store, call: Callable[[ObjectStore], Awaitable[object]], answer: Answer
    ) -> None:
        s3.default = answer
        with contextlib.suppress(StoreBroken):
            opened = await call(store)
            if hasattr(opened, "close"):
                opened.close()

    @pytest.mark.parametrize("name", ["put small", "put large", "create_upload", "put_part", "complete_upload", "head"])
    async def test_an_answer_without_what_it_must_say_is_broken(
        self, s3: CannedServer, store: S3Store, name: str
    ) -> None:
        s3.default = Answer()
        with pytest.raises(StoreBroken) as fault:
            await CALLS[name](store)
        assert fault.value.reason == "BadAnswer"
        assert fault.value.ambiguous

    @EVERY_CALL
    async def test_silence_is_a_timeout(
        self, s3: CannedServer, make: Callable[..., S3Store], call: Callable[[ObjectStore], Awaitable[object]]
    ) -> None:
        # The completer waits ten times as long.
        store = make(read_timeout=0.03)
        s3.default = SILENCE
        with pytest.raises(StoreTimeout) as fault:
            await call(store)
        assert fault.value.ambiguous

    async def test_nobody_listens(self, loop: asyncio.Runner) -> None:
        store = S3Store(s3_options("http://127.0.0.1:1", attempts=1))
        for call in CALLS.values():
            with pytest.raises(StoreBroken):
                await call(store)
        await store.close()

    async def test_without_credentials_every_call_is_refused(
        self, s3: CannedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        store = S3Store(s3_options(s3.url, credentials=None))
        for call in CALLS.values():
            with pytest.raises(StoreRefused) as fault:
                await call(store)
            assert fault.value.reason == "NoCredentials"
        assert s3.requests == []
        await store.close()

    async def test_a_complete_that_fails_after_its_status_has_failed(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = Answer(200, error(500, "InternalError").body)
        with pytest.raises(StoreBroken) as fault:
            await store.complete_upload(UPLOAD, [part()], size=1_000)
        assert fault.value.ambiguous

    async def test_a_lost_complete_whose_repetition_finds_no_upload_is_ambiguous(
        self, s3: CannedServer, make: Callable[..., S3Store], no_pauses: None
    ) -> None:
        s3.answers.extend([CLOSED, error(404, "NoSuchUpload")])
        with pytest.raises(UploadNotFound) as fault:
            await make(attempts=3).complete_upload(UPLOAD, [part()], size=1_000)
        assert fault.value.ambiguous

    async def test_a_lost_conditional_put_whose_repetition_meets_it_is_ambiguous(
        self, s3: CannedServer, make: Callable[..., S3Store], no_pauses: None
    ) -> None:
        s3.answers.extend([CLOSED, error(412, "PreconditionFailed")])
        only_new = WriteConditions(if_none_match="*")
        with pytest.raises(StorePreconditionFailed) as fault:
            await make(attempts=3).put(PATH, BytesBody(SMALL), PLAIN, conditions=only_new)
        assert fault.value.ambiguous

    async def test_a_cursor_s3_refuses_is_a_bad_request(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = error(400, "InvalidArgument")
        with pytest.raises(BadRequest):
            await store.list("bucket", cursor="?")
        with pytest.raises(StoreRefused):
            await store.list("bucket")

    async def test_a_bare_404_to_a_listing_is_no_missing_file(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = Answer(404)
        with pytest.raises(StoreBroken):
            await store.list("bucket")

    async def test_keys_that_may_not_list_buckets_pass_the_check(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = error(403, "AccessDenied")
        await store.check()
        s3.default = error(403, "InvalidAccessKeyId")
        with pytest.raises(StoreRefused):
            await store.check()


class TestAbort:
    async def test_it_looks_whether_the_upload_is_gone(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.extend([Answer(204), error(404, "NoSuchUpload")])
        await store.abort_upload(UPLOAD)
        assert [request.method for request in s3.requests] == ["DELETE", "GET"]

    async def test_an_upload_still_there_is_a_failure(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.extend([Answer(204), Answer(body=b"<ListPartsResult></ListPartsResult>")])
        with pytest.raises(StoreBroken) as fault:
            await store.abort_upload(UPLOAD)
        assert fault.value.reason == "UploadStillThere"

    async def test_an_abort_that_may_not_be_is_a_failure(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = error(403, "AccessDenied")
        with pytest.raises(StoreRefused):
            await store.abort_upload(UPLOAD)

    async def test_a_look_that_may_not_be_is_none(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.extend([Answer(204), error(403, "AccessDenied")])
        await store.abort_upload(UPLOAD)

    @pytest.mark.parametrize("code", ["NoSuchUpload", "NoSuchBucket"])
    async def test_gone_already_is_done(self, s3: CannedServer, store: S3Store, code: str) -> None:
        s3.answers.append(error(404, code))
        await store.abort_upload(UPLOAD)


SIZE = 1_000_000
HEAD = 128 * 1024


def whole(first: int, last: int, sent: int | None = None, after: str = "keep", etag: str = '"etag"') -> Answer:
    """A part of the object `pattern(SIZE)`, of which only the first `sent` bytes come."""
    body = pattern(SIZE)[first : last + 1]
    headers = {**HEADERS, "ETag": etag, "Content-Range": f"bytes {first}-{last}/{SIZE}"}
    return Answer(206, body[:sent], headers, len(body), "keep" if sent is None else after)  # type: ignore[arg-type]


class TestReading:
    async def test_a_small_object_takes_one_request(self, s3: CannedServer, store: S3Store) -> None:
        headers = {**HEADERS, "Content-Range": "bytes 0-999/1000", "x-amz-meta-a": "b", "Content-Type": "text/css"}
        s3.answers.append(Answer(206, SMALL, headers))
        stream = await store.open(PATH)
        assert (stream.first, stream.length, stream.info.size) == (0, 1_000, 1_000)
        assert stream.info.attributes == ObjectAttributes(content_type="text/css", metadata={"a": "b"})
        assert await read_some(stream, 10_000) == SMALL
        assert await read_some(stream, 10_000) == b""
        assert len(s3.requests) == 1

    async def test_a_large_object_goes_on_over_another_connection(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1)])
        stream = await store.open(PATH)
        assert (stream.first, stream.length, stream.info.size) == (0, SIZE, SIZE)
        pieces = [await read_some(stream, 300_000) for _ in range(5)]
        assert b"".join(pieces) == pattern(SIZE)
        assert s3.requests[1].headers["range"] == f"bytes={HEAD}-{SIZE - 1}"
        assert s3.requests[1].headers["if-match"] == '"etag"'

    async def test_an_object_that_changed_in_between_is_told(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.extend([whole(0, HEAD - 1), error(412, "PreconditionFailed")])
        stream = await store.open(PATH)
        assert await read_some(stream, HEAD) == pattern(SIZE)[:HEAD]
        with pytest.raises(StorePreconditionFailed):
            await read_some(stream, 10)
        stream.close()

    @pytest.mark.parametrize(
        "answer", [Answer(200, pattern(SIZE), HEADERS), whole(0, SIZE - 1), whole(HEAD, SIZE - 1, etag='"other"')]
    )
    async def test_a_store_that_ignores_range_or_condition_is_broken(
        self, s3: CannedServer, store: S3Store, answer: Answer
    ) -> None:
        s3.answers.extend([whole(0, HEAD - 1), answer])
        stream = await store.open(PATH)
        assert await read_some(stream, HEAD) == pattern(SIZE)[:HEAD]
        with pytest.raises(StoreBroken):
            await read_some(stream, 10)
        stream.close()

    async def test_a_store_that_knows_no_ranges_is_not_read_into_memory(self, s3: CannedServer, store: S3Store) -> None:
        s3.default = Answer(200, b"x" * 1_000, HEADERS, length=2_000_000_000, after="silence")
        stream = await store.open(PATH)
        assert stream.length == 2_000_000_000
        stream.close()
        assert len(s3.requests) == 2

    @pytest.mark.parametrize("after", ["close", "reset"])
    async def test_a_body_that_breaks_off_is_broken_and_what_came_stays(
        self, s3: CannedServer, store: S3Store, after: str
    ) -> None:
        s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1, 50_000, after)])
        stream = await store.open(PATH)
        data = b""
        with pytest.raises(StoreBroken):  # noqa: PT012 - the number of reads before is free
            while True:
                piece = await read_some(stream, 10_000)
                assert piece
                data += piece
        stream.close()
        assert pattern(SIZE).startswith(data)
        assert len(data) >= HEAD

    async def test_a_body_that_stalls_is_a_timeout(self, s3: CannedServer, make: Callable[..., S3Store]) -> None:
        s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1, 50_000, "silence")])
        stream = await make(read_timeout=0.03).open(PATH)
        assert await read_some(stream, HEAD) == pattern(SIZE)[:HEAD]
        assert await read_some(stream, 100_000) == pattern(SIZE)[HEAD : HEAD + 50_000]
        with pytest.raises(StoreTimeout):
            await read_some(stream, 100_000)
        stream.close()

    async def test_what_has_come_is_handed_on_when_the_rest_takes_its_time(
        self, s3: CannedServer, make: Callable[..., S3Store], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("s3proxy.store.s3_body.LULL", 0)
        s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1, 50_000, "silence")])
        stream = await make(read_timeout=60).open(PATH)
        data = b""
        async with asyncio.timeout(10):
            while len(data) < HEAD + 50_000:
                data += await read_some(stream, SIZE)
        assert data == pattern(SIZE)[: HEAD + 50_000]
        stream.close()

    async def test_a_small_object_cut_short_is_read_again_by_boto3(self, s3: CannedServer, store: S3Store) -> None:
        s3.answers.extend([whole(0, 99, 50, "close"), whole(0, 99)])
        stream = await store.open(PATH, byte_range=ByteRange(0, 99))
        assert await read_some(stream, 100) == pattern(SIZE)[:100]
        stream.close()

    @pytest.mark.parametrize("cancelled", [False, True])
    async def test_closing_ends_a_read_under_way(
        self, s3: CannedServer, make: Callable[..., S3Store], cancelled: bool
    ) -> None:
        store = make(threads=1, read_timeout=30)
        s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1, 50_000, "silence")])
        stream = await store.open(PATH)
        assert await read_some(stream, HEAD + 50_000) == pattern(SIZE)[:HEAD]
        assert await read_some(stream, 50_000) == pattern(SIZE)[HEAD : HEAD + 50_000]
        buffer = memoryview(bytearray(500_000))
        reading = asyncio.create_task(stream.readinto(buffer))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not reading.done()
        if cancelled:
            reading.cancel()
        stream.close()
        with pytest.raises(asyncio.CancelledError if cancelled else StoreBroken):
            await reading
        with pytest.raises(StoreBroken):
            await read_some(stream, 10)

    async def test_a_connection_that_was_read_to_its_end_is_used_again(self, s3: CannedServer, store: S3Store) -> None:
        before = s3.connections
        for _ in range(3):
            s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1)])
            stream = await store.open(PATH)
            data = b"".join([await read_some(stream, 300_000) for _ in range(5)])
            assert data == pattern(SIZE)
            stream.close()
        assert len(s3.requests) == 6
        assert s3.connections <= before + 2  # One of the small calls' own, one of boto3's.

    @pytest.mark.parametrize(("length", "reason"), [({}, "BadAnswer"), ({"Content-Length": "10"}, "NoLength")])
    async def test_a_body_in_chunks_is_refused(
        self, s3: CannedServer, store: S3Store, length: dict[str, str], reason: str
    ) -> None:
        chunked = {**HEADERS, **length, "Transfer-Encoding": "chunked"}
        chunked["Content-Range"] = f"bytes {HEAD}-{SIZE - 1}/{SIZE}"
        s3.answers.extend([whole(0, HEAD - 1), Answer(206, b"a\r\n0123456789\r\n0\r\n\r\n", chunked)])
        stream = await store.open(PATH)
        await read_some(stream, HEAD)
        with pytest.raises(StoreBroken) as fault:
            await read_some(stream, 10)
        assert fault.value.reason == reason

    async def test_closing_while_the_second_connection_opens(
        self, s3: CannedServer, make: Callable[..., S3Store]
    ) -> None:
        store = make(threads=1, read_timeout=0.2)
        s3.answers.extend([whole(0, HEAD - 1), SILENCE])
        stream = await store.open(PATH)
        await read_some(stream, HEAD)
        reading = asyncio.create_task(read_some(stream, 10))
        await until(lambda: len(s3.requests) == 2)
        stream.close()
        with pytest.raises(StoreError):
            await reading
        with pytest.raises(StoreBroken):
            await read_some(stream, 10)

    async def test_a_connection_that_opens_after_closing_is_closed(
        self, s3: CannedServer, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        s3.answers.extend([whole(0, HEAD - 1), whole(HEAD, SIZE - 1)])
        stream = await store.open(PATH)
        await read_some(stream, HEAD)
        opened = []
        open_body = store.open_body

        async def remember(*arguments: Any) -> Any:
            opened.append(await open_body(*arguments))
            return opened[0]

        monkeypatch.setattr(store, "open_body", remember)
        reading = asyncio.create_task(read_some(stream, 10))
        await asyncio.sleep(0)
        stream.close()
        with contextlib.suppress(StoreBroken):
            await reading
        assert opened[0]._response.closed


class TestSecrets:
    def test_options_and_store_do_not_show_them(self, server: CannedServer) -> None:
        options = s3_options(server.url, credentials={**CREDENTIALS, "aws_session_token": "a-session-token"})
        for text in (repr(options), str(options), f"{options}"):
            for secret in ("AKIATESTKEYID", "test-secret-access-key", "a-session-token"):
                assert secret not in text
        assert dataclasses.is_dataclass(options)

    async def test_no_log_line_holds_one(self, s3: CannedServer, capsys: pytest.CaptureFixture[str]) -> None:
        root = logging.getLogger()
        before = root.level, root.handlers[:]
        levels = {name: logging.getLogger(name).level for name in log.QUIET}
        try:
            log.configure("DEBUG")
            credentials = {**CREDENTIALS, "aws_session_token": "a-session-token"}
            store = S3Store(s3_options(s3.url, credentials=credentials, attempts=1, read_timeout=1))
            for answer in (Answer(headers=HEADERS), error(403, "SignatureDoesNotMatch"), CLOSED):
                s3.default = answer
                for call in CALLS.values():
                    try:
                        opened = await call(store)
                    except StoreError:
                        logging.getLogger("s3proxy").exception("as a bug would show")
                    else:
                        if hasattr(opened, "close"):
                            opened.close()
            await store.close()
            shown = capsys.readouterr()
        finally:
            root.setLevel(before[0])
            root.handlers[:] = before[1]
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
        assert "as a bug would show" in shown.out
        for secret in ("AKIATESTKEYID", "test-secret-access-key", "a-session-token", "Signature="):
            assert secret not in shown.out + shown.err


async def test_what_boto3_knows_of_s3_is_read_once_for_all_stores(s3: CannedServer) -> None:
    stores = [S3Store(s3_options(s3.url)) for _ in range(2)]
    loaders = {id(store._session._session.get_component("data_loader")) for store in stores}
    for store in stores:
        await store.close()
    assert len(loaders) == 1


async def test_close_does_not_wait_for_a_store_that_hangs(s3: CannedServer) -> None:
    store = S3Store(s3_options(s3.url, read_timeout=0.3, attempts=1))
    s3.default = SILENCE
    hanging = [asyncio.create_task(store.head(PATH)), asyncio.create_task(store.put(PATH, BytesBody(LARGE), PLAIN))]
    await until(lambda: len(s3.requests) == 2)
    started = time.monotonic()
    await store.close()
    assert time.monotonic() - started < 0.2
    for task in hanging:
        with pytest.raises(StoreError):
            await task


@pytest.fixture
def silent() -> Iterator[CannedServer]:
    """A server of its own that never answers."""
    with canned_server() as server:
        server.default = SILENCE
        yield server


async def hang_up(silent: CannedServer, store: S3Store, calls: list[asyncio.Task[object]]) -> None:
    """End the silence, the calls that wait for it to end, and the store."""
    silent.default = CLOSED
    silent.over.set()
    await asyncio.gather(*calls, return_exceptions=True)
    await store.close()


async def test_a_request_does_not_stand_in_line_for_ever(silent: CannedServer) -> None:
    store = S3Store(s3_options(silent.url, read_timeout=0.4, attempts=1, threads=2))
    # These may take ten times as long.
    hanging = [asyncio.ensure_future(CALLS["complete_upload"](store)) for _ in range(2)]
    await until(lambda: len(silent.requests) == 2)
    with pytest.raises(StoreTimeout) as caught:
        await store.create_upload(PATH, PLAIN)
    assert caught.value.reason == "NoThread"
    assert not caught.value.ambiguous, "it was never made"
    leaving = asyncio.create_task(store.head(PATH))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not any(task.done() for task in hanging)
    assert len(silent.requests) == 2
    await hang_up(silent, store, hanging)


async def test_a_store_that_hangs_in_every_thread_leaves_another_alone(silent: CannedServer, s3: CannedServer) -> None:
    hanging, healthy = (
        S3Store(s3_options(server.url, read_timeout=5, attempts=1, threads=2)) for server in (silent, s3)
    )
    stuck = [asyncio.ensure_future(call(hanging)) for call in CALLS.values() for _ in range(2)]
    await until(lambda: len(silent.requests) >= 6)
    s3.answers.extend([CREATED, Answer(headers=HEADERS), COMPLETED])
    upload = await healthy.create_upload(PATH, PLAIN)
    done = await healthy.put_part(upload, 1, BytesBody(LARGE))
    await healthy.complete_upload(upload, [done], size=len(LARGE))
    assert not any(task.done() for task in stuck)
    await healthy.close()
    await hang_up(silent, hanging, stuck)


async def test_a_checksum_of_another_kind_is_not_mistaken(s3: CannedServer, store: S3Store) -> None:
    s3.default = Answer(headers={**HEADERS, "x-amz-checksum-crc32": crc32_of(SMALL).value})
    assert (await store.head(PATH)).checksum is None
    assert Checksum(ChecksumAlgorithm.CRC32, crc32_of(SMALL).value) == crc32_of(SMALL)
