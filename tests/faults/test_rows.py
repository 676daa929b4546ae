"""The rows of the fault tables, played by pytest: the fast ones always, the others with `-m faults`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.row import Row
from tests.faults.stage import Stage
from tests.faults.table import OMITTED, ROWS


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


def test_every_row_of_the_catalogue_is_played_or_says_why_not() -> None:
    catalogue = {f"S{n}" for n in range(1, 24)} | {f"C{n}" for n in range(1, 19)} | {f"P{n}" for n in range(1, 8)}
    known = {row.number for row in ROWS} | {omitted.number for omitted in OMITTED}
    assert catalogue | {"R2", "R3"} <= known


def test_rows_have_names_of_their_own() -> None:
    slugs = [row.slug for row in ROWS]
    assert sorted(set(slugs)) == sorted(slugs)
