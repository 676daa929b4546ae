"""All rows, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults import body_rows, client_rows, download_rows, load_rows, process_rows, refusal_rows, upload_rows
from tests.faults.row import Row
from tests.faults.stage import Result

ROWS: tuple[Row, ...] = (
    *refusal_rows.ROWS,
    *upload_rows.ROWS,
    *download_rows.ROWS,
    *client_rows.ROWS,
    *body_rows.ROWS,
    *load_rows.ROWS,
    *process_rows.ROWS,
)

COLUMNS = ("row", "fault", "status seen", "object afterwards", "uploads left", "verdict")

WIDTHS = (4, 52, 11, 17, 12)


def line(cells: Iterable[object]) -> str:
    """One line of the table."""
    *columns, last = map(str, cells)
    return " | ".join([*(cell.ljust(width) for cell, width in zip(columns, WIDTHS, strict=True)), last])


def show(result: Result) -> str:
    """A result as a line, and under it what it was about when that went wrong."""
    row = result.row
    verdict = "RED" if result.violations else "green"
    shown = line((row.number, row.title[:52], result.status, result.after, result.left, verdict))
    return "\n".join([shown, *(f"     {text}" for text in (row.sentence, *result.violations) if result.violations)])
