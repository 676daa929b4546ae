"""Content-Disposition: one safe ASCII line for any name, and the same name out of it again."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.protocol.disposition import content_disposition, serves_inline

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def parse_back(value: str) -> str:
    """The file's name as RFC 6266 section 4.3 reads it: `filename*` before `filename`."""
    _, extended, encoded = value.partition("filename*=UTF-8''")
    return unquote(encoded, errors="strict") if extended else plain_parameter(value)


def plain_parameter(value: str) -> str:
    match = re.match(r'(?:inline|attachment); filename="([^"]*)"(?:; filename\*=UTF-8\'\'[\w!#$&+.^`|~%-]+)?\Z', value)
    assert match, value
    return match[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.txt", 'attachment; filename="a.txt"'),
        ("a b;c.txt", 'attachment; filename="a b;c.txt"'),
        ("é.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"),
        ("日本", "attachment; filename=\"__\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
        ('a";x=y', "attachment; filename=\"a_;x=y\"; filename*=UTF-8''a%22%3Bx%3Dy"),
        ("100%41", "attachment; filename=\"100_41\"; filename*=UTF-8''100%2541"),
        ("a\\b", 'attachment; filename="a_b"'),
        ("../x", 'attachment; filename=".._x"'),
        ("a\r\nX: y", 'attachment; filename="a__X: y"'),
        ("cod\u202egpj.exe", 'attachment; filename="cod_gpj.exe"'),
        ("", 'attachment; filename="download"'),
        (" ", 'attachment; filename="download"'),
        ("..", 'attachment; filename="download"'),
        ("\ud800", 'attachment; filename="_"'),
    ],
)
def test_names_are_written_as_browsers_read_them(name: str, value: str) -> None:
    assert content_disposition("attachment", name) == value


def test_the_kind_comes_first() -> None:
    assert content_disposition("inline", "a") == 'inline; filename="a"'


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_name_gives_one_short_ascii_line(name: str) -> None:
    value = content_disposition("attachment", name)
    assert value.isascii()
    assert value.isprintable()
    assert len(value) < 1100
    assert not set(plain_parameter(value)) & set('"\\/%' + BIDI)


@given(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\" + BIDI), max_size=60
    ).filter(lambda name: name.strip(". ") and name == name.strip())
)
@settings(max_examples=200, deadline=None)
def test_an_honest_name_parses_back_to_itself(name: str) -> None:
    assert parse_back(content_disposition("attachment", name)) == name


@pytest.mark.parametrize("name", ["x" * 5000 + ".tar", "日" * 2000 + ".tar", "é" * 128 + ".tar"])
def test_a_long_name_is_cut_before_its_extension(name: str) -> None:
    back = parse_back(content_disposition("attachment", name))
    assert back.endswith(".tar")
    assert 250 <= len(back.encode()) <= 255
    assert name.startswith(back.removesuffix(".tar"))


def test_a_name_of_255_bytes_is_kept_whole() -> None:
    assert parse_back(content_disposition("attachment", "x" * 255)) == "x" * 255


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "TEXT/PLAIN; charset=utf-8", " image/png ", "image/jpeg", "image/webp", "audio/mpeg", "video/mp4;x"],
)
def test_types_that_hold_no_script_are_shown(content_type: str) -> None:
    assert serves_inline(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        ";",
        "text/html",
        "text/html;x",
        "TEXT/HTML",
        "image/svg+xml",
        "application/xml",
        "text/xml",
        "application/xhtml+xml",
        "application/pdf",
        "text/javascript",
        "text/css",
        "application/octet-stream",
        "text/plain, text/html",
        "text/html; a=text/plain",
        "text/plain\n",
        "\x0ctext/plain",
        "text/plainx",
    ],
)
def test_everything_else_is_saved(content_type: str | None) -> None:
    assert not serves_inline(content_type)
