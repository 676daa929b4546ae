"""What the buckets file says of a bucket, end to end: what it takes, what may be changed, and under which name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from s3proxy.buckets import HOME, Buckets, BucketsFile
from s3proxy.store.contract import ObjectStore
from s3proxy.store.mounted import MountedStore
from tests.fakes import MemoryStore
from tests.http.place import Bucket, Call, both
from tests.http.wire import FORM_TYPE, File, connect, exchange, form

FORM_HEADER = dict([FORM_TYPE.split(": ", 1)])

READ_ONLY = b'{"detail":"This bucket is read-only."}'


@pytest.fixture
def only() -> bool:
    """Whether the file's buckets are the only ones."""
    return False


@pytest.fixture
def buckets(bucket: Bucket, only: bool) -> Buckets:
    """Four names for places in the one bucket there is, which has no name of its own any more."""
    rows: dict[str, dict[str, Any]] = {
        "frozen": {"prefix": "frozen/", "read_only": True},
        "pictures": {"prefix": "pictures/", "types": ["image/*", "application/pdf"]},
        "reports": {"prefix": "reports/", "extensions": [".pdf", ".csv"]},
        "plain": {"prefix": "plain/"},
    }
    rows = {name: row | {"bucket": bucket.name} for name, row in rows.items()}
    return Buckets(BucketsFile.model_validate({"only": only, "buckets": rows}))


@pytest.fixture
def store(store: ObjectStore, buckets: Buckets) -> ObjectStore:
    """The stores as a server with a buckets file has them."""
    return MountedStore({HOME: store}, buckets)


@pytest.fixture
def access(buckets: Buckets) -> Mapping[str, Any]:
    return {"buckets": buckets}


def form_for(bucket: str, key: str, *files: File) -> bytes:
    """A form that names its destination first."""
    return form(("bucket_name", bucket), ("object_name", key), *files)


@both
@pytest.mark.gen_test
async def test_what_a_read_only_bucket_holds_stays_as_it_is(call: Call, bucket: Bucket) -> None:
    bucket.put("frozen/k", b"as it was")
    tries = [
        await call("PUT", "/files/frozen/k", body=b"new"),
        await call("PUT", "/files/frozen/other", body=b"new"),
        await call("DELETE", "/files/frozen/k"),
        await call("DELETE", "/files/frozen/not-there"),
        await call("POST", "/files", body=form_for("frozen", "k", File(b"new")), headers=FORM_HEADER),
        await call("POST", "/files?bucket_name=frozen&object_name=k", body=form(File(b"new")), headers=FORM_HEADER),
    ]
    for answer in tries:
        assert (answer.status, answer.headers["X-Error-Code"], answer.body) == (403, "forbidden", READ_ONLY)
    assert bucket.stored() == ["frozen/k"]
    assert (await call("GET", "/files/frozen/k")).body == b"as it was"
    assert (await call("GET", "/files?bucket_name=frozen&object_name=k")).body == b"as it was"
    assert (await call("HEAD", "/files/frozen/k")).headers["Content-Length"] == "9"
    assert [row["key"] for row in (await call("GET", "/files/frozen/")).json["objects"]] == ["k"]


@pytest.mark.gen_test
async def test_each_file_of_a_form_is_told_that_the_bucket_is_read_only(call: Call, bucket: Bucket) -> None:
    body = form_for("frozen", "in/", File(b"one", file_name="one"), File(b"two", file_name="two"))
    answer = await call("POST", "/files", body=body, headers=FORM_HEADER)
    assert answer.status == 403
    assert [(row["file_name"], row["status_code"], row["code"]) for row in answer.json["files"]] == [
        ("one", 403, "forbidden"),
        ("two", 403, "forbidden"),
    ]
    assert bucket.stored() == []


TYPES = {
    "image/png": 200,
    "IMAGE/PNG": 200,
    "image/svg+xml; charset=utf-8": 200,
    "application/pdf": 200,
    "text/html": 415,
    "application/pdfx": 415,
    "imagex/png": 415,
    "image": 415,
    # Browsers take the last of several.
    "image/png, text/html": 415,
    "image/png; a=b, text/html": 415,
}


@both
@pytest.mark.parametrize(("content_type", "status"), TYPES.items())
@pytest.mark.gen_test
async def test_a_bucket_takes_only_the_types_it_lists(
    call: Call, bucket: Bucket, content_type: str, status: int
) -> None:
    put = await call("PUT", "/files/pictures/put", body=b"data", headers={"Content-Type": content_type})
    body = form_for("pictures", "form", File(b"data", content_type=content_type))
    post = await call("POST", "/files", body=body, headers=FORM_HEADER)
    assert (put.status, post.status) == (status, status)
    assert sorted(bucket.stored()) == (["pictures/form", "pictures/put"] if status == 200 else [])
    if status == 415:
        assert put.headers["X-Error-Code"] == post.headers["X-Error-Code"] == "type_not_allowed"
        assert put.detail == post.detail == "This bucket takes only image/*, application/pdf."


@pytest.mark.gen_test
async def test_without_a_type_the_one_of_the_keys_ending_counts(call: Call, bucket: Bucket) -> None:
    assert (await call("PUT", "/files/pictures/a.png", body=b"data")).status == 200
    assert (await call("PUT", "/files/pictures/a.html", body=b"data")).status == 415
    assert (await call("PUT", "/files/pictures/a", body=b"data")).status == 415
    assert bucket.stored() == ["pictures/a.png"]


@pytest.mark.gen_test
async def test_of_a_forms_files_only_those_of_the_right_type_are_stored(call: Call, bucket: Bucket) -> None:
    files = [
        File(b"one", file_name="one.png", content_type="image/png"),
        File(b"two", file_name="two.html", content_type="text/html"),
        File(b"three", file_name="three.pdf", content_type="application/pdf"),
    ]
    answer = await call("POST", "/files", body=form_for("pictures", "in/", *files), headers=FORM_HEADER)
    assert answer.status == 415
    assert [row["status_code"] for row in answer.json["files"]] == [200, 415, 200]
    assert sorted(bucket.stored()) == ["pictures/in/one.png", "pictures/in/three.pdf"]


EXTENSIONS = {
    "a.pdf": 200,
    "dir/A.PDF": 200,
    "table.csv": 200,
    "a.pdf.exe": 415,
    "pdf": 415,
    "a.pdf/b": 415,
    "a.pdf%20": 415,
}


@both
@pytest.mark.parametrize(("target", "status"), EXTENSIONS.items())
@pytest.mark.gen_test
async def test_a_bucket_takes_only_the_extensions_it_lists(
    call: Call, bucket: Bucket, target: str, status: int
) -> None:
    answer = await call("PUT", f"/files/reports/{target}", body=b"data")
    assert answer.status == status
    assert len(bucket.stored()) == (1 if status == 200 else 0)
    if status == 415:
        assert answer.detail == "This bucket takes only names that end in .pdf, .csv."


@pytest.mark.gen_test
async def test_under_a_prefix_the_name_of_the_file_counts(call: Call, bucket: Bucket) -> None:
    files = [File(b"one", file_name="one.csv"), File(b"two", file_name="two.exe")]
    answer = await call("POST", "/files", body=form_for("reports", "in.csv/", *files), headers=FORM_HEADER)
    assert [row["status_code"] for row in answer.json["files"]] == [200, 415]
    assert bucket.stored() == ["reports/in.csv/one.csv"]


REFUSALS = {
    "a type": ("/files/pictures/k", "text/html", 415),
    "an extension": ("/files/reports/k.exe", "text/plain", 415),
    "any change": ("/files/frozen/k", "text/plain", 403),
    "a bucket that is not there": ("/files/photos/k", "text/plain", 404),
}


@pytest.mark.parametrize(("target", "content_type", "status"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.gen_test
async def test_what_the_headers_show_is_refused_before_the_body_is_sent(
    port: int, memory: MemoryStore, target: str, content_type: str, status: int
) -> None:
    headers = (f"Content-Type: {content_type}", "Content-Length: 1000000", "Expect: 100-continue")
    async with connect(port) as wire:
        await wire.request("PUT", target, *headers)
        # Not 100: whoever waits for that never sends a byte.
        assert (await wire.answer()).status == status
    async with connect(port) as wire:
        await wire.request("PUT", "/files/plain/k", "Content-Length: 4", "Expect: 100-continue")
        assert (await wire.answer()).status == 100
        await wire.send(b"data")
        assert (await wire.answer()).status == 200
    assert [path.key for path in memory.objects] == ["plain/k"]
    assert memory.calls["create_upload"] == 0


async def everything(call: Call, name: str) -> list[int]:
    """What all calls say of a bucket of that name: their statuses."""
    body = form_for(name, "plain/k", File(b"new"))
    return [
        (await call("GET", f"/files/{name}/plain/k")).status,
        (await call("HEAD", f"/files/{name}/plain/k")).status,
        (await call("PUT", f"/files/{name}/plain/k", body=b"new")).status,
        (await call("DELETE", f"/files/{name}/plain/k")).status,
        (await call("GET", f"/files/{name}/")).status,
        (await call("POST", "/files", body=body, headers=FORM_HEADER)).status,
        # As the original service had it.
        (await call("GET", f"/files?bucket_name={name}&object_name=plain/k")).status,
    ]


HIDDEN = [404, 404, 404, 404, 404, 404, 400]


@both
@pytest.mark.gen_test
async def test_a_bucket_with_rules_has_no_way_around_them_under_its_own_name(call: Call, bucket: Bucket) -> None:
    bucket.put("plain/k", b"as it was")
    assert await everything(call, bucket.name) == HIDDEN
    assert bucket.data("plain/k") == b"as it was"
    assert bucket.stored() == ["plain/k"]
    assert (await call("GET", "/files/plain/k")).body == b"as it was"


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.gen_test
async def test_other_buckets_are_reached_unless_the_file_says_only(call: Call, memory: MemoryStore, only: bool) -> None:
    memory.seed("elsewhere", "plain/k", b"there")
    statuses = await everything(call, "elsewhere")
    assert statuses == (HIDDEN if only else [200, 200, 200, 204, 200, 200, 200])
    assert memory.data("elsewhere", "plain/k") == (b"there" if only else b"new")


@pytest.mark.gen_test
async def test_a_hidden_bucket_is_told_from_none_by_nothing(call: Call, bucket: Bucket) -> None:
    bucket.put("k", b"there")
    for method, body in (("GET", None), ("PUT", b"new")):
        hidden = await call(method, f"/files/{bucket.name}/k", body=body)
        absent = await call(method, "/files/no-such-bucket/k", body=body)
        assert hidden.status == absent.status == 404
        assert hidden.body.replace(bucket.name.encode(), b"*") == absent.body.replace(b"no-such-bucket", b"*")
        assert hidden.headers["X-Error-Code"] == absent.headers["X-Error-Code"]


@pytest.mark.gen_test
async def test_a_key_has_room_after_the_prefix_or_is_refused(port: int, bucket: Bucket) -> None:
    fits = "k" * (1024 - len("plain/"))
    assert (await exchange(port, "PUT", f"/files/plain/{fits}", body=b"data")).status == 200
    answer = await exchange(port, "PUT", f"/files/plain/{fits}k", body=b"data")
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "invalid_key")
    assert bucket.stored() == ["plain/" + fits]
