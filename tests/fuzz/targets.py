"""The parsers, each as a function of bytes that raises nothing unless the invariant is broken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from tornado.httputil import HTTPHeaders

from s3proxy.errors import RequestError
from s3proxy.protocol.checksums import ClientDigests
from s3proxy.protocol.conditions import Conditions
from s3proxy.protocol.disposition import content_disposition, serves_inline
from s3proxy.protocol.forms import FieldValue, FileData, FormParser
from s3proxy.protocol.keys import check_key, is_bucket_name, safe_file_name, split_path
from s3proxy.protocol.ranges import parse_range

WHEN = datetime(2026, 11, 22, tzinfo=UTC)
BOUNDARY = "b"


def form(data: bytes) -> None:
    """A form gives no more bytes than came in, and the same ones however it is cut; cut off, it is an error."""
    whole = read_form([data])
    cut = data[0] if data else 0
    assert whole == read_form([data[:cut], data[cut:]])
    if whole is not None:
        assert len(whole) <= len(data)


def form_type(data: bytes) -> None:
    """A form's Content-Type gives a parser or a `RequestError`."""
    with contextlib.suppress(RequestError):
        FormParser(data.decode("latin-1"))


def path(data: bytes) -> None:
    """What passes is a key that S3 cannot take for another."""
    with contextlib.suppress(RequestError):
        bucket, key = split_path(data.decode("latin-1"))
        is_bucket_name(bucket)
        check_key(key)
        assert 1 <= len(key.encode()) <= 1024
        assert not {".", ".."} & set(key.split("/"))


def file_name(data: bytes) -> None:
    """What passes has one segment; any name makes one header line."""
    name = data.decode("utf-8", "replace")
    line = content_disposition("attachment", name)
    assert line.isascii()
    assert line.isprintable()
    serves_inline(name)
    with contextlib.suppress(RequestError):
        assert "/" not in safe_file_name(name)


def byte_range(data: bytes) -> None:
    """A range is inside the object or not satisfiable."""
    wanted = parse_range(data.decode("latin-1"))
    if wanted is not None:
        for size in (0, 1, 10, 10**15):
            with contextlib.suppress(RequestError):
                span = wanted.resolve(size)
                assert 0 <= span.first <= span.last < size


def conditions(data: bytes) -> None:
    """Conditions are judged, whatever they say."""
    lines = [*data.decode("latin-1").split("\n", 4), "", "", "", "", ""]
    read = Conditions(
        if_match=lines[0] or None,
        if_none_match=lines[1] or None,
        if_modified_since=lines[2] or None,
        if_unmodified_since=lines[3] or None,
        if_range=lines[4] or None,
    )
    read.evaluate('"etag"', WHEN)
    read.evaluate_write('"etag"')
    read.evaluate_write(None)
    read.range_applies('"etag"', WHEN)


def digests(data: bytes) -> None:
    """Checksum headers are understood or refused."""
    headers = HTTPHeaders()
    names = ("Content-MD5", "Content-Digest", "Repr-Digest", "x-amz-checksum-crc64nvme", "x-amz-checksum-sha256")
    for name, value in zip(names, data.decode("latin-1").split("\n"), strict=False):
        headers[name] = value.replace("\r", "").replace("\0", "")
    with contextlib.suppress(RequestError):
        told = ClientDigests.from_headers(headers)
        told.update(b"hello")
        told.verify()


def read_form(chunks: list[bytes]) -> bytes | None:
    """All field and file bytes; None when the form is refused."""
    parser = FormParser(f"multipart/form-data; boundary={BOUNDARY}")
    content = b""
    try:
        for chunk in chunks:
            for event in parser.feed(chunk):
                if isinstance(event, FileData):
                    content += event.data
                elif isinstance(event, FieldValue):
                    content += event.value.encode()
        parser.close()
    except RequestError:
        return None
    return content


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (form, form_type, path, file_name, byte_range, conditions, digests)
}
