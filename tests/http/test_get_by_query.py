"""`GET /files?bucket_name=B&object_name=K`: the download everything began with (design 2.1)."""

from __future__ import annotations

import pytest

from s3proxy.errors import StoreRefused
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import KIB, Bucket, Call, both


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files", "/files/"])
async def test_what_is_found_is_streamed(call: Call, bucket: Bucket, target: str) -> None:
    data = bytes(range(256)) * 2 * KIB
    etag = bucket.put("dir/report.bin", data)
    answer = await call("GET", f"{target}?bucket_name={bucket.name}&object_name=dir/report.bin")
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["ETag"] == etag


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files", "/files/"])
async def test_what_is_not_found_is_400_in_the_exact_words(call: Call, bucket: Bucket, target: str) -> None:
    answer = await call("GET", f"{target}?bucket_name={bucket.name}&object_name=no/such.txt")
    assert answer.status == 400
    assert answer.body == f'{{"detail":"File no/such.txt or bucket {bucket.name} not found."}}'.encode()
    answer = await call("GET", f"{target}?bucket_name=no-such-bucket&object_name=no/such.txt")
    assert answer.status == 400
    assert answer.body == b'{"detail":"File no/such.txt or bucket no-such-bucket not found."}'


@pytest.mark.gen_test
async def test_a_name_that_no_bucket_has_is_not_found_and_never_reaches_the_store(
    call: Call, memory: MemoryStore
) -> None:
    answer = await call("GET", "/files?bucket_name=a/../b&object_name=k")
    assert (answer.status, answer.body) == (400, b'{"detail":"File k or bucket a/../b not found."}')
    assert not memory.calls


@pytest.mark.gen_test
async def test_a_name_that_is_not_ascii_is_told_as_it_is(call: Call) -> None:
    answer = await call("GET", "/files?bucket_name=photos&object_name=caf%C3%A9%22")
    assert answer.body == '{"detail":"File café\\" or bucket photos not found."}'.encode()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("", "bucket_name"),
        ("?object_name=k", "bucket_name"),
        ("?bucket_name=photos", "object_name"),
        ("?bucket_name=photos&object_name=", "object_name"),
    ],
)
async def test_a_missing_name_is_400_and_says_which(call: Call, query: str, missing: str) -> None:
    answer = await call("GET", f"/files{query}")
    assert (answer.status, answer.detail) == (400, f"The query has no {missing}.")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("query", "key"),
    [("a%20b", "a b"), ("a+b", "a b"), ("a%2Bb", "a+b"), ("%20a%20", " a "), ("a%252Fb", "a%2Fb"), ("a%2Fb", "a/b")],
)
async def test_names_are_decoded_once_and_not_changed(call: Call, bucket: Bucket, query: str, key: str) -> None:
    bucket.put(key, b"found")
    answer = await call("GET", f"/files?bucket_name=photos&object_name={query}")
    assert (answer.status, answer.body) == (200, b"found")


@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("key", ["a%0Ab", "a%00b", "..", "a/../b", "%FF", "%ED%A0%80", "x" * 1025, "k&object_name=l"])
async def test_a_key_with_two_meanings_or_none_is_400(
    call: Call, bucket: Bucket, memory: MemoryStore, method: str, key: str
) -> None:
    bucket.put("a b", b"not this one")
    answer = await call(method, f"/files?bucket_name=photos&object_name={key}")
    assert answer.status == 400
    assert not memory.calls


@pytest.mark.gen_test
async def test_head_answers_as_get_without_the_bytes(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"hello")
    answer = await call("HEAD", "/files?bucket_name=photos&object_name=k")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5", b"")
    assert (await call("HEAD", "/files?bucket_name=photos&object_name=no")).status == 400


@pytest.mark.gen_test
async def test_ranges_and_conditions_work_here_too(call: Call, bucket: Bucket) -> None:
    etag = bucket.put("k", b"0123456789")
    target = "/files?bucket_name=photos&object_name=k"
    answer = await call("GET", target, headers={"Range": "bytes=2-4"})
    assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert (await call("GET", target, headers={"If-None-Match": etag})).status == 304


@pytest.mark.gen_test
async def test_a_refusal_by_s3_is_our_fault(call: Call, faulty: FaultyStore) -> None:
    faulty.fail("open", StoreRefused(reason="AccessDenied"))
    answer = await call("GET", "/files?bucket_name=photos&object_name=k")
    assert (answer.status, answer.headers["X-Error-Code"]) == (502, "store_refused")
