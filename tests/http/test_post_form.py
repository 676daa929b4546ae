"""`POST /files`: the form everything began with. Bodies and statuses are exact (design 2.1)."""

from __future__ import annotations

from itertools import permutations

import pytest

from s3proxy.errors import StoreBroken, StoreRefused, StoreTimeout
from tests.fakes import FaultyStore, MemoryStore
from tests.http.place import KIB, MIB, Bucket, both
from tests.http.wire import BOUNDARY, FORM_TYPE, Answer, File, chunked, connect, exchange, form

STORED = b'{"detail":"File uploaded successfully","status_code":200}'
NO_FILE = b'{"detail":"File is empty or not readable."}'


async def post(port: int, body: bytes, target: str = "/files") -> Answer:
    """Send a form with its length declared."""
    return await exchange(port, "POST", target, FORM_TYPE, body=body)


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files", "/files/"])
async def test_a_form_is_stored_and_answered_in_the_exact_words(port: int, bucket: Bucket, target: str) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "dir/report.txt"), File(b"hello"))
    answer = await post(port, body, target)
    assert (answer.status, answer.body) == (200, STORED)
    assert answer.headers["Content-Type"] == "application/json"
    assert bucket.data("dir/report.txt") == b"hello"
    assert bucket.attributes("dir/report.txt").content_type == "text/plain"


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files", "/files/"])
async def test_a_missing_bucket_is_404_in_the_exact_words(port: int, bucket: Bucket, target: str) -> None:
    answer = await post(port, form(("bucket_name", "no-such-bucket"), ("object_name", "k"), File(b"hello")), target)
    assert (answer.status, answer.body) == (404, b'{"detail":"Bucket no-such-bucket does not exist."}')
    assert answer.headers["X-Error-Code"] == "bucket_not_found"


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files", "/files/"])
async def test_an_empty_file_is_400_in_the_exact_words(port: int, bucket: Bucket, target: str) -> None:
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", "k"), File(b"")), target)
    assert (answer.status, answer.body) == (400, NO_FILE)
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "parts",
    [
        [],
        [File(b"", file_name="")],
        [("file_request", "just text, no file")],
        [File(b"", file_name=""), File(b"", file_name="")],
    ],
    ids=["no part", "a browser's empty choice", "a field in its place", "two empty choices"],
)
async def test_no_file_is_400_in_the_exact_words(
    port: int, bucket: Bucket, parts: list[File | tuple[str, str]]
) -> None:
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", "k"), *parts))
    assert (answer.status, answer.body) == (400, NO_FILE)
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files", "/files/"])
@pytest.mark.parametrize("size", [5, 200 * KIB], ids=["in one request", "in parts"])
async def test_a_refusal_by_s3_is_400_in_the_exact_words(
    port: int, bucket: Bucket, faulty: FaultyStore, target: str, size: int
) -> None:
    faulty.fail("put" if size == 5 else "create_upload", StoreRefused(reason="AccessDenied"))
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(bytes(size)))
    answer = await post(port, body, target)
    assert (answer.status, answer.body) == (400, b'{"detail":"Unable to upload file to S3 AccessDenied"}')
    assert answer.headers["X-Error-Code"] == "store_refused"


@pytest.mark.gen_test
async def test_a_refusal_of_one_part_is_400_and_leaves_nothing(port: int, bucket: Bucket, faulty: FaultyStore) -> None:
    faulty.fail("put_part", StoreRefused(reason="AccessDenied"), nth=2)
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(bytes(MIB)))
    answer = await post(port, body)
    assert (answer.status, answer.body) == (400, b'{"detail":"Unable to upload file to S3 AccessDenied"}')
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize(("fault", "status"), [(StoreBroken(), 502), (StoreTimeout(), 504)])
async def test_a_store_that_is_broken_or_silent_is_no_refusal(
    port: int, bucket: Bucket, faulty: FaultyStore, fault: StoreBroken | StoreTimeout, status: int
) -> None:
    faulty.fail("put", fault)
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", "k"), File(b"hello")))
    assert (answer.status, answer.detail) == (status, fault.message)


@pytest.mark.gen_test
async def test_parts_come_in_any_order(port: int, bucket: Bucket) -> None:
    parts: tuple[File | tuple[str, str], ...] = (
        ("bucket_name", bucket.name),
        ("object_name", "k"),
        File(b"hello"),
        ("something", "else"),
    )
    for number, order in enumerate(permutations(parts)):
        named = [("object_name", f"k{number}") if part == ("object_name", "k") else part for part in order]
        answer = await post(port, form(*named))
        assert (answer.status, answer.body) == (200, STORED)
        assert bucket.data(f"k{number}") == b"hello"


@both
@pytest.mark.gen_test
async def test_names_in_the_query_string_do_as_well(port: int, bucket: Bucket) -> None:
    target = f"/files?bucket_name={bucket.name}&object_name=a%20b%2Bc%252F"
    answer = await post(port, form(File(b"hello")), target)
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("a b+c%2F") == b"hello"


@pytest.mark.gen_test
async def test_one_name_in_the_query_string_and_one_in_the_form_do_as_well(port: int, bucket: Bucket) -> None:
    answer = await post(port, form(File(b"hello"), ("object_name", "k")), f"/files/?bucket_name={bucket.name}")
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("k") == b"hello"


@pytest.mark.gen_test
async def test_two_different_values_for_one_name_are_400(port: int, bucket: Bucket) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "a"), File(b"hello"))
    answer = await post(port, body, "/files?object_name=b")
    assert answer.status == 400
    assert answer.detail == "The form has two different values for object_name."
    answer = await post(port, form(File(b"hello")), f"/files?bucket_name={bucket.name}&object_name=a&object_name=b")
    assert answer.status == 400
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize("missing", ["bucket_name", "object_name"])
async def test_a_missing_or_empty_name_is_400_and_says_which(port: int, bucket: Bucket, missing: str) -> None:
    names = {"bucket_name": bucket.name, "object_name": "k"}
    for value in (None, ""):
        given = names | {missing: value}
        fields = [(name, text) for name, text in given.items() if text is not None]
        answer = await post(port, form(*fields, File(b"hello")))
        assert (answer.status, answer.detail) == (400, f"The form has no field {missing}.")
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB])
async def test_a_file_that_comes_first_is_held_up_to_the_limit(port: int, bucket: Bucket, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    answer = await post(port, form(File(data), ("bucket_name", bucket.name), ("object_name", "k")))
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("k") == data


@pytest.mark.gen_test
async def test_a_file_that_comes_first_over_the_limit_is_400_and_says_what_to_do(port: int, bucket: Bucket) -> None:
    body = form(File(bytes(128 * KIB + 1)), ("bucket_name", bucket.name), ("object_name", "k"))
    answer = await post(port, body)
    assert answer.status == 400
    assert answer.detail == "Send bucket_name and object_name before the file, or in the query string."
    assert answer.headers["X-Error-Code"] == "bad_form"
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_large_file_after_its_names_is_not_held(port: int, bucket: Bucket, memory: MemoryStore) -> None:
    data = bytes(range(256)) * 4 * KIB
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", "k"), File(data)))
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("k") == data
    assert memory.calls["put_part"] == len(data) // (64 * KIB)


@both
@pytest.mark.gen_test
async def test_each_of_several_files_is_stored_under_a_prefix(port: int, bucket: Bucket) -> None:
    files = [File(b"one", "1.txt"), File(b"two", "2.bin", content_type=None), File(b"three", "C:\\dir\\3.png")]
    body = form(("bucket_name", bucket.name), ("object_name", "in/"), *files)
    answer = await post(port, body)
    assert answer.status == 200
    assert answer.json["detail"] == "File uploaded successfully"
    assert answer.json["status_code"] == 200
    assert [(row["file_name"], row["key"], row["size"]) for row in answer.json["files"]] == [
        ("1.txt", "in/1.txt", 3),
        ("2.bin", "in/2.bin", 3),
        ("3.png", "in/3.png", 5),
    ]
    assert [bucket.data(key) for key in ("in/1.txt", "in/2.bin", "in/3.png")] == [b"one", b"two", b"three"]


@pytest.mark.gen_test
async def test_one_bad_file_of_several_does_not_hold_up_the_others(port: int, bucket: Bucket) -> None:
    files = [File(b"one", "1.txt"), File(b"", "empty.txt"), File(b"dots", ".."), File(b"four", "4.txt")]
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", "in/"), *files))
    assert answer.status == 400
    assert answer.detail == "File is empty or not readable."
    assert [row["status_code"] for row in answer.json["files"]] == [200, 400, 400, 200]
    assert [row.get("code") for row in answer.json["files"]] == [None, "empty_file", "invalid_key", None]
    assert sorted(bucket.stored()) == ["in/1.txt", "in/4.txt"]


@pytest.mark.gen_test
async def test_several_files_without_a_prefix_are_400_and_none_is_stored(port: int, bucket: Bucket) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(b"one", "1.txt"), File(b"two", "2.txt"))
    answer = await post(port, body)
    assert answer.status == 400
    assert answer.detail == "The form has several files; end object_name in '/' to store each of them."
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_the_second_file_may_be_a_browsers_empty_choice(port: int, bucket: Bucket) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(b"one"), File(b"", file_name="", name="more"))
    answer = await post(port, body)
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("k") == b"one"


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_chunked_form_is_stored(port: int, bucket: Bucket, size: int) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(b"hello" * 100))
    answer = await exchange(port, "POST", "/files", FORM_TYPE, "Transfer-Encoding: chunked", body=chunked(body, size))
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("k") == b"hello" * 100


@pytest.mark.gen_test
async def test_a_form_sent_byte_by_byte_is_stored(port: int, bucket: Bucket) -> None:
    body = form(File(b"he\r\n--llo"), ("bucket_name", bucket.name), ("object_name", "k"))
    async with connect(port) as wire:
        await wire.request("POST", "/files", FORM_TYPE, f"Content-Length: {len(body)}")
        await wire.send(*(body[place : place + 1] for place in range(len(body))))
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, STORED)
    assert bucket.data("k") == b"he\r\n--llo"


@pytest.mark.gen_test
async def test_a_form_without_its_closing_boundary_is_400_and_nothing_is_stored(port: int, bucket: Bucket) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(bytes(200 * KIB)))
    answer = await post(port, body.removesuffix(f"--{BOUNDARY}--\r\n".encode()))
    assert answer.status == 400
    assert answer.headers["X-Error-Code"] == "bad_form"
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "Content-Type: application/json",
        "Content-Type: multipart/form-data",
        "Content-Type: multipart/mixed; boundary=x",
    ],
    ids=["none", "another", "no boundary", "another multipart"],
)
async def test_what_is_no_form_is_400_before_the_body_is_sent(port: int, bucket: Bucket, content_type: str) -> None:
    headers = [content_type] if content_type else []
    answer = await exchange(port, "POST", "/files", *headers, "Content-Length: 1000", "Expect: 100-continue")
    assert answer.status == 400
    assert answer.headers["X-Error-Code"] == "bad_form"


@pytest.mark.gen_test
@pytest.mark.parametrize("key", ["..", "a/../b", "./a", "a\x07b", "é" * 513], ids=ascii)
async def test_a_key_that_cannot_be_is_400(port: int, bucket: Bucket, key: str) -> None:
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", key), File(b"hello")))
    assert answer.status == 400
    assert answer.headers["X-Error-Code"] == "invalid_key"
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["..", "a/../b", "evil@host", "169.254.169.254", "arn:aws:s3:::b", "x"])
async def test_a_name_that_no_bucket_has_never_reaches_the_store(
    port: int, bucket: Bucket, memory: MemoryStore, name: str
) -> None:
    answer = await post(port, form(("bucket_name", name), ("object_name", "k"), File(bytes(200 * KIB))))
    assert (answer.status, answer.detail) == (404, f"Bucket {name} does not exist.")
    assert not memory.calls


@pytest.mark.gen_test
async def test_a_form_with_too_many_fields_is_413(port: int, bucket: Bucket) -> None:
    fields = [(f"field{number}", "x") for number in range(101)]
    answer = await post(port, form(("bucket_name", bucket.name), ("object_name", "k"), *fields, File(b"hello")))
    assert answer.status == 413
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.shape(max_object_size=300 * KIB)
async def test_a_file_over_the_largest_size_is_413_and_nothing_is_stored(port: int, bucket: Bucket) -> None:
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(bytes(300 * KIB + 1)))
    answer = await post(port, body)
    assert answer.status == 413
    assert bucket.stored() == []
    body = form(("bucket_name", bucket.name), ("object_name", "k"), File(bytes(300 * KIB)))
    assert (await post(port, body)).status == 200
    assert len(bucket.data("k") or b"") == 300 * KIB
