"""One shape for every error, and the right status for every cause (design 2.3)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from s3proxy import errors
from tests.fakes import FaultyStore, MemoryStore, Operation
from tests.http.place import KIB, Bucket, Call
from tests.http.wire import FORM_TYPE, Answer, File, exchange, form, until

FORM = form(("bucket_name", "photos"), ("object_name", "k"), File(b"hello"))


def assert_shape(answer: Answer, status: int) -> None:
    """JSON with nothing but a `detail`, an id and a code."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert list(json.loads(answer.body)) == ["detail"]
    assert json.loads(answer.body)["detail"]
    assert re.fullmatch(r"[A-Za-z0-9._:-]{8,128}", answer.headers["X-Request-Id"])
    assert re.fullmatch(r"[a-z_]+", answer.headers["X-Error-Code"])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server"] == "s3proxy"
    assert ("Retry-After" in answer.headers) == (status in (429, 503))


REQUESTS: list[tuple[str, str, list[str], bytes, int]] = [
    ("GET", "/", [], b"", 404),
    ("GET", "/nothing", [], b"", 404),
    ("POST", "/nothing", [], b"hello", 404),
    ("PATCH", "/nothing", [], b"hello", 404),
    ("GET", "/healthz/", [], b"", 404),
    ("GET", "/files//k", [], b"", 404),
    ("GET", "http://test/files/photos/k", [], b"", 404),
    ("GET", "/files", [], b"", 400),
    ("GET", "/files?bucket_name=%FF&object_name=k", [], b"", 400),
    ("GET", "/files?bucket_name=photos&object_name=no", [], b"", 400),
    ("GET", "/files/photos/no", [], b"", 404),
    ("GET", "/files/photos/a%00b", [], b"", 400),
    ("GET", "/files/photos/k", ["Range: bytes=9-"], b"", 416),
    ("GET", "/files/photos/k", ['If-Match: "x"'], b"", 412),
    ("GET", "/files/photos/k", [], b"a body", 400),
    ("GET", "/files/no-such-bucket/", [], b"", 404),
    ("GET", "/files/photos/?limit=x", [], b"", 400),
    ("DELETE", "/files/photos/no", [], b"", 404),
    ("DELETE", "/files/photos/k", [], b"a body", 400),
    ("PUT", "/files/photos/k", ["If-None-Match: *"], b"hello", 412),
    ("PUT", "/files/photos/k", ["Content-MD5: x"], b"hello", 400),
    ("PUT", "/files/photos/k", ["Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg=="], b"hello", 400),
    ("PUT", "/files/no-such-bucket/k", [], b"hello", 404),
    ("POST", "/files", [], b"hello", 400),
    ("POST", "/files", [FORM_TYPE], b"hello", 400),
    ("POST", "/files", [FORM_TYPE], FORM[:-10], 400),
    ("PUT", "/files", [], b"hello", 405),
    ("POST", "/files/photos/k", [], b"hello", 405),
    ("PATCH", "/files/photos/k", [], b"hello", 405),
    ("PATCH", "/files/photos/k", [], b"", 405),
    ("OPTIONS", "/files/photos/k", [], b"", 405),
    ("TRACE", "/files/photos/k", [], b"", 405),
    ("FOO", "/files/photos/k", [], b"", 405),
    ("POST", "/healthz", [], b"hello", 405),
    ("DELETE", "/readyz", [], b"", 405),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status"), REQUESTS, ids=[" ".join(row[:2]) for row in REQUESTS]
)
async def test_every_refusal_has_the_one_shape(
    port: int, bucket: Bucket, method: str, target: str, headers: list[str], body: bytes, status: int
) -> None:
    bucket.put("k", b"hello")
    answer = await exchange(port, method, target, *headers, body=body)
    assert_shape(answer, status)
    assert bucket.data("k") == b"hello"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/files", "GET, HEAD, POST"),
        ("/files/", "GET, HEAD, POST"),
        ("/files/photos", "GET, HEAD"),
        ("/files/photos/", "GET, HEAD"),
        ("/files/photos/k", "GET, HEAD, PUT, DELETE"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
    ],
)
async def test_405_tells_what_is_allowed_and_that_is_true(
    port: int, memory: MemoryStore, target: str, allowed: str
) -> None:
    memory.seed("photos", "k", b"hello")
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "PROPFIND"):
        answer = await exchange(port, method, target)
        assert (answer.status == 405) == (method not in allowed.split(", ")), method
        assert answer.headers.get("Allow") == (allowed if answer.status == 405 else None)


FAULTS: list[tuple[errors.StoreError, int]] = [
    (errors.StoreRefused(reason="AccessDenied"), 502),
    (errors.StoreBroken(), 502),
    (errors.StoreThrottled(), 503),
    (errors.StoreTimeout(), 504),
]

CALLS: list[tuple[str, str, Operation, bytes | None]] = [
    ("PUT", "/files/photos/new", "put", b"hello"),
    ("PUT", "/files/photos/new", "create_upload", bytes(200_000)),
    ("PUT", "/files/photos/new", "put_part", bytes(200_000)),
    ("PUT", "/files/photos/new", "complete_upload", bytes(200_000)),
    ("GET", "/files/photos/k", "open", None),
    ("HEAD", "/files/photos/k", "head", None),
    ("DELETE", "/files/photos/k", "head", None),
    ("DELETE", "/files/photos/k", "delete", None),
    ("GET", "/files/photos/", "list", None),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("fault", "status"), FAULTS, ids=[type(fault).__name__ for fault, _ in FAULTS])
async def test_every_fault_of_the_store_has_its_status_in_every_call(
    call: Call, bucket: Bucket, faulty: FaultyStore, fault: errors.StoreError, status: int
) -> None:
    bucket.put("k", b"hello")
    for method, target, operation, body in CALLS:
        faulty.fail(operation, fault)
        answer = await call(method, target, body=body)
        assert (answer.status, answer.headers["X-Error-Code"]) == (status, fault.code), (method, operation)
        if method != "HEAD":
            assert_shape(answer, status)
            assert fault.reason not in answer.body.decode()
        assert (await call("GET", "/healthz")).status == 200
    assert bucket.stored() == ["k"]


@pytest.mark.gen_test
@pytest.mark.shape(budget=32 * KIB, spool=0)
async def test_a_process_at_its_limit_is_503_and_says_when_to_come_back(port: int, bucket: Bucket) -> None:
    answer = await exchange(port, "PUT", "/files/photos/k", body=bytes(40 * KIB))
    assert_shape(answer, 503)
    assert answer.headers["X-Error-Code"] == "busy"
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_request_id_is_taken_over_when_it_is_harmless(
    call: Call, access_log: Callable[[], list[Mapping[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await call("GET", "/files/photos/no", headers={"X-Request-Id": "trace-1234:abc"})
    assert answer.headers["X-Request-Id"] == "trace-1234:abc"
    assert [getattr(record, "request_id", None) for record in caplog.records] == ["trace-1234:abc"]
    for given in ("short", "x" * 129, "bad id with spaces", '"}{"level":"x'):
        answer = await call("GET", "/files/photos/no", headers={"X-Request-Id": given})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])


@pytest.mark.gen_test
async def test_every_request_leaves_one_line_about_its_outcome(
    call: Call, port: int, bucket: Bucket, access_log: Callable[[], list[Mapping[str, Any]]]
) -> None:
    await call("PUT", "/files/photos/a%20b", body=b"hello")
    await call("GET", "/files/photos/a%20b")
    await call("GET", "/files/photos/no")
    await exchange(port, "PUT", "/files/no-such-bucket/k", "Content-Length: 200000")
    await until(lambda: len(access_log()) == 4)
    rows = [
        (row["method"], row["path"], row["status"], row["outcome"], row["received"], row["sent"])
        for row in access_log()
    ]
    assert rows == [
        ("PUT", "/files/photos/a b", 200, "completed", 5, 0),
        ("GET", "/files/photos/a b", 200, "completed", 0, 5),
        ("GET", "/files/photos/no", 404, "object_not_found", 0, 0),
        ("PUT", "/files/no-such-bucket/k", 404, "bucket_not_found", 0, 0),
    ]
