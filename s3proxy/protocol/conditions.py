"""Conditional requests (RFC 9110 section 13): ETags and dates the client holds against the object as it is.

Entity tags are compared as S3 writes them, quotes included. A header that cannot be read matches nothing (a tag) or
does not exist (a date); no text makes these functions raise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

_ENTITY_TAG = re.compile(r'(W/)?("[^"]*")')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
# RFC 9110 section 5.6.7: the fixed form everyone sends, and two obsolete ones every recipient must read.
_DATES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)


class Verdict(Enum):
    """What the conditions make of a request."""

    PROCEED = auto()
    #: 304: the client holds what it asks for.
    NOT_MODIFIED = auto()
    #: 412: a condition does not hold; nothing may be done.
    FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditional headers of one request, as sent; None where absent."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None
    if_range: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Conditions:
        """Take them from a header mapping that ignores case, several lines of a name joined by commas."""
        return cls(
            if_match=headers.get("If-Match"),
            if_none_match=headers.get("If-None-Match"),
            if_modified_since=headers.get("If-Modified-Since"),
            if_unmodified_since=headers.get("If-Unmodified-Since"),
            if_range=headers.get("If-Range"),
        )

    @property
    def any(self) -> bool:
        """Whether the request has a condition at all."""
        return any(
            value is not None
            for value in (
                self.if_match,
                self.if_none_match,
                self.if_modified_since,
                self.if_unmodified_since,
                self.if_range,
            )
        )

    def evaluate(self, etag: str, last_modified: datetime) -> Verdict:
        """The verdict on GET or HEAD of an object, in the order of RFC 9110 section 13.2.2.

        `last_modified` has a time zone; fractions of a second, which `Last-Modified` cannot show, do not count.
        """
        modified = last_modified.replace(microsecond=0)
        if self.if_match is not None:
            if not _matches_strongly(self.if_match, etag):
                return Verdict.FAILED
        elif (limit := _parse_date(self.if_unmodified_since)) and modified > limit:
            return Verdict.FAILED
        if self.if_none_match is not None:
            if _matches_weakly(self.if_none_match, etag):
                return Verdict.NOT_MODIFIED
        elif (limit := _parse_date(self.if_modified_since)) and modified <= limit:
            return Verdict.NOT_MODIFIED
        return Verdict.PROCEED

    def evaluate_missing(self) -> Verdict:
        """The verdict on GET or HEAD where there is no object: an `If-Match`, `*` too, cannot hold.

        Dates are ignored, for want of one to compare with (RFC 9110 section 13.1.4).
        """
        return Verdict.PROCEED if self.if_match is None else Verdict.FAILED

    def evaluate_write(self, etag: str | None) -> Verdict:
        """The verdict on PUT or DELETE; `etag` is None where there is no object. Never `NOT_MODIFIED`.

        Only the two headers S3 can check again at the commit count here; dates do not.
        """
        if self.if_match is not None and (etag is None or not _matches_strongly(self.if_match, etag)):
            return Verdict.FAILED
        if self.if_none_match is not None and etag is not None and _matches_weakly(self.if_none_match, etag):
            return Verdict.FAILED
        return Verdict.PROCEED

    def range_applies(self, etag: str, last_modified: datetime) -> bool:
        """Whether a `Range` may be served: no `If-Range`, or one that names this very object (section 13.1.5).

        A tag is compared strongly, a date exactly. Otherwise the whole object is the answer.
        """
        if self.if_range is None:
            return True
        validator = self.if_range.strip(" \t")
        if '"' in validator:
            return validator == etag and not etag.startswith("W/")
        return _parse_date(validator) == last_modified.replace(microsecond=0)


def _matches_strongly(header: str, etag: str) -> bool:
    """Section 8.8.3.2: the same characters, and neither is weak."""
    if header.strip(" \t") == "*":
        return True
    return any(not weak and opaque == etag for weak, opaque in _ENTITY_TAG.findall(header))


def _matches_weakly(header: str, etag: str) -> bool:
    """Section 8.8.3.2: the same characters between the quotes."""
    if header.strip(" \t") == "*":
        return True
    return any(opaque == etag.removeprefix("W/") for _, opaque in _ENTITY_TAG.findall(header))


def _parse_date(text: str | None) -> datetime | None:
    """An HTTP date (section 5.6.7) or None. Two-digit years are read as POSIX does: 69 to 99 lie before 2000."""
    matches = (pattern.fullmatch((text or "").strip(" \t")) for pattern in _DATES)
    match = next(filter(None, matches), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 1900 if year >= 69 else 2000
    month = _MONTHS.index(match["month"]) + 1
    try:
        return datetime(
            year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), int(match["second"]), tzinfo=UTC
        )
    except ValueError:
        return None
