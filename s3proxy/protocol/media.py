"""Media types by file name."""

from __future__ import annotations

from mimetypes import MimeTypes

UNKNOWN_TYPE = "application/octet-stream"

# Python's own table and no file of the machine: the same answer everywhere.
_TYPES = MimeTypes(filenames=())


def guess_type(key: str) -> str:
    """The media type a key's ending stands for; `UNKNOWN_TYPE` where it stands for none, or for a compressed file."""
    guess, encoding = _TYPES.guess_type(key, strict=False)
    return guess if guess is not None and encoding is None else UNKNOWN_TYPE
