"""What the service asks of S3: one HTTP request as it came, and which of S3's operations it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

Operation = Literal[
    "put",
    "create",
    "part",
    "complete",
    "abort",
    "list_parts",
    "list_uploads",
    "get",
    "head",
    "delete",
    "list",
    "other",
]
"""S3's operations by what they do; `other` is what is not about one bucket or object."""

OF_UPLOAD: Mapping[str, Operation] = {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "list_parts"}
OF_OBJECT: Mapping[str, Operation] = {"PUT": "put", "GET": "get", "HEAD": "head", "DELETE": "delete"}


def operation_of(method: str, target: str) -> Operation:
    """Which operation a request is (AWS S3 API reference), with the bucket in the path."""
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    _, _, key = url.path.lstrip("/").partition("/")
    if "uploadId" in query:
        return OF_UPLOAD.get(method, "other")
    if "uploads" in query:
        return "create" if method == "POST" else "list_uploads"
    if key:
        return OF_OBJECT.get(method, "other")
    return "list" if method == "GET" and url.path != "/" else "other"


@dataclass(frozen=True, slots=True)
class StoreCall:
    """A request to the store; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def operation(self) -> Operation:
        """See `operation_of`."""
        return operation_of(self.method, self.target)

    def encode(self) -> bytes:
        """The request as it goes on to the store, over a connection of its own."""
        dropped = ("connection", "expect", "transfer-encoding", "content-length")
        lines = [f"{self.method} {self.target} HTTP/1.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name not in dropped]
        if self.operation == "put" and "x-amz-checksum-crc64nvme" in self.headers:
            lines.append("x-amz-sdk-checksum-algorithm: CRC64NVME")  # moto keeps it only then, S3 always.
        if self.body or self.method in ("PUT", "POST"):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    """The first line of a request or answer, and its headers, names in lower case."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def read_head(reader: asyncio.StreamReader) -> StoreCall | None:
    """The head of the next request on a connection; None when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, headers = parse_head(head)
    method, target, _ = first.split(" ", 2)
    return StoreCall(method, target, headers)


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """The body that goes with these headers; raises `IncompleteReadError` when it ends early."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return b"".join(pieces)
