"""Undoing uploads that did not end well, outside the request that began them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from s3proxy.errors import StoreError
from s3proxy.store.contract import MultipartUpload, ObjectStore

T = TypeVar("T")

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
TRIES = 20
"""With doubling pauses in seconds, about seven minutes; what is left then is for the sweeper."""


class Cleanup:
    """Aborts multipart uploads until the store says they are gone, whatever became of their client.

    `failed` counts the uploads it had to leave behind.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed = 0

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` on its own, whatever becomes of the request; `wait` knows of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def abort(self, upload: MultipartUpload) -> bool:
        """Abort `upload`, again and again until it is gone; false when it was left behind. Does not raise."""
        pause = FIRST_PAUSE
        for _ in range(TRIES):
            try:
                await self._store.abort_upload(upload)
            except StoreError as fault:
                logger.warning("abort failed, trying again", extra={"fields": {"reason": fault.reason}})
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return True
        self.failed += 1
        logger.error(
            "multipart upload left behind",
            extra={"fields": {"bucket": upload.path.bucket, "key": upload.path.key, "upload_id": upload.upload_id}},
        )
        return False

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for all that was started; true when nothing is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._tasks
