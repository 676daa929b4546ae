"""Checksums that run along with the bytes: the one S3 is given, and those the client sent to be verified.

Values are base64 of the big-endian bytes, as S3 writes them. CRC64NVME is the default everywhere: it costs next to
nothing, and S3 keeps it for the whole object also after a multipart upload.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from awscrt import checksums as crt

from s3proxy.errors import BadRequest, ChecksumMismatch


class ChecksumAlgorithm(StrEnum):
    """A checksum S3 can keep for a whole object, or none."""

    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    CRC32 = "crc32"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Checksum:
    """A finished checksum. `value` is base64 of the big-endian bytes."""

    algorithm: ChecksumAlgorithm
    value: str


@dataclass(frozen=True, slots=True)
class _Crc:
    """How one CRC is computed: over more bytes, over two stretches joined, and its width in bytes."""

    update: Callable[[bytes | bytearray | memoryview, int], int]
    combine: Callable[[int, int, int], int]
    width: int


_CRCS = {
    ChecksumAlgorithm.CRC64NVME: _Crc(crt.crc64nvme, crt.combine_crc64nvme, 8),
    ChecksumAlgorithm.CRC32C: _Crc(crt.crc32c, crt.combine_crc32c, 4),
    ChecksumAlgorithm.CRC32: _Crc(crt.crc32, crt.combine_crc32, 4),
}


class RunningChecksum:
    """A checksum over bytes as they pass. With `NONE` it only counts them."""

    __slots__ = ("_crc", "_value", "algorithm", "size")

    def __init__(self, algorithm: ChecksumAlgorithm) -> None:
        self.algorithm = algorithm
        #: Bytes seen so far.
        self.size = 0
        self._crc = _CRCS.get(algorithm)
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. Nothing is copied or kept."""
        self.size += len(data)
        if self._crc is not None:
            self._value = self._crc.update(data, self._value)

    def extend(self, other: RunningChecksum) -> None:
        """Take the bytes `other` has seen as if they came next, without reading them again.

        Raises `ValueError` when the algorithms differ.
        """
        if other.algorithm is not self.algorithm:
            raise ValueError("checksums of two algorithms cannot be joined")
        self.size += other.size
        if self._crc is not None:
            self._value = self._crc.combine(self._value, other._value, other.size)

    def digest(self) -> bytes:
        """The value so far in big-endian bytes; empty for `NONE`."""
        return b"" if self._crc is None else self._value.to_bytes(self._crc.width, "big")

    @property
    def checksum(self) -> Checksum | None:
        """The value so far; None for `NONE`."""
        if self._crc is None:
            return None
        return Checksum(self.algorithm, base64.b64encode(self.digest()).decode("ascii"))


def multipart_etag(etags: Sequence[str]) -> str | None:
    """The ETag S3 gives an object of parts with these: MD5 of their MD5s and their number; None if they are none."""
    digests = [etag.strip('"') for etag in etags]
    if not all(re.fullmatch(r"[0-9a-f]{32}", digest) for digest in digests):
        return None
    joined = b"".join(bytes.fromhex(digest) for digest in digests)
    return f'"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(digests)}"'


class _Running(Protocol):
    """What a digest from `hashlib` and a `RunningChecksum` have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Expected:
    """What one header promises of the body."""

    header: str
    algorithm: str
    digest: bytes


_ALGORITHMS: dict[str, Callable[[], _Running]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "crc32": lambda: RunningChecksum(ChecksumAlgorithm.CRC32),
    "crc32c": lambda: RunningChecksum(ChecksumAlgorithm.CRC32C),
    "crc64nvme": lambda: RunningChecksum(ChecksumAlgorithm.CRC64NVME),
}
_BASE64_HEADERS = {
    "Content-MD5": "md5",
    "X-Amz-Checksum-Crc32": "crc32",
    "X-Amz-Checksum-Crc32c": "crc32c",
    "X-Amz-Checksum-Crc64nvme": "crc64nvme",
    "X-Amz-Checksum-Sha1": "sha1",
    "X-Amz-Checksum-Sha256": "sha256",
}
_DIGEST_HEADERS = ("Content-Digest", "Repr-Digest")
# RFC 9530 section 5; the others of its registry are broken or checksums nobody sends.
_DIGEST_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
# A member of a dictionary (RFC 8941 section 3.2) whose value is a byte sequence.
_DIGEST_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):[ ]*(?:;.*)?")


class ClientDigests:
    """The digests a request carries, to be verified over the body as it was sent. False when there is none.

    `Repr-Digest` is held against the body as well: what is sent is what is stored, content coding included.
    """

    __slots__ = ("_expected", "_running")

    def __init__(self, expected: list[_Expected]) -> None:
        self._expected = expected
        self._running = {each.algorithm: _ALGORITHMS[each.algorithm]() for each in expected}

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> ClientDigests:
        """Read `Content-MD5` (RFC 1864), `Content-Digest` and `Repr-Digest` (RFC 9530) and `x-amz-checksum-*`.

        The mapping ignores case. Digest algorithms we do not know are ignored. Raises `BadRequest`, naming the
        header, for a value that is malformed or of the wrong length.
        """
        expected = []
        for header, algorithm in _BASE64_HEADERS.items():
            if (text := headers.get(header)) is not None:
                expected.append(_expect(header, algorithm, text.strip(" \t")))
        for header in _DIGEST_HEADERS:
            if (text := headers.get(header)) is not None:
                expected += _expect_members(header, text.strip(" \t"))
        return cls(expected)

    def __bool__(self) -> bool:
        return bool(self._expected)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the body."""
        for running in self._running.values():
            running.update(data)

    def verify(self) -> None:
        """Return when the bytes seen are those the client meant. Raises `ChecksumMismatch`, naming the header."""
        for each in self._expected:
            if self._running[each.algorithm].digest() != each.digest:
                raise ChecksumMismatch(f"The body does not match its {each.header}. Nothing was stored.")


def _expect(header: str, algorithm: str, text: str) -> _Expected:
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error, or characters outside ASCII
        raise BadRequest(f"The header {header} is not base64.") from None
    if len(digest) != len(_ALGORITHMS[algorithm]().digest()):
        raise BadRequest(f"The header {header} has a digest of the wrong length.")
    return _Expected(header, algorithm, digest)


def _expect_members(header: str, text: str) -> list[_Expected]:
    members: dict[str, str] = {}
    for member in text.split(",") if text else []:
        match = _DIGEST_MEMBER.fullmatch(member.strip(" \t"))
        if match is None:
            raise BadRequest(f"The header {header} is malformed (RFC 9530).")
        # The last of several members of a name counts (RFC 8941 section 3.2).
        members[match[1]] = match[2]
    known = members.keys() & _DIGEST_ALGORITHMS.keys()
    return [_expect(header, _DIGEST_ALGORITHMS[name], members[name]) for name in sorted(known)]
