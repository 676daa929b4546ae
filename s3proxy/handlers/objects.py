"""`/files/BUCKET/KEY`: one object by its path."""

from __future__ import annotations

from tornado.web import stream_request_body

from s3proxy.access.policy import Action
from s3proxy.errors import (
    BadRequest,
    BucketNotFound,
    ObjectNotFound,
    PreconditionFailed,
    S3ProxyError,
)
from s3proxy.handlers.attributes import from_headers
from s3proxy.handlers.download import DownloadHandler
from s3proxy.handlers.links import ShareHandler
from s3proxy.protocol.checksums import ClientDigests
from s3proxy.protocol.conditions import Conditions, Verdict
from s3proxy.protocol.keys import ObjectPath, check_key, is_bucket_name, split_path
from s3proxy.store.contract import WriteConditions
from s3proxy.transfer.destination import Destination, Receipt
from s3proxy.transfer.writer import ObjectWriter


@stream_request_body
class ObjectHandler(DownloadHandler, ShareHandler):
    """PUT, GET, HEAD and DELETE of one object, and POST for a link to it."""

    _writer: ObjectWriter | None = None

    async def begin(self) -> None:
        """Refuse a bad path; on PUT, all that the headers already show to be impossible."""
        bucket, key = split_path(self.request.path.removeprefix("/files/"))
        self.path = ObjectPath(bucket, key)
        check_key(key)
        if not is_bucket_name(bucket):
            raise BucketNotFound
        match self.request.method:
            case "PUT":
                self.guest.permit(Action.WRITE, self.path)
                self._writer = await self.guest.open(await self._destination())
                if self.length is not None:  # What comes in chunks Tornado gathers before it hands it on.
                    self.receive_into(self._writer.room)
                if self.closed:
                    self._writer.abort()
            case "DELETE":
                self.guest.permit(Action.DELETE, self.path)
                self.service.buckets.rules(bucket).check_delete()
            case "POST":
                self.check_share()
            case _ if self.shows_page:
                self.check_page()
            case _:
                self.guest.permit(Action.READ, self.path)

    async def receive(self, chunk: bytes) -> None:
        """See `BodyHandler.receive`."""
        if self._writer is None:
            raise BadRequest("A link is described in the query; this call takes no body.")
        await self._writer.write(chunk)

    async def put(self) -> None:
        """Store the body."""
        if await self.ended() or self._writer is None:
            return
        try:
            receipt = await self._writer.commit()
        finally:
            self.guest.settle()
        self.guest.stored(receipt)
        self.set_header("ETag", receipt.etag)
        self.answer(describe(receipt))

    async def get(self) -> None:
        """Send the object; a form to upload it, where that is what the link is for."""
        if await self.ended():
            return
        if self.shows_page:
            self.show_page()
        else:
            await self.send_object(self.path)

    async def post(self) -> None:
        """Make a link."""
        if not await self.ended():
            await self.share()

    async def head(self) -> None:
        """Describe the object."""
        await self.get()

    async def delete(self) -> None:
        """Remove the object; 404 when there is none."""
        if await self.ended():
            return
        info = await self.service.store.head(self.path)
        if Conditions.from_headers(self.request.headers).evaluate_write(info.etag) is Verdict.FAILED:
            raise PreconditionFailed
        await self.service.store.delete(self.path)
        self.answer(None, status=204)

    def close_transfer(self) -> None:
        """See `Handler.close_transfer`."""
        super().close_transfer()
        if self._writer is not None:
            self._writer.abort()

    def explain(self, fault: S3ProxyError) -> tuple[int, str]:
        """Name what was not found."""
        if isinstance(fault, BucketNotFound) and self.request.method == "PUT":
            return fault.status, f"Bucket {self.path.bucket} does not exist."
        if isinstance(fault, ObjectNotFound | BucketNotFound):
            return fault.status, f"File {self.path.key} or bucket {self.path.bucket} not found."
        return super().explain(fault)

    async def _destination(self) -> Destination:
        headers = self.request.headers
        if "Content-Range" in headers:
            # Storing a part as if it were the whole would destroy the object (RFC 9110 section 14.5).
            raise BadRequest("A PUT of a part of an object (Content-Range) is not possible.")
        return Destination(
            path=self.path,
            attributes=from_headers(headers, self.path.key),
            size=self.length,
            conditions=await self._write_conditions(),
            digests=ClientDigests.from_headers(headers),
        )

    async def _write_conditions(self) -> WriteConditions:
        """The conditions for the commit, after a first look that spares the client a body sent in vain."""
        conditions = Conditions.from_headers(self.request.headers)
        if conditions.if_match is None and conditions.if_none_match is None:
            return WriteConditions()
        try:
            etag: str | None = (await self.service.store.head(self.path)).etag
        except ObjectNotFound:
            etag = None
        if conditions.evaluate_write(etag) is Verdict.FAILED:
            raise PreconditionFailed
        return WriteConditions(
            if_match=etag if conditions.if_match is not None else None,
            if_none_match="*" if conditions.if_none_match == "*" else None,
        )


def describe(receipt: Receipt) -> dict[str, object]:
    """A stored object as an answer tells it."""
    answer: dict[str, object] = {
        "detail": "File uploaded successfully",
        "status_code": 200,
        "bucket": receipt.path.bucket,
        "key": receipt.path.key,
        "size": receipt.size,
        "etag": receipt.etag,
    }
    if receipt.checksum is not None:
        answer[str(receipt.checksum.algorithm)] = receipt.checksum.value
    return answer
