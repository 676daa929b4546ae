"""What a request shows: one credential, well formed, or a refusal."""

from __future__ import annotations

import base64
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access.credentials import MAX_SIZE, ApiKey, Credential, Password, Refused, Token, read
from tests.access.people import KEY, PASSWORD, basic, bearer, caller


def raw_basic(octets: bytes) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(octets).decode()


@pytest.mark.parametrize(
    ("header", "credential"),
    [
        (("X-Api-Key", KEY), ApiKey(KEY)),
        (("x-api-key", KEY), ApiKey(KEY)),
        (bearer(KEY), ApiKey(KEY)),
        (("authorization", f"bearer {KEY}"), ApiKey(KEY)),
        (("AUTHORIZATION", f"BEARER   {KEY}"), ApiKey(KEY)),
        (bearer("a.b.c"), Token("a.b.c")),
        (basic("alice"), Password("alice", PASSWORD)),
        (basic("alice", ""), Password("alice", "")),
        (basic("alice", KEY), ApiKey(KEY, "alice")),
        (basic("", "x"), Password("", "x")),
    ],
)
def test_each_way_in_is_read(header: tuple[str, str], credential: Credential) -> None:
    assert read(caller(header)) == credential


def test_no_header_is_no_credential() -> None:
    assert read(caller(("Accept", "*/*"))) is None


def test_a_password_is_the_same_in_each_of_unicodes_forms() -> None:
    composed, decomposed = (unicodedata.normalize(form, "wörd") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert read(caller(basic("alice", composed))) == read(caller(basic("alice", decomposed)))


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "")],
        [("X-Api-Key", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", f" Bearer {KEY}")],
        [("Authorization", f"Bearer {KEY} ")],
        [("Authorization", f"Bearer {KEY} {KEY}")],
        [("Authorization", f"Bearer {KEY},Bearer {KEY}")],
        [("Authorization", f"Bearer\t{KEY}")],
        [("Authorization", KEY)],
        [("Authorization", "Digest abc")],
        [("Authorization", "Bearer " + "a" * MAX_SIZE)],
        [("Authorization", "Basic " + "a" * MAX_SIZE)],
        [("X-Api-Key", "a" * MAX_SIZE)],
        [("X-Api-Key", KEY + "\n")],
        [("X-Api-Key", KEY[:-1])],
        [("X-Api-Key", KEY + "x")],
        [("X-Api-Key", KEY[:-1] + "é")],
        [("X-Api-Key", KEY.upper())],
        [("Authorization", "Bearer s3p_short")],
        [("Authorization", "Bearer tökén")],
        [("Authorization", "Basic =")],
        [("Authorization", "Basic abc")],
        [("Authorization", "Basic YQ==YQ==")],
        [raw_basic(b"no colon")],
        [raw_basic(b"alice:\xff")],
        [raw_basic(b"alice:a\nb")],
        [raw_basic(b"a\0lice:a")],
        [raw_basic(b"alice:" + b"a" * 1_025)],
        [bearer(KEY), bearer(KEY)],
        [bearer(KEY), basic("alice")],
        [bearer(KEY), ("X-Api-Key", KEY)],
        [("X-Api-Key", KEY), ("x-api-key", KEY)],
        [("X-Api-Key", KEY), ("Authorization", "")],
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_what_is_malformed_or_more_than_one_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused):
        read(caller(*headers))


def test_a_foreign_scheme_is_no_credential_only_where_it_may_be_meant_for_others() -> None:
    negotiate = caller(("Authorization", "Negotiate YII="))
    assert read(negotiate, foreign=True) is None
    with pytest.raises(Refused):
        read(negotiate)


@pytest.mark.parametrize("value", ["Basic", "Bearer", "basic x y", "BEARER é"])
def test_a_broken_scheme_of_ours_is_refused_everywhere(value: str) -> None:
    with pytest.raises(Refused):
        read(caller(("Authorization", value)), foreign=True)


def test_what_is_shown_never_shows_in_a_repr() -> None:
    for header in (bearer(KEY), bearer("a.b.c"), basic("alice", "hunter2"), basic("alice", KEY)):
        text = repr(read(caller(header)))
        assert not any(secret in text for secret in (KEY, "a.b.c", "hunter2"))


@given(st.sampled_from(["Authorization", "X-Api-Key"]), st.binary(max_size=80), st.booleans())
@settings(deadline=None)
def test_any_bytes_are_a_credential_or_refused(name: str, octets: bytes, foreign: bool) -> None:
    try:
        read(caller((name, octets.decode("latin-1"))), foreign=foreign)
    except Refused:
        return


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_in_basic_are_a_credential_or_refused(octets: bytes) -> None:
    try:
        read(caller(raw_basic(octets)))
    except Refused:
        return
