"""`Content-Disposition` of answers: which files a browser may show, and under which name it saves them."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

#: The longest file name sent, in bytes of UTF-8: what common file systems take (NAME_MAX).
MAX_FILE_NAME_SIZE = 255

#: What a browser may show in place. Only types that can hold no script; all others are saved as files.
INLINE_TYPES = frozenset(
    {
        "text/plain",
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/bmp",
        "image/webp",
        "image/avif",
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "audio/webm",
        "audio/x-wav",
        "video/mp4",
        "video/mpeg",
        "video/ogg",
        "video/quicktime",
        "video/webm",
    }
)

# Control characters, separators, and the marks and overrides that turn text around on screen ("gpj.exe").
_MISLEADING = re.compile("[\x00-\x1f\x7f-\x9f/\\\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Also "%": some browsers decode percent sequences in the plain parameter (RFC 6266 appendix D).
_NOT_PLAIN = re.compile(r"[^ !#$&-\[\]-~]")
# RFC 8187 section 3.2.1, attr-char; letters and digits are always safe for `quote`.
_ATTR_CHARS = "!#$&+-.^_`|~"
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,16}\Z")


def content_disposition(kind: Literal["inline", "attachment"], file_name: str) -> str:
    """The header's value (RFC 6266): ASCII, one line, under 1,100 characters, whatever the name is.

    `filename*` (RFC 8187) is added only when the plain parameter cannot hold the name. Slashes, backslashes, control
    and bidirectional characters become `_` in both; a name over 255 bytes of UTF-8 is cut, keeping its extension.
    """
    name = _presentable(file_name)
    plain = _NOT_PLAIN.sub("_", name)
    value = f'{kind}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"
    return value


def serves_inline(content_type: str | None) -> bool:
    """Whether a browser may show this type in place. Parameters count for nothing; an unknown type is not shown.

    Never HTML, SVG, XML or PDF: a stored file must not run script where people are logged in. Send
    `X-Content-Type-Options: nosniff` with it, or the browser makes its own list.
    """
    if content_type is None:
        return False
    return content_type.partition(";")[0].strip(" \t").lower() in INLINE_TYPES


def _presentable(file_name: str) -> str:
    name = _shortened(_MISLEADING.sub("_", file_name))
    return name if name.strip(". ") else "download"


def _shortened(name: str) -> str:
    """At most `MAX_FILE_NAME_SIZE` bytes of UTF-8, cut between characters and before the extension."""
    if len(name.encode()) <= MAX_FILE_NAME_SIZE:
        return name
    extension = _EXTENSION.search(name)
    tail = extension.group() if extension else ""
    stem = name.encode()[: MAX_FILE_NAME_SIZE - len(tail)]
    return stem.decode(errors="ignore") + tail
