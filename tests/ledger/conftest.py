"""Async tests in this folder run in a real loop: the ledger has a real thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from s3proxy.ledger.database import Ledger, open_ledger
from tests.ledger.cluster import Cluster


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test to its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that runs."""
    try:
        made = Cluster()
    except LookupError as reason:
        pytest.skip(str(reason))
    made.start()
    yield made
    made.stop()
    made.remove()


@pytest.fixture
def postgresql(cluster: Cluster) -> str:
    """The URL of an empty database there."""
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return cluster.url()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The URL of a file that is not there yet."""
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Both, one after the other."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], Ledger]]:
    """Opens the ledger once more, as another process would."""
    ledgers: list[Ledger] = []

    def again() -> Ledger:
        ledgers.append(open_ledger(url))
        return ledgers[-1]

    yield again
    for ledger in ledgers:
        asyncio.run(ledger.close())


@pytest.fixture
def ledger(opened: Callable[[], Ledger]) -> Ledger:
    """A new ledger."""
    return opened()
