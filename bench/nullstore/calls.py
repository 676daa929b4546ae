"""The S3 calls the null store answers: one method a call, dispatched by method and query."""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from bench.nullstore import integrity
from bench.nullstore.state import State, StoredObject, StoredPart, Upload
from bench.nullstore.wire import Body, Connection, Head, render

CHECKSUM = "x-amz-checksum-crc64nvme"
SMALLEST_PART = 5 * 1024 * 1024
MISSING_BUCKET = "missing"
_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_COMPLETED_PART = re.compile(rb"<Part>.*?</Part>", re.S)
_PART_NUMBER = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
_PART_ETAG = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]*)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Refusal(Exception):
    """An S3 error answer."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or code


class Call:
    """One request, taken apart: `path` is "bucket/key", percent-decoded."""

    __slots__ = ("body", "bucket", "head", "key", "path", "query")

    def __init__(self, head: Head, body: Body) -> None:
        path, _, query = head.target.partition("?")
        self.head = head
        self.body = body
        self.query = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        self.path = (unquote(path) if "%" in path else path)[1:]
        self.bucket, _, self.key = self.path.partition("/")


class Store:
    """Answers calls from a `State`; objects without kept bytes read as the pattern in `source`."""

    def __init__(self, state: State, source: int, mapped: memoryview, *, verify: bool) -> None:
        self._state = state
        self._source = source
        self._mapped = mapped
        self._verify = verify

    def answer(self, connection: Connection, head: Head) -> None:
        """Read the body of one request to its end, then answer it."""
        if (head.get(b"expect") or "").lower() == "100-continue":
            connection.send_continue()
        call = Call(head, connection.read_body(head))
        try:
            if call.bucket.startswith(MISSING_BUCKET):
                raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
            if head.method in ("GET", "HEAD") and call.key and "uploadId" not in call.query:
                self._read(connection, call)
            else:
                connection.send(self._route(call)(call))
        except Refusal as refusal:
            body = b"" if head.method == "HEAD" else _error(refusal, call.path)
            connection.send(render(refusal.status, {"Content-Type": "application/xml"}, body))

    def _route(self, call: Call) -> Callable[[Call], bytes]:
        method, query = call.head.method, call.query
        if not call.bucket:
            return self._list_buckets
        if not call.key:
            return self._list_uploads if "uploads" in query else self._list_objects
        if method == "PUT":
            return self._upload_part if "uploadId" in query else self._put
        if method == "POST":
            return self._create_upload if "uploads" in query else self._complete
        if method == "DELETE":
            return self._abort if "uploadId" in query else self._delete
        if method == "GET":
            return self._list_parts
        raise Refusal(501, "NotImplemented")

    # Objects

    def _read(self, connection: Connection, call: Call) -> None:
        found = self._state.find(call.path)
        if found is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        head, etag = call.head, f'"{found.etag}"'
        wanted = head.get(b"if-match")
        if wanted is not None and wanted.strip('"') not in (found.etag, "*"):
            raise Refusal(412, "PreconditionFailed")
        if (head.get(b"if-none-match") or "") == etag:
            raise Refusal(304, "NotModified")
        headers = {
            "Content-Type": found.content_type,
            "ETag": etag,
            "Last-Modified": found.last_modified,
            "Accept-Ranges": "bytes",
            **dict(found.metadata),
        }
        status, offset, size = 200, 0, found.size
        text = head.get(b"range")
        if text is not None and (asked := _byte_range(text, found.size)) is not None:
            status, (offset, size) = 206, asked
            headers["Content-Range"] = f"bytes {offset}-{offset + size - 1}/{found.size}"
        elif found.checksum is not None and head.get(b"x-amz-checksum-mode") and found.data is not None:
            headers[CHECKSUM] = found.checksum
            headers["x-amz-checksum-type"] = "FULL_OBJECT"
        if head.method == "HEAD":
            if found.checksum is not None:
                headers[CHECKSUM] = found.checksum
            connection.send(render(status, headers, size=size))
        elif found.data is not None:
            connection.send(render(status, headers, found.data[offset : offset + size]))
        elif offset + size <= 4096:
            connection.send(render(status, headers, bytes(self._mapped[offset : offset + size])))
        else:
            connection.send_file(render(status, headers, size=size), self._source, self._mapped, offset, size)

    def _put(self, call: Call) -> bytes:
        self._check_absent(call)
        crc, data = call.body.crc, call.body.data
        stored = StoredObject(
            size=call.body.size,
            etag=self._state.next_id(),
            data=data,
            checksum=self._checked(call, crc),
            content_type=call.head.get(b"content-type") or "binary/octet-stream",
            metadata=_metadata(call.head),
        )
        self._state.objects[call.path] = stored
        return render(200, {"ETag": f'"{stored.etag}"', **_checksum_header(stored.checksum)})

    def _delete(self, call: Call) -> bytes:
        self._state.objects.pop(call.path, None)
        return render(204, {})

    # Multipart uploads

    def _create_upload(self, call: Call) -> bytes:
        upload_id = self._state.next_id()
        content_type = call.head.get(b"content-type") or "binary/octet-stream"
        self._state.uploads[upload_id] = Upload(call.path, content_type, _metadata(call.head))
        echoed = ("x-amz-checksum-algorithm", "x-amz-checksum-type")
        headers = {name: value for name in echoed if (value := call.head.get(name.encode())) is not None}
        return _xml("InitiateMultipartUploadResult", _place(call) + f"<UploadId>{upload_id}</UploadId>", headers)

    def _upload_part(self, call: Call) -> bytes:
        upload = self._upload(call)
        number = int(call.query["partNumber"])
        if not 1 <= number <= 10_000:
            raise Refusal(400, "InvalidArgument", "Part number must be between 1 and 10000")
        checksum = self._checked(call, call.body.crc)
        part = StoredPart(call.body.size, self._state.next_id(), call.body.crc)
        upload.parts[number] = part
        return render(200, {"ETag": f'"{part.etag}"', **_checksum_header(checksum)})

    def _list_parts(self, call: Call) -> bytes:
        upload = self._upload(call)
        after = int(call.query.get("part-number-marker") or 0)
        limit = int(call.query.get("max-parts") or 1000)
        numbers = sorted(number for number in upload.parts if number > after)
        shown = numbers[:limit]
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><LastModified>{_now()}</LastModified>"
            f"<ETag>&quot;{upload.parts[number].etag}&quot;</ETag><Size>{upload.parts[number].size}</Size></Part>"
            for number in shown
        )
        cut = len(numbers) > limit
        following = f"<NextPartNumberMarker>{shown[-1]}</NextPartNumberMarker>" if shown else ""
        tail = f"<MaxParts>{limit}</MaxParts><IsTruncated>{str(cut).lower()}</IsTruncated>{following}{items}"
        return _xml("ListPartsResult", _place(call) + f"<UploadId>{call.query['uploadId']}</UploadId>" + tail)

    def _complete(self, call: Call) -> bytes:
        upload = self._upload(call)
        self._check_absent(call)
        parts = self._named_parts(call, upload)
        size = sum(part.size for part in parts)
        declared = call.head.get(b"x-amz-mp-object-size")
        if declared is not None and int(declared) != size:
            raise Refusal(400, "InvalidRequest", "The object size does not match x-amz-mp-object-size")
        pieces = [(part.crc, part.size) for part in parts if part.crc is not None]
        crc = integrity.joined(pieces) if self._verify and len(pieces) == len(parts) else None
        stored = StoredObject(
            size=size,
            etag=f"{self._state.next_id()}-{len(parts)}",
            checksum=self._checked(call, crc),
            content_type=upload.content_type,
            metadata=upload.metadata,
        )
        if self._state.uploads.pop(call.query["uploadId"], None) is None:
            raise Refusal(404, "NoSuchUpload")
        self._state.objects[call.path] = stored
        checksum = ""
        if stored.checksum is not None:
            checksum = (
                f"<ChecksumCRC64NVME>{stored.checksum}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>"
            )
        location = f"<Location>http://null/{escape(call.path)}</Location>"
        etag = f"<ETag>&quot;{stored.etag}&quot;</ETag>"
        return _xml("CompleteMultipartUploadResult", location + _place(call) + etag + checksum)

    def _abort(self, call: Call) -> bytes:
        self._upload(call)
        self._state.uploads.pop(call.query["uploadId"], None)
        return render(204, {})

    # Lists

    def _list_buckets(self, call: Call) -> bytes:
        del call
        bucket = f"<Bucket><Name>bench</Name><CreationDate>{_now()}</CreationDate></Bucket>"
        owner = "<Owner><ID>null</ID><DisplayName>null</DisplayName></Owner>"
        return _xml("ListAllMyBucketsResult", f"{owner}<Buckets>{bucket}</Buckets>")

    def _list_objects(self, call: Call) -> bytes:
        if call.head.method == "HEAD":
            return render(200, {"x-amz-bucket-region": "us-east-1"})
        if call.head.method != "GET":
            raise Refusal(501, "NotImplemented")
        prefix, limit = call.query.get("prefix", ""), int(call.query.get("max-keys") or 1000)
        start = f"{call.bucket}/{prefix}"
        paths = sorted(path for path in list(self._state.objects) if path.startswith(start))
        items = "".join(_listed(path, self._state.objects[path]) for path in paths[:limit])
        facts = f"<Name>{escape(call.bucket)}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>"
        facts += f"<KeyCount>{min(limit, len(paths))}</KeyCount><IsTruncated>false</IsTruncated>"
        return _xml("ListBucketResult", facts + items)

    def _list_uploads(self, call: Call) -> bytes:
        items = "".join(
            f"<Upload><Key>{escape(upload.path.partition('/')[2])}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{_now()}</Initiated></Upload>"
            for upload_id, upload in list(self._state.uploads.items())
            if upload.path.startswith(call.bucket + "/")
        )
        facts = f"<Bucket>{escape(call.bucket)}</Bucket><MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>"
        return _xml("ListMultipartUploadsResult", facts + items)

    # Checks

    def _upload(self, call: Call) -> Upload:
        upload = self._state.uploads.get(call.query.get("uploadId", ""))
        if upload is None or upload.path != call.path:
            raise Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return upload

    def _named_parts(self, call: Call, upload: Upload) -> list[StoredPart]:
        if call.body.data is None:
            raise Refusal(501, "NotImplemented", "The list of parts is too long for the null store")
        parts: list[StoredPart] = []
        for text in _COMPLETED_PART.findall(call.body.data):
            number, etag = _PART_NUMBER.search(text), _PART_ETAG.search(text)
            part = upload.parts.get(int(number[1])) if number else None
            if part is None or etag is None or etag[1].decode() != part.etag:
                raise Refusal(400, "InvalidPart")
            parts.append(part)
        if not parts:
            raise Refusal(400, "MalformedXML")
        if any(part.size < SMALLEST_PART for part in parts[:-1]):
            raise Refusal(400, "EntityTooSmall")
        return parts

    def _check_absent(self, call: Call) -> None:
        if call.head.get(b"if-none-match") == "*" and call.path in self._state.objects:
            raise Refusal(412, "PreconditionFailed")

    def _checked(self, call: Call, crc: int | None) -> str | None:
        """The checksum the client sent; in verify mode the true one, and a refusal when they differ."""
        sent = call.head.get(CHECKSUM.encode())
        if crc is None:
            return sent
        true = integrity.encoded(crc)
        if sent is not None and sent != true:
            raise Refusal(400, "BadDigest", f"CRC64NVME is {true}, the request says {sent}")
        return true


def _byte_range(text: str, size: int) -> tuple[int, int] | None:
    """(offset, length) of a single Range, None for one that is to be ignored; refuses an unsatisfiable one."""
    match = _RANGE.fullmatch(text)
    if match is None or match[0] == "bytes=-":
        return None
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    else:
        first, last = max(0, size - int(match[2])), size - 1
    if first >= size or first > last:
        raise Refusal(416, "InvalidRange")
    return first, last - first + 1


def _metadata(head: Head) -> tuple[tuple[str, str], ...]:
    return head.matching(b"x-amz-meta-")


def _checksum_header(checksum: str | None) -> dict[str, str]:
    return {} if checksum is None else {CHECKSUM: checksum, "x-amz-checksum-type": "FULL_OBJECT"}


def _place(call: Call) -> str:
    return f"<Bucket>{escape(call.bucket)}</Bucket><Key>{escape(call.key)}</Key>"


def _listed(path: str, stored: StoredObject) -> str:
    key = escape(path.partition("/")[2])
    return (
        f"<Contents><Key>{key}</Key><LastModified>{_now()}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>"
        f"<Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _now() -> str:
    return "2023-11-14T22:13:20.000Z"


def _xml(name: str, content: str, headers: dict[str, str] | None = None) -> bytes:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {_XMLNS}>{content}</{name}>'.encode()
    return render(200, {"Content-Type": "application/xml", **(headers or {})}, body)


def _error(refusal: Refusal, path: str) -> bytes:
    facts = f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
    facts += f"<Resource>/{escape(path)}</Resource><RequestId>0</RequestId>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{facts}</Error>'.encode()
