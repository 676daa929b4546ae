"""The public conformance suite for multipart/form-data parsers, whole and byte by byte, every deviation named."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import multipart_form_data_conformance as suite  # type: ignore[import-untyped]
import pytest

from s3proxy.errors import RequestError
from s3proxy.protocol.forms import FieldValue, FileData, FileStart, FormParser

CASES = {file.parent.name: file.parent for file in sorted(suite.get_tests_dir().glob("*/*/test.json"))}

#: Where we differ from the suite, and why. A case that begins to pass must leave this table.
DEVIATIONS = {
    "026-filename-with-backslash": "the library reads names as browsers write them: a backslash is a backslash",
    "061-lf-only-lenient": "bare line feeds are refused",
    "062-mixed-endings": "bare line feeds are refused",
    "208-duplicate-headers": "two dispositions have two meanings",
    "210-control-chars-in-name": "control characters in headers are refused",
}


def parse(content_type: str, chunks: list[bytes]) -> list[dict[str, Any]]:
    """The parts in the suite's terms."""
    parser = FormParser(content_type)
    parts: list[dict[str, Any]] = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            if isinstance(event, FieldValue):
                parts.append({"name": event.name, "filename": None, "body": event.value.encode()})
            elif isinstance(event, FileStart):
                file = {
                    "name": event.name,
                    "filename": event.file_name,
                    "content_type": event.content_type,
                    "body": b"",
                }
                parts.append(file)
            elif isinstance(event, FileData):
                parts[-1]["body"] += event.data
    parser.close()
    return parts


def agrees(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    body = found["body"]
    forms = {
        "body_text": body.decode(errors="replace"),
        "body_base64": base64.b64encode(body).decode(),
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "body_size": len(body),
    }
    # Not compared: filename_star (RFC 7578 section 4.2 forbids it, we ignore it), charset and the raw headers.
    seen = {**forms, **found}
    return all(seen[key] == value for key, value in expected.items() if key in seen)


def passes(case: str, *, whole: bool) -> bool:
    directory = CASES[case]
    expected = json.loads((directory / "test.json").read_text())["expected"]
    content_type = json.loads((directory / "headers.json").read_text())["content-type"]
    raw = (directory / "input.raw").read_bytes()
    chunks = [raw] if whole else [raw[index : index + 1] for index in range(len(raw))]
    try:
        parts = parse(content_type, chunks)
    except RequestError:
        return not expected["valid"]
    if not expected["valid"] or len(parts) != len(expected["parts"]):
        return False
    return all(agrees(found, wanted) for found, wanted in zip(parts, expected["parts"], strict=True))


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("case", CASES)
def test_a_case_passes_unless_its_deviation_is_named(case: str, whole: bool) -> None:
    assert passes(case, whole=whole) == (case not in DEVIATIONS), DEVIATIONS.get(case)


def test_the_suite_is_all_there() -> None:
    assert len(CASES) == 58
    assert DEVIATIONS.keys() <= CASES.keys()
