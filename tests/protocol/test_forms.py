"""Forms: the same events wherever chunks end, and only a `RequestError` for anything that is no form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import BadForm, RequestError, TooLarge
from s3proxy.protocol.forms import (
    MAX_PREAMBLE_SIZE,
    Event,
    FieldValue,
    FileData,
    FileEnd,
    FileStart,
    FormParser,
)

TYPE = "multipart/form-data; boundary=bnd"
FILE_HEADER = b'Content-Disposition: form-data; name="file"; filename="f"'
#: Bytes that look like the boundary for as long as possible.
NEAR = b"\r\n--bn\r\n--b\r\r\n\r\n-\r\n-\r"


def form(*parts: bytes, boundary: bytes = b"bnd") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def part(header: bytes = FILE_HEADER, body: bytes = b"") -> bytes:
    return header + b"\r\n\r\n" + body


def field(name: str, value: str) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"'.encode(), value.encode())


MIXED = form(field("a", "1"), part(FILE_HEADER + b"\r\nContent-Type: text/plain", NEAR), field("b", "é\r\n"))


def events(chunks: Iterable[bytes], parser: FormParser | None = None) -> list[Event]:
    """All events of a complete form, with the data of a file joined."""
    parser = parser or FormParser(TYPE)
    joined: list[Event] = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            if isinstance(event, FileData):
                assert event.data
            if isinstance(event, FileData) and isinstance(joined[-1], FileData):
                joined[-1] = FileData(joined[-1].data + event.data)
            else:
                joined.append(event)
    parser.close()
    return joined


def outcome(chunks: Iterable[bytes], parser: FormParser | None = None) -> list[Event] | type[RequestError]:
    """The events, or the class of the refusal: nothing else may leave the parser."""
    try:
        return events(chunks, parser)
    except RequestError as error:
        return type(error)


def byte_by_byte(body: bytes) -> Iterator[bytes]:
    return (body[index : index + 1] for index in range(len(body)))


#: Valid and not, each with what makes it worth splitting.
SPLIT = {
    "fields and a file full of near boundaries": MIXED,
    "an empty file": form(part(body=b"")),
    "a file that ends in CRLF": form(part(body=b"a\r\n")),
    "a preamble and an epilogue": b"pre\r\namble--bnd\r\n" + form(field("a", "1")) + b"--bnd\r\nepilogue",
    "a preamble that begins with CRLF": b"\r\n" + form(field("a", "1")),
    "no part at all": b"--bnd--",
    "no last line break": form(field("a", "1"))[:-2],
    "a bare line feed in a header": form(part(FILE_HEADER + b"\nContent-Type: text/plain")),
    "a header that begins with a line feed": form(part(b"\n" + FILE_HEADER)),
    "a bare carriage return in a header": form(part(FILE_HEADER + b"\rContent-Type: text/plain")),
    "line feeds only": MIXED.replace(b"\r\n", b"\n"),
    "a folded header": form(part(b'Content-Disposition: form-data;\r\n name="file";\r\n filename="f"', b"x")),
    "a boundary in the middle of the first line": b"xx--bnd\r\n" + part(body=b"x") + b"\r\n--bnd--\r\n",
    "junk after a boundary": form(field("a", "1")).replace(b"--bnd--", b"--bnd-x"),
    "junk after the first boundary": b"--bndx\r\n" + form(field("a", "1")),
    "a field without a name": form(part(b"Content-Disposition: form-data")),
    "a field that is no UTF-8": form(part(b'Content-Disposition: form-data; name="a"', b"\xff")),
    "a length that is wrong": form(part(FILE_HEADER + b"\r\nContent-Length: 4", b"abc")),
    "nothing": b"",
}


@pytest.mark.parametrize("body", SPLIT.values(), ids=SPLIT)
def test_the_result_never_depends_on_where_chunks_end(body: bytes) -> None:
    whole = outcome([body])
    assert outcome(byte_by_byte(body)) == whole
    for cut in range(len(body) + 1):
        assert outcome([body[:cut], body[cut:]]) == whole


def test_every_pair_of_cuts_gives_the_same_result() -> None:
    body = form(part(body=NEAR))
    whole = events([body])
    for first in range(len(body)):
        for second in range(first, len(body)):
            assert events([body[:first], body[first:second], body[second:]]) == whole


def test_a_form_becomes_events_in_order() -> None:
    assert events([MIXED]) == [
        FieldValue("a", "1"),
        FileStart("file", "f", "text/plain"),
        FileData(NEAR),
        FileEnd(),
        FieldValue("b", "é\r\n"),
    ]


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.text("\r\n-bnd", max_size=40).map(str.encode)), max_size=4),
    st.lists(st.integers(0, 600), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_any_files_survive_any_cuts(bodies: list[bytes], cuts: list[int]) -> None:
    bodies = [body for body in bodies if b"--bnd" not in body]
    data = form(*(part(body=body) for body in bodies))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = events(data[start:end] for start, end in pairwise(places))
    expected: list[Event] = []
    for body in bodies:
        expected += [FileStart("file", "f", None), *([FileData(body)] if body else []), FileEnd()]
    assert found == expected


@given(
    st.lists(
        st.sampled_from([b"--bnd", b"--", b"\r\n", b"\r", b"\n", FILE_HEADER, b":", b'"', b"; name=", b"x"]),
        max_size=30,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_form_or_a_request_error_however_cut(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    assert outcome([body]) == outcome(byte_by_byte(body)) == outcome(pieces)


@given(st.binary(max_size=200), st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_only_request_errors_leave(body: bytes, content_type: str) -> None:
    outcome([body])
    outcome([b"--bnd\r\n" + body])
    outcome([form(part(b"Content-Disposition: form-data; " + body))])
    try:
        FormParser(f"multipart/form-data; boundary={content_type}")
    except RequestError:
        return


def test_a_truncated_form_never_succeeds() -> None:
    end = MIXED.rindex(b"--bnd--") + len(b"--bnd--")
    for size in range(end):
        assert outcome([MIXED[:size]]) is BadForm
        assert outcome(byte_by_byte(MIXED[:size])) is BadForm
    assert outcome([MIXED[:end]]) == events([MIXED])


def test_a_parser_that_refused_once_stays_closed() -> None:
    for bad in (b"--bnd\r\nx\r\n\r\n", form(field("", "x")), form(part(body=b"x" * 11))):
        parser = FormParser(TYPE, max_file_size=10)
        with pytest.raises(RequestError):
            parser.feed(bad)
        with pytest.raises(BadForm):
            parser.feed(form(field("a", "1")))
        with pytest.raises(BadForm, match="cut short"):
            parser.close()


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        (b'name="file"; filename="a.txt"', ("file", "a.txt")),
        (b'filename="a.txt"; name="file"', ("file", "a.txt")),
        (b"name=file; filename=a.txt", ("file", "a.txt")),
        (b'name="file"; filename=""', ("file", "")),
        (b'name="file"; filename="a;b.txt"', ("file", "a;b.txt")),
        (b'name="file"; filename="a; name=b"', ("file", "a; name=b")),
        (b'name="file"; filename="%22a%22"', ("file", '"a"')),
        (b'name="file"; filename="x\\"y\\"z"', ("file", 'x"y"z')),
        (b'name="file"; filename="a\\"', ("file", "a\\")),
        ('name="file"; filename="日本"'.encode(), ("file", "日本")),
        # RFC 7578 section 4.2 forbids `filename*`.
        (b'name="file"; filename="s.txt"; filename*=utf-8\'\'evil.php', ("file", "s.txt")),
        (b'name="file"; filename="../../etc/passwd"', ("file", "../../etc/passwd")),
    ],
)
def test_the_plain_file_name_is_used(parameters: bytes, found: tuple[str, str]) -> None:
    start = events([form(part(b"Content-Disposition: form-data; " + parameters))])[0]
    assert start == FileStart(*found, None)


@pytest.mark.parametrize(
    "parameters",
    [
        b'name="a"; name="b"',
        b'name="a"; NAME=b',
        b'name="a"; filename="x"; filename="y"',
        b'name="a"; filename="x\\"; filename="y"',
        b'name="a"; filename="x\\"; filename=\\"y"',
        b'name="a"; filename*="; name=b"',
        b'name="a"; b c="; name=b"',
        b'filename="x"',
        b'name=""',
        b"name",
        b'"name"="a"',
        b"!!!",
    ],
)
def test_a_disposition_with_two_meanings_or_no_name_is_refused(parameters: bytes) -> None:
    assert outcome([form(part(b"Content-Disposition: form-data; " + parameters))]) is BadForm


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Content-Type: text/plain",
        b'Content-Disposition: attachment; name="a"',
        FILE_HEADER + b"\r\n" + FILE_HEADER,
        FILE_HEADER + b"\r\nContent-Type: a/b\r\ncontent-type: c/d",
        FILE_HEADER + b"\r\nContent-Transfer-Encoding: base64",
        FILE_HEADER + b"\r\nContent-Type: t\xc3\xa9xt/plain",
        FILE_HEADER + b"\r\nX: \x00",
        FILE_HEADER + b"\r\nno colon",
        FILE_HEADER + b"\r\nContent-Length: 1_0",
        FILE_HEADER.replace(b'"f"', b'"\xff"'),
    ],
)
def test_a_part_with_bad_headers_is_refused(header: bytes) -> None:
    assert outcome([form(part(header, b"x"))]) is BadForm


@pytest.mark.parametrize(
    ("parameter", "boundary"),
    [
        ("boundary=abc", b"abc"),
        ('boundary="abc"', b"abc"),
        ("BOUNDARY=abc; charset=utf-8", b"abc"),
        ("charset=utf-8;boundary= abc ", b"abc"),
        ('boundary="a b"', b"a b"),
        ("boundary=----=_Part_1/2:3", b"----=_Part_1/2:3"),
        ("boundary='()+_,-./:=?", b"'()+_,-./:=?"),
        (f"boundary={'x' * 256}", b"x" * 256),
    ],
)
def test_a_boundary_is_read_from_the_content_type(parameter: str, boundary: bytes) -> None:
    body = form(field("a", "1"), boundary=boundary)
    assert events([body], FormParser(f"Multipart/Form-Data; {parameter}")) == [FieldValue("a", "1")]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data boundary=a",
        "multipart/mixed; boundary=a",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=é",
        'multipart/form-data; boundary="a "',
        'multipart/form-data; boundary="a\r\nb"',
        'multipart/form-data; boundary="a',
        f"multipart/form-data; boundary={'x' * 257}",
        f"multipart/form-data; boundary={'x' * 4096}",
        "multipart/form-data" + ";" * 10_000 + "boundary=a",
    ],
)
def test_a_content_type_without_one_usable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(BadForm):
        FormParser(content_type)


def test_limits_hold_to_the_byte() -> None:
    def limited(body: bytes) -> list[Event] | type[RequestError]:
        parsers = [
            FormParser(TYPE, max_field_size=20, max_fields=3, max_header_size=100, max_file_size=50) for _ in range(2)
        ]
        whole = outcome([body], parsers[0])
        assert outcome(byte_by_byte(body), parsers[1]) == whole
        return whole

    assert limited(form(field("a", "x" * 20))) == [FieldValue("a", "x" * 20)]
    assert limited(form(field("a", "x" * 21))) is TooLarge
    assert limited(form(part(body=b"x" * 50)))
    assert limited(form(part(body=b"x" * 51))) is TooLarge
    assert limited(form(*[field("a", "1")] * 3)) == [FieldValue("a", "1")] * 3
    assert limited(form(*[field("a", "1")] * 4)) is TooLarge
    padded = FILE_HEADER + b"\r\nX: "
    assert limited(form(part(padded + b"x" * 97))) == [FileStart("file", "f", None), FileEnd()]
    assert limited(form(part(padded + b"x" * 98))) is TooLarge
    headers = [FILE_HEADER, *(b"X%d: x" % number for number in range(8))]
    assert limited(form(part(b"\r\n".join(headers[:8])))) == [FileStart("file", "f", None), FileEnd()]
    assert limited(form(part(b"\r\n".join(headers)))) is TooLarge
    small = FormParser(TYPE, max_field_size=50, max_file_size=10)
    assert outcome([form(part(body=b"x" * 11))], small) is TooLarge


BOMBS = {
    "1,001 fields": form(*[field("a", "1")] * 1001),
    "a header of 64 KB": form(part(FILE_HEADER + b"\r\nX: " + b"x" * 65536)),
    "a header that never ends": b"--bnd\r\n" + b"x" * 10_000_000,
    "10,000 headers": form(part(FILE_HEADER + b"".join(b"\r\nX%d: x" % n for n in range(10_000)))),
    "10,000 folded lines": form(part(FILE_HEADER + b"\r\n x" * 10_000)),
    "10,000 semicolons": form(part(FILE_HEADER + b";" * 10_000)),
    "quotes that never close": form(*[part(FILE_HEADER + b'; x="\\"' * 1000)] * 100),
    "a preamble of line breaks": b"\r\n" * 5_000_000,
    "a preamble of near boundaries": b"\r\n--bn" * 1_000_000,
    "a field of 64 MB": form(part(b'Content-Disposition: form-data; name="a"', b"x" * 64_000_000)),
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(body: bytes) -> None:
    step = 65536
    chunks = (body[start : start + step] for start in range(0, len(body), step))
    assert outcome(chunks) in {BadForm, TooLarge}


@pytest.mark.parametrize("filler", [b'\\"', b'"', b'"\\', b";", b"; name", b' ;"', b"; a"])
def test_the_worst_headers_are_read_in_linear_time(filler: bytes) -> None:
    # 60 times the size allowed by default: a pattern that starts again at every quote runs into the suite's timeout.
    header = b'Content-Disposition: form-data; name="a"' + filler * (250_000 // len(filler))
    outcome([form(part(header))], FormParser(TYPE, max_header_size=256 * 1024))


def test_a_preamble_has_a_limit_that_does_not_depend_on_chunks() -> None:
    for size, fits in ((MAX_PREAMBLE_SIZE - 2, True), (MAX_PREAMBLE_SIZE - 1, False)):
        body = b"x" * size + b"\r\n" + form(field("a", "1"))
        for chunks in ([body], byte_by_byte(body), [body[:size], body[size:]], [body[: size + 5], body[size + 5 :]]):
            assert outcome(chunks) == ([FieldValue("a", "1")] if fits else BadForm)


def test_an_epilogue_is_ignored_however_long() -> None:
    chunks = [form(field("a", "1")), *[b"\r\n--bnd\r\n" * 1000] * 100]
    assert events(chunks) == [FieldValue("a", "1")]


def test_empty_chunks_mean_nothing() -> None:
    assert events([b"", MIXED[:9], b"", MIXED[9:], b""]) == events([MIXED])


def test_file_bytes_are_handed_on_uncopied_once_the_file_is_under_way() -> None:
    parser = FormParser(TYPE)
    parser.feed(b"--bnd\r\n" + part())
    chunk = b"x" * 100_000
    (event,) = parser.feed(chunk)
    assert isinstance(event, FileData)
    assert event.data is chunk
