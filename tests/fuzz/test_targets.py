"""The invariants on random input; `make fuzz` looks longer and is guided by coverage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import FORM, SEEDS, WORDS
from tests.fuzz.targets import TARGETS, read_form


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.lists(st.binary(max_size=40) | st.sampled_from(WORDS), max_size=8).map(b"".join))
@settings(max_examples=150, deadline=None)
def test_only_request_errors_leave(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_every_target_has_something_to_begin_with() -> None:
    assert set(SEEDS) == set(TARGETS)
    for name, seeds in SEEDS.items():
        for seed in seeds:
            TARGETS[name](seed)


@pytest.mark.parametrize("cut", range(len(FORM)))
def test_the_form_target_reads_real_forms_and_refuses_their_beginnings(cut: int) -> None:
    TARGETS["form"](FORM[:cut])
    assert read_form([FORM[:cut], FORM[cut:]]) == b"hello"
    # The line break after the last boundary is not needed.
    assert read_form([FORM[:cut]]) == (b"hello" if cut >= len(FORM) - 2 else None)
