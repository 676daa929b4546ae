"""What users can set and what they can be told is written down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from s3proxy.errors import S3ProxyError
from settings import Settings

DOCS = Path(__file__).parent.parent / "docs"


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page."""
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def names_in(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def errors(kind: type[S3ProxyError] = S3ProxyError) -> list[type[S3ProxyError]]:
    """Every error there is."""
    return [kind, *(error for child in kind.__subclasses__() for error in errors(child))]


SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
DOCUMENTED_SETTINGS = {names_in(row[0])[0]: row for row in rows("configuration.md") if names_in(row[0])}
DOCUMENTED_CODES = {code: row for row in rows("http-api.md") for code in names_in(row[0])}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_setting_is_documented(name: str) -> None:
    assert name in DOCUMENTED_SETTINGS


@pytest.mark.parametrize("name", list(SETTINGS))
def test_the_documented_default_is_the_default(name: str) -> None:
    default = SETTINGS[name].get_default()
    if SETTINGS[name].default_factory is not None:
        return  # Told in words.
    told = DOCUMENTED_SETTINGS[name][1].strip("`")
    if default is None:
        assert told in ("\N{EN DASH}", *SETTINGS)  # None, or another setting's.
    else:
        assert told == (str(default).lower() if isinstance(default, bool) else str(default))


def test_every_documented_setting_exists() -> None:
    assert set(DOCUMENTED_SETTINGS) <= set(SETTINGS)


def test_the_units_of_settings_are_in_their_names_or_their_words() -> None:
    for name, field in SETTINGS.items():
        assert field.description, name
        if name.endswith("_SIZE"):
            assert "in MB" in field.description, name


@pytest.mark.parametrize("code", sorted({error.code for error in errors()}))
def test_every_error_code_is_documented(code: str) -> None:
    assert code in DOCUMENTED_CODES


@pytest.mark.parametrize("error", errors(), ids=lambda error: error.__name__)
def test_the_documented_status_is_the_status(error: type[S3ProxyError]) -> None:
    assert DOCUMENTED_CODES[error.code][1] == str(error.status)


def test_every_documented_code_exists() -> None:
    statuses = re.compile(r"\d{3}")
    documented = {code for code, row in DOCUMENTED_CODES.items() if len(row) > 1 and statuses.fullmatch(row[1])}
    assert {code for code in documented if re.fullmatch("[a-z_]+", code)} == {error.code for error in errors()}


def test_every_error_says_something_safe() -> None:
    for error in errors():
        assert error.summary.endswith(".")
        assert 400 <= error.status <= 504
        assert re.fullmatch(r"[a-z_]+", error.code)
        if error.status in (503, 429):
            assert error.retry_after is not None, error
