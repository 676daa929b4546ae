"""Keys: decoded exactly once, refused when they have two meanings, byte for byte otherwise."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.errors import InvalidKey
from s3proxy.protocol.keys import MAX_KEY_SIZE, check_key, is_bucket_name, safe_file_name, split_path

KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).filter(
    lambda key: {".", ".."}.isdisjoint(key.split("/"))
)


@pytest.mark.parametrize(
    ("raw", "bucket", "key"),
    [
        ("b/k", "b", "k"),
        ("b", "b", ""),
        ("b/", "b", ""),
        ("", "", ""),
        ("b/a/b/c", "b", "a/b/c"),
        ("b//a", "b", "/a"),
        ("b/a+b", "b", "a+b"),
        ("b/a%2Bb", "b", "a+b"),
        ("b/a%20b c", "b", "a b c"),
        ("b/a%2Fb%2f", "b", "a/b/"),
        ("b/%252F", "b", "%2F"),
        ("b/%2525", "b", "%25"),
        ("b%2Fx/k", "b/x", "k"),
        ("b/:{}()'%22", "b", ":{}()'\""),
        ("b/%C3%A9", "b", "é"),
        ("b/\xc3\xa9", "b", "é"),
        ("b/e%CC%81", "b", "e\u0301"),
        ("b/%00", "b", "\x00"),
        ("b/%F0%9F%98%80", "b", "\U0001f600"),
    ],
)
def test_a_path_splits_at_its_first_slash_and_decodes_once(raw: str, bucket: str, key: str) -> None:
    assert split_path(raw) == (bucket, key)


@pytest.mark.parametrize(
    "raw", ["b/%zz", "b/%4", "b/%", "b/%%41", "%/k", "b/%ff", "b/%ed%a0%80", "b/%c3", "b/\xe9", "%ff/k", "b/€", "b/%+1"]
)
def test_a_path_that_does_not_decode_is_refused(raw: str) -> None:
    with pytest.raises(InvalidKey):
        split_path(raw)


@given(KEYS, st.sampled_from(["", "/", "/:+()"]))
@settings(max_examples=200, deadline=None)
def test_every_key_survives_percent_encoding(key: str, safe: str) -> None:
    assert split_path(f"bucket/{quote(key, safe=safe)}") == ("bucket", key)
    assert check_key(key) == key


@given(KEYS)
@settings(max_examples=100, deadline=None)
def test_every_key_survives_as_raw_utf8(key: str) -> None:
    raw = key.replace("%", "%25").encode().decode("latin-1")
    assert split_path(f"bucket/{raw}") == ("bucket", key)


@given(st.text(st.characters(max_codepoint=255), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_path_decodes_or_is_refused(raw: str) -> None:
    try:
        bucket, key = split_path(raw)
    except InvalidKey:
        return
    assert split_path(f"{quote(bucket, safe='')}/{quote(key)}") == (bucket, key)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_checked_key_keeps_the_rules(key: str) -> None:
    try:
        assert check_key(key) is key
    except InvalidKey:
        return
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in key)
    assert 1 <= len(key.encode()) <= MAX_KEY_SIZE


@pytest.mark.parametrize(
    "key", ["a//b", "/a", "a/", "/", "...", "a/.../b", "..a", "a..", " ", "\u202e", "é", "e\u0301"]
)
def test_odd_but_legal_keys_are_kept(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        "./a",
        "a/./b",
        "a/../b",
        "a/..",
        "../a",
        "/..",
        "\x00",
        "a\nb",
        "a\x7f",
        "a\x85",
        "a\x9f",
        "\ud800",
    ],
)
def test_keys_with_two_meanings_are_refused(key: str) -> None:
    with pytest.raises(InvalidKey):
        check_key(key)


@pytest.mark.parametrize(("unit", "fits"), [("a", 1024), ("é", 512), ("日", 341), ("\U0001f600", 256)])
def test_the_length_of_a_key_counts_in_utf8_bytes(unit: str, fits: int) -> None:
    assert check_key(unit * fits)
    with pytest.raises(InvalidKey, match="1024"):
        check_key(unit * (fits + 1))


@pytest.mark.parametrize(
    "name", ["abc", "a-b.c", "My_Bucket", "a" * 63, "123", "1.2.3", "1.2.3.4.5", "0ab", "256.1.1.1"]
)
def test_names_of_real_buckets_are_bucket_names(name: str) -> None:
    assert is_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        ".",
        "..",
        "...",
        "a..b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "_ab",
        "a" * 64,
        "a/b",
        "a\\b",
        "evil@h",
        "a b",
        "a:b",
        "abc\n",
        "bücher",
        "a\u0663b",
        "a%2fb",
        "169.254.169.254",
        "127.0.0.1",
        "arn:aws:s3:::b",
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/x",
    ],
)
def test_names_that_could_point_elsewhere_are_no_bucket_names(name: str) -> None:
    assert not is_bucket_name(name)


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\a.txt", "a.txt"),
        ("/a/b\\c", "c"),
        ("日本.pdf", "日本.pdf"),
        (" a b ", " a b "),
        ("...", "..."),
    ],
)
def test_a_file_name_is_the_last_component_of_the_clients(filename: str, name: str) -> None:
    assert safe_file_name(filename) == name


@pytest.mark.parametrize(
    "filename", ["", ".", "..", "a/", "a\\", "a/..", "a\\.", "a\x00b", "a\r\nb", "x/\x85", "\udc80"]
)
def test_a_file_name_with_nothing_usable_is_refused(filename: str) -> None:
    with pytest.raises(InvalidKey):
        safe_file_name(filename)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_safe_file_name_never_leaves_its_prefix(filename: str) -> None:
    try:
        name = safe_file_name(filename)
    except InvalidKey:
        return
    assert "/" not in name
    assert "\\" not in name
    assert check_key(f"prefix/{name}").split("/") == ["prefix", name]
