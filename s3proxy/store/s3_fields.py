"""Our values as boto3 and HTTP name them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from s3proxy.errors import StoreBroken
from s3proxy.protocol.checksums import Checksum, ChecksumAlgorithm
from s3proxy.protocol.keys import ObjectPath
from s3proxy.store.contract import MultipartUpload, ObjectAttributes, ObjectInfo

ATTRIBUTES = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
}
"""Attributes of ours and what boto3 calls them; their headers have the same names with hyphens."""

KEEPING = {
    "storage_class": ("StorageClass", "x-amz-storage-class"),
    "encryption": ("ServerSideEncryption", "x-amz-server-side-encryption"),
    "kms_key_id": ("SSEKMSKeyId", "x-amz-server-side-encryption-aws-kms-key-id"),
}
"""Those that say how S3 keeps an object, and what boto3 and HTTP call them."""

METADATA = "x-amz-meta-"


def target(path: ObjectPath) -> dict[str, Any]:
    """The arguments that name an object."""
    return {"Bucket": path.bucket, "Key": path.key}


def upload_target(upload: MultipartUpload) -> dict[str, Any]:
    """The arguments that name a multipart upload."""
    return target(upload.path) | {"UploadId": upload.upload_id}


def attribute_arguments(attributes: ObjectAttributes) -> dict[str, Any]:
    """The arguments that set an object's attributes."""
    values = {argument: getattr(attributes, name) for name, argument in ATTRIBUTES.items()}
    values |= {argument: getattr(attributes, name) for name, (argument, _) in KEEPING.items()}
    return {argument: value for argument, value in values.items() if value} | {"Metadata": dict(attributes.metadata)}


def attribute_headers(attributes: ObjectAttributes) -> dict[str, str]:
    """The same as request headers."""
    values = {name.replace("_", "-"): getattr(attributes, name) for name in ATTRIBUTES}
    values |= {header: getattr(attributes, name) for name, (_, header) in KEEPING.items()}
    headers = {name: value for name, value in values.items() if value}
    return headers | {METADATA + name: value for name, value in attributes.metadata.items()}


def checksum_arguments(checksum: Checksum | None) -> dict[str, Any]:
    """The argument that states a checksum."""
    return {} if checksum is None else {f"Checksum{checksum.algorithm.upper()}": checksum.value}


def checksum_headers(checksum: Checksum | None) -> dict[str, str]:
    """The same as a request header."""
    return {} if checksum is None else {f"x-amz-checksum-{checksum.algorithm}": checksum.value}


def read_checksum(headers: Mapping[str, str], algorithm: ChecksumAlgorithm) -> Checksum | None:
    """The checksum of the whole object in an answer; not one composed of parts' checksums, which end in `-N`."""
    value = headers.get(f"x-amz-checksum-{algorithm}")
    return Checksum(algorithm, value) if value and "-" not in value else None


def read_info(headers: Mapping[str, str], size: int, algorithm: ChecksumAlgorithm) -> ObjectInfo:
    """The object of `size` bytes that an answer's headers (lower case) describe."""
    try:
        last_modified = parsedate_to_datetime(required(headers, "last-modified")).astimezone(UTC)
    except ValueError:
        raise nonsense() from None
    return ObjectInfo(
        size=size,
        etag=required(headers, "etag"),
        last_modified=last_modified,
        attributes=ObjectAttributes(
            **{name: headers.get(name.replace("_", "-")) for name in ATTRIBUTES},
            metadata={name[len(METADATA) :]: value for name, value in headers.items() if name.startswith(METADATA)},
        ),
        checksum=read_checksum(headers, algorithm),
    )


def read_span(headers: Mapping[str, str], length: int) -> tuple[int, int]:
    """The first byte's offset and the whole object's size, from `Content-Range` or, without it, the `length` sent."""
    if "content-range" not in headers:
        return 0, length
    span, _, size = headers["content-range"].removeprefix("bytes ").partition("/")
    try:
        return int(span.partition("-")[0]), int(size)
    except ValueError:
        raise nonsense() from None


def required(answer: Mapping[str, Any], name: str) -> str:
    """A field that S3 never leaves out."""
    value = answer.get(name)
    if not value:
        raise nonsense()
    return str(value)


def content_length(answer: Mapping[str, Any]) -> int:
    """How many bytes the body has, or would have. S3 always says."""
    length = answer.get("ContentLength")
    if length is None:
        raise nonsense()
    return int(length)


def nonsense() -> StoreBroken:
    """What is not S3 answered: a gateway, a captive portal, a wrong endpoint."""
    return StoreBroken(reason="BadAnswer", ambiguous=True)
