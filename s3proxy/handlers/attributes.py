"""Object attributes to and from HTTP headers."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import Literal

from tornado.httputil import HTTPHeaders

from s3proxy.errors import BadRequest
from s3proxy.protocol.disposition import content_disposition, serves_inline
from s3proxy.protocol.media import UNKNOWN_TYPE, guess_type
from s3proxy.store.contract import ObjectAttributes, ObjectInfo

METADATA_PREFIX = "x-amz-meta-"

MAX_METADATA_SIZE = 2048
"""Bytes of names and values together (AWS S3 user guide, "Working with object metadata")."""

FORM_TYPE = "application/x-www-form-urlencoded"

LINE = re.compile(r"[\x20-\x7e\x80-\xff]*")
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

SANDBOX = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""A stored page that is shown may be looked at and nothing else."""


def from_headers(headers: HTTPHeaders, key: str) -> ObjectAttributes:
    """What an upload's headers say about the object. Raises `BadRequest` for what S3 cannot keep."""
    metadata = {
        name.lower().removeprefix(METADATA_PREFIX): value
        for name, value in headers.items()
        if name.lower().startswith(METADATA_PREFIX)
    }
    if not all(value.isascii() and value.isprintable() for value in metadata.values()):
        raise BadRequest("Metadata (x-amz-meta-*) must be printable US-ASCII.")
    if sum(len(name) + len(value) for name, value in metadata.items()) > MAX_METADATA_SIZE:
        raise BadRequest(f"Metadata (x-amz-meta-*) is longer than {MAX_METADATA_SIZE} bytes.")
    return ObjectAttributes(
        content_type=_content_type(headers) or guess_type(key),
        cache_control=_kept(headers, "Cache-Control"),
        content_disposition=_kept(headers, "Content-Disposition"),
        content_encoding=_kept(headers, "Content-Encoding"),
        content_language=_kept(headers, "Content-Language"),
        metadata=metadata,
    )


def to_headers(info: ObjectInfo, key: str, inline_types: Literal["safe", "all", "none"]) -> dict[str, str]:
    """What an answer says about the object it holds; nothing in it can act as a page of ours unless allowed."""
    attributes = info.attributes
    content_type = attributes.content_type or UNKNOWN_TYPE
    if not _is_line(content_type):
        content_type = UNKNOWN_TYPE
    headers = {
        "Content-Type": content_type,
        "ETag": info.etag,
        "Last-Modified": format_datetime(info.last_modified, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    inline = inline_types == "all" or (inline_types == "safe" and serves_inline(content_type))
    stored = attributes.content_disposition
    if stored and (inline or stored.lower().startswith("attachment")):
        headers["Content-Disposition"] = stored
    else:
        name = key.rstrip("/").rpartition("/")[2]
        headers["Content-Disposition"] = content_disposition("inline" if inline else "attachment", name)
    if inline_types != "all":
        headers["Content-Security-Policy"] = SANDBOX
    optional = {
        "Cache-Control": attributes.cache_control,
        "Content-Encoding": attributes.content_encoding,
        "Content-Language": attributes.content_language,
    }
    headers |= {name: value for name, value in optional.items() if value}
    headers |= {METADATA_PREFIX + name: value for name, value in attributes.metadata.items()}
    if info.checksum is not None:
        headers[f"x-amz-checksum-{info.checksum.algorithm}"] = info.checksum.value
    return {name: value for name, value in headers.items() if NAME.fullmatch(name) and _is_line(value)}


def _content_type(headers: HTTPHeaders) -> str | None:
    """What the client says the body is; not what `curl --data-binary` says of any body, unless told otherwise."""
    content_type = _kept(headers, "Content-Type")
    return None if content_type and content_type.lower().startswith(FORM_TYPE) else content_type


def _kept(headers: HTTPHeaders, name: str) -> str | None:
    value = headers.get(name)
    if value is not None and not (value.isascii() and value.isprintable()):
        raise BadRequest(f"{name} must be printable US-ASCII.")
    return value or None


def _is_line(text: str) -> bool:
    """Whether `text` stays one header line; what others stored in the bucket may not."""
    return LINE.fullmatch(text) is not None
