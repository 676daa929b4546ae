"""What the null store remembers: objects, unfinished multipart uploads, and the objects it declares by name."""

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from email.utils import formatdate

_DECLARED = re.compile(r"(\d+)([kmg])(?:-[^/]*)?")
_LONG_AGO = "Tue, 14 Nov 2023 22:13:20 GMT"
_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}


def declared_size(name: str) -> int | None:
    """The size a name such as `1g`, `64k` or `1k-17` declares, else None."""
    match = _DECLARED.fullmatch(name)
    return int(match[1]) * _UNITS[match[2]] if match else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object; `data` is None when its bytes were dropped, then it reads as the pattern."""

    size: int
    etag: str
    data: bytes | None = None
    checksum: str | None = None
    content_type: str = "binary/octet-stream"
    metadata: tuple[tuple[str, str], ...] = ()
    last_modified: str = field(default_factory=lambda: formatdate(usegmt=True))


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One uploaded part: its bytes are gone, these facts stay."""

    size: int
    etag: str
    crc: int | None


@dataclass(slots=True)
class Upload:
    """One multipart upload that is neither completed nor aborted."""

    path: str
    content_type: str
    metadata: tuple[tuple[str, str], ...]
    parts: dict[int, StoredPart] = field(default_factory=dict)


class State:
    """Everything remembered. Single dict operations are atomic under the GIL, so there is no lock."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._declared: dict[str, StoredObject] = {}
        self._serial = itertools.count(1)

    def next_id(self) -> str:
        """A fresh 32-digit hexadecimal name: an ETag (the bytes are not hashed) or an upload id."""
        return f"{next(self._serial):032x}"

    def find(self, path: str) -> StoredObject | None:
        """The object at `path` ("bucket/key"): a stored one, else one that its name declares."""
        found = self.objects.get(path) or self._declared.get(path)
        if found is not None:
            return found
        size = declared_size(path.rpartition("/")[2])
        if size is None:
            return None
        declared = StoredObject(size=size, etag=hashlib.md5(path.encode()).hexdigest(), last_modified=_LONG_AGO)
        self._declared[path] = declared
        return declared
