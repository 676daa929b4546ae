"""API keys: unguessable, and kept only as hashes."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.access import api_key
from s3proxy.access.api_key import KeyRecord
from tests.access.people import KEY


def test_a_new_key_has_256_random_bits_and_the_prefix_scanners_look_for() -> None:
    keys = {api_key.new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert re.fullmatch("s3p_[A-Za-z0-9_-]{43}", key)
        assert api_key.is_one(key)


def test_the_file_holds_the_sha256_of_all_of_it() -> None:
    assert api_key.written_hash(KEY) == "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
    assert api_key.parse_hash(api_key.written_hash(KEY)) == api_key.digest(KEY)


@given(st.integers(0, len(KEY) - 1), st.integers(0, 7))
@settings(deadline=None)
def test_a_key_with_a_flipped_bit_is_another(position: int, bit: int) -> None:
    records = {api_key.digest(KEY): KeyRecord(api_key.digest(KEY), "alice")}
    octets = bytearray(KEY.encode())
    octets[position] ^= 1 << bit
    assert api_key.find(records, octets.decode("latin-1")) is None
    assert api_key.find(records, KEY) is not None


@given(st.text(max_size=80) | st.from_regex(r"sha256:[0-9a-fA-F]{60,66}"))
@settings(deadline=None)
def test_any_text_is_a_hash_or_a_value_error(text: str) -> None:
    try:
        assert len(api_key.parse_hash(text)) == 32
    except ValueError:
        return


def test_a_key_pasted_for_its_hash_is_not_shown() -> None:
    with pytest.raises(ValueError, match="new-key") as caught:
        api_key.parse_hash(KEY)
    assert KEY not in str(caught.value)
