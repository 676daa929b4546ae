"""Share links: a URL of ours that lets somebody without an account fetch or send one thing, for a while.

A token says what it is good for and is signed (HMAC-SHA256), so a forged or an expired one costs no look-up. Who
issued it stays in the ledger, which is asked at each use: it knows what was revoked or used up, and a stranger who
holds a link learns no names of users or groups from it. A link can do what its issuer may do at that moment, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from s3proxy.access.link_token import Terms, seal, unseal
from s3proxy.access.policy import Action, Grant, Pattern, Principal, Via
from s3proxy.errors import AccessUnavailable, BadRequest, Forbidden, NotFound, Unauthorized
from s3proxy.ledger.records import LinkRecord
from s3proxy.protocol.keys import ObjectPath, check_key, is_bucket_name

logger = logging.getLogger(__name__)

LISTED = 1000
"""Links in a list, at most."""

MAX_TYPES = 20
MAX_NUMBER = 2**53
"""What a size or a count of uses may be: beyond it, JSON does not keep numbers apart everywhere."""

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,62})")


class RulesLike(Protocol):
    """What the access file says about links. The first of `secrets` signs, all verify; `longest` is in seconds."""

    @property
    def secrets(self) -> tuple[bytes, ...]: ...

    @property
    def longest(self) -> float: ...


class PolicyLike(Protocol):
    """What links need to know of the access file."""

    @property
    def links(self) -> RulesLike | None: ...

    def resolve(self, name: str, via: Via, groups: tuple[str, ...]) -> Principal | None:
        """Who that is today, with what they may today; None when there is nobody of that name any more."""
        ...


class LedgerLike(Protocol):
    """The part of the ledger that is about links (`ledger.database.Ledger`)."""

    async def add_link(self, record: LinkRecord) -> None: ...

    async def link(self, link_id: str) -> LinkRecord | None: ...

    async def claim(self, link_id: str, now: float) -> bool: ...

    async def refund(self, link_id: str) -> None: ...

    async def revoke(self, link_id: str) -> None: ...

    async def links_of(self, issuer: str, now: float, limit: int) -> Sequence[LinkRecord]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Terms):
    """What a token is good for, and whose rights it lends: `issuer`, `via` and `groups` are its issuer's."""

    issuer: str
    via: Via
    groups: tuple[str, ...]

    def takes(self, content_type: str) -> bool:
        """Whether objects of that type may be sent; parameters and capitals do not matter.

        With types to choose from, a list of several is none of them: browsers go by the last.
        """
        if not self.types:
            return True
        essence = content_type.partition(";")[0].strip().lower()
        if "," in content_type or essence.endswith("*") or not _TYPE.fullmatch(essence):
            return False
        return essence in self.types or essence.partition("/")[0] + "/*" in self.types


class Links:
    """Issues links and says what they are worth. Holds nothing but what it is given. `clock` gives unix seconds."""

    def __init__(
        self, policy: Callable[[], PolicyLike], ledger: LedgerLike, clock: Callable[[], float] = time.time
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._clock = clock
        self._refunds: set[asyncio.Task[None]] = set()

    async def issue(
        self,
        issuer: Principal,
        *,
        action: Action,
        path: ObjectPath,
        is_prefix: bool = False,
        seconds: float,
        object_size: int | None = None,
        types: Sequence[str] = (),
        uses: int | None = None,
    ) -> tuple[Link, str]:
        """A new link and its token, which is a secret and kept nowhere.

        `seconds` is how long it is good for. A prefix is empty or ends with `/`. Only a link to upload may be for a
        prefix, or have an `object_size`, `types` (such as `application/pdf` and `image/*`) or `uses`.

        Raises `Forbidden` when the issuer may not share and do that itself there, or no links are configured;
        `BadRequest` or `InvalidKey` for values that mean nothing; `AccessUnavailable`.
        """
        rules = self._policy().links
        if rules is None:
            raise Forbidden("Links are not configured.")
        now = self._clock()
        link = Link(
            id=secrets.token_hex(12),
            action=action,
            path=path,
            is_prefix=is_prefix,
            expires=_expiry(now, seconds, rules.longest),
            object_size=object_size,
            types=tuple(dict.fromkeys(kind.lower() for kind in types)),
            uses=uses,
            issuer=issuer.name,
            via=issuer.via,
            groups=issuer.groups,
        )
        _check(link)
        if not _may_share(issuer, link):
            raise Forbidden
        await self._ledger.add_link(_record(link, int(now)))
        return link, seal(link, rules.secrets[0])

    async def identify(self, token: str) -> tuple[Principal, Link]:
        """Who comes with that token, and the link. The principal has its issuer's name and quota and this one grant.

        Raises `Unauthorized` when it is forged, expired, revoked or used up, or its issuer is gone or may no longer do
        it: one and the same answer. Raises `AccessUnavailable`.
        """
        policy = self._policy()
        terms = unseal(token, policy.links.secrets) if policy.links is not None else None
        if terms is None:
            raise Unauthorized
        if terms.expires <= self._clock():
            raise _refused(terms, "expired")
        record = await self._ledger.link(terms.id)
        if record is None or record.revoked:
            raise _refused(terms, "revoked")
        if record.uses_allowed is not None and record.uses >= record.uses_allowed:
            raise _refused(terms, "used up")
        link = _link(terms, record)
        issuer = policy.resolve(link.issuer, link.via, link.groups)
        if issuer is None or not _may_share(issuer, link):
            raise _refused(terms, "its issuer may not do that")
        return _bearer(issuer, link), link

    async def claim(self, link: Link) -> None:
        """Take one use, before any bytes are. Raises `Unauthorized` when none is left, `AccessUnavailable`.

        Cancelled, it takes none.
        """
        claiming = asyncio.ensure_future(self._ledger.claim(link.id, self._clock()))
        try:
            claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            refund = asyncio.get_running_loop().create_task(self._take_back(link, claiming))
            self._refunds.add(refund)
            refund.add_done_callback(self._refunds.discard)
            raise
        if not claimed:
            raise _refused(link, "used up")

    async def refund(self, link: Link) -> None:
        """Give a use back, when nothing was stored. Raises `AccessUnavailable`."""
        await self._ledger.refund(link.id)

    async def revoke(self, by: Principal, link_id: str) -> None:
        """End a link: its issuer may, and who may share the same. Raises `NotFound` otherwise; `AccessUnavailable`."""
        record = await self._ledger.link(link_id)
        # Who came by a link has its issuer's name, and none of its other rights.
        if record is None or by.link is not None or not (by.name == record.issuer or _may_share(by, _terms(record))):
            raise NotFound
        await self._ledger.revoke(link_id)

    async def list(self, by: Principal) -> Sequence[LinkRecord]:
        """One's own links that are not expired, newest first, at most `LISTED`.

        Raises `Forbidden` for who came by a link, and `AccessUnavailable`.
        """
        if by.link is not None:
            raise Forbidden
        return await self._ledger.links_of(by.name, self._clock(), LISTED)

    async def _take_back(self, link: Link, claiming: asyncio.Future[bool]) -> None:
        with contextlib.suppress(AccessUnavailable):
            if await claiming:
                await self._ledger.refund(link.id)


def _expiry(now: float, seconds: float, longest: float) -> int:
    if not 1 <= seconds <= longest:
        raise BadRequest(f"A link is good for 1 to {math.floor(longest)} seconds.")
    return int(now + seconds)


def _check(link: Link) -> None:
    """Raises `BadRequest` or `InvalidKey` for a link that means nothing."""
    if not is_bucket_name(link.path.bucket):
        raise BadRequest("The bucket's name is not valid.")
    if link.path.key or not link.is_prefix:
        check_key(link.path.key)
    if link.is_prefix and link.path.key and not link.path.key.endswith("/"):
        raise BadRequest("A prefix ends with '/'.")
    if link.action is Action.READ:
        if link.is_prefix or link.types or link.object_size is not None or link.uses is not None:
            raise BadRequest("A link to download is for one object, without size, types or number of uses.")
    elif link.action is not Action.WRITE:
        raise BadRequest("A link is for reading or for writing.")
    for number in (link.object_size, link.uses):
        if number is not None and not 1 <= number <= MAX_NUMBER:
            raise BadRequest("A size and a number of uses are from 1 on.")
    if len(link.types) > MAX_TYPES or not all(_TYPE.fullmatch(kind) for kind in link.types):
        raise BadRequest(f"Types are at most {MAX_TYPES} like application/pdf or image/*.")


def _may_share(principal: Principal, terms: Terms) -> bool:
    """Whether they may make a link for that, and so lend what they have."""
    may = principal.may_all if terms.is_prefix else principal.may
    return may(Action.SHARE, terms.path) and may(terms.action, terms.path)


def _bearer(issuer: Principal, link: Link) -> Principal:
    sizes = [size for size in (issuer.quota.object_size, link.object_size) if size is not None]
    pattern = Pattern.under(link.path) if link.is_prefix else Pattern.exactly(link.path)
    return Principal(
        name=issuer.name,
        via=Via.LINK,
        grants=(Grant(frozenset({link.action}), pattern),),
        quota=replace(issuer.quota, object_size=min(sizes, default=None)),
        link=link.id,
    )


def _link(terms: Terms, record: LinkRecord) -> Link:
    fields = {name: getattr(terms, name) for name in Terms.__slots__}
    return Link(**fields, issuer=record.issuer, via=Via(record.via), groups=record.groups)


def _terms(record: LinkRecord) -> Terms:
    path = ObjectPath(record.bucket, record.key)
    return Terms(
        id=record.id, action=Action(record.action), path=path, is_prefix=record.is_prefix, expires=record.expires
    )


def _record(link: Link, now: int) -> LinkRecord:
    return LinkRecord(
        id=link.id,
        issuer=link.issuer,
        via=str(link.via),
        groups=link.groups,
        action=str(link.action),
        bucket=link.path.bucket,
        key=link.path.key,
        is_prefix=link.is_prefix,
        created=now,
        expires=link.expires,
        uses_allowed=link.uses,
    )


def _refused(terms: Terms, reason: str) -> Unauthorized:
    """The client is told nothing of the reason; the log is."""
    logger.info("link refused", extra={"fields": {"link": terms.id, "reason": reason}})
    return Unauthorized()
