"""`/files`: the two calls everything began with. Their bodies and statuses are exact."""

from __future__ import annotations

from tornado.web import stream_request_body

from s3proxy.access.policy import Action
from s3proxy.errors import BadRequest, BucketNotFound, ObjectNotFound, S3ProxyError, StoreRefused
from s3proxy.handlers.download import DownloadHandler
from s3proxy.handlers.objects import describe
from s3proxy.protocol.forms import FormParser
from s3proxy.protocol.keys import ObjectPath, check_key, is_bucket_name
from s3proxy.transfer.form import BUCKET, OBJECT, FileResult, FormUpload

STORED = {"detail": "File uploaded successfully", "status_code": 200}


@stream_request_body
class FilesHandler(DownloadHandler):
    """POST of a form, GET and HEAD by query."""

    _form: FormUpload | None = None

    async def begin(self) -> None:
        """On POST, refuse what is not a form; else, a query that names no object."""
        self.path = ObjectPath(self.query(BUCKET), self.query(OBJECT))
        if self.request.method == "POST":
            limits = self.service.limits
            parser = FormParser(self.request.headers.get("Content-Type", ""), max_fields=limits.form_max_fields)
            fields = {name: value for name in (BUCKET, OBJECT) if (value := self.query(name))}
            if len(fields) == 2 and not self.path.key.endswith("/"):
                self.guest.permit(Action.WRITE, self.path)
            self._form = FormUpload(parser, self.guest, fields, limits.form_hold_limit)
        else:
            self._check_query()
            self.guest.permit(Action.READ, self.path)

    def _check_query(self) -> None:
        for name, value in ((BUCKET, self.path.bucket), (OBJECT, self.path.key)):
            if not value:
                raise BadRequest(f"The query has no {name}.")
        check_key(self.path.key)
        if not is_bucket_name(self.path.bucket):
            raise BucketNotFound

    async def receive(self, chunk: bytes) -> None:
        """See `BodyHandler.receive`."""
        if self._form is not None:
            await self._form.feed(bytes(chunk))  # The form grammar works on bytes, not on views.

    async def post(self) -> None:
        """Store the form's file, or its files when `object_name` ends in `/`."""
        if await self.ended() or self._form is None:
            return
        try:
            results = await self._form.finish()
        finally:
            self.guest.settle()
        if not self._form.is_prefix:
            self.answer(STORED)
            return
        rows = [self._row(result) for result in results]
        failed = next((row for row in rows if row["status_code"] != 200), None)
        summary = failed or STORED
        status = int(str(summary["status_code"]))
        self.answer({"detail": summary["detail"], "status_code": status, "files": rows}, status=status)

    async def get(self) -> None:
        """Send the object of `bucket_name` and `object_name`."""
        if not await self.ended():
            await self.send_object(self.path)

    async def head(self) -> None:
        """As `get`, without the bytes."""
        await self.get()

    def close_transfer(self) -> None:
        """See `Handler.close_transfer`."""
        super().close_transfer()
        if self._form is not None:
            self._form.abort()
            for result in self._form.results:
                if result.receipt is not None:
                    self.guest.stored(result.receipt)

    def explain(self, fault: S3ProxyError) -> tuple[int, str]:
        """The original service's words and statuses."""
        if self.request.method == "POST":
            if isinstance(fault, BucketNotFound):
                bucket = self._form.bucket if self._form is not None else self.path.bucket
                return 404, f"Bucket {bucket} does not exist."
            if isinstance(fault, StoreRefused):
                return 400, f"Unable to upload file to S3 {fault.reason}"
        elif isinstance(fault, ObjectNotFound | BucketNotFound):
            return 400, f"File {self.path.key} or bucket {self.path.bucket} not found."
        return super().explain(fault)

    def _row(self, result: FileResult) -> dict[str, object]:
        if result.receipt is not None:
            return {"file_name": result.file_name} | describe(result.receipt)
        assert result.fault is not None
        status, detail = self.explain(result.fault)
        return {
            "file_name": result.file_name,
            "detail": detail,
            "status_code": status,
            "code": result.fault.code,
        }
