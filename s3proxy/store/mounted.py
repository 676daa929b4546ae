"""Several stores as one: the names clients use, and where their objects really are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from s3proxy.buckets import HOME, BucketRules, Buckets
from s3proxy.errors import (
    BucketNotFound,
    InvalidKey,
    ObjectNotFound,
    StoreBroken,
    StoreError,
    StoreRefused,
    StoreTimeout,
)
from s3proxy.protocol.checksums import Checksum
from s3proxy.protocol.keys import ObjectPath
from s3proxy.protocol.ranges import ByteRange, RangeRequest
from s3proxy.store.contract import (
    Body,
    CompletedPart,
    Listing,
    MultipartUpload,
    ObjectAttributes,
    ObjectInfo,
    ObjectStore,
    ObjectStream,
    StoredObject,
    WriteConditions,
)

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
"""How long a store beside the environment's has to answer a check."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where the objects of one of the clients' buckets are: in `bucket` of `store`, and how they are kept there."""

    store: ObjectStore
    bucket: str
    rules: BucketRules

    def reach(self, path: ObjectPath) -> ObjectPath:
        """Where the object really is. Raises `InvalidKey` when it can be nowhere."""
        if self.rules.prefix:
            self.rules.check_key(path.key)
            # A store on a file system may resolve them, and leave the prefix.
            if not {".", ".."}.isdisjoint(path.key.split("/")):
                raise InvalidKey("The object key has a segment '.' or '..'.")
        return self._inside(path)

    def reach_upload(self, upload: MultipartUpload) -> MultipartUpload:
        """The upload as the store knows it."""
        return replace(upload, path=self._inside(upload.path))

    def show(self, key: str) -> str:
        """What clients call the object that the store has under `key`, or what the keys that begin so begin with."""
        if not key.startswith(self.rules.prefix):
            raise StoreBroken(reason="BadAnswer")
        return key.removeprefix(self.rules.prefix)

    def complete(self, attributes: ObjectAttributes) -> ObjectAttributes:
        """What the client said of an object, and the bucket's own words where it said nothing."""
        rules = self.rules
        return replace(
            attributes,
            cache_control=attributes.cache_control or rules.cache_control,
            metadata={**rules.metadata, **attributes.metadata},
            storage_class=attributes.storage_class or rules.storage_class,
            encryption=attributes.encryption or rules.encryption,
            kms_key_id=attributes.kms_key_id or rules.kms_key_id,
        )

    def _inside(self, path: ObjectPath) -> ObjectPath:
        return ObjectPath(self.bucket, self.rules.prefix + path.key)


class MountedStore:
    """The buckets of the buckets file, over the stores they are in, by name. Keeps `ObjectStore`.

    Paths, also those of uploads, are the clients' everywhere outside. Every store has threads and connections of its
    own, so that one that hangs holds up nobody else.
    """

    def __init__(self, stores: Mapping[str, ObjectStore], buckets: Buckets) -> None:
        self._stores = stores
        self._buckets = buckets

    async def put(
        self,
        path: ObjectPath,
        body: Body,
        attributes: ObjectAttributes,
        *,
        checksum: Checksum | None = None,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        """See `ObjectStore.put`."""
        mount = self._mount(path.bucket)
        return await mount.store.put(
            mount.reach(path), body, mount.complete(attributes), checksum=checksum, conditions=conditions
        )

    async def create_upload(self, path: ObjectPath, attributes: ObjectAttributes) -> MultipartUpload:
        """See `ObjectStore.create_upload`."""
        mount = self._mount(path.bucket)
        upload = await mount.store.create_upload(mount.reach(path), mount.complete(attributes))
        return replace(upload, path=path)

    async def put_part(
        self, upload: MultipartUpload, number: int, body: Body, *, checksum: Checksum | None = None
    ) -> CompletedPart:
        """See `ObjectStore.put_part`."""
        mount = self._mount(upload.path.bucket)
        return await mount.store.put_part(mount.reach_upload(upload), number, body, checksum=checksum)

    async def complete_upload(
        self,
        upload: MultipartUpload,
        parts: Sequence[CompletedPart],
        *,
        size: int,
        checksum: Checksum | None = None,
        conditions: WriteConditions = WriteConditions(),
    ) -> StoredObject:
        """See `ObjectStore.complete_upload`."""
        mount = self._mount(upload.path.bucket)
        return await mount.store.complete_upload(
            mount.reach_upload(upload), parts, size=size, checksum=checksum, conditions=conditions
        )

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """See `ObjectStore.abort_upload`. Raises `StoreRefused` for a bucket that is mounted no more."""
        mount = self._mount_of_upload(upload.path.bucket)
        await mount.store.abort_upload(mount.reach_upload(upload))

    async def list_uploads(self, bucket: str, prefix: str) -> Sequence[tuple[MultipartUpload, datetime]]:
        """See `ObjectStore.list_uploads`. Raises `StoreRefused` for a bucket that is mounted no more."""
        mount = self._mount_of_upload(bucket)
        return [
            (replace(upload, path=ObjectPath(bucket, mount.show(upload.path.key))), began)
            for upload, began in await mount.store.list_uploads(mount.bucket, mount.rules.prefix + prefix)
        ]

    async def head(self, path: ObjectPath) -> ObjectInfo:
        """See `ObjectStore.head`."""
        try:
            mount = self._mount(path.bucket)
        except BucketNotFound as fault:
            raise ObjectNotFound(reason=fault.reason) from None
        return await mount.store.head(mount.reach(path))

    async def open(
        self, path: ObjectPath, *, byte_range: ByteRange | RangeRequest | None = None, if_match: str | None = None
    ) -> ObjectStream:
        """See `ObjectStore.open`."""
        mount = self._mount(path.bucket)
        return await mount.store.open(mount.reach(path), byte_range=byte_range, if_match=if_match)

    async def presign(self, path: ObjectPath, *, seconds: float, response: Mapping[str, str]) -> str:
        """See `ObjectStore.presign`."""
        mount = self._mount(path.bucket)
        return await mount.store.presign(mount.reach(path), seconds=seconds, response=response)

    async def delete(self, path: ObjectPath) -> None:
        """See `ObjectStore.delete`."""
        mount = self._mount(path.bucket)
        await mount.store.delete(mount.reach(path))

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000, cursor: str | None = None
    ) -> Listing:
        """See `ObjectStore.list`."""
        mount = self._mount(bucket)
        page = await mount.store.list(
            mount.bucket, prefix=mount.rules.prefix + prefix, delimiter=delimiter, limit=limit, cursor=cursor
        )
        rows = [replace(row, key=mount.show(row.key)) for row in page.objects]
        # An object whose key is the prefix itself, as consoles make them for folders, has no name here.
        return Listing([row for row in rows if row.key], [mount.show(name) for name in page.prefixes], page.cursor)

    async def check(self) -> None:
        """Return when the environment's store answers; where no bucket leads there, when any store does.

        One that does not answer is named in the log: what is in the others is served all the same.
        """
        answers = await asyncio.gather(*(self._fault(name, store) for name, store in self._stores.items()))
        faults = {name: fault for name, fault in zip(self._stores, answers, strict=True) if fault is not None}
        if HOME in faults:
            raise faults[HOME]
        if faults and len(faults) == len(self._stores):
            raise next(iter(faults.values()))

    async def _fault(self, name: str, store: ObjectStore) -> StoreError | None:
        try:
            async with asyncio.timeout(None if name == HOME else CHECK_SECONDS):
                await store.check()
        except TimeoutError:
            fault: StoreError = StoreTimeout(reason="CheckTimeout")
        except StoreError as refusal:
            fault = refusal
        else:
            return None
        logger.warning("a store does not answer", extra={"fields": {"store": name, "reason": fault.reason}})
        return fault

    async def close(self) -> None:
        """See `ObjectStore.close`."""
        await asyncio.gather(*(store.close() for store in self._stores.values()))

    def _mount(self, bucket: str) -> Mount:
        rules = self._buckets.rules(bucket)
        return Mount(self._stores[rules.store], rules.bucket or bucket, rules)

    def _mount_of_upload(self, bucket: str) -> Mount:
        """For undoing: a bucket that the file no longer names is no proof that its uploads are gone."""
        try:
            return self._mount(bucket)
        except BucketNotFound:
            raise StoreRefused(reason="NotMounted") from None
