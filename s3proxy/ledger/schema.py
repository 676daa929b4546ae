"""The tables, and how they come to be. Every later release finds in `schema` what it has to migrate from."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

VERSION = 1

LOCK = 0x73337072  # "s3pr"
"""PostgreSQL's advisory lock that those who make the tables hold."""

metadata = MetaData()

schema = Table(
    "schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
"""One row, whose id is 1."""

links = Table(
    "links",
    metadata,
    Column("id", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("action", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("is_prefix", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("uses_allowed", BigInteger),
    Column("uses", BigInteger, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Index("links_by_issuer", "issuer", "created"),
    Index("links_by_expiry", "expires"),
)

usage = Table(
    "usage",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Index("usage_by_day", "day"),
)


def prepare(engine: Engine) -> None:
    """Make what is missing; several processes may do it at once.

    Raises `ValueError` when a later release made the tables, SQLAlchemy's errors when the database does not work.
    """
    if engine.dialect.name == "postgresql":
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            # IF NOT EXISTS alone is no promise there: two that create at once can still collide in the catalogue.
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            _make(connection)
    else:
        with engine.connect() as connection:
            _make(connection)


def _make(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index, if_not_exists=True))
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(schema).values(id=1, version=VERSION).on_conflict_do_nothing())
    found = connection.execute(select(schema.c.version)).scalar_one()
    if found != VERSION:
        raise ValueError(f"the ledger's tables are of version {found}; this release knows version {VERSION}")
