"""What boto3 tries again, and what it must not.

boto3's own retries (mode `standard`) are the only ones for a call. They are kept within a quota that all calls of a
client share, 500 tokens: a retry costs 14, after a throttling 5; a success gives its last retry's cost back, or 1.
While a store is down the quota is soon spent, and each call fails after its first try.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from s3proxy.store.contract import Body

T = TypeVar("T")

DAMAGED = frozenset({"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
"""S3's words for: other bytes arrived than were announced. The right ones are at hand, so they are sent once more."""


class GaveUp(CancelledError):
    """The body will not be read to its end.

    Of all exceptions a body can raise, this is the one that botocore neither wraps nor tries again.
    """


class SentBody:
    """A body as boto3 reads it. Whatever the body raises ends the call, as `GaveUp`: it is no fault of the network."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """See `Body.read`."""
        try:
            return self._body.read(size)
        except Exception as fault:
            raise GaveUp from fault

    def readinto(self, buffer: memoryview, /) -> int:
        """See `Body.readinto`."""
        try:
            return self._body.readinto(buffer)
        except Exception as fault:
            raise GaveUp from fault

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `Body.seek`. Before each try boto3 goes to the beginning; a body given up by then costs no connection."""
        place = self._body.seek(offset, whence)
        if place == 0:
            self.readinto(memoryview(bytearray()))
        return place

    def tell(self) -> int:
        """See `Body.tell`."""
        return self._body.tell()


def send(call: Callable[..., T], body: Body, arguments: Mapping[str, Any]) -> T:
    """Make a call that sends `body`."""
    sent = SentBody(body)
    sent.seek(0)
    return call(Body=sent, **arguments)


def retry_damaged(events: Any) -> None:
    """Let a client whose events these are send damaged bodies once more."""
    for operation in ("PutObject", "UploadPart"):
        events.register(f"needs-retry.s3.{operation}", _pause_if_damaged)


def _pause_if_damaged(response: Any, attempts: int, **_: Any) -> int | None:
    """Seconds to wait before the retry; None for no opinion. `response` is None where there was none."""
    if attempts > 1 or response is None:
        return None
    code = response[1].get("Error", {}).get("Code")
    return 0 if code in DAMAGED else None
