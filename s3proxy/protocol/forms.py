"""Forms (`multipart/form-data`, RFC 7578) as they arrive: chunks in, fields and file bytes out.

The grammar is `multipart`'s; ours are the limits, the errors and three rules. The result never depends on where chunks
end. A part that could be read in two ways (two names, two dispositions) is refused. A body without its closing
boundary is never complete, so a client that left is never taken for one that finished.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from multipart import MultipartError, MultipartSegment, ParserError, ParserLimitReached, PushMultipartParser

from s3proxy.errors import BadForm, RequestError, TooLarge

#: RFC 2046 section 5.1.1 says 70; some clients go over it.
MAX_BOUNDARY_SIZE = 256
#: What may stand before the first boundary. RFC 2046 allows such a preamble, no HTTP client has a use for it.
MAX_PREAMBLE_SIZE = 16 * 1024
#: RFC 7578 defines three headers a part.
MAX_HEADERS = 8

_MAX_CONTENT_TYPE_SIZE = 1024
# Quoted, or bare up to the next space or semicolon: more than a token, since clients leave quotes out.
_BOUNDARY = re.compile(r';[ \t]*boundary[ \t]*=[ \t]*(?:"([^"]*)"|([^ \t;"]+))', re.IGNORECASE)
_BOUNDARY_CHARACTERS = re.compile(r"[ !#-\[\]-~]*[!#-\[\]-~]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# A string that never closes runs to the end, also to keep the time linear.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)')
_QUOTED_LITERALLY = re.compile(r'"[^"]*"')
_QUOTED_PARAMETER = re.compile(r'; *[\w-]+ *= *""', re.ASCII)
_NAME_PARAMETER = re.compile(r"; *(name|filename) *=", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A whole field: a part without a file name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileStart:
    """A file begins: a part with a `filename`, also an empty one. `FileData` and one `FileEnd` follow.

    The name is the client's, unchecked: never use it as a key (see `keys.safe_file_name`). `content_type` is ASCII,
    with its parameters.
    """

    name: str
    file_name: str
    content_type: str | None


@dataclass(frozen=True, slots=True)
class FileData:
    """The next bytes of the file; never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file is complete. The form is not, before `FormParser.close` returns."""


Event = FieldValue | FileStart | FileData | FileEnd


class FormParser:
    """One form. Sizes in bytes; `max_fields` counts fields and files together, `max_header_size` is of one line.

    Holds at most one field and, between calls, no more of the file than could be the beginning of a boundary.

    Raises `BadForm` when `content_type` is not `multipart/form-data` with one usable boundary.
    """

    def __init__(
        self,
        content_type: str,
        *,
        max_field_size: int = 64 * 1024,
        max_fields: int = 100,
        max_header_size: int = 4 * 1024,
        max_file_size: int | None = None,
    ) -> None:
        boundary = _parse_boundary(content_type)
        self._max_field_size = max_field_size
        self._max_file_size: float = inf if max_file_size is None else max_file_size
        self._preamble: _Preamble | None = _Preamble(boundary)
        self._parser = _Grammar(
            boundary,
            # Beyond _Grammar's own limit, which unlike this one does not depend on where chunks end.
            max_header_size=max_header_size + 2,
            max_header_count=MAX_HEADERS,
            max_segment_size=max(max_field_size, self._max_file_size),
            max_segment_count=max_fields,
            strict=False,  # Refuses valid bodies when the last line break comes in a chunk of its own.
        )
        self._field_name: str | None = None
        self._field_value = bytearray()
        self._file_size = 0

    def feed(self, data: bytes) -> list[Event]:
        """Everything the next chunk completes, in order. Bytes after the closing boundary are ignored (RFC 2046).

        Raises `BadForm` for bytes that are no form and `TooLarge` for one over a limit; the parser is done for then.
        """
        if self._preamble is not None:
            data = self._preamble.skip(data)
            if data:
                self._preamble = None
        if not data:
            return []
        try:
            return list(self._events(data))
        except RequestError:
            # Ours, from between two of the library's events: it must not go on either.
            self._parser.close(check_complete=False)
            raise
        except ParserLimitReached:
            raise TooLarge("The form has too many fields, or headers or fields that are too long.") from None
        except MultipartError as error:
            # The library's own words, which never quote the input.
            raise BadForm(f"The form is malformed: {error.args[0]}.") from None

    def close(self) -> None:
        """Return when the form was complete. Raises `BadForm` when its closing boundary never came."""
        try:
            self._parser.close()
        except MultipartError:
            raise BadForm("The form is cut short: its closing boundary is missing.") from None

    def _events(self, data: bytes) -> Iterator[Event]:
        for piece in self._parser.parse(data):
            if isinstance(piece, MultipartSegment):
                yield from self._start(piece)
            elif piece is None:
                yield self._end()
            elif self._field_name is None:
                yield self._file_data(bytes(piece))
            else:
                self._grow_field(piece)

    def _start(self, segment: MultipartSegment) -> Iterator[Event]:
        """A part begins; only a file says so before it ends."""
        _check_headers(segment)
        name = segment.name
        if not name:
            raise BadForm("The form has a field without a name.")
        if segment.filename is None:
            self._field_name = name
            return
        self._field_name = None
        self._file_size = 0
        yield FileStart(name, segment.filename, _file_type(segment))

    def _end(self) -> Event:
        if self._field_name is None:
            return FileEnd()
        try:
            value = self._field_value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadForm("The form has a field that is not valid UTF-8.") from None
        event = FieldValue(self._field_name, value)
        self._field_name = None
        self._field_value = bytearray()
        return event

    def _file_data(self, data: bytes) -> FileData:
        self._file_size += len(data)
        if self._file_size > self._max_file_size:
            raise TooLarge(f"The file is larger than {self._max_file_size} bytes.")
        return FileData(data)

    def _grow_field(self, data: bytes | bytearray) -> None:
        self._field_value += data
        if len(self._field_value) > self._max_field_size:
            raise TooLarge(f"A field of the form is larger than {self._max_field_size} bytes.")


class _Grammar(PushMultipartParser):  # type: ignore[misc]
    """The library's parser, made to judge header lines by themselves and not by the chunks they came in.

    It finds a bare line feed only when no CRLF has arrived yet, and counts half a CRLF as part of the line.
    """

    def _on_segment_headerline(self, line: bytes) -> None:
        if _CONTROL.search(line):
            raise ParserError("Control character in a header")
        if len(line) > self.max_header_size - 2:
            raise ParserLimitReached("Header line too long")
        super()._on_segment_headerline(line)


class _Preamble:
    """Finds the first boundary, which begins the body or a line of it, wherever chunks end.

    The library takes any chunk that begins with a boundary for the first line of one.
    """

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # As if the body began with a line break, so that one search finds both.
        self._held = b"\r\n"
        self._skipped = 0

    def skip(self, data: bytes) -> bytes:
        """The body from its first boundary on; empty when that has not come yet.

        Raises `BadForm` when the preamble goes on for too long.
        """
        held = self._held + data
        index = held.find(self._delimiter)
        if self._skipped + max(0, index) > MAX_PREAMBLE_SIZE:
            raise BadForm("The form does not begin with its boundary.")
        if index >= 0:
            return held[index + 2 :]
        keep = min(len(held), len(self._delimiter) - 1)
        self._skipped += len(held) - keep
        self._held = held[len(held) - keep :]
        if self._skipped > MAX_PREAMBLE_SIZE:
            raise BadForm("The form does not begin with its boundary.")
        return b""


def _parse_boundary(content_type: str) -> str:
    if len(content_type) > _MAX_CONTENT_TYPE_SIZE:
        raise BadForm("The Content-Type is too long.")
    if content_type.partition(";")[0].strip(" \t").lower() != "multipart/form-data":
        raise BadForm("The Content-Type is not multipart/form-data.")
    boundaries = _BOUNDARY.findall(content_type)
    if len(boundaries) != 1:
        raise BadForm("The Content-Type has no boundary, or several.")
    boundary: str = "".join(boundaries[0])
    if len(boundary) > MAX_BOUNDARY_SIZE or not _BOUNDARY_CHARACTERS.fullmatch(boundary):
        raise BadForm("The boundary in the Content-Type is not usable (RFC 2046 section 5.1.1).")
    return boundary


def _check_headers(segment: MultipartSegment) -> None:
    """Refuse parts whose headers two programs could read differently, and encodings we do not undo."""
    names = [name for name, _ in segment.headerlist]
    if len(names) != len(set(names)):
        raise BadForm("The form has a part with the same header twice.")
    if _is_ambiguous(segment.header("Content-Disposition", "")):
        raise BadForm("The form has a part with an ambiguous Content-Disposition.")
    encoding = segment.header("Content-Transfer-Encoding", "binary")
    if encoding.strip(" \t").lower() not in {"binary", "8bit", "7bit"}:
        raise BadForm("The form has a part with a Content-Transfer-Encoding (RFC 7578 section 4.7).")


def _is_ambiguous(disposition: str) -> bool:
    """Two parameters of one name, however backslashes are read, or one hidden in a quoted string the library skips."""
    unquoted = _QUOTED.sub('""', disposition)
    if len(_QUOTED_PARAMETER.findall(unquoted)) != unquoted.count('""'):
        return True
    for reading in (unquoted, _QUOTED_LITERALLY.sub('""', disposition)):
        names = [name.lower() for name in _NAME_PARAMETER.findall(reading)]
        if len(names) != len(set(names)):
            return True
    return False


def _file_type(segment: MultipartSegment) -> str | None:
    content_type: str = segment.header("Content-Type", "").strip(" \t")
    if not content_type.isascii():
        raise BadForm("The form has a file whose Content-Type is not ASCII.")
    return content_type or None
