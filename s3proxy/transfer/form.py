"""The files of one form on their way to the store, field by field and in any order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from s3proxy.errors import BadForm, BucketNotFound, EmptyFile, S3ProxyError
from s3proxy.protocol.checksums import ClientDigests
from s3proxy.protocol.forms import FieldValue, FileData, FileEnd, FileStart, FormParser
from s3proxy.protocol.keys import ObjectPath, check_key, is_bucket_name, safe_file_name
from s3proxy.protocol.media import guess_type
from s3proxy.store.contract import ObjectAttributes
from s3proxy.transfer.destination import Destination, Receipt
from s3proxy.transfer.part import Part, Withdrawn
from s3proxy.transfer.writer import ObjectWriter

BUCKET, OBJECT = "bucket_name", "object_name"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one file of the form: `receipt`, or `fault`."""

    file_name: str
    receipt: Receipt | None = None
    fault: S3ProxyError | None = None


class Intake(Protocol):
    """Where the files of a form go; `Uploads` is one, and so is whatever asks first whether they may."""

    async def open(self, destination: Destination) -> ObjectWriter:
        """See `Uploads.open`."""
        ...

    def part(self, capacity: int) -> Part:
        """See `Uploads.part`."""
        ...


class FormUpload:
    """Stores the file of a form under `object_name`, or each of its files under it when it ends in `/`.

    One file is committed only when the form has proved complete; files under a prefix each at their own end. Bytes of
    a file whose destination is still unknown are held like any unfinished part, up to `hold_limit`.
    """

    def __init__(self, parser: FormParser, intake: Intake, fields: dict[str, str], hold_limit: int) -> None:
        self.results: list[FileResult] = []
        self._parser = parser
        self._intake = intake
        self._fields = dict(fields)
        self._hold_limit = hold_limit
        self._file: _File | None = None
        self._single: _File | None = None
        self._aborted = False

    @property
    def bucket(self) -> str:
        """The bucket named so far; empty before that."""
        return self._fields.get(BUCKET, "")

    @property
    def is_prefix(self) -> bool:
        """Whether the form's files go under a prefix."""
        return self._fields.get(OBJECT, "").endswith("/")

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the form. Raises `RequestError`, `StoreError`, and `Withdrawn` after `abort`."""
        for event in self._parser.feed(chunk):
            if self._aborted:
                raise Withdrawn
            match event:
                case FieldValue(name, value):
                    self._set(name, value)
                    await self._settle()
                case FileStart():
                    self._start(event)
                case FileData(data) if self._file is not None:
                    await self._write(self._file, data)
                case FileEnd() if self._file is not None:
                    await self._end(self._file)

    async def finish(self) -> list[FileResult]:
        """The form has ended: commit what is not yet. Raises `BadForm`, `EmptyFile`, and what `commit` raises."""
        self._parser.close()
        for name in (BUCKET, OBJECT):
            if not self._fields.get(name):
                raise BadForm(f"The form has no field {name}.")
        if self._single is not None:
            await self._settle()
            await self._commit(self._single)
        if not self.results:
            raise EmptyFile
        return self.results

    def abort(self) -> None:
        """Give up what is not committed. May be called any number of times."""
        self._aborted = True
        for file in (self._file, self._single):
            if file is not None:
                file.abort()

    def _set(self, name: str, value: str) -> None:
        if name in (BUCKET, OBJECT) and self._fields.setdefault(name, value) != value:
            raise BadForm(f"The form has two different values for {name}.")

    def _start(self, start: FileStart) -> None:
        if self._single is not None and not self._aimed():
            raise _fields_first()
        self._file = _File(self._intake, start, self._hold_limit)

    async def _write(self, file: _File, data: bytes) -> None:
        if file.fault is not None or not data:
            return
        if file is not self._single and self._single is not None and not self.is_prefix:
            raise BadForm("The form has several files; end object_name in '/' to store each of them.")
        if not self.is_prefix or not self._aimed():
            self._single = file
        try:
            await self._aim(file)
            await file.write(data)
        except S3ProxyError as fault:
            self._fail(file, fault)

    async def _end(self, file: _File) -> None:
        self._file = None
        if file is not self._single and self.is_prefix and (file.name or file.begun):
            await self._commit(file)

    async def _commit(self, file: _File) -> None:
        if file.fault is not None:
            return
        try:
            if not file.begun:
                raise EmptyFile
            self.results.append(FileResult(file_name=file.name, receipt=await file.commit()))
        except S3ProxyError as fault:
            self._fail(file, fault)

    async def _settle(self) -> None:
        """A field may have told where the held file goes."""
        file = self._single
        if file is not None and file.fault is None and self._aimed():
            try:
                await self._aim(file)
            except S3ProxyError as fault:
                self._fail(file, fault)

    def _aimed(self) -> bool:
        return bool(self._fields.get(BUCKET) and self._fields.get(OBJECT))

    async def _aim(self, file: _File) -> None:
        if file.aimed or not self._aimed():
            return
        if not is_bucket_name(self.bucket):
            raise BucketNotFound
        key = self._fields[OBJECT]
        if self.is_prefix:
            key += safe_file_name(file.name)
        await file.aim(ObjectPath(self.bucket, check_key(key)))

    def _fail(self, file: _File, fault: S3ProxyError) -> None:
        """Note that one of several files could not be stored; raises `fault` where there is only one."""
        if not self.is_prefix:
            raise fault
        file.fault = fault
        file.abort()
        self.results.append(FileResult(file_name=file.name, fault=fault))


class _File:
    """One file: held at first, written once it is aimed."""

    def __init__(self, intake: Intake, start: FileStart, hold_limit: int) -> None:
        self.name = start.file_name
        self.fault: S3ProxyError | None = None
        self._type = start.content_type
        self._intake = intake
        self._hold_limit = hold_limit
        self._held: Part | None = None
        self._writer: ObjectWriter | None = None
        self._aborted = False

    @property
    def aimed(self) -> bool:
        return self._writer is not None

    @property
    def begun(self) -> bool:
        return self._writer is not None or self._held is not None

    async def write(self, data: bytes) -> None:
        if self._writer is not None:
            await self._writer.write(data)
            return
        if self._held is None:
            self._held = self._intake.part(self._hold_limit)
        if await self._held.append(memoryview(data)) < len(data):
            raise _fields_first()

    async def aim(self, path: ObjectPath) -> None:
        attributes = ObjectAttributes(content_type=self._type or guess_type(path.key))
        destination = Destination(path=path, attributes=attributes, digests=ClientDigests([]))
        self._writer = await self._intake.open(destination)
        if self._aborted:
            self._writer.abort()
        if self._held is not None and not self._writer.adopt(self._held):
            # Its memory must not be what the writer waits for.
            await self._held.spool()
            body = self._held.seal()
            while data := await asyncio.to_thread(body.read):
                await self._writer.write(data)
            self._held.release()
        self._held = None

    async def commit(self) -> Receipt:
        assert self._writer is not None
        return await self._writer.commit()

    def abort(self) -> None:
        self._aborted = True
        if self._writer is not None:
            self._writer.abort()
        if self._held is not None:
            self._held.release()


def _fields_first() -> BadForm:
    return BadForm("Send bucket_name and object_name before the file, or in the query string.")
