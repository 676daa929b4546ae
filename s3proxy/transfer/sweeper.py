"""Aborting the multipart uploads of processes that died, and of no others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from s3proxy.errors import BucketNotFound, StoreError
from s3proxy.store.contract import MultipartUpload, ObjectStore
from s3proxy.transfer.journal import Entry, Remains, claim, journals, peek

logger = logging.getLogger(__name__)

CREATE_SECONDS = 180.0
"""How long after its line in the journal an upload without a known id may have been created, retries included."""

SKEW_SECONDS = 5.0
"""By how much the store's clock may be behind ours."""


@dataclass(slots=True)
class Swept:
    """What one sweep did: the uploads aborted, and how many entries wait for their age or for the store."""

    uploads: list[MultipartUpload] = field(default_factory=list)
    left: int = 0
    faults: int = 0


class Sweeper:
    """Looks through the journals in `directory`. `age` is in seconds; `swept` counts the uploads it has aborted.

    It touches only uploads in a journal that nobody has locked, of the store named `store`. One whose id never reached
    the journal is found by its key and the time it was asked for; the ids in living processes' journals are left out.
    """

    def __init__(
        self,
        store: ObjectStore,
        directory: Path,
        *,
        name: str = "",
        age: float = 900,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.swept = 0
        self._store = store
        self._directory = directory
        self._name = name
        self._age = age
        self._clock = clock

    async def run(self, interval: float) -> None:
        """Sweep now and every `interval` seconds, for ever. Whatever goes wrong is logged."""
        while True:
            try:
                await self.sweep()
            except Exception:
                logger.exception("sweep failed")
            await asyncio.sleep(interval)

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        """Abort what the dead have left; with `dry_run`, only find it. What fails stays for the next time."""
        done = Swept()
        for path in await asyncio.to_thread(journals, self._directory):
            try:
                remains = await asyncio.to_thread(claim, path)
            except OSError as fault:
                _warn("journal cannot be read", path, fault.strerror)
                continue
            if remains is None:
                continue
            try:
                if remains.store in ("", self._name):
                    await self._clear(remains, done, dry_run)
            except OSError as fault:
                done.faults += 1
                _warn("journal cannot be written", path, fault.strerror)
            finally:
                remains.close()
        return done

    async def _clear(self, remains: Remains, done: Swept, dry_run: bool) -> None:
        for entry in list(remains.entries.values()):
            if entry.began + self._age > self._clock():
                done.left += 1
                continue
            try:
                found = await self._find(entry, remains.path)
                if found is None:
                    done.left += 1
                    continue
                for upload in found:
                    await self._abort(upload, done, dry_run)
            except StoreError as fault:
                done.left += 1
                done.faults += 1
                _warn("an upload could not be swept", remains.path, fault.reason)
            else:
                if not dry_run:
                    remains.end(entry)
        if not remains.entries and not dry_run:
            remains.remove()

    async def _find(self, entry: Entry, journal: Path) -> Sequence[MultipartUpload] | None:
        """The uploads an entry means; None when a living process may be about to name one of them its own."""
        if entry.upload is not None:
            return [entry.upload]
        try:
            listed = await self._store.list_uploads(entry.path.bucket, entry.path.key)
        except BucketNotFound:
            return []
        first = datetime.fromtimestamp(entry.began, UTC) - timedelta(seconds=SKEW_SECONDS)
        last = first + timedelta(seconds=SKEW_SECONDS + CREATE_SECONDS)
        found = [upload for upload, began in listed if upload.path == entry.path and first <= began <= last]
        if not found:
            return []
        # Looked up after the listing: whoever made an upload that is in it had written down the wish before.
        others = await asyncio.to_thread(self._living, journal)
        if any(other.path == entry.path and other.upload_id is None for other in others):
            return None
        taken = {other.upload_id for other in others}
        return [upload for upload in found if upload.upload_id not in taken]

    def _living(self, but: Path) -> list[Entry]:
        """What the journals of living processes have open. Raises `OSError`."""
        while True:
            entries: list[Entry] = []
            moved = False
            for path in journals(self._directory):
                remains = None if path == but else claim(path)
                if remains is None and path != but:
                    remains = peek(path)
                    entries += remains.entries.values() if remains is not None else ()
                    # Its owner may have gone on in a file that was not there yet.
                    moved = moved or (remains is None and not path.exists())
                if remains is not None:
                    remains.close()
            if not moved:
                return entries

    async def _abort(self, upload: MultipartUpload, done: Swept, dry_run: bool) -> None:
        if not dry_run:
            await self._store.abort_upload(upload)
            self.swept += 1
            fields = {"bucket": upload.path.bucket, "key": upload.path.key, "upload_id": upload.upload_id}
            logger.warning("upload swept", extra={"fields": fields})
        done.uploads.append(upload)


def _warn(message: str, path: Path, reason: str | None) -> None:
    logger.warning(message, extra={"fields": {"journal": str(path), "reason": reason}})
