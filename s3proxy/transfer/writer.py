"""One upload from its first byte to the object, or to nothing.

    OPEN ──commit──▶ COMMITTING ──▶ COMMITTED
      │                  │
      └──────abort───────┴────────▶ ABORTED

An object that fits `PartPolicy.put_limit` is stored by one request; a larger one as a multipart upload with a bounded
window of parts on their way. Whatever leaves the path to COMMITTED ends in ABORTED, where the parts are given up and
the multipart upload is aborted outside the request.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from s3proxy.errors import BadRequest, S3ProxyError, StoreBroken, StoreError, UploadNotFound
from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm, RunningChecksum, multipart_etag
from s3proxy.protocol.parts import PartPolicy, too_large
from s3proxy.store.contract import (
    CompletedPart,
    MultipartUpload,
    ObjectStore,
    StoredObject,
)
from s3proxy.transfer.budget import MemoryBudget
from s3proxy.transfer.cleanup import Cleanup
from s3proxy.transfer.destination import Destination, Receipt
from s3proxy.transfer.journal import Entry, Journal
from s3proxy.transfer.part import Part, PartBody, Withdrawn
from s3proxy.transfer.spool import Spool
from s3proxy.transfer.window import Window

LISTED_SIZE = 1024
"""Bytes that boto3's request to join the parts takes for each of them, and a bit: 6.4 MiB were measured for 9,991."""


class State(Enum):
    """Where an upload stands; see the module's picture."""

    OPEN = auto()
    COMMITTING = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Uploads:
    """What all uploads of a process share: the store, the memory, the rules.

    `window` bounds the parts of one upload that are on their way, `window_size` their bytes, so that an upload of large
    parts does not hold the whole budget. A single part may be larger.
    """

    def __init__(
        self,
        store: ObjectStore,
        budget: MemoryBudget,
        spool: Spool,
        cleanup: Cleanup,
        *,
        policy: PartPolicy,
        window: int,
        algorithm: ChecksumAlgorithm,
        journal: Journal | None = None,
    ) -> None:
        self.store = store
        self.cleanup = cleanup
        self.journal = journal or Journal(None)
        self.policy = policy
        self.window = window
        self.window_size = budget.size // 2
        self.algorithm = algorithm
        self.budget = budget
        self._spool = spool

    async def open(self, destination: Destination) -> ObjectWriter:
        """Begin an upload. One known to need parts is created in the store here, so that a refusal comes early.

        Raises `TooLarge` and what `ObjectStore.create_upload` raises.
        """
        writer = ObjectWriter(self, destination)
        if writer.plan.multipart_at_once:
            try:
                await writer.create()
            except BaseException:
                writer.abort()
                raise
        return writer

    def part(self, capacity: int, *, fast: bool = False) -> Part:
        """An empty part; `fast` when its client has proved to be."""
        return Part(capacity, self.budget, self._spool, self.algorithm, fast=fast)


class ObjectWriter:
    """Takes the bytes of one object in order. Made by `Uploads.open`; ends with `commit` or `abort`.

    Holds the part being filled and at most `Uploads.window` parts on their way, all within the memory budget.
    """

    def __init__(self, uploads: Uploads, destination: Destination) -> None:
        self.destination = destination
        self.plan = uploads.policy.limited(destination.limit).plan(destination.size)
        self._max_size = self.plan.max_size
        self.size = 0
        self.state = State.OPEN
        self._uploads = uploads
        self._checksum = RunningChecksum(uploads.algorithm)
        self._part: Part | None = None
        self._number = 0
        self._fast = False
        self._creating: asyncio.Task[MultipartUpload] | None = None
        self._entry: Entry | None = None
        self._window = Window(uploads.window, uploads.window_size)
        self._parts: list[CompletedPart] = []
        self._failure: StoreError | None = None

    async def create(self) -> MultipartUpload:
        """The multipart upload, created at the first call. Raises what `ObjectStore.create_upload` raises."""
        if self._creating is None:
            self._creating = asyncio.create_task(self._create())
        # Shielded: an upload id that nobody waits for any more must still be aborted.
        return await asyncio.shield(self._creating)

    async def _create(self) -> MultipartUpload:
        """Create the upload, in such a way that the sweeper finds it whatever becomes of us or of the answer."""
        journal, to = self._uploads.journal, self.destination
        entry = self._entry = journal.begin(to.path)
        try:
            upload = await self._uploads.store.create_upload(to.path, to.attributes)
        except S3ProxyError as fault:
            ambiguous = isinstance(fault, StoreError) and fault.ambiguous
            journal.leave(entry) if ambiguous else journal.end(entry)
            raise
        if upload.retried:
            journal.leave(entry)
            entry = self._entry = journal.begin(to.path)
        journal.know(entry, upload.upload_id)
        return upload

    async def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; returns when they have a place, which is the backpressure.

        Raises `TooLarge`, `Busy`, `Withdrawn` after `abort`, and the first `StoreError` of a part already sent.
        """
        view = memoryview(chunk)
        if self.size + len(view) > self._max_size:
            raise too_large(self._max_size)
        if self.destination.digests:
            self.destination.digests.update(view)
        while view:
            taken = await (await self._open_part()).append(view)
            self.size += taken
            view = view[taken:]
        if self.destination.size is not None and self.size < self.destination.size:
            await (await self._open_part()).prepare()

    def room(self) -> memoryview | None:
        """Where the next bytes may be received, so that `write` need not copy them; see `Part.room`."""
        return self._part.room() if self._part is not None and self.state is State.OPEN else None

    def adopt(self, part: Part) -> bool:
        """Begin with the bytes gathered in `part`, which is ours from now on; false when it cannot be the first part.

        Raises `Withdrawn` after `abort`.
        """
        self._check()
        if self.destination.digests or self._number or part.size > self._max_size:
            return False
        if not part.resize(self.plan.size_of(1)):
            return False
        self._part = part
        self._number = 1
        self.size = part.size
        return True

    async def commit(self) -> Receipt:
        """Make the object appear, whole and verified.

        Raises `ChecksumMismatch`, the conditions' `StorePreconditionFailed`, and any other `StoreError`; the upload
        is then aborted. An answer that leaves open whether the store committed is settled by looking. Goes on when
        the caller is cancelled.
        """
        if self.state is not State.OPEN:
            raise Withdrawn
        self.state = State.COMMITTING
        return await asyncio.shield(self._uploads.cleanup.start(self._commit()))

    async def _commit(self) -> Receipt:
        try:
            if self._failure is not None:
                raise self._failure
            if self.destination.size not in (None, self.size):
                raise BadRequest("The body is shorter than its declared length. Nothing was stored.")
            self.destination.digests.verify()
            receipt = await (self._put() if self._creating is None else self._complete())
        except BaseException:
            self.state = State.OPEN
            self.abort()
            raise
        self.state = State.COMMITTED
        if self._entry is not None:
            self._uploads.journal.end(self._entry)
        self._release_part()
        return receipt

    def abort(self) -> None:
        """Give up: nothing will be stored. At once, without waiting; may be called in any state and more than once.

        A commit under way goes on, because the store may be past the point of return.
        """
        if self.state is State.OPEN:
            self.state = State.ABORTED
            self._window.withdraw()
            self._uploads.cleanup.start(self._undo())

    def _check(self) -> None:
        if self.state is not State.OPEN:
            raise Withdrawn
        if self._failure is not None:
            raise self._failure

    async def _open_part(self) -> Part:
        """The part that the next bytes go to, which is not full."""
        self._check()
        if self._part is not None and self._part.full:
            await self._send(self._part)
        if self._part is None:
            self._part = self._uploads.part(self.plan.size_of(self._number + 1), fast=self._fast)
            self._number += 1
        return self._part

    async def _send(self, part: Part) -> None:
        """Seal `part` and put it on its way, waiting for a place in the window. It stays `_part` until then."""
        await self.create()
        while self.state is not State.ABORTED and not self._window.has_room(part.size):
            await self._window.change()
        if self.state is State.ABORTED:
            raise Withdrawn
        if self._failure is not None:
            raise self._failure
        self._part = None
        self._fast = part.fast
        body = part.seal()
        self._checksum.extend(part.checksum)
        self._window.send(self._put_part(self._number, part, body), body)

    async def _put_part(self, number: int, part: Part, body: PartBody) -> None:
        try:
            upload = await self.create()
            done = await self._uploads.store.put_part(upload, number, body, checksum=part.checksum.checksum)
            self._parts.append(done)
        except StoreError as fault:
            self._failure = self._failure or fault
        finally:
            part.release()

    async def _put(self) -> Receipt:
        to = self.destination
        if self._part is None:
            self._part = self._uploads.part(0)
        checksum = self._part.checksum.checksum
        try:
            stored = await self._uploads.store.put(
                to.path, self._part.seal(), to.attributes, checksum=checksum, conditions=to.conditions
            )
        except StoreError as fault:
            stored = await self._settle(fault, checksum, etag=None)
        return self._receipt(stored, checksum)

    async def _complete(self) -> Receipt:
        upload = await self.create()
        if self._part is not None:
            await self._send(self._part)
        await self._window.empty()
        if self._failure is not None:
            raise self._failure
        parts = sorted(self._parts, key=lambda part: part.number)
        if len(parts) != self._number:
            raise StoreBroken("A part of the upload was lost. Nothing was stored.", reason="PartLost")
        checksum = self._checksum.checksum
        self._uploads.budget.give_way(LISTED_SIZE * len(parts))
        try:
            stored = await self._uploads.store.complete_upload(
                upload, parts, size=self.size, checksum=checksum, conditions=self.destination.conditions
            )
        except StoreError as fault:
            stored = await self._settle(fault, checksum, etag=multipart_etag([part.etag for part in parts]))
        return self._receipt(stored, checksum)

    def _receipt(self, stored: StoredObject, checksum: Checksum | None) -> Receipt:
        if stored.checksum and checksum and stored.checksum != checksum:
            raise StoreBroken("The store holds other bytes than it was sent.", reason="checksum")
        return Receipt(path=self.destination.path, size=self.size, etag=stored.etag, checksum=checksum)

    async def _settle(self, fault: StoreError, checksum: Checksum | None, *, etag: str | None) -> StoredObject:
        """The object, if a commit that failed took effect after all; else raises `fault`.

        Looks only where the answer leaves it open (S3: `CompleteMultipartUpload`, and error code `NoSuchUpload`), and
        believes only an object that proves to be ours by checksum or multipart ETag.
        """
        if not fault.ambiguous and not isinstance(fault, UploadNotFound):
            raise fault
        try:
            info = await self._uploads.store.head(self.destination.path)
        except StoreError:
            raise fault from None
        ours = info.size == self.size and (
            (checksum is not None and info.checksum == checksum) or (etag is not None and info.etag == etag)
        )
        if not ours:
            raise fault
        return StoredObject(etag=info.etag, checksum=info.checksum)

    async def _undo(self) -> None:
        await self._window.empty()
        self._release_part()
        if self._creating is None:
            return
        try:
            upload = await self._creating
        except S3ProxyError:
            return
        gone = await self._uploads.cleanup.abort(upload)
        if self._entry is not None:
            self._uploads.journal.end(self._entry) if gone else self._uploads.journal.leave(self._entry)

    def _release_part(self) -> None:
        if self._part is not None:
            self._part.release()
            self._part = None
