"""Downloads that the client is sent to fetch from the store itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient

from s3proxy.buckets import Buckets, BucketsFile, Redirect
from s3proxy.service import Service
from s3proxy.store.contract import ObjectAttributes
from tests.fakes import MemoryStore
from tests.http.doors import api_key, bearer, guard_of, principal
from tests.http.place import KIB, Bucket, Call, both

HTML = ObjectAttributes(content_type="text/html", content_disposition="inline")

LARGE = 100 * KIB


@pytest.fixture
def how() -> Redirect:
    """When downloads are redirected."""
    return "asked"


@pytest.fixture
def access(how: Redirect, tmp_path: Path) -> Mapping[str, Any]:
    file = BucketsFile.model_validate({"buckets": {"other": {"bucket": "other", "redirect": "never"}}})
    guard = guard_of(tmp_path, principal("alice", "read */public/**", "write */**"))
    return {"guard": guard, "buckets": Buckets(file, redirect=how)}


@pytest.fixture
def service(service: Service) -> Service:
    """Objects of 100 KiB are large."""
    return replace(service, limits=replace(service.limits, redirect_size=LARGE, redirect_seconds=60))


ALICE = bearer(api_key("alice"))


@pytest.mark.parametrize("backend", ["moto"], indirect=True)
@pytest.mark.gen_test
async def test_the_client_fetches_the_object_from_the_store_itself(
    call: Call, bucket: Bucket, http_client: AsyncHTTPClient, s3_endpoint: str
) -> None:
    bucket.put("public/Grüße +%.html", b"<script>act()</script>", HTML)
    target = f"/files/{bucket.name}/public/Gr%C3%BC%C3%9Fe%20+%25.html"
    plain = await call("GET", target, headers=ALICE)
    answer = await call("GET", target + "?redirect", headers=ALICE)
    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    url = answer.headers["Location"]
    assert url.startswith(s3_endpoint)
    fetched = await http_client.fetch(url)  # Without a credential.
    assert fetched.body == plain.body == b"<script>act()</script>"
    # A page that a browser would run is saved, as when it comes from here.
    assert fetched.headers["Content-Disposition"] == plain.headers["Content-Disposition"]
    assert fetched.headers["Content-Disposition"].startswith("attachment; filename=")
    assert fetched.headers["Content-Type"] == "text/html"
    assert fetched.headers["ETag"] == plain.headers["ETag"]


@pytest.mark.parametrize("backend", ["moto"], indirect=True)
@pytest.mark.gen_test
async def test_the_url_is_signed_for_a_short_time(call: Call, bucket: Bucket) -> None:
    bucket.put("public/k", b"data")
    answer = await call("GET", f"/files/{bucket.name}/public/k?redirect", headers=ALICE)
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["X-Amz-Expires"] == ["60"]
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert len(query["X-Amz-Signature"][0]) == 64


@both
@pytest.mark.gen_test
async def test_the_query_call_redirects_too(call: Call, bucket: Bucket) -> None:
    bucket.put("public/k", b"data")
    target = f"/files?bucket_name={bucket.name}&object_name=public/k"
    assert (await call("GET", target + "&redirect", headers=ALICE)).status == 307
    assert (await call("GET", target, headers=ALICE)).body == b"data"


WAYS: Mapping[Redirect, tuple[int, int, int, int]] = {
    # small, small when asked, large, large when asked
    "never": (200, 200, 200, 200),
    "asked": (200, 307, 200, 307),
    "large": (200, 307, 307, 307),
}


@both
@pytest.mark.parametrize(("how", "statuses"), WAYS.items())
@pytest.mark.gen_test
async def test_the_setting_says_when(call: Call, bucket: Bucket, statuses: tuple[int, ...]) -> None:
    bucket.put("public/small", b"x" * (LARGE - 1))
    bucket.put("public/large", b"x" * LARGE)
    targets = ("small", "small?redirect", "large", "large?redirect")
    answers = [await call("GET", f"/files/{bucket.name}/public/{target}", headers=ALICE) for target in targets]
    assert tuple(answer.status for answer in answers) == statuses


@pytest.mark.gen_test
async def test_a_bucket_may_say_otherwise(call: Call, memory: MemoryStore) -> None:
    memory.seed("other", "public/k", b"data")
    assert (await call("GET", "/files/other/public/k?redirect", headers=ALICE)).body == b"data"


@pytest.mark.parametrize("how", ["asked", "large"])
@pytest.mark.gen_test
async def test_head_is_answered_here(call: Call, bucket: Bucket) -> None:
    bucket.put("public/k", b"x" * LARGE)
    answer = await call("HEAD", f"/files/{bucket.name}/public/k?redirect", headers=ALICE)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(LARGE))
    assert "Location" not in answer.headers


@pytest.mark.parametrize("how", ["large"])
@pytest.mark.gen_test
async def test_the_size_of_the_object_counts_and_not_of_the_range(call: Call, bucket: Bucket) -> None:
    bucket.put("public/k", b"x" * LARGE)
    answer = await call("GET", f"/files/{bucket.name}/public/k", headers={**ALICE, "Range": "bytes=0-9"})
    assert answer.status == 307


@both
@pytest.mark.gen_test
async def test_conditions_come_first(call: Call, bucket: Bucket) -> None:
    etag = bucket.put("public/k", b"data")
    cases: dict[int, Mapping[str, str]] = {
        304: {"If-None-Match": etag},
        412: {"If-Match": '"another"'},
        416: {"Range": "bytes=9-"},
        307: {"If-Match": etag},
    }
    for status, headers in cases.items():
        answer = await call("GET", f"/files/{bucket.name}/public/k?redirect", headers={**ALICE, **headers})
        assert answer.status == status
        assert ("Location" in answer.headers) == (status == 307)


@both
@pytest.mark.gen_test
async def test_only_who_may_read_the_object_is_sent_to_it(call: Call, bucket: Bucket) -> None:
    bucket.put("private/k", b"data")
    refused = {401: {}, 403: ALICE}
    for status, headers in refused.items():
        answer = await call("GET", f"/files/{bucket.name}/private/k?redirect", headers=headers)
        assert answer.status == status
        assert "Location" not in answer.headers


@both
@pytest.mark.gen_test
async def test_nobody_is_sent_to_what_is_not_there(call: Call, bucket: Bucket) -> None:
    for target in (f"{bucket.name}/public/k", "no-such-bucket/public/k"):
        answer = await call("GET", f"/files/{target}?redirect", headers=ALICE)
        assert answer.status == 404
        assert "Location" not in answer.headers


@pytest.mark.gen_test
async def test_the_store_s_stream_is_let_go(call: Call, bucket: Bucket, memory: MemoryStore) -> None:
    bucket.put("public/k", b"x" * 10 * LARGE)
    answer = await call("GET", f"/files/{bucket.name}/public/k?redirect", headers=ALICE)
    assert answer.status == 307
    assert len(memory.streams) == 1
    assert memory.open_streams == 0
