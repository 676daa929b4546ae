"""The ledger's questions and entries, each one statement, for any database that the ledger can be in."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from s3proxy.ledger.schema import links, usage

_is_it = links.c.id == bindparam("link_id")
_unexpired = links.c.expires > bindparam("now")
_unspent = or_(links.c.uses_allowed.is_(None), links.c.uses < links.c.uses_allowed)

ADD_LINK = insert(links)

LINK = select(links).where(_is_it)

CLAIM = update(links).values(uses=links.c.uses + 1).where(_is_it, links.c.revoked.is_(False), _unexpired, _unspent)

REFUND = update(links).values(uses=links.c.uses - 1).where(_is_it, links.c.uses > 0)

REVOKE = update(links).values(revoked=True).where(_is_it)

LINKS_OF = (
    select(links)
    .where(links.c.issuer == bindparam("issuer_name"), _unexpired)
    .order_by(links.c.created.desc(), links.c.id)
    .limit(bindparam("most"))
)

FORGET_LINKS = delete(links).where(links.c.expires < bindparam("before"))

USAGE = select(usage.c.bytes).where(usage.c.principal == bindparam("name"), usage.c.day == bindparam("date"))

FORGET_USAGE = delete(usage).where(usage.c.day < bindparam("before"))


def _add_usage(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    total = usage.c.bytes + statement.excluded.bytes
    return statement.on_conflict_do_update(index_elements=["principal", "day"], set_={"bytes": total})


ADD_USAGE = {
    "sqlite": _add_usage(sqlite.insert(usage)).returning(usage.c.bytes),
    "postgresql": _add_usage(postgresql.insert(usage)).returning(usage.c.bytes),
}
"""By dialect: only these two know how to add where a row is already, and both spell it the same way."""
