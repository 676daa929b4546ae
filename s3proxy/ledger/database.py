"""The ledger itself: SQLite in a file, or PostgreSQL where several machines serve.

Every call is one SQL statement, so each takes effect as a whole or not at all, also between processes. They run in
one thread of their own, one after another: the event loop never waits for a disk or a network, and one connection
a process is enough.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Executable, Row, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from s3proxy.errors import AccessUnavailable
from s3proxy.ledger import statements
from s3proxy.ledger.records import LinkRecord
from s3proxy.ledger.schema import prepare

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 4.0
"""Seconds a call takes at most, with the time it stands in line."""

LOCK_PATIENCE = 2
"""Whole seconds the database may wait for a lock, a connection or a statement."""


def open_ledger(url: str) -> Ledger:
    """The ledger at `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`, its tables made if they are missing.

    Blocks: to be called before the event loop has anything to do. Raises `ValueError` in words for whoever wrote the
    URL, also when the tables are a later release's; `AccessUnavailable` when the database does not work.
    """
    engine = _engine(url)
    try:
        prepare(engine)
    except SQLAlchemyError as fault:
        engine.dispose()
        logger.error("ledger cannot be opened", extra={"fields": {"reason": _reason(fault)}})
        raise AccessUnavailable from None
    except ValueError:
        engine.dispose()
        raise
    return Ledger(engine)


class Ledger:
    """See the module. Every coroutine raises `AccessUnavailable` when the database fails or takes over `PATIENCE`.

    A call that is cancelled or given up may have taken effect. Holds one connection and the calls that stand in line.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._closed = False
        self._failing = False

    async def add_link(self, record: LinkRecord) -> None:
        """Keep a new link."""
        await self._change(statements.ADD_LINK, asdict(record))

    async def link(self, link_id: str) -> LinkRecord | None:
        """The link, also a revoked or expired one that is not forgotten yet."""
        rows = await self._rows(statements.LINK, {"link_id": link_id})
        return _record(rows[0]) if rows else None

    async def claim(self, link_id: str, now: float) -> bool:
        """Count one use of a link that is not revoked, not expired at `now` and not used up; False when it is."""
        return await self._change(statements.CLAIM, {"link_id": link_id, "now": int(now)}) == 1

    async def refund(self, link_id: str) -> None:
        """Take back one use that was claimed."""
        await self._change(statements.REFUND, {"link_id": link_id})

    async def revoke(self, link_id: str) -> None:
        """End a link. Nothing happens when there is none, or it is over already."""
        await self._change(statements.REVOKE, {"link_id": link_id})

    async def links_of(self, issuer: str, now: float, limit: int) -> Sequence[LinkRecord]:
        """At most `limit` links of an issuer that are not expired at `now`, the newest first."""
        values = {"issuer_name": issuer, "now": int(now), "most": limit}
        return [_record(row) for row in await self._rows(statements.LINKS_OF, values)]

    async def add_usage(self, principal: str, day: date, size: int) -> int:
        """Count `size` bytes to a principal's day (UTC) and return its new total."""
        statement = statements.ADD_USAGE[self._engine.dialect.name]
        rows = await self._rows(statement, {"principal": principal, "day": day, "bytes": size})
        return int(rows[0][0])

    async def usage(self, principal: str, day: date) -> int:
        """Bytes counted to a principal's day (UTC) so far."""
        rows = await self._rows(statements.USAGE, {"name": principal, "date": day})
        return int(rows[0][0]) if rows else 0

    async def forget(self, before: float) -> None:
        """Drop the links that expired before a time in unix seconds, and the usage of the days (UTC) before its day."""
        await self._change(statements.FORGET_LINKS, {"before": int(before)})
        await self._change(statements.FORGET_USAGE, {"before": datetime.fromtimestamp(before, UTC).date()})

    async def close(self) -> None:
        """Let the calls under way end and close the database. May be called twice."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def _rows(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Row[Any]]:
        return await self._do(lambda connection: connection.execute(statement, values).all())

    async def _change(self, statement: Executable, values: Mapping[str, Any]) -> int:
        """How many rows it changed."""
        return await self._do(lambda connection: connection.execute(statement, values).rowcount)

    async def _do(self, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise AccessUnavailable
        try:
            async with asyncio.timeout(PATIENCE):
                result = await asyncio.get_running_loop().run_in_executor(self._thread, self._connected, work)
        except (SQLAlchemyError, TimeoutError) as fault:
            if not self._failing:
                self._failing = True  # Said once, not for every request that suffers from it.
                logger.error("ledger does not work", extra={"fields": {"reason": _reason(fault)}})
            raise AccessUnavailable from None
        if self._failing:
            self._failing = False
            logger.warning("ledger works again")
        return result

    def _connected(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("the database's URL is not of the form NAME://...") from None
    match parsed.get_backend_name():
        case "sqlite":
            engine = _make_engine(parsed.set(drivername="sqlite+pysqlite"), {"timeout": LOCK_PATIENCE})
            _settle_sqlite(engine, parsed)
            return engine
        case "postgresql" | "postgres":
            limit = LOCK_PATIENCE * 1000
            options = {
                "connect_timeout": LOCK_PATIENCE,
                "tcp_user_timeout": limit,
                "keepalives_idle": 1,
                "keepalives_interval": 1,
                "keepalives_count": LOCK_PATIENCE,
                "options": f"-c statement_timeout={limit} -c lock_timeout={limit}",
            }
            return _make_engine(parsed.set(drivername="postgresql+psycopg"), options)
        case name:
            raise ValueError(f"the ledger can be in sqlite or postgresql, not in {name}")


def _make_engine(url: URL, options: dict[str, Any]) -> Engine:
    return create_engine(
        url,
        connect_args=options,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,  # What the database closed while we were idle is no failure.
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )


def _settle_sqlite(engine: Engine, url: URL) -> None:
    """WAL lets readers and the one writer go on side by side; what is written survives a crash of the process."""
    path = url.database
    if not path or path == ":memory:":
        raise ValueError("the ledger needs a file, sqlite:///PATH: processes have to share it")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # It holds names of people and files.
    except OSError as fault:
        raise ValueError(f"the ledger's file {path} cannot be written: {fault.strerror}") from None

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL").close()
        connection.execute("PRAGMA synchronous = NORMAL").close()


def _record(row: Row[Any]) -> LinkRecord:
    fields = dict(row._mapping)
    return LinkRecord(**(fields | {"groups": tuple(fields["groups"])}))


def _reason(fault: BaseException) -> str:
    """The first line of what the driver says: the next ones may quote rows."""
    said = str(getattr(fault, "orig", None) or fault).strip()
    return f"{type(fault).__name__}: {said.partition(chr(10))[0][:200]}"
