"""One principal in one request: what it may do, what it may use up, and what the log says of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from s3proxy.access.links import Link
from s3proxy.access.policy import Action, Principal
from s3proxy.access.quotas import Slot
from s3proxy.errors import (
    AccessUnavailable,
    Forbidden,
    ObjectNotFound,
    PreconditionFailed,
    TypeNotAllowed,
    Unauthorized,
)
from s3proxy.protocol.keys import ObjectPath
from s3proxy.service import Service
from s3proxy.store.contract import WriteConditions
from s3proxy.transfer.destination import Destination, Receipt
from s3proxy.transfer.part import Part
from s3proxy.transfer.writer import ObjectWriter, State

logger = logging.getLogger("s3proxy.access")


@dataclass(slots=True, kw_only=True)
class Deed:
    """One action on one object and the decision about it.

    `opened` once it has become an upload; `receipt` is that of the upload, once it is committed.
    """

    action: Action
    path: ObjectPath
    allowed: bool
    opened: bool = False
    receipt: Receipt | None = None

    @property
    def fields(self) -> dict[str, object]:
        """What a log line says of it."""
        fields: dict[str, object] = {
            "action": str(self.action),
            "bucket": self.path.bucket,
            "key": self.path.key,
            "decision": "allow" if self.allowed else "deny",
        }
        if self.receipt is not None:
            fields["size"] = self.receipt.size
            if checksum := self.receipt.checksum:
                fields["checksum"] = f"{checksum.algorithm}:{checksum.value}"
        return fields


class Visit:
    """Every decision about a request is made here, before the store is asked anything.

    Also the way of an upload to its writer: it is a `transfer.form.Intake`.
    """

    def __init__(self, service: Service, principal: Principal, link: Link | None) -> None:
        self.principal = principal
        self.link = link
        self.allowance = service.quotas.of(principal)
        self._service = service
        self._slot: Slot | None = None
        self._deeds: list[Deed] = []
        self._claimed: list[ObjectWriter] = []
        """Uploads that took a use of the link and of which it is not known yet whether they used it."""

    def permit(self, action: Action, path: ObjectPath) -> None:
        """Raises `Forbidden` unless the principal may do this to the object."""
        self._decide(action, path, self.principal.may(action, path))

    def permit_all(self, action: Action, prefix: ObjectPath) -> None:
        """Raises `Forbidden` unless the principal may do this to everything under the prefix."""
        self._decide(action, prefix, self.principal.may_all(action, prefix))

    def enter(self) -> None:
        """Count as a transfer until `close`. Raises `QuotaExceeded`."""
        self._slot = self.allowance.enter()

    @property
    def paced(self) -> bool:
        """Whether the principal's bandwidth is bounded, so that bytes are best moved in small pieces."""
        return self.principal.quota.bandwidth is not None

    async def expect(self, size: int | None) -> None:
        """So many bytes are about to move (None: unknown). Raises `QuotaExceeded` where today has no room for them."""
        if self._slot is not None:
            await self._slot.open_day(size)

    async def spend(self, size: int) -> None:
        """So many bytes move now; returns when they may. Raises `QuotaExceeded`."""
        if self._slot is not None:
            await self._slot.spend(size)

    async def open(self, destination: Destination) -> ObjectWriter:
        """Begin an upload, where the principal, the link, the bucket and the quota let it.

        Raises what `Uploads.open` raises, and `Forbidden`, `TypeNotAllowed`, `QuotaExceeded`, `Unauthorized`, and
        `PreconditionFailed` for a link to upload under a prefix where there is such an object.
        """
        path, content_type = destination.path, destination.attributes.content_type or ""
        decided = (deed for deed in self._deeds if deed.action is Action.WRITE and deed.path == path)
        deed = next((deed for deed in decided if deed.allowed and not deed.opened), None)
        if deed is None:
            deed = self._decide(Action.WRITE, path, self.principal.may(Action.WRITE, path))
        deed.opened = True
        self._service.buckets.rules(path.bucket).check_write(path.key, content_type)
        await self.expect(destination.size)
        if self.link is not None and not self.link.takes(content_type):
            raise TypeNotAllowed("This link does not take objects of this type.")
        destination = replace(destination, limit=self.principal.quota.object_size)
        if self.link is None:
            return await self._service.uploads.open(destination)
        return await self._open_by(self.link, destination)

    def part(self, capacity: int) -> Part:
        """See `Uploads.part`."""
        return self._service.uploads.part(capacity)

    def stored(self, receipt: Receipt) -> None:
        """An upload was committed. To say it twice is to say it once."""
        for deed in self._deeds:
            if deed.receipt is receipt:
                break
            if deed.path == receipt.path and deed.receipt is None:
                deed.receipt = receipt
                break

    def close(self) -> dict[str, object]:
        """The request is over: give back what it holds. Returns what its log line says; may be called again.

        Where there was more than one object, each has a line of its own.
        """
        if self._slot is not None:
            self._slot.leave()
        self.settle()
        who: dict[str, object] = {"principal": self.principal.name, "via": str(self.principal.via)}
        if self.link is not None:
            who["link"] = self.link.id
        deeds, self._deeds = self._deeds, []
        if len(deeds) == 1:
            return who | deeds[0].fields
        for deed in deeds:
            logger.info("object", extra={"fields": who | deed.fields})
        return who

    def settle(self) -> None:
        """Give back the uses of a link by uploads that came to nothing.

        To be called again by who waited for a commit: that goes on when the request is over.
        """
        for writer in list(self._claimed):
            if writer.state in (State.ABORTED, State.COMMITTED):
                self._claimed.remove(writer)
                if writer.state is State.ABORTED:
                    self._give_back()

    def _decide(self, action: Action, path: ObjectPath, allowed: bool) -> Deed:
        deed = Deed(action=action, path=path, allowed=allowed)
        self._deeds.append(deed)
        if not allowed:
            raise Forbidden
        return deed

    async def _open_by(self, link: Link, destination: Destination) -> ObjectWriter:
        if self._service.links is None:
            raise Unauthorized
        if link.is_prefix:
            # Who may put files beside others' may not put them in their place.
            await self._check_free(destination.path)
            destination = replace(destination, conditions=WriteConditions(if_none_match="*"))
        await self._service.links.claim(link)
        try:
            writer = await self._service.uploads.open(destination)
        except BaseException:
            self._give_back()
            raise
        self._claimed.append(writer)
        return writer

    async def _check_free(self, path: ObjectPath) -> None:
        try:
            await self._service.store.head(path)
        except ObjectNotFound:
            return
        raise PreconditionFailed("There is a file of this name already.")

    def _give_back(self) -> None:
        """Have a use of the link given back, whatever becomes of the request."""
        self._service.cleanup.start(self._refund())

    async def _refund(self) -> None:
        links, link = self._service.links, self.link
        assert links is not None
        assert link is not None
        try:
            await links.refund(link)
        except AccessUnavailable:
            logger.warning("a link's use could not be given back", extra={"fields": {"link": link.id}})
