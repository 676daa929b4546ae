"""`HEAD /files/BUCKET/KEY`: what GET would say, without the bytes."""

from __future__ import annotations

import pytest

from s3proxy.errors import StoreBroken
from s3proxy.store.contract import ObjectAttributes
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import Bucket, Call, both
from tests.http.wire import connect

OWN = {"Date", "X-Request-Id"}
"""Headers that differ from answer to answer."""


@both
@pytest.mark.gen_test
async def test_head_says_what_get_says(call: Call, bucket: Bucket) -> None:
    bucket.put("dir/a.txt", b"hello", ObjectAttributes(content_type="text/plain", metadata={"color": "blue"}))
    get = await call("GET", f"/files/{bucket.name}/dir/a.txt")
    head = await call("HEAD", f"/files/{bucket.name}/dir/a.txt")
    assert (head.status, head.body) == (200, b"")
    told = {name: value for name, value in head.headers.get_all() if name not in OWN}
    # A checksum costs S3 nothing on HEAD and is told there.
    assert {name: value for name, value in told.items() if "Checksum" not in name} == {
        name: value for name, value in get.headers.get_all() if name not in OWN
    }


@pytest.mark.gen_test
async def test_head_reads_no_object(call: Call, bucket: Bucket, memory: MemoryStore) -> None:
    bucket.put("k", b"hello")
    assert (await call("HEAD", "/files/photos/k")).status == 200
    assert set(memory.calls) == {"head"}


@pytest.mark.gen_test
async def test_head_tells_the_checksum_s3_keeps(call: Call, bucket: Bucket) -> None:
    put = await call("PUT", "/files/photos/k", body=b"hello")
    head = await call("HEAD", "/files/photos/k")
    assert head.headers["x-amz-checksum-crc64nvme"] == put.json["crc64nvme"]


@pytest.mark.gen_test
async def test_a_range_means_nothing_to_head(call: Call, bucket: Bucket) -> None:
    # RFC 9110 section 14.2: range handling is defined for GET only.
    bucket.put("k", b"0123456789")
    for header in ("bytes=2-4", "bytes=99-"):
        answer = await call("HEAD", "/files/photos/k", headers={"Range": header})
        assert (answer.status, answer.headers["Content-Length"]) == (200, "10")
        assert "Content-Range" not in answer.headers


@both
@pytest.mark.gen_test
async def test_a_missing_object_or_bucket_is_404_without_a_body(call: Call, bucket: Bucket) -> None:
    for target in (f"/files/{bucket.name}/no", "/files/no-such-bucket/k"):
        answer = await call("HEAD", target)
        assert (answer.status, answer.body) == (404, b"")
        assert answer.headers["X-Error-Code"] == "object_not_found"


@pytest.mark.gen_test
async def test_the_connection_goes_on_after_head(port: int, bucket: Bucket, faulty: FaultyStore) -> None:
    bucket.put("k", b"hello")
    faulty.fail("head", StoreBroken(), nth=2)
    async with connect(port) as wire:
        for status in (200, 502, 200):
            await wire.request("HEAD", "/files/photos/k")
            assert (await wire.answer("HEAD")).status == status
