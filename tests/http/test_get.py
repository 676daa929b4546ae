"""`GET /files/BUCKET/KEY`: bytes, ranges, conditions, and headers that cannot hurt (design 2.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from s3proxy.store.contract import ObjectAttributes
from tests.fakes import MemoryStore
from tests.http.place import KIB, Bucket, Call, both
from tests.http.wire import connect

DATA = bytes(range(256)) * KIB
TARGET = "/files/photos/k"
MODIFIED = datetime(2024, 2, 29, 12, 30, 0, tzinfo=UTC)


def http_date(seconds: int = 0) -> str:
    """The object's date, so many seconds later."""
    return format_datetime(MODIFIED + timedelta(seconds=seconds), usegmt=True)


@pytest.fixture
def etag(memory: MemoryStore) -> str:
    """Of an object of 10 bytes, stored at `MODIFIED`."""
    return memory.seed("photos", "k", b"0123456789", last_modified=MODIFIED).etag


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [0, 1, 16 * KIB, 64 * KIB, 64 * KIB + 1, 256 * KIB])
async def test_an_object_of_any_size_comes_as_it_is(call: Call, bucket: Bucket, size: int) -> None:
    bucket.put("k", DATA[:size])
    answer = await call("GET", TARGET)
    assert (answer.status, answer.body) == (200, DATA[:size])
    assert answer.headers["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in answer.headers


@both
@pytest.mark.gen_test
async def test_a_large_object_comes_through_the_real_client(call: Call, bucket: Bucket) -> None:
    bucket.put("k", DATA * 20)
    answer = await call("GET", f"/files/{bucket.name}/k")
    assert (answer.status, answer.body) == (200, DATA * 20)
    answer = await call("GET", f"/files/{bucket.name}/k", headers={"Range": "bytes=1000-4000000"})
    assert (answer.status, answer.body) == (206, (DATA * 20)[1000:4000001])


@both
@pytest.mark.gen_test
async def test_the_headers_say_what_s3_holds(call: Call, bucket: Bucket) -> None:
    told = ObjectAttributes(
        content_type="text/plain", cache_control="max-age=5", metadata={"color": "blue", "shape": "round"}
    )
    etag = bucket.put("dir/report.txt", b"hello", told)
    answer = await call("GET", f"/files/{bucket.name}/dir/report.txt")
    assert answer.status == 200
    expected = {
        "Content-Length": "5",
        "Content-Type": "text/plain",
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": 'inline; filename="report.txt"',
        "Cache-Control": "max-age=5",
        "X-Amz-Meta-Color": "blue",
        "X-Amz-Meta-Shape": "round",
        "X-Content-Type-Options": "nosniff",
        "Server": "s3proxy",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert answer.headers["Last-Modified"].endswith(" GMT")
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.gen_test
async def test_the_date_is_s3s(call: Call, etag: str) -> None:
    assert (await call("GET", TARGET)).headers["Last-Modified"] == "Thu, 29 Feb 2024 12:30:00 GMT"


@both
@pytest.mark.gen_test
async def test_a_missing_object_or_bucket_is_404_in_the_words_of_the_first_calls(call: Call, bucket: Bucket) -> None:
    answer = await call("GET", f"/files/{bucket.name}/no/such.txt")
    assert (answer.status, answer.detail) == (404, f"File no/such.txt or bucket {bucket.name} not found.")
    assert answer.headers["X-Error-Code"] == "object_not_found"
    answer = await call("GET", "/files/no-such-bucket/k")
    assert (answer.status, answer.detail) == (404, "File k or bucket no-such-bucket not found.")
    assert answer.headers["X-Error-Code"] == "bucket_not_found"


@pytest.mark.gen_test
async def test_one_connection_serves_many_requests(port: int, etag: str) -> None:
    async with connect(port) as wire:
        for _ in range(3):
            await wire.request("GET", TARGET)
            assert (await wire.answer()).body == b"0123456789"


@pytest.mark.gen_test
async def test_an_http_1_0_client_gets_its_object(port: int, etag: str) -> None:
    async with connect(port) as wire:
        await wire.request("GET", TARGET, version="1.0")
        assert (await wire.answer()).body == b"0123456789"
        assert await wire.rest() == b""


# Ranges


RANGES = [
    ("bytes=0-0", "0-0", b"0"),
    ("bytes=2-5", "2-5", b"2345"),
    ("bytes=7-", "7-9", b"789"),
    ("bytes=-3", "7-9", b"789"),
    ("bytes=0-", "0-9", b"0123456789"),
    ("bytes=0-9", "0-9", b"0123456789"),
    ("bytes=-10", "0-9", b"0123456789"),
    ("bytes=-99", "0-9", b"0123456789"),
    ("bytes=5-99", "5-9", b"56789"),
    ("bytes=9-" + "9" * 1000, "9-9", b"9"),
    ("BYTES=2-5", "2-5", b"2345"),
]


@both
@pytest.mark.gen_test
async def test_a_range_is_206_also_when_it_is_the_whole(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"0123456789")
    for header, span, body in RANGES:
        answer = await call("GET", f"/files/{bucket.name}/k", headers={"Range": header})
        assert (answer.status, answer.body) == (206, body), header
        assert answer.headers["Content-Range"] == f"bytes {span}/10"
        assert answer.headers["Content-Length"] == str(len(body))


@both
@pytest.mark.gen_test
async def test_a_range_outside_the_object_is_416_and_tells_its_size(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"0123456789")
    for header in ("bytes=10-", "bytes=10-20", "bytes=99-100", "bytes=" + "9" * 1000 + "-"):
        answer = await call("GET", f"/files/{bucket.name}/k", headers={"Range": header})
        assert (answer.status, answer.headers["X-Error-Code"]) == (416, "range_not_satisfiable")
        assert answer.headers["Content-Range"] == "bytes */10"
        assert answer.json == {"detail": "The range lies outside the object."}


@pytest.mark.gen_test
@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=-0"])
async def test_no_range_lies_in_an_empty_object(call: Call, bucket: Bucket, header: str) -> None:
    bucket.put("k", b"")
    answer = await call("GET", TARGET, headers={"Range": header})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "header",
    [
        "bytes=5-2",
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "bytes=--5",
        "items=0-1",
        "bytes=0-1,5-6",
        "bytes 0-1",
        "bytes=" + ",".join(f"{place}-{place}" for place in range(1000)),
    ],
    ids=lambda header: header[:16],
)
async def test_a_range_that_is_none_or_several_is_answered_with_the_whole(
    call: Call, etag: str, memory: MemoryStore, header: str
) -> None:
    answer = await call("GET", TARGET, headers={"Range": header})
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert "Content-Range" not in answer.headers
    assert memory.calls["open"] == 1


@pytest.mark.gen_test
async def test_a_long_range_comes_whole(call: Call, bucket: Bucket) -> None:
    bucket.put("k", DATA)
    answer = await call("GET", TARGET, headers={"Range": "bytes=100-200000"})
    assert (answer.status, answer.body) == (206, DATA[100:200001])


@pytest.mark.gen_test
async def test_if_range_gives_the_part_of_this_version_and_the_whole_of_another(call: Call, etag: str) -> None:
    for validator, status, body in [
        (etag, 206, b"234"),
        (http_date(), 206, b"234"),
        ('"another"', 200, b"0123456789"),
        (f"W/{etag}", 200, b"0123456789"),
        (http_date(-1), 200, b"0123456789"),
        (http_date(1), 200, b"0123456789"),
        ("nonsense", 200, b"0123456789"),
    ]:
        answer = await call("GET", TARGET, headers={"Range": "bytes=2-4", "If-Range": validator})
        assert (answer.status, answer.body) == (status, body), validator


@pytest.mark.gen_test
async def test_a_range_outside_another_version_is_its_whole(call: Call, etag: str) -> None:
    answer = await call("GET", TARGET, headers={"Range": "bytes=50-", "If-Range": '"another"'})
    assert (answer.status, answer.body) == (200, b"0123456789")


# Conditions

ETAG = "ETAG"
"""Stands for the object's tag in the table below."""

CONDITIONS = [
    ({"If-None-Match": ETAG}, 304),
    ({"If-None-Match": f"W/{ETAG}"}, 304),
    ({"If-None-Match": f'"a", {ETAG}, "b"'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"another"'}, 200),
    ({"If-Match": ETAG}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": f'"a", {ETAG}'}, 200),
    ({"If-Match": f"W/{ETAG}"}, 412),
    ({"If-Match": '"another"'}, 412),
    ({"If-Modified-Since": http_date()}, 304),
    ({"If-Modified-Since": http_date(1)}, 304),
    ({"If-Modified-Since": http_date(-1)}, 200),
    ({"If-Modified-Since": "nonsense"}, 200),
    ({"If-Unmodified-Since": http_date()}, 200),
    ({"If-Unmodified-Since": http_date(-1)}, 412),
    ({"If-Unmodified-Since": "nonsense"}, 200),
    # The stronger header decides (RFC 9110 section 13.2.2).
    ({"If-None-Match": '"another"', "If-Modified-Since": http_date(1)}, 200),
    ({"If-Match": ETAG, "If-Unmodified-Since": http_date(-1)}, 200),
    ({"If-Match": '"another"', "If-None-Match": ETAG}, 412),
    ({"If-Match": ETAG, "If-None-Match": ETAG}, 304),
]


@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditions_mean_what_rfc_9110_says(call: Call, etag: str, method: str) -> None:
    for table, status in CONDITIONS:
        headers = {name: value.replace(ETAG, etag) for name, value in table.items()}
        answer = await call(method, TARGET, headers=headers)
        assert answer.status == status, headers
        if status == 200:
            assert answer.headers["Content-Length"] == "10"
        if status == 304:
            assert (answer.body, answer.headers["ETag"]) == (b"", etag)
            assert "Content-Length" not in answer.headers


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditions_hold_with_the_real_client_too(call: Call, bucket: Bucket, method: str) -> None:
    etag = bucket.put("k", b"hello")
    target = f"/files/{bucket.name}/k"
    assert (await call(method, target, headers={"If-None-Match": etag})).status == 304
    assert (await call(method, target, headers={"If-Match": etag})).status == 200
    assert (await call(method, target, headers={"If-Match": '"another"'})).status == 412


@pytest.mark.gen_test
async def test_304_tells_how_long_it_holds(call: Call, bucket: Bucket) -> None:
    etag = bucket.put("k", b"hello", ObjectAttributes(cache_control="max-age=9"))
    answer = await call("GET", TARGET, headers={"If-None-Match": etag})
    assert (answer.status, answer.headers["Cache-Control"]) == (304, "max-age=9")


@pytest.mark.gen_test
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_condition_on_a_missing_object_is_404(call: Call, bucket: Bucket, header: str) -> None:
    # RFC 9110 section 13.2.1: conditions are for requests that would else succeed.
    assert (await call("GET", TARGET, headers={header: "*"})).status == 404


@pytest.mark.gen_test
async def test_an_unsatisfied_condition_goes_before_a_bad_range(call: Call, etag: str) -> None:
    answer = await call("GET", TARGET, headers={"If-Match": '"another"', "Range": "bytes=99-"})
    assert answer.status == 412
    answer = await call("GET", TARGET, headers={"If-None-Match": etag, "Range": "bytes=99-"})
    assert answer.status == 304


# Safety


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/pdf",
        "text/html;charset=x",
        "TEXT/HTML",
        "application/javascript",
        "text/plain,text/html",
        "",
        "nonsense",
        "multipart/x-mixed-replace",
    ],
)
async def test_what_could_run_script_is_saved_and_not_shown(call: Call, bucket: Bucket, content_type: str) -> None:
    bucket.put("page", b"<script>alert(1)</script>", ObjectAttributes(content_type=content_type or None))
    answer = await call("GET", "/files/photos/page")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="page"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.gen_test
async def test_a_stored_inline_disposition_does_not_show_a_page(call: Call, bucket: Bucket) -> None:
    told = ObjectAttributes(content_type="text/html", content_disposition='inline; filename="x.html"')
    bucket.put("page.html", b"<script>", told)
    answer = await call("GET", "/files/photos/page.html")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="page.html"'


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("encoded", "disposition"),
    [
        ("a%22;x=y.png", "inline; filename=\"a_;x=y.png\"; filename*=UTF-8''a%22%3Bx%3Dy.png"),
        ("a%5Cb.png", 'inline; filename="a_b.png"'),
        ("%E6%97%A5.png", "inline; filename=\"_.png\"; filename*=UTF-8''%E6%97%A5.png"),
        ("gnp%E2%80%AE.png", 'inline; filename="gnp_.png"'),
        ("dir/", 'attachment; filename="dir"'),
    ],
)
async def test_no_key_breaks_out_of_the_disposition(call: Call, encoded: str, disposition: str) -> None:
    await call("PUT", f"/files/photos/{encoded}", body=b"x")
    answer = await call("GET", f"/files/photos/{encoded}")
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == disposition


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "attributes",
    [
        ObjectAttributes(content_type="text/plain\r\nX-Evil: yes"),
        ObjectAttributes(content_type="text/plain; charset=\r\nX-Evil: yes"),
        ObjectAttributes(content_type="text/plain; name=\u65e5"),
        ObjectAttributes(cache_control="no-store\nX-Evil: yes"),
        ObjectAttributes(content_disposition="attachment\r\nX-Evil: yes"),
        ObjectAttributes(content_encoding="gzip\r\nX-Evil: yes"),
        ObjectAttributes(content_language="de\x00"),
        ObjectAttributes(metadata={"a": "b\r\nX-Evil: yes"}),
        ObjectAttributes(metadata={"a\r\nX-Evil": "yes"}),
        ObjectAttributes(metadata={"x: y\tz": "yes"}),
        ObjectAttributes(metadata={"a b": "yes"}),
        ObjectAttributes(metadata={"": "yes", "\u65e5": "\u65e5"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_nothing_stored_by_others_splits_the_answer(
    port: int, bucket: Bucket, method: str, attributes: ObjectAttributes
) -> None:
    bucket.put("k", b"hello", attributes)
    async with connect(port) as wire:
        await wire.request(method, TARGET, "Connection: close")
        received = (await wire.rest()).decode("latin-1")
    head, _, body = received.partition("\r\n\r\n")
    lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
    names = [name.lower() for name, _, _ in lines]
    assert received.startswith("HTTP/1.1 200 ")
    assert "x-evil" not in names
    assert len(names) == len(set(names))
    assert not any(set(name) & set(" :\t") for name in names)
    assert "text/html" not in head
    assert body == ("hello" if method == "GET" else "")


@pytest.mark.gen_test
async def test_the_query_cannot_set_headers(call: Call, etag: str) -> None:
    answer = await call("GET", TARGET + "?response-content-type=text/html&response-content-disposition=inline")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "binary/octet-stream")
    assert answer.headers["Content-Disposition"].startswith("attachment")
