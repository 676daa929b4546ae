"""Byte ranges (RFC 9110 section 14): the `Range` header in, `Content-Range` out.

One range or the whole. Several ranges in one request are served as the whole (section 14.2 allows it): nobody can
make the service read one object a thousand times with one header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.errors import RangeNotSatisfiable

# More digits than any object has; longer numbers are cut to that, so a header costs its length and no more.
_MAX_DIGITS = 18
_BEYOND_ANY_OBJECT: int = 10**_MAX_DIGITS
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last` of an object, both included, counted from 0. Never empty."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes the range holds."""
        return self.last - self.first + 1

    @property
    def header(self) -> str:
        """The range as a `Range` header's value."""
        return f"bytes={self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """A range as the client asked for it, before the size is known.

    Without `last` it runs to the end. Without `first` it is a suffix: the last `last` bytes.
    """

    first: int | None
    last: int | None

    @property
    def header(self) -> str:
        """The range as a `Range` header's value."""
        return f"bytes={'' if self.first is None else self.first}-{'' if self.last is None else self.last}"

    def resolve(self, size: int) -> ByteRange:
        """The bytes it means in an object of `size` bytes, cut at the object's end (RFC 9110 section 14.1.2).

        Raises `RangeNotSatisfiable` when no byte is left; a suffix of an empty object too, since `Content-Range`
        has no way to write an empty range.
        """
        end = size - 1
        if self.first is None:
            first = max(0, size - (self.last or 0))
            last = end
        else:
            first = self.first
            last = end if self.last is None else min(self.last, end)
        if first > last:
            raise RangeNotSatisfiable(size)
        return ByteRange(first, last)


def parse_range(header: str | None) -> RangeRequest | None:
    """The one range a `Range` header asks for, or None when the whole object is to be served.

    None for no header, another unit, several ranges and anything malformed, `last` before `first` included
    (RFC 9110 section 14.2 lets a server ignore those). Never raises.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None:
        return None
    first, last = _significant(match[1]), _significant(match[2])
    if not first and not last:
        return None
    if first and last and (len(first), first) > (len(last), last):
        return None
    return RangeRequest(_number(first), _number(last))


def content_range(byte_range: ByteRange, size: int) -> str:
    """The `Content-Range` value of a 206 answer (RFC 9110 section 14.4); `size` is of the whole object."""
    return f"bytes {byte_range.first}-{byte_range.last}/{size}"


def _significant(digits: str) -> str:
    """Without leading zeros, but for a lone one."""
    return digits.lstrip("0") or digits[:1]


def _number(digits: str) -> int | None:
    if len(digits) > _MAX_DIGITS:
        return _BEYOND_ANY_OBJECT
    return int(digits) if digits else None
