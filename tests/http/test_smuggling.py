"""Requests that two programs could read in two ways: refused, closed, and never followed by a second answer.

RFC 9112 sections 2.2, 5.2, 6.3, 7.1 and 11.2.
"""

from __future__ import annotations

import pytest

from tests.fakes import MemoryStore
from tests.http.place import Bucket
from tests.http.wire import connect, exchange

HIDDEN = b"PUT /files/photos/hidden HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\nhidden"
"""What an attacker wants to get past a proxy in front."""

CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"

HEADS = {
    "length and chunked": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
    "chunked and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", CHUNKED),
    "chunked and no length": (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", CHUNKED),
    "chunked twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
    "chunked and another": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKED),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED),
    "chunked, identity": (b"Transfer-Encoding: chunked, identity\r\n", CHUNKED),
    "xchunked": (b"Transfer-Encoding: xchunked\r\n", CHUNKED),
    "chunked in quotes": (b'Transfer-Encoding: "chunked"\r\n', CHUNKED),
    "chunked and a tab": (b"Transfer-Encoding:\x0bchunked\r\n", CHUNKED),
    "space before the colon": (b"Transfer-Encoding : chunked\r\n", CHUNKED),
    "space before the name": (b" Transfer-Encoding: chunked\r\n", CHUNKED),
    "folded": (b"Transfer-Encoding:\r\n chunked\r\n", CHUNKED),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
    "two lengths in a line": (b"Content-Length: 5, 6\r\n", b"hello"),
    "a plus": (b"Content-Length: +5\r\n", b"hello"),
    "a minus": (b"Content-Length: -5\r\n", b"hello"),
    "an underscore": (b"Content-Length: 0_5\r\n", b"hello"),
    "hexadecimal": (b"Content-Length: 0x5\r\n", b"hello"),
    "a decimal": (b"Content-Length: 5.0\r\n", b"hello"),
    "an arabic digit": (b"Content-Length: \xd9\xa5\r\n", b"hello"),
    "a no-break space": (b"Content-Length: 5\xa0\r\n", b"hello"),
    "no number": (b"Content-Length: five\r\n", b"hello"),
    "nothing": (b"Content-Length: \r\n", b"hello"),
    "a very long number": (b"Content-Length: " + b"9" * 5000 + b"\r\n", b"hello"),
    "a NUL": (b"X-Header: a\x00b\r\nContent-Length: 5\r\n", b"hello"),
    "a bare CR": (b"X-Header: a\rContent-Length: 50\r\nContent-Length: 5\r\n", b"hello"),
    "no colon": (b"Nonsense\r\nContent-Length: 5\r\n", b"hello"),
    "a second host": (b"Host: other\r\nContent-Length: 5\r\n", b"hello"),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["/files/photos/k", "/files/photos/..", "/files/no-such-bucket/k"])
@pytest.mark.parametrize(("head", "body"), HEADS.values(), ids=HEADS)
async def test_an_ambiguous_head_gets_one_400_and_the_end(
    port: int, bucket: Bucket, memory: MemoryStore, target: str, head: bytes, body: bytes
) -> None:
    async with connect(port) as wire:
        await wire.send(b"PUT %b HTTP/1.1\r\nHost: test\r\n%b\r\n%b%b" % (target.encode(), head, body, HIDDEN))
        received = await wire.rest()
    if head != HEADS["a very long number"][0]:
        assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert bucket.stored() == []
    assert memory.calls["put"] == memory.calls["create_upload"] == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["length and chunked", "chunked twice", "two lengths", "a plus", "no number"])
async def test_an_ambiguous_length_is_told_in_words(port: int, name: str) -> None:
    head, body = HEADS[name]
    async with connect(port) as wire:
        await wire.send(b"PUT /files/photos/k HTTP/1.1\r\nHost: test\r\n" + head + b"\r\n" + body)
        answer = await wire.answer()
    assert (answer.status, answer.headers["X-Error-Code"]) == (400, "bad_request")
    assert answer.detail in ("The end of the body is ambiguous.", "Content-Length is not a number.")


BODIES = {
    "hexadecimal prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "no number": b"five\r\nhello\r\n0\r\n\r\n",
    "nothing": b"\r\nhello\r\n0\r\n\r\n",
    "a huge size": b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "too long": b"6\r\nhello\r\n0\r\n\r\n",
    "too short": b"4\r\nhello\r\n0\r\n\r\n",
    "bare line feeds": b"5\nhello\n0\n\n" + b" " * 100,
    "a long extension": b"5;" + b"x" * 1000 + b"\r\nhello\r\n0\r\n\r\n",
    "a trailer": b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
}


@pytest.mark.gen_test
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_malformed_chunk_of_a_refused_body_gets_no_second_answer(port: int, body: bytes) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/..", "Transfer-Encoding: chunked", body=body + HIDDEN)
        assert (await wire.answer()).headers["X-Error-Code"] == "invalid_key"
        assert await wire.rest() == b""


@pytest.mark.gen_test
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_malformed_chunk_gets_at_most_one_400_and_the_end(port: int, bucket: Bucket, body: bytes) -> None:
    async with connect(port) as wire:
        await wire.request("PUT", "/files/photos/k", "Transfer-Encoding: chunked", body=body + HIDDEN)
        received = await wire.rest()
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 400 ") <= 1
    assert bucket.stored() == []


LINES = {
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a bad host": b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a space in the target": b"GET /health z HTTP/1.1\r\nHost: test\r\n\r\n",
    "no version": b"GET /healthz\r\nHost: test\r\n\r\n",
    "another version": b"GET /healthz HTTP/2.0\r\nHost: test\r\n\r\n",
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a control character": b"GET /health\x7fz HTTP/1.1\r\nHost: test\r\n\r\n",
    "chunked and version 1.0": b"PUT /files/photos/k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
}


@pytest.mark.gen_test
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_a_malformed_request_line_gets_one_400_and_the_end(port: int, bucket: Bucket, line: bytes) -> None:
    async with connect(port) as wire:
        await wire.send(line + HIDDEN)
        received = await wire.rest()
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 400 ") == 1
    assert bucket.stored() == []


@pytest.mark.gen_test
async def test_headers_over_the_limit_end_the_connection(port: int) -> None:
    async with connect(port) as wire:
        await wire.request("GET", "/healthz", "X-Long: " + "x" * 20_000)
        assert b" 200 " not in await wire.rest()


@pytest.mark.gen_test
async def test_two_equal_lengths_are_one(port: int, bucket: Bucket) -> None:
    # As some proxies send it; RFC 9112 section 6.3 allows to take it.
    answer = await exchange(port, "PUT", "/files/photos/k", "Content-Length: 5", "Content-Length: 5", body=b"hello")
    assert answer.status == 200
    assert bucket.data("k") == b"hello"


@pytest.mark.gen_test
async def test_requests_one_after_the_other_are_answered_one_by_one(port: int, bucket: Bucket) -> None:
    async with connect(port) as wire:
        await wire.send(HIDDEN + HIDDEN + b"GET /files/photos/hidden HTTP/1.1\r\nHost: test\r\n\r\n")
        assert [(await wire.answer()).status for _ in range(2)] == [200, 200]
        assert (await wire.answer()).body == b"hidden"


@pytest.mark.gen_test
async def test_lower_and_upper_case_of_chunked_are_the_same(port: int, bucket: Bucket) -> None:
    answer = await exchange(port, "PUT", "/files/photos/k", "transfer-encoding: Chunked", body=CHUNKED)
    assert answer.status == 200
    assert bucket.data("k") == b"hello"
