"""Where an upload goes, and the receipt for it."""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.protocol.checksums import Checksum, ClientDigests
from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import ObjectAttributes, WriteConditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where an upload goes and what is to be true of it.

    `size` is the declared length in bytes, if any; `limit` the most it may have, where that is less than for others.
    """

    path: ObjectPath
    attributes: ObjectAttributes
    size: int | None = None
    conditions: WriteConditions = WriteConditions()
    digests: ClientDigests
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A committed upload: `size` in bytes, the store's ETag, the checksum of the whole object."""

    path: ObjectPath
    size: int
    etag: str
    checksum: Checksum | None
