"""Conditions: the table of RFC 9110 section 13, row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.protocol.conditions import Conditions, Verdict

PROCEED, NOT_MODIFIED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED
ETAG = '"abc"'
MODIFIED = datetime(1994, 11, 6, 8, 49, 37, 999_999, tzinfo=UTC)
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
SAME = "Sun, 06 Nov 1994 08:49:37 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
TEXTS = st.one_of(st.none(), st.sampled_from([ETAG, 'W/"abc"', '"x", "abc"', "*", SAME, BEFORE]), st.text(max_size=30))


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ('"abc"', True, True),
        ('W/"abc"', False, True),
        ("*", True, True),
        (" * ", True, True),
        ('"x"', False, False),
        ('"x", "abc"', True, True),
        ('"x",W/"abc","y"', False, True),
        ('"x,y", "abc"', True, True),
        ('"x", *', False, False),
        ("abc", False, False),
        ("", False, False),
        ('"', False, False),
        ('"ABC"', False, False),
        ('w/"abc"', True, True),
        ('"a', False, False),
    ],
)
def test_entity_tags_are_compared(header: str, strong: bool, weak: bool) -> None:
    assert Conditions(if_match=header).evaluate(ETAG, MODIFIED) is (PROCEED if strong else FAILED)
    assert Conditions(if_none_match=header).evaluate(ETAG, MODIFIED) is (NOT_MODIFIED if weak else PROCEED)
    assert Conditions(if_match=header).evaluate_write(ETAG) is (PROCEED if strong else FAILED)
    assert Conditions(if_none_match=header).evaluate_write(ETAG) is (FAILED if weak else PROCEED)


def test_a_weak_tag_of_ours_matches_weakly_only() -> None:
    assert Conditions(if_match='W/"abc"').evaluate('W/"abc"', MODIFIED) is FAILED
    assert Conditions(if_match='"abc"').evaluate('W/"abc"', MODIFIED) is FAILED
    assert Conditions(if_none_match='"abc"').evaluate('W/"abc"', MODIFIED) is NOT_MODIFIED
    assert not Conditions(if_range='W/"abc"').range_applies('W/"abc"', MODIFIED)


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        (Conditions(), PROCEED),
        (Conditions(if_modified_since=BEFORE), PROCEED),
        (Conditions(if_modified_since=SAME), NOT_MODIFIED),
        (Conditions(if_modified_since=AFTER), NOT_MODIFIED),
        (Conditions(if_unmodified_since=BEFORE), FAILED),
        (Conditions(if_unmodified_since=SAME), PROCEED),
        (Conditions(if_unmodified_since=AFTER), PROCEED),
        # A tag overrules the date of its kind (steps 1 and 3).
        (Conditions(if_match=ETAG, if_unmodified_since=BEFORE), PROCEED),
        (Conditions(if_match='"x"', if_unmodified_since=AFTER), FAILED),
        (Conditions(if_none_match='"x"', if_modified_since=AFTER), PROCEED),
        (Conditions(if_none_match=ETAG, if_modified_since=BEFORE), NOT_MODIFIED),
        # 412 goes before 304.
        (Conditions(if_match='"x"', if_none_match=ETAG), FAILED),
        (Conditions(if_match=ETAG, if_none_match=ETAG), NOT_MODIFIED),
        (Conditions(if_unmodified_since=BEFORE, if_modified_since=AFTER), FAILED),
        (Conditions(if_unmodified_since=AFTER, if_modified_since=AFTER), NOT_MODIFIED),
        # If-Range decides about the range only.
        (Conditions(if_range='"x"'), PROCEED),
        # Dates that are none are not there.
        (Conditions(if_modified_since="yesterday"), PROCEED),
        (Conditions(if_unmodified_since="yesterday"), PROCEED),
        (Conditions(if_unmodified_since="0"), PROCEED),
    ],
)
def test_reading_follows_the_order_of_precedence(conditions: Conditions, verdict: Verdict) -> None:
    assert conditions.evaluate(ETAG, MODIFIED) is verdict


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
    ],
)
def test_all_three_forms_of_a_date_are_read(date: str) -> None:
    assert Conditions(if_modified_since=date).evaluate(ETAG, MODIFIED) is NOT_MODIFIED
    assert Conditions(if_range=date).range_applies(ETAG, MODIFIED)


@pytest.mark.parametrize(
    "date",
    [
        "",
        "Sun, 31 Feb 2094 08:49:37 GMT",
        "Sun, 06 Nov 2094 08:49:37 +0000",
        "Sun, 06 Nov 2094 24:49:37 GMT",
        "Sun, 06 Nov 2094 08:49:37",
        "sun, 06 nov 2094 08:49:37 gmt",
        "2094-11-06T08:49:37Z",
        "Sun, 06 Nov \u0662\u0660\u0669\u0664 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
    ],
)
def test_a_date_that_is_none_is_ignored(date: str) -> None:
    assert Conditions(if_modified_since=date).evaluate(ETAG, MODIFIED) is PROCEED
    assert not Conditions(if_range=date).range_applies(ETAG, MODIFIED)


def test_two_digit_years_turn_at_1969() -> None:
    late = datetime(2068, 1, 1, tzinfo=UTC)
    early = datetime(1969, 1, 1, tzinfo=UTC)
    assert Conditions(if_range="Sunday, 01-Jan-68 00:00:00 GMT").range_applies(ETAG, late)
    assert Conditions(if_range="Wednesday, 01-Jan-69 00:00:00 GMT").range_applies(ETAG, early)


def test_dates_are_compared_across_time_zones() -> None:
    east = MODIFIED.astimezone(timezone(timedelta(hours=9)))
    assert Conditions(if_modified_since=SAME).evaluate(ETAG, east) is NOT_MODIFIED
    assert Conditions(if_range=SAME).range_applies(ETAG, east)


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (None, True),
        (ETAG, True),
        (f" {ETAG} ", True),
        ('"x"', False),
        ('W/"abc"', False),
        ('"x", "abc"', False),
        ("*", False),
        ("abc", False),
        ("", False),
        (SAME, True),
        (BEFORE, False),
        (AFTER, False),
    ],
)
def test_a_range_applies_to_the_very_object_only(if_range: str | None, applies: bool) -> None:
    assert Conditions(if_range=if_range).range_applies(ETAG, MODIFIED) is applies


@pytest.mark.parametrize(
    ("conditions", "reading", "writing"),
    [
        (Conditions(), PROCEED, PROCEED),
        (Conditions(if_match="*"), FAILED, FAILED),
        (Conditions(if_match=ETAG), FAILED, FAILED),
        (Conditions(if_none_match="*"), PROCEED, PROCEED),
        (Conditions(if_none_match=ETAG), PROCEED, PROCEED),
        (Conditions(if_modified_since=SAME, if_unmodified_since=SAME), PROCEED, PROCEED),
    ],
)
def test_where_no_object_is_only_if_match_fails(conditions: Conditions, reading: Verdict, writing: Verdict) -> None:
    assert conditions.evaluate_missing() is reading
    assert conditions.evaluate_write(None) is writing


def test_conditions_come_from_the_headers() -> None:
    names = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range")
    conditions = Conditions.from_headers({name: name for name in names})
    assert conditions == Conditions(
        if_match="If-Match",
        if_none_match="If-None-Match",
        if_modified_since="If-Modified-Since",
        if_unmodified_since="If-Unmodified-Since",
        if_range="If-Range",
    )
    assert not Conditions.from_headers({"Range": "bytes=0-"}).any
    for name in names:
        assert Conditions.from_headers({name: ""}).any


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
@settings(max_examples=200, deadline=None)
def test_no_text_makes_a_condition_raise(
    a: str | None, b: str | None, c: str | None, d: str | None, e: str | None
) -> None:
    conditions = Conditions(if_match=a, if_none_match=b, if_modified_since=c, if_unmodified_since=d, if_range=e)
    assert conditions.evaluate(ETAG, MODIFIED) in Verdict
    assert conditions.evaluate_write(ETAG) in {PROCEED, FAILED}
    assert conditions.range_applies(ETAG, MODIFIED) in {True, False}
