"""Ranges: against a model that knows only the grammar of RFC 9110 section 14."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import RangeNotSatisfiable
from s3proxy.protocol.ranges import ByteRange, RangeRequest, content_range, parse_range

NUMBERS = st.one_of(st.just(""), st.integers(0, 30).map(str), st.integers(0, 10**30).map(str), st.just("007"))
HEADERS = st.one_of(
    st.builds("bytes={}-{}".format, NUMBERS, NUMBERS),
    st.builds("bytes={}-{}".format, NUMBERS, NUMBERS).map(lambda text: text + ",0-0"),
    st.text("byteslin=-,0123456789 +_\u0663", max_size=20),
    st.text(max_size=20),
)


def model(header: str, size: int) -> str | slice:
    """ "whole", "unsatisfiable" or the slice of the object."""
    match = re.fullmatch(r"(?i:bytes)=[ \t]*([0-9]*)-([0-9]*)[ \t]*", header)
    if not match or match.groups() == ("", ""):
        return "whole"
    if not match[1]:
        return slice(max(0, size - int(match[2])), size) if int(match[2]) and size else "unsatisfiable"
    if match[2] and int(match[2]) < int(match[1]):
        return "whole"
    if int(match[1]) >= size:
        return "unsatisfiable"
    return slice(int(match[1]), min(size, int(match[2]) + 1 if match[2] else size))


def served(header: str, size: int) -> str | slice:
    request = parse_range(header)
    if request is None:
        return "whole"
    try:
        found = request.resolve(size)
    except RangeNotSatisfiable:
        return "unsatisfiable"
    assert 0 <= found.first <= found.last < size
    assert found.length == found.last + 1 - found.first
    return slice(found.first, found.last + 1)


@given(HEADERS, st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_every_header_is_served_as_the_model_says(header: str, size: int) -> None:
    assert served(header, size) == model(header, size)


@pytest.mark.parametrize(
    ("header", "request_"),
    [
        ("bytes=0-9", RangeRequest(0, 9)),
        ("BYTES=0-9", RangeRequest(0, 9)),
        ("bytes=5-", RangeRequest(5, None)),
        ("bytes=-5", RangeRequest(None, 5)),
        ("bytes=-0", RangeRequest(None, 0)),
        ("bytes= 0-0\t", RangeRequest(0, 0)),
        ("bytes=00-01", RangeRequest(0, 1)),
    ],
)
def test_one_range_is_read(header: str, request_: RangeRequest) -> None:
    assert parse_range(header) == request_


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--5",
        "bytes=5-1",
        "bytes=a-b",
        "bytes=1_0-2_0",
        "bytes=+1-+2",
        "bytes=1 - 2",
        "bytes=\u0663-\u0665",
        "bytes=\u00b2-",
        "bytes=0x1-2",
        "bytes=0-1\n",
        "bytes 0-1",
        "bytes =0-1",
        "items=0-1",
        "bytes=0-0,1-1",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(1000)),
        f"bytes={'9' * 100_000}-{'8' * 100_000}",
    ],
)
def test_everything_else_is_served_whole(header: str | None) -> None:
    assert parse_range(header) is None


def test_numbers_longer_than_any_object_cost_nothing() -> None:
    long = "9" * 100_000
    assert parse_range(f"bytes=1-{long}") is not None
    assert served(f"bytes=1-{long}", 10) == slice(1, 10)
    assert served(f"bytes=-{long}", 10) == slice(0, 10)
    assert served(f"bytes={long}-", 10) == "unsatisfiable"
    assert served(f"bytes={'0' * 100_000}3-", 10) == slice(3, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
def test_no_range_of_an_empty_object_is_satisfiable(header: str) -> None:
    assert served(header, 0) == "unsatisfiable"


def test_an_unsatisfiable_range_tells_the_size() -> None:
    with pytest.raises(RangeNotSatisfiable) as refusal:
        RangeRequest(10, None).resolve(10)
    assert refusal.value.size == 10


def test_a_range_writes_its_headers() -> None:
    assert ByteRange(0, 9).header == "bytes=0-9"
    assert ByteRange(0, 9).length == 10
    assert content_range(ByteRange(0, 9), 100) == "bytes 0-9/100"
