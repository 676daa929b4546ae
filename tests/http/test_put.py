"""`PUT /files/BUCKET/KEY`: one object, whole and verified or not at all (design 2.2)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from urllib.parse import quote

import pytest

from s3proxy.errors import StoreRefused, WriteConflict
from s3proxy.protocol.checksums import ChecksumAlgorithm, RunningChecksum
from tests.fakes import FaultyStore, MemoryStore, Operation
from tests.http.place import KIB, MIB, Bucket, Call, both
from tests.http.wire import chunked, connect, exchange

DATA = bytes(range(256)) * KIB
"""Four parts' worth."""


def crc64nvme(data: bytes) -> str:
    """As S3 writes it."""
    running = RunningChecksum(ChecksumAlgorithm.CRC64NVME)
    running.update(data)
    assert running.checksum is not None
    return running.checksum.value


def b64(digest: bytes) -> str:
    """A digest as headers carry it."""
    return base64.b64encode(digest).decode()


EDGES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB, 128 * KIB + 1, 256 * KIB]


@pytest.mark.gen_test
@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_every_size_around_a_part_is_stored_whole(
    port: int, bucket: Bucket, memory: MemoryStore, size: int, framing: str
) -> None:
    data = DATA[:size]
    if framing == "length":
        answer = await exchange(port, "PUT", "/files/photos/k", f"Content-Length: {size}", body=data)
    else:
        body = chunked(data, 10_000)
        answer = await exchange(port, "PUT", "/files/photos/k", "Transfer-Encoding: chunked", body=body)
    assert answer.status == 200
    assert answer.json == {
        "detail": "File uploaded successfully",
        "status_code": 200,
        "bucket": "photos",
        "key": "k",
        "size": size,
        "etag": answer.headers["ETag"],
        "crc64nvme": crc64nvme(data),
    }
    assert bucket.data("k") == data
    assert memory.calls["put_part"] == (-(-size // (64 * KIB)) if size > 64 * KIB else 0)


@both
@pytest.mark.gen_test
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_object_of_several_parts_reaches_the_real_client(port: int, bucket: Bucket, framing: str) -> None:
    data = DATA * 44  # 11 MiB: three parts of S3's smallest size.
    if framing == "length":
        answer = await exchange(port, "PUT", f"/files/{bucket.name}/k", body=data)
    else:
        body = chunked(data, MIB)
        answer = await exchange(port, "PUT", f"/files/{bucket.name}/k", "Transfer-Encoding: chunked", body=body)
    assert (answer.status, answer.json["size"], answer.json["crc64nvme"]) == (200, len(data), crc64nvme(data))
    assert bucket.data("k") == data


@both
@pytest.mark.gen_test
async def test_no_body_at_all_is_an_empty_object(port: int, bucket: Bucket) -> None:
    for number, headers in enumerate((["Content-Length: 0"], [], ["Transfer-Encoding: chunked"])):
        body = chunked(b"", 1) if headers == ["Transfer-Encoding: chunked"] else b""
        answer = await exchange(port, "PUT", f"/files/{bucket.name}/k{number}", *headers, body=body)
        assert (answer.status, answer.json["size"]) == (200, 0)
        assert bucket.data(f"k{number}") == b""


@pytest.mark.gen_test
async def test_a_body_sent_byte_by_byte_is_stored(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Content-Length: 500")
        await wire.send(*(DATA[place : place + 1] for place in range(500)))
        assert (await wire.answer()).status == 200
    assert bucket.data("k") == DATA[:500]


@pytest.mark.gen_test
async def test_an_object_is_replaced_as_a_whole(call: Call, bucket: Bucket) -> None:
    bucket.put("k", DATA)
    assert (await call("PUT", "/files/photos/k", body=b"new")).status == 200
    assert bucket.data("k") == b"new"


@pytest.mark.gen_test
async def test_100_continue_comes_before_the_body_is_asked_for(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Content-Length: 5", "Expect: 100-continue")
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        assert (await wire.answer()).status == 200
    assert bucket.data("k") == b"hello"


@pytest.mark.gen_test
@pytest.mark.shape(max_object_size=MIB)
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/files/no-such-bucket/k", [f"Content-Length: {200 * KIB}"], 404),
        ("/files/no..bucket/k", ["Content-Length: 5"], 404),
        ("/files/photos/a/../b", ["Content-Length: 5"], 400),
        ("/files/photos/k", [f"Content-Length: {MIB + 1}"], 413),
        ("/files/photos/k", [f"Content-Length: {1 << 62}"], 413),
        ("/files/photos/k", [f"Content-Length: {1 << 80}"], 413),
        ("/files/photos/k", ["Content-Length: 5", "Content-Range: bytes 0-4/10"], 400),
        ("/files/photos/k", ["Content-Length: 5", "Content-MD5: nonsense"], 400),
        ("/files/photos/k", ["Content-Length: 5", "x-amz-meta-name: \xe9"], 400),
        ("/files/photos/there", ["Content-Length: 5", "If-None-Match: *"], 412),
        ("/files/photos/k", ["Content-Length: 5", "If-Match: *"], 412),
        ("/files/photos", ["Content-Length: 5"], 405),
        ("/files/photos/", ["Content-Length: 5"], 405),
        ("/elsewhere", ["Content-Length: 5"], 404),
    ],
)
async def test_what_the_headers_show_to_be_impossible_is_refused_before_100_continue(
    port: int, bucket: Bucket, target: str, headers: list[str], status: int
) -> None:
    bucket.put("there", b"old")
    async with connect(port) as wire:
        await wire.request("PUT", target, *headers, "Expect: 100-continue")
        assert (await wire.answer()).status == status
        assert await wire.rest() == b""
    assert bucket.stored() == ["there"]
    assert bucket.data("there") == b"old"


@pytest.mark.gen_test
async def test_a_missing_bucket_is_404_for_a_small_object_too(call: Call) -> None:
    answer = await call("PUT", "/files/no-such-bucket/k", body=b"hello")
    assert (answer.status, answer.detail) == (404, "Bucket no-such-bucket does not exist.")


@pytest.mark.gen_test
async def test_a_refusal_by_s3_is_our_fault_and_not_the_clients_403(call: Call, faulty: FaultyStore) -> None:
    faulty.fail("put", StoreRefused(reason="AccessDenied"))
    answer = await call("PUT", "/files/photos/k", body=b"hello")
    assert (answer.status, answer.headers["X-Error-Code"]) == (502, "store_refused")


@pytest.mark.gen_test
@pytest.mark.shape(max_object_size=300 * KIB)
async def test_a_chunked_body_that_grows_past_the_largest_size_is_413(port: int, bucket: Bucket) -> None:
    body = chunked(bytes(300 * KIB + 1), 50_000)
    answer = await exchange(port, "PUT", "/files/photos/k", "Transfer-Encoding: chunked", body=body)
    assert (answer.status, answer.headers["X-Error-Code"]) == (413, "too_large")
    assert bucket.stored() == []


@pytest.mark.gen_test
@pytest.mark.shape(part_size=16 * KIB, put_limit=16 * KIB, max_parts=5)
async def test_more_than_the_store_has_parts_for_is_413_and_never_a_cut_off_object(port: int, bucket: Bucket) -> None:
    body = chunked(bytes(20 * MIB), 500_000)
    answer = await exchange(port, "PUT", "/files/photos/k", "Transfer-Encoding: chunked", body=body)
    assert (answer.status, answer.headers["X-Error-Code"]) == (413, "too_large")
    assert bucket.stored() == []


# Conditions


@both
@pytest.mark.gen_test
async def test_if_none_match_star_stores_only_what_is_new(call: Call, bucket: Bucket) -> None:
    target = f"/files/{bucket.name}/k"
    assert (await call("PUT", target, body=b"first", headers={"If-None-Match": "*"})).status == 200
    answer = await call("PUT", target, body=b"second", headers={"If-None-Match": "*"})
    assert (answer.status, answer.headers["X-Error-Code"]) == (412, "precondition_failed")
    assert bucket.data("k") == b"first"


@both
@pytest.mark.gen_test
async def test_if_match_stores_only_over_the_version_named(call: Call, bucket: Bucket) -> None:
    target = f"/files/{bucket.name}/k"
    assert (await call("PUT", target, body=b"x", headers={"If-Match": '"0"'})).status == 412
    assert bucket.stored() == []
    old = bucket.put("k", b"old")
    assert (await call("PUT", target, body=b"new", headers={"If-Match": old})).status == 200
    assert bucket.data("k") == b"new"
    assert (await call("PUT", target, body=b"late", headers={"If-Match": old})).status == 412
    assert bucket.data("k") == b"new"


@pytest.mark.gen_test
async def test_an_early_412_spares_the_store_the_body(call: Call, bucket: Bucket, memory: MemoryStore) -> None:
    bucket.put("k", b"old")
    assert (await call("PUT", "/files/photos/k", body=DATA, headers={"If-None-Match": "*"})).status == 412
    assert set(memory.calls) == {"head"}


@pytest.mark.gen_test
@pytest.mark.parametrize(("size", "operation"), [(5, "put"), (200 * KIB, "complete_upload")])
async def test_an_object_that_appears_during_the_upload_wins_at_the_commit(
    port: int, bucket: Bucket, faulty: FaultyStore, size: int, operation: Operation
) -> None:
    gate = faulty.hang(operation)
    put = asyncio.create_task(exchange(port, "PUT", "/files/photos/k", "If-None-Match: *", body=bytes(size)))
    await gate.reached.wait()
    bucket.put("k", b"the other")
    gate.open()
    answer = await put
    assert (answer.status, answer.headers["X-Error-Code"]) == (412, "precondition_failed")
    assert bucket.data("k") == b"the other"


@pytest.mark.gen_test
@pytest.mark.parametrize(("size", "operation"), [(5, "put"), (200 * KIB, "complete_upload")])
async def test_an_object_that_changes_during_the_upload_is_not_replaced(
    port: int, bucket: Bucket, faulty: FaultyStore, size: int, operation: Operation
) -> None:
    old = bucket.put("k", b"old")
    gate = faulty.hang(operation)
    put = asyncio.create_task(exchange(port, "PUT", "/files/photos/k", f"If-Match: {old}", body=bytes(size)))
    await gate.reached.wait()
    bucket.put("k", b"the other")
    gate.open()
    assert (await put).status == 412
    assert bucket.data("k") == b"the other"


@both
@pytest.mark.gen_test
async def test_an_object_that_vanishes_during_an_if_match_upload_is_412(port: int, bucket: Bucket, call: Call) -> None:
    old = bucket.put("k", b"old")
    async with connect(port) as wire:
        await wire.request("PUT", f"/files/{bucket.name}/k", f"If-Match: {old}", "Content-Length: 5", body=b"hel")
        assert (await call("DELETE", f"/files/{bucket.name}/k")).status == 204
        await wire.send(b"lo")
        assert (await wire.answer()).status == 412
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_of_two_uploads_to_one_key_one_wins_whole(port: int, bucket: Bucket) -> None:
    bodies = [b"a" * 200 * KIB, b"b" * 150 * KIB]
    for _ in range(5):
        answers = await asyncio.gather(*(exchange(port, "PUT", "/files/photos/k", body=body) for body in bodies))
        assert [answer.status for answer in answers] == [200, 200]
        assert bucket.data("k") in bodies


@pytest.mark.gen_test
async def test_two_writers_at_the_same_moment_are_a_conflict(call: Call, faulty: FaultyStore, bucket: Bucket) -> None:
    faulty.fail("put", WriteConflict(reason="ConditionalRequestConflict"))
    answer = await call("PUT", "/files/photos/k", body=b"hello", headers={"If-None-Match": "*"})
    assert (answer.status, answer.headers["X-Error-Code"]) == (409, "write_conflict")
    assert bucket.stored() == []


# Checksums


def digest_headers(data: bytes) -> list[str]:
    """Every header that carries a digest of the body."""
    return [
        f"Content-MD5: {b64(hashlib.md5(data).digest())}",
        f"Content-Digest: sha-256=:{b64(hashlib.sha256(data).digest())}:",
        f"Repr-Digest: sha-256=:{b64(hashlib.sha256(data).digest())}:",
        f"Content-Digest: sha-512=:{b64(hashlib.sha512(data).digest())}:",
        f"x-amz-checksum-crc32: {b64(zlib.crc32(data).to_bytes(4, 'big'))}",
        f"x-amz-checksum-crc64nvme: {crc64nvme(data)}",
        f"x-amz-checksum-sha1: {b64(hashlib.sha1(data).digest())}",
        f"x-amz-checksum-sha256: {b64(hashlib.sha256(data).digest())}",
    ]


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [0, 5, 200 * KIB])
async def test_a_right_checksum_is_no_obstacle(port: int, bucket: Bucket, size: int) -> None:
    for header in digest_headers(DATA[:size]):
        answer = await exchange(port, "PUT", "/files/photos/k", header, f"Content-Length: {size}", body=DATA[:size])
        assert answer.status == 200, header
        assert bucket.data("k") == DATA[:size]


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [5, 200 * KIB])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_wrong_checksum_is_400_and_nothing_is_stored(
    port: int, bucket: Bucket, size: int, framing: str
) -> None:
    data = DATA[:size]
    body = chunked(data, 1000) if framing == "chunked" else data
    coding = ["Transfer-Encoding: chunked"] if framing == "chunked" else []
    for header in digest_headers(data[:-1] + b"?"):
        answer = await exchange(port, "PUT", "/files/photos/k", header, *coding, body=body)
        assert (answer.status, answer.headers["X-Error-Code"]) == (400, "checksum_mismatch"), header
        assert bucket.stored() == []


@both
@pytest.mark.gen_test
async def test_a_wrong_checksum_is_not_left_to_the_store(port: int, bucket: Bucket) -> None:
    header = f"Content-MD5: {b64(hashlib.md5(b'other').digest())}"
    answer = await exchange(port, "PUT", f"/files/{bucket.name}/k", header, body=b"hello")
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "checksum_mismatch")
    assert bucket.stored() == []


# Attributes


@both
@pytest.mark.gen_test
async def test_what_the_headers_say_of_the_object_comes_back_with_it(call: Call, bucket: Bucket) -> None:
    told = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "max-age=60",
        "Content-Disposition": 'attachment; filename="other.txt"',
        "Content-Language": "de",
        "x-amz-meta-Color": "blue, and green",
        "x-amz-meta-empty-no": "1",
    }
    assert (await call("PUT", f"/files/{bucket.name}/k", body=b"hello", headers=told)).status == 200
    for method in ("GET", "HEAD"):
        answer = await call(method, f"/files/{bucket.name}/k")
        assert {name: answer.headers.get(name) for name in told} == told


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.png", "image/png"),
        ("a.TXT", "text/plain"),
        ("a", "application/octet-stream"),
        ("a.gz", "application/octet-stream"),
    ],
)
async def test_a_missing_type_is_guessed_from_the_key(call: Call, bucket: Bucket, key: str, content_type: str) -> None:
    assert (await call("PUT", f"/files/photos/{key}", body=b"hello")).status == 200
    assert bucket.attributes(key).content_type == content_type


@pytest.mark.gen_test
async def test_what_curl_says_of_any_body_is_no_type(call: Call, bucket: Bucket) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await call("PUT", "/files/photos/a.png", body=b"hello", headers=headers)).status == 200
    assert (bucket.data("a.png"), bucket.attributes("a.png").content_type) == (b"hello", "image/png")


@pytest.mark.gen_test
async def test_a_compressed_body_is_stored_as_it_is(call: Call, bucket: Bucket) -> None:
    packed = zlib.compress(bytes(MIB))
    answer = await call("PUT", "/files/photos/k", body=packed, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["size"]) == (200, len(packed))
    assert bucket.data("k") == packed
    answer = await call("GET", "/files/photos/k", headers={"Accept-Encoding": "gzip"})
    assert (answer.body, answer.headers["Content-Encoding"]) == (packed, "gzip")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "header",
    ["x-amz-meta-name: caf\xe9", f"x-amz-meta-name: {'x' * 2048}", "Content-Type: text/\xe9", "Cache-Control: \xe9"],
    ids=["metadata not ASCII", "metadata too long", "type not ASCII", "cache control not ASCII"],
)
async def test_attributes_that_s3_cannot_keep_are_400(port: int, bucket: Bucket, header: str) -> None:
    answer = await exchange(port, "PUT", "/files/photos/k", header, body=b"hello")
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "bad_request")
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_a_part_of_an_object_is_not_taken_for_the_whole(port: int, bucket: Bucket) -> None:
    bucket.put("k", b"whole")
    answer = await exchange(port, "PUT", "/files/photos/k", "Content-Range: bytes 0-1/5", body=b"WH")
    assert answer.status == 400
    assert bucket.data("k") == b"whole"


# Keys

KEYS = {
    "plain.txt": "plain.txt",
    "a%20b": "a b",
    "%20edge%20": " edge ",
    "a+b": "a+b",
    "a%2Bb": "a+b",
    "a%2Fb": "a/b",
    "a%2fb": "a/b",
    "a%252Fb": "a%2Fb",
    "100%25": "100%",
    "12:30:00": "12:30:00",
    "{a}": "{a}",
    "%7Ba%7D": "{a}",
    "(a)[b]": "(a)[b]",
    "'a'%22b%22": "'a'\"b\"",
    "a;b=c,d@e$f&g!h~i*j": "a;b=c,d@e$f&g!h~i*j",
    "what%3F%23": "what?#",
    "back%5Cslash": "back\\slash",
    "%3Cb%3E": "<b>",
    "caf%C3%A9": "caf\u00e9",
    "cafe%CC%81": "cafe\u0301",
    "%E6%97%A5%E6%9C%AC": "日本",
    "%F0%9F%98%80": "\U0001f600",
    "dir/sub/file": "dir/sub/file",
    "dir/": "dir/",
    "/leading//double": "/leading//double",
    "...": "...",
    "a..b": "a..b",
    "x" * 1024: "x" * 1024,
}


@both
@pytest.mark.gen_test
async def test_keys_round_trip_byte_for_byte(call: Call, bucket: Bucket) -> None:
    for number, (encoded, key) in enumerate(KEYS.items()):
        data = str(number).encode()
        answer = await call("PUT", f"/files/{bucket.name}/{encoded}", body=data)
        assert (answer.status, answer.json["key"]) == (200, key)
        answer = await call("GET", f"/files/{bucket.name}/{encoded}")
        assert (answer.status, answer.body) == (200, data)
        answer = await call("GET", f"/files?bucket_name={bucket.name}&object_name={quote(key, safe='')}")
        assert (answer.status, answer.body) == (200, data)
    assert sorted(bucket.stored()) == sorted(set(KEYS.values()))


@pytest.mark.gen_test
async def test_a_composed_and_a_decomposed_letter_are_two_keys(call: Call, bucket: Bucket) -> None:
    await call("PUT", "/files/photos/caf%C3%A9", body=b"composed")
    await call("PUT", "/files/photos/cafe%CC%81", body=b"decomposed")
    assert (bucket.data("caf\u00e9"), bucket.data("cafe\u0301")) == (b"composed", b"decomposed")


@pytest.mark.gen_test
async def test_raw_utf8_in_the_path_is_the_same_key_as_its_encoding(port: int, bucket: Bucket) -> None:
    target = "/files/photos/日本".encode().decode("latin-1")
    assert (await exchange(port, "PUT", target, body=b"hello")).status == 200
    assert bucket.stored() == ["日本"]


BAD_KEYS = [
    "..",
    "a/..",
    "../a",
    "a/../b",
    "%2e%2e/a",
    "a/%2E%2e",
    ".",
    "a/./b",
    "%2e/a",
    "..%2fphotos%2fa",
    "a%00b",
    "a%0Ab",
    "a%0d%0aX-Evil:%20y",
    "a%7Fb",
    "a%C2%85b",
    "%FF",
    "%C3",
    "%ED%A0%80",
    "%C0%AE%C0%AE/a",
    "%",
    "%2",
    "%zz",
    "x" * 1025,
    "%E2%82%AC" * 342,
]


@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
async def test_keys_with_two_meanings_or_none_are_400_and_never_reach_the_store(
    port: int, memory: MemoryStore, method: str
) -> None:
    for key in BAD_KEYS:
        answer = await exchange(port, method, f"/files/photos/{key}", body=b"hello" if method == "PUT" else b"")
        assert (answer.status, answer.headers["X-Error-Code"]) == (400, "invalid_key"), key
    assert not memory.calls
