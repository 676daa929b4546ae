"""Object paths: from the request target to one bucket name and one key, decoded once.

The rule: a key has one spelling. What is authorised, logged and sent to S3 is the same string, and whatever could
be read in two ways (`..`, control characters, broken UTF-8) is refused rather than repaired.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import unquote_to_bytes

from s3proxy.errors import InvalidKey

#: S3's limit for a key, in bytes of UTF-8.
MAX_KEY_SIZE = 1024

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """Where an object is. Both names are decoded; nothing is checked here (see `is_bucket_name`, `check_key`)."""

    bucket: str
    key: str


def split_path(raw: str) -> tuple[str, str]:
    """Bucket and key of an undecoded path `BUCKET/KEY`, each percent-decoded exactly once.

    `raw` is the request target as Tornado gives it: one character a byte (latin-1). `+` stays `+`; an encoded slash
    becomes part of the name it stands in, never a separator. Either name may come out empty, and neither is checked
    for anything but its encoding.

    Raises `InvalidKey` for a bad percent sequence or for bytes that are no UTF-8 (RFC 3986 section 2.1).
    """
    try:
        octets = raw.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidKey("The path is not a sequence of bytes.") from None
    bucket, _, key = octets.partition(b"/")
    return _percent_decode(bucket), _percent_decode(key)


def is_bucket_name(name: str) -> bool:
    """Whether S3 can have a bucket of that name.

    S3's general rules of today, and the capitals and underscores of buckets made before 2018. Stays with 63 characters
    and never takes an address, an ARN, a `..`, an `@` or a slash: a name must not be able to point a request elsewhere.
    """
    if not _BUCKET_NAME.fullmatch(name) or ".." in name:
        return False
    try:
        IPv4Address(name)
    except AddressValueError:
        return True
    return False


def check_key(key: str) -> str:
    """The key itself, when S3 can hold it and it has one meaning only.

    Empty segments and slashes at either end are legal in S3 and stay as they are. Unicode is not normalised: the
    composed and the decomposed form of a letter are two keys.

    Raises `InvalidKey` when the key is empty, is over 1,024 bytes of UTF-8, has a `.` or `..` segment (SDKs, proxies
    and file systems resolve them), a control character (category Cc) or a lone surrogate.
    """
    if not key:
        raise InvalidKey("The object key is empty.")
    _check_characters(key)
    if len(key.encode()) > MAX_KEY_SIZE:
        raise InvalidKey(f"The object key is longer than {MAX_KEY_SIZE} bytes of UTF-8.")
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise InvalidKey("The object key has a segment '.' or '..'.")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix of a listing itself, when it has one meaning only: a store that keeps files could follow a `..`.

    Raises `InvalidKey` as `check_key` does; an empty prefix is every key.
    """
    return check_key(prefix) if prefix else prefix


def safe_file_name(filename: str) -> str:
    """The last component of a client's file name, to be put after a prefix. `check_key` the result of that.

    Both separators count: browsers on Windows have sent whole paths (RFC 7578 section 4.2).

    Raises `InvalidKey` when nothing usable is left.
    """
    name = filename.replace("\\", "/").rpartition("/")[2]
    if name in {"", ".", ".."}:
        raise InvalidKey("The file has no usable name.")
    _check_characters(name)
    return name


def _percent_decode(octets: bytes) -> str:
    if _BAD_PERCENT.search(octets):
        raise InvalidKey("The path has a '%' that is not followed by two hexadecimal digits.")
    try:
        return unquote_to_bytes(octets).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidKey("The path is not valid UTF-8.") from None


def _check_characters(name: str) -> None:
    for character in name:
        category = unicodedata.category(character)
        if category == "Cc":
            raise InvalidKey("The object key has a control character.")
        if category == "Cs":
            raise InvalidKey("The object key is not valid Unicode.")
