"""The rows of the fault tables, played by pytest: the fast ones always, the others with `-m faults`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.faults.elsewhere import OMITTED
from tests.faults.program import ROOT
from tests.faults.row import Omitted, Row
from tests.faults.stage import Stage
from tests.faults.table import ROWS


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Store, proxy and server for all rows."""
    with Stage() as stage:
        yield stage


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.slug, marks=() if row.fast else pytest.mark.faults) for row in ROWS],
)
def test_what_was_promised_holds_after_the_fault(stage: Stage, row: Row) -> None:
    assert stage.play(row).violations == ()


CATALOGUE = {"S": 23, "C": 18, "N": 2, "P": 10, "R": 4, "G": 3, "A": 36}
"""How many rows the catalogue of faults and threats has of each kind."""


def test_every_row_of_the_catalogue_is_played_or_says_where_it_is_shown() -> None:
    known = {row.number for row in ROWS} | {omitted.number for omitted in OMITTED}
    assert {f"{kind}{n}" for kind, last in CATALOGUE.items() for n in range(1, last + 1)} <= known


@pytest.mark.parametrize("omitted", OMITTED, ids=lambda omitted: omitted.number)
def test_what_shows_a_row_that_is_not_played_is_there(omitted: Omitted) -> None:
    for name in re.findall(r"\b(?:tests|bench|docs)/[\w/]+(?:\.\w+)?|\b\w+\.(?:md|txt)\b", omitted.why):
        assert (ROOT / name).exists(), name
    for number in re.findall(r"\b[SCNPRG]\d+\b", omitted.why):
        assert any(row.number == number for row in ROWS), number


def test_rows_have_names_of_their_own() -> None:
    slugs = [row.slug for row in ROWS]
    assert sorted(set(slugs)) == sorted(slugs)
