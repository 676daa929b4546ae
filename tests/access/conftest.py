"""What the tests of access share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.access.issuer import Issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer of tokens, over real HTTP."""
    server = Issuer()
    yield server
    server.close()
