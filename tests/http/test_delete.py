"""`DELETE /files/BUCKET/KEY`."""

from __future__ import annotations

import pytest

from s3proxy.errors import StoreRefused
from tests.fakes import FaultyStore
from tests.http.place import Bucket, Call, both


@both
@pytest.mark.gen_test
async def test_an_object_is_removed_and_then_gone(call: Call, bucket: Bucket) -> None:
    bucket.put("a/b", b"hello")
    bucket.put("a/c", b"stays")
    answer = await call("DELETE", f"/files/{bucket.name}/a%2Fb")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert bucket.stored() == ["a/c"]
    answer = await call("DELETE", f"/files/{bucket.name}/a/b")
    assert (answer.status, answer.detail) == (404, f"File a/b or bucket {bucket.name} not found.")


@both
@pytest.mark.gen_test
async def test_a_missing_bucket_is_404(call: Call, bucket: Bucket) -> None:
    answer = await call("DELETE", "/files/no-such-bucket/k")
    assert (answer.status, answer.detail) == (404, "File k or bucket no-such-bucket not found.")


@both
@pytest.mark.gen_test
async def test_if_match_removes_only_the_version_named(call: Call, bucket: Bucket) -> None:
    etag = bucket.put("k", b"hello")
    target = f"/files/{bucket.name}/k"
    assert (await call("DELETE", target, headers={"If-Match": '"another"'})).status == 412
    assert (await call("DELETE", target, headers={"If-None-Match": "*"})).status == 412
    assert bucket.stored() == ["k"]
    assert (await call("DELETE", target, headers={"If-Match": etag})).status == 204
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_bucket_cannot_be_removed(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"hello")
    for target in ("/files/photos", "/files/photos/", "/files", "/files/"):
        assert (await call("DELETE", target)).status == 405
    assert bucket.stored() == ["k"]


@pytest.mark.gen_test
async def test_a_refusal_by_s3_is_not_the_clients_403(call: Call, bucket: Bucket, faulty: FaultyStore) -> None:
    bucket.put("k", b"hello")
    faulty.fail("delete", StoreRefused(reason="AccessDenied"))
    answer = await call("DELETE", "/files/photos/k")
    assert (answer.status, answer.headers["X-Error-Code"]) == (502, "store_refused")
    assert bucket.stored() == ["k"]
