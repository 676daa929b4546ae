"""A ledger that does not work: nobody waits for long, nobody is let in, and the log says it once."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from s3proxy.errors import AccessUnavailable
from s3proxy.ledger import database
from s3proxy.ledger.database import Ledger, open_ledger
from tests.ledger.cluster import Cluster
from tests.ledger.test_database import LINK, TODAY


@pytest.fixture
def slow(sqlite: str) -> Iterator[tuple[Ledger, threading.Event]]:
    """A ledger whose database answers when it is told."""
    ledger, go = open_ledger(sqlite), threading.Event()

    @event.listens_for(ledger._engine, "before_cursor_execute")
    def _(*_: Any) -> None:
        assert go.wait(20)

    yield ledger, go
    go.set()
    asyncio.run(ledger.close())


async def test_the_event_loop_goes_on_meanwhile(slow: tuple[Ledger, threading.Event]) -> None:
    ledger, go = slow
    asking = asyncio.create_task(ledger.usage("alice", TODAY))
    done, _ = await asyncio.wait([asking], timeout=0.05)
    assert not done
    go.set()
    assert await asking == 0


async def test_who_stands_in_line_too_long_is_given_up(
    slow: tuple[Ledger, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, go = slow
    monkeypatch.setattr(database, "PATIENCE", 0.01)
    answers = await asyncio.gather(*(ledger.add_usage("alice", TODAY, 1) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [AccessUnavailable] * 5
    go.set()
    monkeypatch.undo()
    assert await ledger.usage("alice", TODAY) == 1, "the four that were in line are not done behind their back"


async def test_a_locked_file_stops_writers_and_not_readers(
    sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_PATIENCE", 0)
    ledger = open_ledger(sqlite)
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AccessUnavailable):
            await ledger.add_usage("alice", TODAY, 1)
        assert await ledger.usage("alice", TODAY) == 0
        other.execute("ROLLBACK")
    other.close()
    assert await ledger.add_usage("alice", TODAY, 1) == 1
    await ledger.close()


async def test_the_log_says_once_that_it_fails_and_once_that_it_works_again(
    sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(sqlite)
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("ALTER TABLE links RENAME TO hidden")
        for _ in range(3):
            with pytest.raises(AccessUnavailable):
                await ledger.add_link(LINK)
        other.execute("ALTER TABLE hidden RENAME TO links")
    other.close()
    await ledger.add_link(LINK)
    await ledger.close()
    assert [record.getMessage() for record in caplog.records] == ["ledger does not work", "ledger works again"]
    assert "no such table" in str(caplog.records[0].__dict__["fields"])
    assert "alice" not in str(caplog.records[0].__dict__)


async def test_a_database_that_was_away_is_found_again(cluster: Cluster, postgresql: str) -> None:
    ledger = open_ledger(postgresql)
    await ledger.add_usage("alice", TODAY, 1)
    cluster.stop()
    try:
        with pytest.raises(AccessUnavailable):
            await ledger.usage("alice", TODAY)
    finally:
        cluster.start()
    assert await ledger.usage("alice", TODAY) == 1
    await ledger.close()


def test_a_database_that_is_not_there_cannot_be_opened_and_the_log_has_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(AccessUnavailable):
            open_ledger(f"postgresql://alice:hunter2@127.0.0.1:{nobody.getsockname()[1]}/ledger")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "hunter2" not in str(record.__dict__)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ("", "form"),
        ("ledger.db", "form"),
        ("mysql://alice:hunter2@127.0.0.1/ledger", "not in mysql"),
        ("sqlite://", "file"),
        ("sqlite:///:memory:", "file"),
        ("sqlite:////nowhere/at/all/ledger.db", "No such file"),
        ("postgresql://alice:hunter2@127.0.0.1:port/ledger", "form"),
    ],
)
def test_a_url_that_means_nothing_is_refused_in_words_without_the_password(wrong: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as refused:
        open_ledger(wrong)
    assert "hunter2" not in str(refused.value)


def test_the_file_is_nobody_else_s(sqlite: str, tmp_path: Path) -> None:
    ledger = open_ledger(sqlite)
    asyncio.run(ledger.add_usage("alice", TODAY, 1))
    files = list(tmp_path.glob("ledger.db*"))
    assert len(files) > 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    asyncio.run(ledger.close())
